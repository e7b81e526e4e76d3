"""Counts by score in bins, for precision-recall curves in constant memory."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import whole_number
from ._states import CountingMetric, as_long

__all__ = ["BoxScoreCounts", "ScoreCounts"]


class _BinnedCounts(CountingMetric):
    """Right and wrong predictions, by class and by the highest threshold that the score reaches."""

    right: Tensor
    wrong: Tensor
    missed: Tensor

    def __init__(self, num_classes: int, *, thresholds: int = 101) -> None:
        super().__init__()
        # Python's int: numpy's uint8 would overflow below.
        num_classes = whole_number("num_classes", num_classes, 1)
        thresholds = whole_number("thresholds", thresholds, 2)
        self.num_classes, self.thresholds = num_classes, thresholds
        for name, shape in (
            ("right", (num_classes, thresholds)),
            ("wrong", (num_classes, thresholds)),
            ("missed", (num_classes,)),
        ):
            self.add_state(name, torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """Return the counts so far, summed over all ranks."""
        hits, false = (
            state.flip(1).cumsum(1).flip(1) for state in (self.right, self.wrong)
        )  # at a threshold or above it
        rejected = self.wrong.sum(1, keepdim=True) - false
        lost = self.right.sum(1, keepdim=True) - hits + self.missed[:, None]
        return torch.stack([hits, false, rejected, lost])

    def _bins(self, scores: Tensor) -> Tensor:
        # The margin keeps a score that equals a threshold from being rounded below it.
        steps = (scores.float() * (self.thresholds - 1) + 1e-4).long()
        return steps.clamp(0, self.thresholds - 1)


class ScoreCounts(_BinnedCounts):
    """Positives and negatives by score, in bins.

    Args:
        num_classes: C, at least 1.
        thresholds: T, at least 2, evenly spaced over [0, 1]. A score at or above a threshold
            counts as positive.
        ignore_index: Targets of this value are left out.

    ``update(probs, target)`` takes probabilities ``(N, C, ...)`` and class indices ``(N, ...)``, or
    0 and 1 of shape ``(N, C, ...)``. ``compute()`` returns int64 ``(4, C, T)``: true positives,
    false positives, true negatives and false negatives, each class against all others.

    >>> counts = ScoreCounts(1, thresholds=3)
    >>> counts.update(torch.tensor([[0.2], [0.7], [0.9]]), torch.tensor([[0], [1], [1]]))
    >>> counts.compute()[:, 0].tolist()
    [[2, 2, 0], [1, 0, 0], [0, 1, 1], [0, 0, 2]]
    """

    def __init__(
        self, num_classes: int, *, thresholds: int = 101, ignore_index: int | None = None
    ) -> None:
        super().__init__(num_classes, thresholds=thresholds)
        self.ignore_index = ignore_index

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Add one batch."""
        by_label = target.ndim == probs.ndim
        for label in range(self.num_classes):
            truth = as_long(target[:, label] if by_label else target)
            # 0: another class, 1: this class, 2: left out.
            side = (truth == (1 if by_label else label)).long()
            if self.ignore_index is not None:
                side = torch.where(truth == self.ignore_index, 2, side)
            cells = (side * self.thresholds + self._bins(probs[:, label])).flatten()
            counts = torch.bincount(cells, minlength=3 * self.thresholds)
            wrong, right, _ = counts.view(3, self.thresholds)
            self.right[label] += right
            self.wrong[label] += wrong


class BoxScoreCounts(_BinnedCounts):
    """Matched and unmatched boxes by score, see :func:`~lightning_hparams.boxes.match_boxes`.

    ``update(labels, scores, hits, missed)`` takes one image with P predictions: ``(P,)`` labels,
    scores in 0..1 and whether each matched a true box, and the labels ``(M,)`` of the true boxes
    that were missed. ``compute()`` is as in :class:`ScoreCounts`, where true negatives are the
    false positives that the threshold rejects.
    """

    def update(self, labels: Tensor, scores: Tensor, hits: Tensor, missed: Tensor) -> None:
        """Add one image."""
        cells = labels.long() * self.thresholds + self._bins(scores)
        for state, kept in ((self.right, hits), (self.wrong, ~hits)):
            state += torch.bincount(cells[kept], minlength=state.numel()).view_as(state)
        self.missed += torch.bincount(missed.long(), minlength=self.num_classes)
