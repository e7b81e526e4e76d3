"""Optimizers by name, parameter groups that callbacks can tell apart, and the values in them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .checks import in_range, nearest, one_of

__all__ = [
    "OPTIMIZERS",
    "check_optimizer",
    "get_param",
    "group_norms",
    "has_param",
    "initial_param",
    "keep_initial",
    "make_optimizer",
    "named_groups",
    "set_param",
]

_REFUSED = {
    "LBFGS": "it evaluates the loss several times a step on the same full batch",
    "Muon": "it takes matrices only, and convolutions and biases are none",
    "SparseAdam": "it takes sparse gradients only",
}

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
}


def check_optimizer(
    name: str, lr: float, weight_decay: float | None, args: Mapping[str, Any]
) -> None:
    """Check an optimizer's name and arguments before there are parameters to give it.

    Args:
        name: A class of ``torch.optim``: SGD, Adam, AdamW, RMSprop, Rprop, NAdam, ...
        lr: Learning rate, above 0 and finite.
        weight_decay: At least 0 and finite; None for the class's own default.
        args: Further arguments of the class, by its own names.

    Raises:
        ValueError: For an unknown name (with the nearest), an optimizer that does not fit
            mini-batches, or a value out of range.
        TypeError: For an argument that the class does not take, with the nearest names, and for a
            learning rate or weight decay that is no number.
    """
    one_of("optimizer", name, OPTIMIZERS)
    if name in _REFUSED:
        raise ValueError(f"`optimizer` cannot be {name!r} here: {_REFUSED[name]}; AdamW is usual")
    in_range("lr", lr, above=0.0, below=math.inf)
    taken = set(args) & {"lr", "params", "weight_decay"}
    if taken:
        raise TypeError(f"`optimizer_args` repeats {sorted(taken)}; the task has arguments for it")
    if weight_decay is not None:
        in_range("weight_decay", weight_decay, 0.0, below=math.inf)
        args = {**args, "weight_decay": weight_decay}
    known = [key for key in inspect.signature(OPTIMIZERS[name]).parameters if key != "params"]
    for key in args:
        if key not in known:
            hint = nearest(key, known) or f"; it takes {known}"
            raise TypeError(f"torch.optim.{name} takes no argument {key!r}{hint}")


def make_optimizer(
    name: str,
    groups: list[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float | None = None,
    args: Mapping[str, Any] | None = None,
) -> Optimizer:
    """Build an optimizer by name, after :func:`check_optimizer`."""
    args = dict(args or {})
    check_optimizer(name, lr, weight_decay, args)
    if weight_decay is not None:
        args["weight_decay"] = weight_decay
    if "weight_decay" not in inspect.signature(OPTIMIZERS[name]).parameters:
        for group in groups:
            group.pop("weight_decay", None)
    return OPTIMIZERS[name](groups, lr=lr, **args)


def named_groups(
    parts: Mapping[str, tuple[Iterable[nn.Parameter], float]], *, no_decay_norm_bias: bool = True
) -> list[dict[str, Any]]:
    """Parameter groups by part of the model, each with its ``name`` and learning rate.

    Args:
        parts: Name of a part -> its parameters and its learning rate.
        no_decay_norm_bias: Put one-dimensional parameters (biases, the scales of normalisation
            layers) into a group ``<part>/no_decay`` without weight decay: shrinking them
            regularises nothing (Goyal et al., arXiv:1706.02677, section 5.3, for the scales).

    Returns:
        Groups in the order of the parts; empty ones are left out.

    >>> layer = nn.Linear(2, 2)
    >>> [(g["name"], len(g["params"])) for g in named_groups({"head": (layer.parameters(), 0.1)})]
    [('head', 1), ('head/no_decay', 1)]
    """
    groups: list[dict[str, Any]] = []
    for name, (parameters, lr) in parts.items():
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for parameter in parameters:
            (plain if no_decay_norm_bias and parameter.ndim <= 1 else decayed).append(parameter)
        if decayed:
            groups.append({"name": name, "params": decayed, "lr": lr})
        if plain:
            group_name = f"{name}/no_decay"
            groups.append({"name": group_name, "params": plain, "lr": lr, "weight_decay": 0.0})
    return groups


def has_param(group: Mapping[str, Any], param: str) -> bool:
    """Whether a parameter group has a number of this name; ``"momentum"`` may be its first beta.

    >>> has_param({"lr": 0.1, "betas": (0.9, 0.999)}, "momentum")
    True
    """
    if param == "momentum" and "betas" in group:
        return True
    value = group.get(param)
    return isinstance(value, (int, float, Tensor)) and not isinstance(value, bool)


def get_param(group: Mapping[str, Any], param: str) -> float:
    """A number of a parameter group, such as lr or weight_decay.

    Args:
        group: One of an optimizer's ``param_groups``.
        param: Its key; ``"momentum"`` is the first beta where there is no such key.

    Raises:
        ValueError: If the group has no number of this name, with the nearest names.

    >>> get_param({"lr": 0.1, "betas": (0.9, 0.999)}, "momentum")
    0.9
    """
    if not has_param(group, param):
        names = [key for key in [*group, "momentum"] if has_param(group, key)]
        one_of("param", param, dict.fromkeys(names))
    if param == "momentum" and param not in group:
        return float(group["betas"][0])
    return float(group[param])


def set_param(group: dict[str, Any], param: str, value: float) -> None:
    """Set what :func:`get_param` gives; a tensor keeps its identity, for compiled optimizers."""
    if param == "momentum" and param not in group:
        group["betas"] = (value, *group["betas"][1:])
    elif isinstance(group[param], Tensor):
        group[param].fill_(value)
    else:
        group[param] = value


def initial_param(group: Mapping[str, Any], param: str) -> float:
    """What a group had before a schedule set it: kept beside it, as torch's schedulers keep it.

    >>> initial_param({"lr": 0.02, "initial_lr": 0.1}, "lr")
    0.1
    """
    initial = group.get(f"initial_{param}")
    return get_param(group, param) if initial is None else float(initial)


def keep_initial(group: dict[str, Any], param: str) -> float:
    """Keep what a group has before a schedule sets it, so that checkpoints have it, too."""
    group[f"initial_{param}"] = initial_param(group, param)
    return float(group[f"initial_{param}"])


def group_norms(group: Mapping[str, Any]) -> dict[str, Tensor]:
    """Euclidean norm of all weights of a parameter group, and of their gradients.

    Returns:
        ``weight``, and ``grad`` if any parameter has a gradient: scalars, on the device.
    """
    weights = [parameter.detach() for parameter in group["params"]]
    grads = [parameter.grad.detach() for parameter in group["params"] if parameter.grad is not None]
    norms = {"weight": weights, "grad": grads}
    return {name: nn.utils.get_total_norm(values) for name, values in norms.items() if values}
