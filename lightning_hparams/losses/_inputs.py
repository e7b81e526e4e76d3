"""Check the input of a loss and flatten its pixels into one dimension, in float32 or float64."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from ..checks import counted, numbers_in, one_of

__all__ = [
    "Absent",
    "Given",
    "Reduction",
    "Task",
    "Weights",
    "as_weights",
    "full_precision",
    "prepare",
]

Task: TypeAlias = Literal["multiclass", "binary", "multilabel"]
Reduction: TypeAlias = Literal["batch", "image"]
Absent: TypeAlias = Literal["skip", "penalise"]
Weights: TypeAlias = "Sequence[float] | Tensor | None"
L = TypeVar("L", bound=Callable[..., Tensor])


def full_precision(loss: L) -> L:
    """Run a loss in float32 or float64, even under autocast: sums over pixels overflow float16."""

    @functools.wraps(loss)
    def run(logits: Tensor, target: Tensor, **options: Any) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            keep = logits.dtype == torch.float64 or logits.is_complex()  # refused by ``prepare``
            exact = logits if keep else logits.float()
            return loss(exact, target, **options)

    return cast(L, run)


class Given(NamedTuple):
    """The checked input of a loss, with all P pixels of an image in one dimension."""

    logits: Tensor  # (N, C, P)
    target: Tensor  # int64 (N, P) if multiclass, else (N, C, P) like the logits; 0 where ignored
    valid: Tensor | None  # bool, shaped like target; None if no pixel is ignored
    weights: Tensor | None  # (C,), or (2,) if binary
    task: Task


def prepare(
    logits: Tensor,
    target: Tensor,
    task: Task,
    ignore_index: int | None,
    class_weights: Weights,
    validate_target: bool,
) -> Given:
    """Check the arguments that all losses share, and flatten the pixels."""
    one_of("task", task, ("multiclass", "binary", "multilabel"))
    for name, value in (("logits", logits), ("target", target)):
        if value.is_complex():
            raise TypeError(f"{name} must be real, got {value.dtype}; use its abs() or real part")
    logits, target = _shaped(logits, target, task)
    if task == "multiclass" and target.is_floating_point():
        raise TypeError(f"a multiclass target must hold class indices, got {target.dtype}")
    ignored: float | None = ignore_index
    if ignore_index is not None and target.is_floating_point():
        # As the target stores it: in float16, 65535 is infinity.
        ignored = float(
            torch.tensor(float(ignore_index), device="cpu").to(target.dtype).to(logits.dtype)
        )
    # Cast before comparing: in uint8, -1 is 255 and 300 is 44.
    target = target.long() if task == "multiclass" else target.to(logits.dtype)
    valid = None
    if ignored is not None:
        valid = target != ignored
        target = target.masked_fill(~valid, 0)
    if validate_target:
        check_values(target, logits.shape[1] if task == "multiclass" else 2)
    weights = None
    if class_weights is not None:
        weights = as_weights(class_weights, logits)
        count = 2 if task == "binary" else logits.shape[1]
        if weights.shape != (count,):
            raise ValueError(
                f"`class_weights` needs {counted(count, 'value')}, got {weights.numel()}"
            )
    return Given(logits, target, valid, weights, task)


def _shaped(logits: Tensor, target: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return logits ``(N, C, P)`` and target ``(N, P)`` or ``(N, C, P)``; raise if they differ."""
    shapes = f"logits {tuple(logits.shape)} and target {tuple(target.shape)}"
    if task == "multiclass":
        if logits.ndim < 2 or (logits.shape[0], *logits.shape[2:]) != tuple(target.shape):
            raise ValueError(
                f"a multiclass target must be (N, *S) for logits (N, C, *S), got {shapes}; "
                "resize one of them, or drop a channel dimension of size 1"
            )
        if logits.shape[1] < 2:
            raise ValueError(f"multiclass needs 2 classes or more, got {shapes}; try task='binary'")
        pixels = math.prod(logits.shape[2:])
        return logits.reshape(*logits.shape[:2], pixels), target.reshape(len(target), pixels)
    if task == "binary":
        # (N, *S) and (N, 1, *S) mean the same; comparing both tensors shows which one has the 1.
        if logits.ndim == target.ndim + 1 and logits.shape[1] == 1:
            target = target[:, None]
        elif target.ndim == logits.ndim + 1 and target.shape[1] == 1:
            target = target[:, 0]
    if logits.shape != target.shape or logits.ndim < 1 + (task == "multilabel"):
        raise ValueError(
            f"a {task} target must have the shape of the logits, got {shapes}; resize one of them"
        )
    channels = 1 if task == "binary" else logits.shape[1]
    shape = (len(logits), channels, math.prod(logits.shape[1:]) // channels)
    return logits.reshape(shape), target.reshape(shape)


def check_values(target: Tensor, classes: int) -> None:
    if not target.numel():
        return
    low, high = target.aminmax()
    fine = (low >= 0) & (high < classes)
    if target.is_floating_point():
        fine &= (target == target.round()).all()
    if fine:
        return
    wrong = target.clamp(0, classes - 1).round() != target
    value = float(target[wrong][0])
    share = (wrong if math.isnan(value) else target == value).double().mean().item()
    remedy = "threshold a soft target"
    if value.is_integer():
        remedy = f"pass ignore_index={value:.0f} if these pixels do not count"
    if classes == 2 and value == 255:
        remedy += ", or (target == 255) if they are the foreground"
    raise ValueError(
        f"target has value {value:g} ({share:.2%} of pixels), "
        f"but the classes are 0..{classes - 1}; {remedy}"
    )


def as_weights(class_weights: Sequence[float] | Tensor, like: Tensor) -> Tensor:
    """Convert class weights to a tensor with the device and dtype of ``like``.

    Raises:
        TypeError: If they are neither a list of numbers nor a tensor.
        ValueError: If a weight is negative or not finite, or all are 0.
    """
    if isinstance(class_weights, Tensor):
        return class_weights.to(like)  # values are not checked: that would synchronise with a GPU
    listed = numbers_in(
        "class_weights", class_weights, remedy="give one for each class, in the order of classes"
    )
    weights = torch.tensor(listed, dtype=like.dtype, device="cpu")
    if not ((weights >= 0) & weights.isfinite()).all() or not weights.any():
        raise ValueError(
            "`class_weights` must be finite and at least 0, with at least one above 0, "
            f"got {class_weights}"
        )
    return weights.to(like.device)
