"""Optimizers by name, named parameter groups, and the values in them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .checks import in_range, nearest, one_of, require

__all__ = [
    "OPTIMIZERS",
    "ParamGroup",
    "ReadOnlyGroup",
    "check_optimizer",
    "finds_own_rate",
    "get_param",
    "group_norms",
    "has_param",
    "initial_param",
    "keep_initial",
    "make_optimizer",
    "named_groups",
    "set_param",
    "shown_rate",
    "switch_weights",
]

ParamGroup: TypeAlias = dict[str, Any]  # as torch types it: params, lr, name, betas, ...
ReadOnlyGroup: TypeAlias = Mapping[str, Any]

_REFUSED = {
    "LBFGS": "it evaluates the loss several times per step on the same full batch",
    "Muon": "it only takes matrices, which excludes convolutions and biases",
    "SparseAdam": "it only takes sparse gradients",
}

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
}

# Those of other packages, imported where one is made: the extra ``optimizers`` installs them.
_FURTHER = {
    "AdamWScheduleFree": "schedulefree",
    "RAdamScheduleFree": "schedulefree",
    "SGDScheduleFree": "schedulefree",
    "Prodigy": "prodigyopt",
}


def check_optimizer(
    name: str, lr: float, weight_decay: float | None, args: Mapping[str, object]
) -> None:
    """Check an optimizer's name and arguments before any parameters exist.

    Args:
        name: Name of a class in ``torch.optim``: SGD, Adam, AdamW, RMSprop, Rprop, NAdam, ...; or
            AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree or Prodigy.
        lr: Learning rate, above 0 and finite.
        weight_decay: At least 0 and finite; None for the default of the class.
        args: Further arguments of the class.

    Raises:
        ValueError: For an unknown name (suggesting similar ones), an optimizer that does not work
            on mini-batches, or a value out of range.
        TypeError: For an argument that the class does not take (suggesting similar names), or a
            learning rate or weight decay that is not a number.
        ModuleNotFoundError: If the package of the optimizer is not installed.
    """
    one_of("optimizer", name, OPTIMIZERS | _FURTHER)
    if name in _REFUSED:
        raise ValueError(f"`optimizer` cannot be {name!r} here: {_REFUSED[name]}; AdamW is usual")
    in_range("lr", lr, above=0.0, below=math.inf)
    taken = set(args) & {"lr", "params", "weight_decay"}
    if taken:
        raise TypeError(f"`optimizer_args` repeats {sorted(taken)}; use the task's own arguments")
    if weight_decay is not None:
        in_range("weight_decay", weight_decay, 0.0, below=math.inf)
        args = {**args, "weight_decay": weight_decay}
    kind = _kind(name)
    known = [key for key in inspect.signature(kind).parameters if key != "params"]
    for key in args:
        if key not in known:
            hint = nearest(key, known) or f"; it takes {known}"
            where = _FURTHER.get(name, "torch.optim")
            raise TypeError(f"{where}.{name} takes no argument {key!r}{hint}")


def _kind(name: str) -> Callable[..., Optimizer]:
    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    return cast(
        "Callable[..., Optimizer]", getattr(require(_FURTHER[name], extra="optimizers"), name)
    )


def make_optimizer(
    name: str,
    groups: list[ParamGroup],
    *,
    lr: float,
    weight_decay: float | None = None,
    args: Mapping[str, object] | None = None,
) -> Optimizer:
    """Build an optimizer by name, after :func:`check_optimizer`, which has the arguments."""
    args = dict(args or {})
    check_optimizer(name, lr, weight_decay, args)
    if weight_decay is not None:
        args["weight_decay"] = weight_decay
    kind = _kind(name)
    if "weight_decay" not in inspect.signature(kind).parameters:
        for group in groups:
            group.pop("weight_decay", None)
    return kind(groups, lr=lr, **args)


def named_groups(
    parts: Mapping[str, tuple[Iterable[nn.Parameter], float]], *, no_decay_norm_bias: bool = True
) -> list[ParamGroup]:
    """Make parameter groups for parts of a model, each with its ``name`` and learning rate.

    Args:
        parts: Parameters and learning rate of each part, by name.
        no_decay_norm_bias: Put one-dimensional parameters (biases, the scales of normalisation
            layers) into a group ``<part>/no_decay`` without weight decay, which does not regularise
            them (Goyal et al., arXiv:1706.02677, section 5.3, for the scales).

    Returns:
        Groups in the order of the parts, without empty ones.

    >>> layer = nn.Linear(2, 2)
    >>> [(g["name"], len(g["params"])) for g in named_groups({"head": (layer.parameters(), 0.1)})]
    [('head', 1), ('head/no_decay', 1)]
    """
    groups: list[ParamGroup] = []
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


def has_param(group: ReadOnlyGroup, param: str) -> bool:
    """Whether a parameter group has this number; ``"momentum"`` also stands for the first beta.

    >>> has_param({"lr": 0.1, "betas": (0.9, 0.999)}, "momentum")
    True
    """
    if param == "momentum" and "betas" in group:
        return True
    value = group.get(param)
    return isinstance(value, (int, float, Tensor)) and not isinstance(value, bool)


def get_param(group: ReadOnlyGroup, param: str) -> float:
    """Return a number of a parameter group, such as lr or weight_decay.

    Args:
        group: One of an optimizer's ``param_groups``.
        param: Its key; ``"momentum"`` is the first beta if the group has no such key.

    Raises:
        ValueError: If the group has no such number, suggesting similar names.

    >>> get_param({"lr": 0.1, "betas": (0.9, 0.999)}, "momentum")
    0.9
    """
    if not has_param(group, param):
        names = [key for key in [*group, "momentum"] if has_param(group, key)]
        one_of("param", param, dict.fromkeys(names))
    if param == "momentum" and param not in group:
        return float(group["betas"][0])
    return float(group[param])


def set_param(group: ParamGroup, param: str, value: float) -> None:
    """Set the number that :func:`get_param` returns, in place if it is a tensor (for compilers)."""
    if param == "momentum" and param not in group:
        group["betas"] = (value, *group["betas"][1:])
    elif isinstance(group[param], Tensor):
        group[param].fill_(value)
    else:
        group[param] = value


def initial_param(group: ReadOnlyGroup, param: str) -> float:
    """Return the value before a schedule set it, kept as ``initial_lr`` by torch's schedulers too.

    >>> initial_param({"lr": 0.02, "initial_lr": 0.1}, "lr")
    0.1
    """
    initial = group.get(f"initial_{param}")
    return get_param(group, param) if initial is None else float(initial)


def keep_initial(group: ParamGroup, param: str) -> float:
    """Store the value in the group before a schedule sets it, so that checkpoints include it."""
    group[f"initial_{param}"] = initial_param(group, param)
    return float(group[f"initial_{param}"])


def finds_own_rate(optimizer: Optimizer) -> bool:
    """Whether an optimizer estimates its learning rate, of which ``lr`` is a factor.

    This is the interface of Prodigy (2306.06101) and D-Adaptation (2301.07733): each group has the
    estimate under the key ``d``.
    """
    return any("d" in group for group in optimizer.param_groups)


def shown_rate(group: ReadOnlyGroup) -> float:
    """Return the rate at which a group takes its steps, which ``lr`` may only be a part of.

    >>> shown_rate({"lr": 1.0, "d": 0.002})  # Prodigy
    0.002
    >>> shown_rate({"lr": 0.1, "scheduled_lr": 0.05, "k": 5})  # schedule-free, warming up
    0.05
    """
    if group.get("k") and "scheduled_lr" in group:
        return float(group["scheduled_lr"])
    return float(group["lr"]) * float(group.get("d", 1.0))


def switch_weights(optimizers: Iterable[Optimizer], mode: Literal["train", "eval"]) -> bool:
    """Switch optimizers that have ``train()`` and ``eval()`` between their two sets of weights.

    This is the interface of schedule-free optimizers (2405.15682), which train with other weights
    than those they are evaluated with: averages, which checkpoints should hold, too.

    Returns:
        Whether there is such an optimizer.
    """
    found = [o for o in optimizers if hasattr(o, "train") and hasattr(o, "eval")]
    for optimizer in found:
        getattr(optimizer, mode)()
    return bool(found)


def group_norms(group: ReadOnlyGroup) -> dict[str, Tensor]:
    """Compute the Euclidean norms of all weights of a parameter group and of their gradients.

    Returns:
        ``weight`` and, if any parameter has a gradient, ``grad``: scalars on the device.
    """
    weights = [parameter.detach() for parameter in group["params"]]
    grads = [parameter.grad.detach() for parameter in group["params"] if parameter.grad is not None]
    norms = {"weight": weights, "grad": grads}
    return {name: nn.utils.get_total_norm(values) for name, values in norms.items() if values}
