"""Pixelwise losses, averaged with weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import in_range
from ._inputs import Task, Weights, full_precision, prepare
from ._pixels import (
    above_0,
    of_true_class,
    one_hot,
    pixel_weights,
    signed_logits,
    weighted_mean,
)

__all__ = ["binary_cross_entropy_loss", "cross_entropy_loss", "focal_loss", "mse_loss"]


@full_precision
def cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    class_weights: Weights = None,
    label_smoothing: float = 0.0,
    validate_target: bool = True,
) -> Tensor:
    """Compute the cross entropy of the softmax (multiclass) or the sigmoid (binary, multilabel).

    Args:
        logits: As in :func:`dice_loss`.
        target: As in :func:`dice_loss`.
        task: As in :func:`dice_loss`.
        ignore_index: As in :func:`dice_loss`.
        class_weights: C weights, at least 0, of a weighted mean over the pixels, as in torch; for
            a binary task two (background, foreground); for multilabel one per label.
        label_smoothing: Share of the target that is spread evenly over the classes, in 0..1
            (Szegedy et al., arXiv:1512.00567).
        validate_target: As in :func:`dice_loss`.
    """
    in_range("label_smoothing", label_smoothing, 0, 1)
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    weights = pixel_weights(given)
    if task != "multiclass":
        signed = signed_logits(given)
        # -(1 - s) log p - s log(1 - p), with s = label_smoothing / 2.
        return weighted_mean(label_smoothing / 2 * signed - F.logsigmoid(signed), weights)
    log_probs = given.logits.log_softmax(1)
    loss = weighted_mean(-of_true_class(log_probs, given.target), weights)
    if label_smoothing == 0:
        return loss
    spread = log_probs if given.weights is None else log_probs * given.weights[:, None]
    spread = spread.mean(1) if given.valid is None else spread.mean(1) * given.valid
    return (1 - label_smoothing) * loss - label_smoothing * spread.sum() / above_0(weights.sum())


@full_precision
def binary_cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    class_weights: Weights = None,
    label_smoothing: float = 0.0,
    validate_target: bool = True,
) -> Tensor:
    """Compute the cross entropy of the sigmoid of each class, averaged over classes too.

    For multiclass, each class is separated from the others (Wightman et al., arXiv:2110.00476); for
    other tasks this is :func:`cross_entropy_loss`. Arguments are the same, but each multiclass
    weight weighs a class in all pixels, as for multilabel.
    """
    if task == "multiclass":
        given = prepare(logits, target, task, ignore_index, None, validate_target)
        logits, task, validate_target = given.logits, "multilabel", False
        target = one_hot(given.target, logits.shape[1]).to(logits.dtype)
        if given.valid is not None:
            target, ignore_index = torch.where(given.valid[:, None], target, -1.0), -1
    return cross_entropy_loss(
        logits,
        target,
        task=task,
        ignore_index=ignore_index,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        validate_target=validate_target,
    )


@full_precision
def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Compute cross entropy times ``(1 - p_true) ** gamma`` (Lin et al., arXiv:1708.02002).

    ``gamma`` is at least 0; 0 gives cross entropy. ``alpha``, for binary and multilabel, weighs
    positive pixels and ``1 - alpha`` the others, in 0..1 (0.25 in the paper); None weighs neither.
    Other arguments as in :func:`cross_entropy_loss`.
    """
    in_range("gamma", gamma, 0.0)
    if alpha is not None:
        in_range("alpha", alpha, 0, 1)
        if task == "multiclass":
            raise ValueError("`alpha` is for binary and multilabel; use `class_weights` here")
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    if task == "multiclass":
        log_true = of_true_class(given.logits.log_softmax(1), given.target)
        other = -torch.expm1(log_true)
    else:
        signed = signed_logits(given)
        log_true, other = F.logsigmoid(signed), (-signed).sigmoid()
    losses = -log_true * above_0(other) ** gamma  # the gradient at 0 may be infinite
    if alpha is not None:
        # Not where() of two numbers, which would have the default dtype.
        losses = torch.where(given.target == 1, alpha * losses, (1 - alpha) * losses)
    return weighted_mean(losses, pixel_weights(given))


@full_precision
def mse_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Compute the mean squared error of the probabilities (Brier 1950), in 0..1.

    For multiclass this is also a mean over classes. Arguments as in :func:`cross_entropy_loss`.
    """
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    if task == "multiclass":
        probs = given.logits.softmax(1)
        # sum (p - t)^2 over the classes without a one-hot t: p^2, corrected for the true class.
        own = of_true_class(probs, given.target)
        losses = ((probs**2).sum(1) - own**2 + (1 - own) ** 2) / probs.shape[1]
    else:
        losses = (-signed_logits(given)).sigmoid() ** 2
    return weighted_mean(losses, pixel_weights(given))
