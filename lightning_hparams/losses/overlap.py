"""Overlap losses: one score per class, from sums over the pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import in_range, one_of
from ._inputs import Absent, Given, Reduction, Task, Weights, full_precision, prepare
from ._pixels import above_0, penalises, pixel_counts, score_weights, weighted_mean
from ._streaming import SoftmaxSums

__all__ = [
    "dice_loss",
    "focal_tversky_loss",
    "generalized_dice_loss",
    "jaccard_loss",
    "tversky_loss",
]


@full_precision
def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Reduction = "batch",
    absent: Absent | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Compute 1 - Dice coefficient, averaged over classes (Milletari et al., arXiv:1606.04797).

    Args:
        logits: ``(N, C, *S)``, see :mod:`lightning_hparams.losses`.
        target: Class indices or labels, see :mod:`lightning_hparams.losses`.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        ignore_index: Target value of pixels to leave out.
        reduction: ``"batch"`` scores a class over all pixels of the batch, ``"image"`` over those
            of each image; the loss is the mean of all scores.
        absent: Loss of a class that has no pixel in the target (of the batch, or the image).
            ``"skip"``: leave the class out of the mean. ``"penalise"``: its mean predicted
            probability, 0 to 1. None: ``"skip"`` for multiclass, where false positives already
            cost the class they are taken from; otherwise ``"penalise"``, since false positives on
            an empty mask would be free.
        class_weights: C weights of the mean, at least 0; for a binary task two (background,
            foreground), which have no effect since only the foreground is scored.
        validate_target: Check the target's values. This synchronises with a GPU; turn it off if
            they have been checked before.

    Returns:
        A scalar in 0..1.

    Raises:
        ValueError: If shapes do not match, values lie outside the classes, or a name is unknown.
        TypeError: If a multiclass target has a floating point type.

    >>> round(float(dice_loss(torch.tensor([[2.0, -2.0]]), torch.tensor([0]))), 4)
    0.0091
    """
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    return _tversky(given, 0.5, 0.5, reduction, absent)


@full_precision
def jaccard_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Reduction = "batch",
    absent: Absent | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Compute 1 - IoU (Rahman & Wang 2016). Arguments as in :func:`dice_loss`."""
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    return _tversky(given, 1.0, 1.0, reduction, absent)


@full_precision
def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Reduction = "batch",
    absent: Absent | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Compute 1 - Tversky index (Salehi et al., arXiv:1706.05721).

    ``alpha`` weighs false positives and ``beta`` false negatives, both above 0: 0.5 and 0.5 give
    Dice, 1 and 1 Jaccard. Other arguments as in :func:`dice_loss`.
    """
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    return _tversky(given, alpha, beta, reduction, absent)


@full_precision
def focal_tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 0.75,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Reduction = "batch",
    absent: Absent | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Compute ``(1 - Tversky index) ** gamma`` (Abraham & Khan, arXiv:1810.07842).

    ``gamma`` is above 0 and the inverse of the paper's; below 1 it preserves the gradient of a
    class that is almost right. Other arguments as in :func:`tversky_loss`.
    """
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    return _tversky(given, alpha, beta, reduction, absent, gamma)


@full_precision
def generalized_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Reduction = "batch",
    absent: Absent | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Compute 1 - Dice of all classes together, each weighted by 1 / its area squared.

    Sudre et al., arXiv:1707.03237. An absent class, if penalised, gets the largest weight of the
    others. Arguments as in :func:`dice_loss`.
    """
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    sums = _sums(given, reduction)
    weights = torch.where(sums.true > 0, sums.true.clamp_min(1) ** -2.0, 0.0)
    if penalises(absent, task):
        weights = torch.where(sums.true > 0, weights, weights.amax(-1, keepdim=True))
    weights = weights * score_weights(given)
    wrong = (weights * (sums.false + sums.missed)).sum(-1, keepdim=True)
    hits = (weights * sums.hits).sum(-1, keepdim=True)
    # Now one score per row, as for a single class that is present if any class is.
    together = _Sums(*(value.mean(-1, keepdim=True) for value in sums))
    return _mean_score(wrong / above_0(2 * hits + wrong), together, absent, task, 1.0)


class _Sums(NamedTuple):
    """Sums over pixels, ``(G, C)``: one row per image, or a single row for the batch.

    Each is summed directly, not as a difference of others: ``true - hits`` would have no digits
    left where ``p`` is almost 1.
    """

    hits: Tensor  # of p, over the pixels of the class
    missed: Tensor  # of 1 - p, over the pixels of the class
    false: Tensor  # of p, over all other pixels
    true: Tensor  # number of pixels of the class
    counted: Tensor  # number of pixels that are not ignored


def _sums(given: Given, reduction: str) -> _Sums:
    one_of("reduction", reduction, ("batch", "image"))
    if given.task == "multiclass":
        hits, missed, false, true = SoftmaxSums.apply(given.logits, given.target, given.valid)
    else:
        present = given.target
        elsewhere = (1 if given.valid is None else given.valid.to(present.dtype)) - present
        probs, rest = given.logits.sigmoid(), (-given.logits).sigmoid()
        hits, missed = (probs * present).sum(-1), (rest * present).sum(-1)
        false, true = (probs * elsewhere).sum(-1), present.sum(-1)
    sums = _Sums(hits, missed, false, true, pixel_counts(given))
    if reduction == "image":
        return sums
    return _Sums(*(value.sum(0, keepdim=True) for value in sums))


def _tversky(
    given: Given,
    alpha: float,
    beta: float,
    reduction: str,
    absent: str | None,
    gamma: float = 1.0,
) -> Tensor:
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        in_range(name, value, above=0.0)
    sums = _sums(given, reduction)
    wrong = alpha * sums.false + beta * sums.missed
    losses = wrong / above_0(sums.hits + wrong)
    if gamma != 1:
        losses = above_0(losses) ** gamma  # the gradient at 0 may be infinite
    return _mean_score(losses, sums, absent, given.task, score_weights(given))


def _mean_score(
    losses: Tensor, sums: _Sums, absent: str | None, task: str, weights: Tensor | float
) -> Tensor:
    """Average the losses ``(G, C)`` over the classes that are present or penalised."""
    kept = sums.true > 0
    if penalises(absent, task):
        # The overlap of an absent class is constantly 0; the mean probability has a gradient.
        losses = torch.where(kept, losses, sums.false / above_0(sums.counted))
        kept = sums.counted > 0
    return weighted_mean(losses, kept * weights)
