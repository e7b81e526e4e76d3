"""Class names are accepted in many forms."""

import enum

import numpy as np
import pytest
import torch

from lightning_hparams.tags import class_names

NAMES = ["sky", "road"]


@pytest.mark.parametrize(
    "given",
    [
        NAMES,
        tuple(NAMES),
        np.array(NAMES),
        np.array(NAMES, dtype=object),
        {"road": 1, "sky": 0},
        {"road": np.int64(1), "sky": np.int64(0)},
        {0: "sky", 1: "road"},
        dict.fromkeys(NAMES).keys(),
        iter(NAMES),
        lambda: NAMES,
        enum.Enum("Names", NAMES),
        [b"sky", b"road"],
    ],
    ids=lambda given: type(given).__name__,
)
def test_names_are_in_the_order_of_the_classes(given):
    assert class_names(given) == NAMES


def test_names_are_optional():
    assert class_names(None) is None
    assert class_names(lambda: None) is None


def test_numbers_become_names_and_duplicates_are_made_unique():
    assert class_names(torch.tensor([3, 5])) == ["3", "5"]
    assert class_names(["cell", "cell"]) == ["cell", "cell #2"]
    assert class_names(["\ud800"]) == ["\\ud800"]


@pytest.mark.parametrize("given", ["sky", b"sky", 3, {"sky", "road"}, [["sky"]], object()])
def test_names_without_an_order_are_refused(given):
    with pytest.raises(TypeError, match="class name"):
        class_names(given)


@pytest.mark.parametrize("given", [{"a": 0, "b": 2}, {1: "a", 2: "b"}, {"a": 0, "b": 0}])
def test_indices_must_be_complete(given):
    with pytest.raises(ValueError, match="must have the indices 0"):
        class_names(given)


def test_no_names_at_all_are_none():
    assert class_names([]) is None
    assert class_names({}) is None
