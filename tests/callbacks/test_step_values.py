"""Values of a training step, without a Trainer."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch.optim import SGD, AdamW

from lightning_hparams.callbacks._step_values import group_rates, histogram, losses, norms

ONE = [0.5, np.float32(0.5), np.array(0.5), np.array([[0.5]]), torch.tensor(0.5)]
ONE += [torch.tensor([0.5], requires_grad=True), torch.tensor(0.5, dtype=torch.bfloat16)]


@pytest.mark.parametrize("value", ONE, ids=repr)
def test_a_single_number_is_accepted_in_any_form(value):
    assert losses({"loss": value, "terms": {"ce": value}}, 4) == (
        {"loss/train": 2.0, "loss/train/ce": 0.5},
        {},
    )


@pytest.mark.parametrize(
    "value", [None, "0.5", b"1", [0.5], torch.ones(2), np.ones(2), torch.ones(0), 1j, {}, object()]
)
def test_anything_but_a_single_number_is_omitted_and_named(value):
    values, refused = losses({"loss": 1.0, "terms": {"odd": value, "ce": 0.5}}, 1)
    assert values == {"loss/train": 1.0, "loss/train/ce": 0.5}
    assert list(refused) == ["terms['odd']"]


@given(st.recursive(st.none() | st.text() | st.floats() | st.integers(), st.lists), st.text())
def test_no_step_output_raises(value, name):
    for outputs in (value, {"loss": value}, {"terms": value}, {"terms": {name: value}}):
        values, _ = losses(outputs, 1)
        assert all(isinstance(number, float) for number in values.values())


def parameter():
    return torch.nn.Parameter(torch.ones(2))


def test_groups_have_unique_names_or_indices():
    names = ["head", "head", None, "", 3, "head #2"]
    optimizer = SGD([{"params": [parameter()], "name": name} for name in names], lr=0.1)
    rates = group_rates([optimizer], optimizer)
    assert [tag for tag in rates if tag.startswith("lr/")] == [
        "lr/head",
        "lr/head #3",
        "lr/group 2",
        "lr/group 3",
        "lr/3",
        "lr/head #2",
    ]


def test_several_optimizers_are_numbered():
    both = [SGD([parameter()], lr=0.1), AdamW([parameter()], lr=0.2, weight_decay=0.3)]
    assert group_rates(both, both[1]) == {
        "lr/1/group 0": 0.2,
        "momentum/1/group 0": 0.9,
        "weight_decay/1/group 0": 0.3,
    }
    assert group_rates(both, both[0])["lr/0/group 0"] == 0.1


def test_norms_are_euclidean():
    one = parameter()
    one.grad = torch.tensor([3.0, 4.0])
    optimizer = SGD([one], lr=0.1)
    found = {tag: float(value) for tag, value in norms([optimizer], optimizer).items()}
    assert found == {
        "norm/weight/group 0": pytest.approx(2**0.5),
        "norm/grad/group 0": pytest.approx(5.0),
    }


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf]])
def test_an_empty_tensor_or_one_that_is_not_finite_has_no_histogram(values):
    assert histogram(torch.tensor(values)) is None
