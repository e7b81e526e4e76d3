"""How often predictions are right, by how sure they are."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import in_range
from ._states import CountingMetric, as_long

__all__ = ["CalibrationCounts", "calibration_error", "confidences"]

_PARTS = 2**20  # of a confidence of 1, to which it is rounded


class CalibrationCounts(CountingMetric):
    """How often predictions are right by how sure they are, in bins over [0, 1].

    torchmetrics' calibration errors keep every confidence of the set, which of masks are millions.

    Args:
        bins: B, at least 1.

    ``update(confidence, right)`` takes ``(N,)`` confidences in 0..1, and whether each prediction
    was right. ``compute()`` returns float64 ``(3, B)``: how many were right, how many there were,
    and the sum of their confidences.
    """

    counts: Tensor

    def __init__(self, bins: int = 15) -> None:
        super().__init__()
        in_range("bins", bins, 1)
        self.bins = bins
        # Whole numbers add up to the same in any order, and on devices without float64.
        self.add_state("counts", torch.zeros(3, bins, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, confidence: Tensor, right: Tensor) -> None:
        """Add predictions."""
        confidence = confidence.float().nan_to_num(0.0).clamp(0, 1)
        # A bin holds its upper edge, as torchmetrics' do.
        bins = ((confidence * self.bins).ceil().long() - 1).clamp_(0, self.bins - 1)
        for row, kept in enumerate((bins[right], bins)):
            self.counts[row] += torch.bincount(kept, minlength=self.bins)
        self.counts[2].index_add_(0, bins, (confidence * _PARTS).round().long())

    def compute(self) -> Tensor:
        """Counts so far, over all ranks, on the CPU."""
        counts = self.counts.cpu().double()
        counts[2] /= _PARTS
        return counts


def confidences(
    probs: Tensor, target: Tensor, *, ignore_index: int | None = None
) -> tuple[Tensor, Tensor]:
    """How sure each prediction is, and whether it is right, both ``(N,)``.

    Args:
        probs: ``(N, C, ...)`` in 0..1.
        target: Class indices ``(N, ...)``, of which those outside 0..C-1 are left out, or 0 and 1
            of shape ``(N, C, ...)``: then each label is a prediction, as sure as ``max(p, 1 - p)``.
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
    """Expected calibration error in 0..1: how far confidence is from being right, over all.

    Guo et al., "On Calibration of Modern Neural Networks", 2017.

    Args:
        counts: ``(3, B)`` of :class:`CalibrationCounts`; NaN if they are empty.
    """
    right, total, sure = counts
    error: Tensor = (right - sure).abs().sum() / total.sum()
    return error
