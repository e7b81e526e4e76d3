"""Calibration: how often predictions are right at a given confidence."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import whole_number
from ._states import CountingMetric, as_long

__all__ = ["CalibrationCounts", "calibration_error", "confidences"]

_PARTS = 2**20  # confidences are rounded to multiples of 1 / _PARTS


class CalibrationCounts(CountingMetric):
    """Counts of right predictions by confidence, in bins over [0, 1].

    torchmetrics' calibration errors store every confidence: millions, for masks.

    Args:
        bins: B, at least 1.

    ``update(confidence, right)`` takes ``(N,)`` confidences in 0..1 and whether each prediction
    was right. ``compute()`` returns float64 ``(3, B)``: the number of right predictions, of all
    predictions, and the sum of their confidences.
    """

    counts: Tensor

    def __init__(self, bins: int = 15) -> None:
        super().__init__()
        self.bins = bins = whole_number("bins", bins, 1)
        # Integer sums do not depend on the order and need no float64, which some devices lack.
        self.add_state("counts", torch.zeros(3, bins, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, confidence: Tensor, right: Tensor) -> None:
        """Add predictions."""
        confidence = confidence.float().nan_to_num(0.0).clamp(0, 1)
        # A bin includes its upper edge, as in torchmetrics.
        bins = ((confidence * self.bins).ceil().long() - 1).clamp_(0, self.bins - 1)
        for row, kept in enumerate((bins[right], bins)):
            self.counts[row] += torch.bincount(kept, minlength=self.bins)
        self.counts[2].index_add_(0, bins, (confidence * _PARTS).round().long())

    def compute(self) -> Tensor:
        """Return the counts so far, summed over all ranks, on the CPU."""
        counts = self.counts.cpu().double()
        counts[2] /= _PARTS
        return counts


def confidences(
    probs: Tensor, target: Tensor, *, ignore_index: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the confidence of each prediction and whether it is right, both ``(N,)``.

    Args:
        probs: ``(N, C, ...)`` in 0..1.
        target: Class indices ``(N, ...)``, where values outside 0..C-1 are left out, or 0 and 1
            of shape ``(N, C, ...)``: then each label is a prediction, with confidence
            ``max(p, 1 - p)``.
        ignore_index: Targets of this value are left out.

    >>> confidences(torch.tensor([[0.2, 0.8], [0.6, 0.4]]), torch.tensor([1, 1]))
    (tensor([0.8000, 0.6000]), tensor([ True, False]))
    """
    if target.ndim == probs.ndim:
        confidence, preds = torch.maximum(probs, 1 - probs), probs > 0.5
        classes = 2
    else:
        confidence, preds = probs.max(1)
        classes = probs.shape[1]
    target = as_long(target)
    kept = (target >= 0) & (target < classes)
    if ignore_index is not None:
        kept &= target != ignore_index
    return confidence[kept], (preds == target)[kept]


def calibration_error(counts: Tensor) -> Tensor:
    """Compute the expected calibration error, in 0..1.

    The mean distance between confidence and accuracy, weighted by the size of the bins (Guo et
    al., "On Calibration of Modern Neural Networks", 2017).

    Args:
        counts: ``(3, B)`` from :class:`CalibrationCounts`; the error is NaN if they are empty.
    """
    right, total, confidence = counts
    error: Tensor = (right - confidence).abs().sum() / total.sum()
    return error
