"""Values of a training step: loss and its terms, rates, norms and histograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from ..checks import type_name
from ..optim import get_param, group_norms, has_param, shown_rate
from ..tags import Kind, tag, unique_names, writable

__all__ = ["group_rates", "histogram", "histograms", "losses", "norms"]

_BINS = 64
_RATES: tuple[Kind, ...] = ("lr", "momentum", "weight_decay")


def losses(outputs: object, accumulated: int) -> tuple[dict[str, float], dict[str, str]]:
    """Loss and loss terms of a training step.

    Args:
        outputs: The argument of ``on_train_batch_end``; a dict if the step returned a loss.
        accumulated: Batches per optimizer step, by which Lightning has divided the loss.

    Returns:
        Values by tag, and the reason for each omitted value by key.

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
        refused["terms"] = f"expected a dict from name to number, got {type_name(terms)}"
        return values, refused
    for name, term in terms.items():
        try:
            if not str(name):
                raise ValueError("expected a name, got an empty one")
            values[tag("loss", label=writable(str(name)), stage="train")] = _number(term)
        except Exception as error:
            refused[f"terms[{name!r}]"] = str(error)
    return values, refused


def group_rates(optimizers: Sequence[Optimizer], optimizer: Optimizer) -> dict[str, float]:
    """Learning rate, momentum and weight decay of each parameter group that has them.

    The rate is the one of its steps: Prodigy's is ``lr`` times its estimate.

    Args:
        optimizers: All optimizers of the Trainer; with several, tags start with the index.
        optimizer: The one to read.
    """
    return {
        tag(param, label=name): shown_rate(group) if param == "lr" else get_param(group, param)
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


def histogram(values: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """Counts ``(64,)`` and edges ``(65,)``; None if ``values`` is empty or not all finite."""
    if not values.numel() or not bool(values.isfinite().all()):
        return None
    low, high = (float(edge) for edge in torch.aminmax(values.float()))
    if low == high:
        low, high = low - 0.5, high + 0.5
    # torch.histc does the same, but not on CUDA with Trainer(deterministic=True).
    bins = (values.float().flatten() - low) * (_BINS / (high - low))
    bins = bins.long().clamp_(0, _BINS - 1)
    counts = torch.bincount(bins, minlength=_BINS).cpu().numpy()
    return counts, torch.linspace(low, high, _BINS + 1).numpy()


def histograms(
    module: Module,
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
    """Tag, counts and edges for each parameter and gradient that is finite."""
    for name, parameter in module.named_parameters():
        for kind, values in (("weights", parameter.detach()), ("grads", parameter.grad)):
            if values is not None and (counted := histogram(values)) is not None:
                yield tag(kind, label=name), *counted


def _groups(
    optimizers: Sequence[Optimizer], optimizer: Optimizer
) -> list[tuple[str, Mapping[str, Any]]]:
    """Unique name and content of each parameter group."""
    number = f"{list(optimizers).index(optimizer)}/" if len(optimizers) > 1 else ""
    groups = optimizer.param_groups
    given = (group.get("name") for group in groups)
    names = [
        writable(f"group {index}" if name in (None, "") else str(name))
        for index, name in enumerate(given)
    ]
    apart = unique_names(names)
    return [(f"{number}{name}", group) for name, group in zip(apart, groups, strict=True)]


def _number(value: Any) -> float:
    """The value of a number, or of an array or tensor with a single element."""
    if isinstance(value, Tensor):
        value = value.detach()
    if getattr(value, "size", None) is not None and hasattr(value, "item"):
        shape = tuple(value.shape)
        if value.ndim and shape != (1,) * len(shape):
            raise ValueError(f"expected a single number, got shape {shape}")
        value = value.item()
    if isinstance(value, (str, bytes)):
        raise TypeError(f"expected a number, got {value!r:.60}")
    return float(value)
