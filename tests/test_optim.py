import pytest
import torch
from torch import nn

from lightning_hparams.optim import OPTIMIZERS, make_optimizer, named_groups

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


def test_the_optimizers_own_default_decay_holds_if_none_is_given():
    assert make_optimizer("AdamW", groups(), lr=0.01).param_groups[0]["weight_decay"] == 0.01


def test_arguments_reach_the_optimizer():
    optimizer = make_optimizer("SGD", groups(), lr=0.1, args={"momentum": 0.9, "nesterov": True})
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("Adamw2", {}, ValueError, "did you mean 'AdamW'"),
        ("LBFGS", {}, ValueError, "cannot be 'LBFGS' here: it evaluates the loss several times"),
        ("AdamW", {"lr": 0.0}, ValueError, "`0.0 < lr` must hold, got lr=0.0"),
        ("AdamW", {"weight_decay": -1.0}, ValueError, "`0.0 <= weight_decay` must hold"),
        ("SGD", {"args": {"momentun": 0.9}}, TypeError, "'momentun'; did you mean 'momentum'"),
        ("Rprop", {"weight_decay": 0.1}, TypeError, "Rprop takes no argument 'weight_decay'"),
        ("SGD", {"args": {"lr": 0.9}}, TypeError, "`optimizer_args` repeats"),
    ],
)
def test_what_does_not_fit_is_refused(name, options, error, message):
    with pytest.raises(error, match=message):
        make_optimizer(name, groups(), **{"lr": 0.1, **options})
