"""Losses of overlap: one score a class, from sums over the pixels."""

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
    """1 - Dice coefficient, a mean over classes (Milletari et al., V-Net, arXiv:1606.04797).

    Args:
        logits: ``(N, C, *S)``, see :mod:`lightning_hparams.losses`.
        target: Classes or labels, see there.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        ignore_index: Target value of pixels to leave out.
        reduction: ``"batch"`` scores a class over all pixels of the batch, ``"image"`` over those
            of each image; the loss is the mean of all scores.
        absent: What a class costs that has no pixel in the target (of the batch, or the image).
            ``"skip"``: nothing, it is left out of the mean. ``"penalise"``: the mean probability
            that pixels are given to it, from 0 to 1. None: ``"skip"`` for multiclass, where they
            cost the classes they are taken from; else ``"penalise"``, since false positives on an
            empty mask would be free.
        class_weights: C weights of the mean, at least 0; for a binary task two (background,
            foreground), which do not change a loss of the foreground alone.
        validate_target: Check the target's values. That makes the CPU wait for a GPU; a caller
            that has checked them may turn it off.

    Returns:
        A scalar in 0..1.

    Raises:
        ValueError: For shapes that do not fit, values outside the classes, unknown names.
        TypeError: For a multiclass target in floating point.

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
    """1 - intersection over union (Rahman & Wang 2016). Arguments as in :func:`dice_loss`."""
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
    """1 - Tversky index (Salehi et al., arXiv:1706.05721).

    ``alpha`` weighs false positives and ``beta`` false negatives, both above 0: 0.5 and 0.5 is
    Dice, 1 and 1 Jaccard. All else is as in :func:`dice_loss`.
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
    """``(1 - Tversky index) ** gamma`` (Abraham & Khan, arXiv:1810.07842, whose gamma is 1 / ours).

    ``gamma`` is above 0; below 1 it keeps the gradient of a class that is almost right. All else
    is as in :func:`tversky_loss`.
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
    """1 - Dice of all classes together, each weighed by 1 / its area squared.

    Sudre et al., arXiv:1707.03237. An absent class that is penalised has the largest weight of
    the others. Arguments as in :func:`dice_loss`.
    """
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    sums = _sums(given, reduction)
    weights = torch.where(sums.true > 0, sums.true.clamp_min(1) ** -2.0, 0.0)
    if penalises(absent, task):
        weights = torch.where(sums.true > 0, weights, weights.amax(-1, keepdim=True))
    weights = weights * score_weights(given)
    wrong = (weights * (sums.false + sums.missed)).sum(-1, keepdim=True)
    hits = (weights * sums.hits).sum(-1, keepdim=True)
    # One score an image now, as if of a single class that is there if any is.
    together = _Sums(*(value.mean(-1, keepdim=True) for value in sums))
    return _mean_score(wrong / above_0(2 * hits + wrong), together, absent, task, 1.0)


class _Sums(NamedTuple):
    """Sums over pixels, ``(G, C)``: a row for each image, or one for all of them.

    None is a difference of the others: ``1 - p`` has no digits left where ``p`` is almost 1.
    """

    hits: Tensor  # of p where the class is
    missed: Tensor  # of 1 - p where the class is
    false: Tensor  # of p where it is not
    true: Tensor  # pixels where the class is
    counted: Tensor  # pixels that take part


def _sums(given: Given, reduction: str) -> _Sums:
    one_of("reduction", reduction, ("batch", "image"))
    if given.task == "multiclass":
        hits, missed, false, true = SoftmaxSums.apply(given.logits, given.target, given.valid)
    else:
        here = given.target
        elsewhere = (1 if given.valid is None else given.valid.to(here.dtype)) - here
        probs, rest = given.logits.sigmoid(), (-given.logits).sigmoid()
        hits, missed = (probs * here).sum(-1), (rest * here).sum(-1)
        false, true = (probs * elsewhere).sum(-1), here.sum(-1)
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
        losses = above_0(losses) ** gamma  # its slope at 0 may be infinite
    return _mean_score(losses, sums, absent, given.task, score_weights(given))


def _mean_score(
    losses: Tensor, sums: _Sums, absent: str | None, task: str, weights: Tensor | float
) -> Tensor:
    """Mean of the losses ``(G, C)`` of the classes that are there, or are penalised."""
    kept = sums.true > 0
    if penalises(absent, task):
        # Of a class without a hit the overlap is 0 and flat; the mean probability has a slope.
        losses = torch.where(kept, losses, sums.false / above_0(sums.counted))
        kept = sums.counted > 0
    return weighted_mean(losses, kept * weights)
