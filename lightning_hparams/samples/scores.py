"""Shared by the kinds with tensor outputs: checks of shape and type, and scores for curves."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torchmetrics import Metric

from ..checks import counted, type_name
from ..metrics import ScoreCounts, confidences
from ..outputs import StepOutput
from .kind import DrawOptions, Scores, completed_names

__all__ = [
    "check_tensors",
    "check_whole_numbers",
    "class_scores",
    "num_classes",
    "squeezed",
]

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def check_tensors(output: StepOutput, step: str) -> None:
    """Check that predictions and targets are tensors of the same shape.

    Raises:
        TypeError: If either is not a tensor.
        ValueError: If their shapes differ.
    """
    preds, targets = output["preds"], output["targets"]
    for key, value in (("preds", preds), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{step}: {key} must be a tensor, got {type_name(value)}")
        if value.is_complex():
            raise TypeError(f"{step}: {key} must be real, got {value.dtype}; return their abs()")
    if preds.shape != targets.shape:
        raise ValueError(
            f"{step}: preds and targets must have the same shape, got {tuple(preds.shape)} and "
            f"{tuple(targets.shape)}"
        )


def check_whole_numbers(output: StepOutput, step: str) -> None:
    """Check that predictions and targets are class indices, not scores or NaN.

    Raises:
        ValueError: If a value is not a whole number.
    """
    for key in ("preds", "targets"):
        value = output[key]
        if value.is_floating_point():
            odd = value[~(value == value.floor()) | value.isinf()]
            if odd.numel():
                raise ValueError(
                    f"{step}: {key} must be class indices, or 0 and 1, got {float(odd[0]):g}; "
                    "return scores as 'logits' or 'probs', and their argmax as 'preds'"
                )


def squeezed(output: StepOutput, ndim: int) -> StepOutput:
    """Drop the axis of a single class from predictions and targets.

    Args:
        output: Output of a batch.
        ndim: Number of dimensions including that axis.
    """
    changed = dict(output)
    for key in ("preds", "targets"):
        value = output.get(key)
        if not isinstance(value, Tensor):
            continue
        if value.dtype in _UNSIGNED:
            value = value.long()  # torch supports few operations on unsigned types
        if value.ndim == ndim and value.shape[1] == 1:
            value = value.squeeze(1)
        changed[key] = value
    return changed


def num_classes(output: StepOutput, *, by_label: bool) -> int | None:
    """Number of classes by the logits or probabilities; a single value stands for two classes."""
    for key in ("logits", "probs"):
        scores = output.get(key)
        if scores is not None:
            classes = int(scores.shape[1]) if scores.ndim > 1 else 1
            return classes if by_label else max(classes, 2)
    return None


def class_scores(probs: Tensor, targets: Tensor, options: DrawOptions) -> Scores:
    """Counts of probabilities ``(N, C, ...)`` for targets ``(N, ...)`` or ``(N, C, ...)``.

    Raises:
        ValueError: If there are fewer names than classes.
    """
    classes, ignore = probs.shape[1], options.ignore_index
    completed_names(
        options.class_names or (), classes, options, f"predictions have {counted(classes, 'class')}"
    )

    def make_counter() -> Metric:
        return ScoreCounts(classes, ignore_index=ignore).to(probs.device)

    def updates() -> Iterator[tuple[Tensor, ...]]:
        yield probs, targets

    def sure() -> Iterator[tuple[Tensor, Tensor]]:
        yield confidences(probs, targets, ignore_index=ignore)

    return Scores(make_counter, updates, sure)
