"""What there is to write about a step of training: its loss and terms, rates and norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ..optim import get_param, group_norms, has_param
from ..tags import Kind, tag, told_apart, writable

__all__ = ["group_rates", "losses", "norms"]

_RATES: tuple[Kind, ...] = ("lr", "momentum", "weight_decay")


def losses(outputs: object, accumulated: int) -> tuple[dict[str, float], dict[str, str]]:
    """Loss and terms of a training step, whatever form it returned them in.

    Args:
        outputs: What Lightning hands to ``on_train_batch_end``: a dict, of all that has a loss.
        accumulated: Batches to an optimizer step, by which Lightning has divided the loss.

    Returns:
        Values by their tags; and what is left out by its key, with the reason.

    >>> losses({"loss": 0.5, "terms": {"ce": 0.4, "logits": [1, 2]}}, 1)[0]
    {'loss/train': 0.5, 'loss/train/ce': 0.4}
    """
    values: dict[str, float] = {}
    refused: dict[str, str] = {}
    if not isinstance(outputs, Mapping):
        return values, refused
    if outputs.get("loss") is not None:
        try:
            values[tag("loss", stage="train")] = _number(outputs["loss"]) * accumulated
        except Exception as error:
            refused["loss"] = str(error)
    terms = outputs.get("terms")
    if terms is None:
        return values, refused
    if not isinstance(terms, Mapping):
        refused["terms"] = f"it must be a dict from name to number, got {type(terms).__name__}"
        return values, refused
    for name, term in terms.items():
        try:
            if not str(name):
                raise ValueError("a term must have a name")
            values[tag("loss", label=writable(str(name)), stage="train")] = _number(term)
        except Exception as error:
            refused[f"terms[{name!r}]"] = str(error)
    return values, refused


def group_rates(optimizers: Sequence[Optimizer], optimizer: Optimizer) -> dict[str, float]:
    """Learning rate, momentum and weight decay of each parameter group that has them.

    Args:
        optimizers: Of the Trainer; if there are several, tags have the number of each.
        optimizer: One of them.
    """
    return {
        tag(param, label=name): get_param(group, param)
        for name, group in _groups(optimizers, optimizer)
        for param in _RATES
        if has_param(group, param)
    }


def norms(optimizers: Sequence[Optimizer], optimizer: Optimizer) -> dict[str, Tensor]:
    """Euclidean norms of each parameter group's weights and gradients, on their devices."""
    return {
        tag("norm", kind, name): norm
        for name, group in _groups(optimizers, optimizer)
        for kind, norm in group_norms(group).items()
    }


def _groups(
    optimizers: Sequence[Optimizer], optimizer: Optimizer
) -> list[tuple[str, Mapping[str, Any]]]:
    """Each parameter group after its name, by which no two are called the same."""
    number = f"{list(optimizers).index(optimizer)}/" if len(optimizers) > 1 else ""
    groups = optimizer.param_groups
    given = (group.get("name") for group in groups)
    names = [
        writable(f"group {index}" if name in (None, "") else str(name))
        for index, name in enumerate(given)
    ]
    apart = told_apart(names)
    return [(f"{number}{name}", group) for name, group in zip(apart, groups, strict=True)]


def _number(value: Any) -> float:
    """A number, or an array or tensor of one."""
    if isinstance(value, Tensor):
        value = value.detach()
    if getattr(value, "size", None) is not None and hasattr(value, "item"):
        shape = tuple(value.shape)
        if value.ndim and shape != (1,) * len(shape):
            raise ValueError(f"it must be one number, got the shape {shape}")
        value = value.item()
    if isinstance(value, (str, bytes)):
        raise TypeError(f"it must be a number, got {value!r:.60}")
    return float(value)
