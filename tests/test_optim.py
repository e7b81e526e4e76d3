import pytest
import torch
from torch import nn

from lightning_hparams.optim import (
    OPTIMIZERS,
    get_param,
    has_param,
    initial_param,
    keep_initial,
    make_optimizer,
    named_groups,
    set_param,
)

USABLE = sorted(set(OPTIMIZERS) - {"LBFGS", "Muon", "SparseAdam"})


def groups():
    return named_groups({"head": (nn.Conv2d(2, 3, 3).parameters(), 0.01)})


@pytest.mark.parametrize("name", USABLE)
def test_every_optimizer_of_torch_is_built_by_name_and_steps(name):
    optimizer = make_optimizer(name, groups(), lr=0.01)
    before = [p.detach().clone() for g in optimizer.param_groups for p in g["params"]]
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    after = [p for g in optimizer.param_groups for p in g["params"]]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_biases_are_not_decayed():
    optimizer = make_optimizer("AdamW", groups(), lr=0.01, weight_decay=0.1)
    decay = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decay == {"head": 0.1, "head/no_decay": 0.0}


def test_weight_decay_defaults_to_that_of_the_optimizer():
    assert make_optimizer("AdamW", groups(), lr=0.01).param_groups[0]["weight_decay"] == 0.01


def test_arguments_reach_the_optimizer():
    optimizer = make_optimizer("SGD", groups(), lr=0.1, args={"momentum": 0.9, "nesterov": True})
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("Adamw2", {}, ValueError, "did you mean 'AdamW'"),
        ("LBFGS", {}, ValueError, "cannot be 'LBFGS' here: it evaluates the loss several times"),
        ("AdamW", {"lr": 0.0}, ValueError, "`0.0 < lr < inf` must hold, got lr=0.0"),
        ("AdamW", {"weight_decay": -1.0}, ValueError, "`0.0 <= weight_decay < inf` must hold"),
        ("SGD", {"args": {"momentun": 0.9}}, TypeError, "'momentun'; did you mean 'momentum'"),
        ("Rprop", {"weight_decay": 0.1}, TypeError, "Rprop takes no argument 'weight_decay'"),
        ("SGD", {"args": {"lr": 0.9}}, TypeError, "`optimizer_args` repeats"),
    ],
)
def test_bad_names_and_arguments_are_refused(name, options, error, message):
    with pytest.raises(error, match=message):
        make_optimizer(name, groups(), **{"lr": 0.1, **options})


@pytest.mark.parametrize("name", USABLE)
def test_every_rate_and_momentum_can_be_read_and_set(name):
    (group, _) = make_optimizer(name, groups(), lr=0.01).param_groups
    for param in ("lr", "momentum", "weight_decay"):
        if has_param(group, param):
            set_param(group, param, 0.25)
            assert get_param(group, param) == 0.25
    assert has_param(group, "lr")
    assert has_param(group, "momentum") == ("momentum" in group or "betas" in group)


def test_a_tensor_is_set_in_place():
    rate = torch.tensor(0.5)
    group = {"lr": rate}
    set_param(group, "lr", 0.25)
    assert group["lr"] is rate
    assert get_param(group, "lr") == 0.25


def test_an_unknown_value_is_refused_with_similar_names():
    (group, _) = make_optimizer("AdamW", groups(), lr=0.01).param_groups
    for param in ("weight_decy", "params", "amsgrad"):  # a list and a bool are not numbers
        with pytest.raises(ValueError, match=f"`param` must be one of .* got '{param}'"):
            get_param(group, param)


def test_the_initial_value_stays_in_the_group():
    group = {"lr": 0.5, "betas": (0.9, 0.99)}
    assert keep_initial(group, "momentum") == 0.9
    set_param(group, "momentum", 0.8)
    assert keep_initial(group, "momentum") == initial_param(group, "momentum") == 0.9
