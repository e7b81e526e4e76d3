"""Segmentation metrics derived from one confusion count, exact on absent and ignored classes.

Counting and scoring are apart: :class:`ConfusionCounts` sums counts over batches and ranks,
the functions below turn counts into scores. A class that occurs neither in the targets nor in
the predictions has no score: it is NaN, and left out of every mean. (torchmetrics' MeanIoU
counts it as -1 or 0 per image, smp's ``iou_score`` as 1.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from ..checks import in_range, one_of

__all__ = [
    "BatchMean",
    "BoxScoreCounts",
    "ConfusionCounts",
    "ScoreCounts",
    "class_recall",
    "confusion_counts",
    "dice_score",
    "iou_score",
    "mean_present",
    "pixel_accuracy",
    "segmentation_scores",
]

_TASKS = ("multiclass", "binary", "multilabel")


def confusion_counts(
    preds: Tensor, target: Tensor, num_classes: int, *, ignore_index: int | None = None
) -> Tensor:
    """Count pixels by true and predicted class.

    Args:
        preds: Predicted class indices, any shape and integer type.
        target: True class indices, shaped like ``preds``.
        num_classes: C, at least 2 (1 counts a single label's 0 and 1 as two classes).
        ignore_index: Pixels with this target value are left out; it may lie in 0..C-1 or not.

    Returns:
        int64 ``(C * C + 2,)``: the C x C counts row by row (row = target, column = prediction),
        then the ignored pixels, then those whose target or prediction is outside 0..C-1.

    >>> confusion_counts(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 9]), 2)
    tensor([1, 0, 0, 1, 0, 1])
    """
    if preds.shape != target.shape:
        raise ValueError(
            "`preds` and `target` must have one shape, "
            f"got {tuple(preds.shape)} and {tuple(target.shape)}"
        )
    # int32 halves the time of bincount; the buckets keep bad values without a device sync.
    target, preds = target.flatten().to(torch.int32), preds.flatten().to(torch.int32)
    square = num_classes**2
    valid = (target >= 0) & (target < num_classes) & (preds >= 0) & (preds < num_classes)
    cell = torch.where(valid, target * num_classes + preds, square + 1)
    if ignore_index is not None:
        cell = torch.where(target == ignore_index, square, cell)
    return torch.bincount(cell, minlength=square + 2)


def iou_score(counts: Tensor) -> Tensor:
    """Intersection over union of each class, ``(C,)`` in 0..1; NaN where the class is absent.

    Args:
        counts: ``(C, C)`` with rows of true classes, or ``(C, 2, 2)`` for multilabel.

    >>> iou_score(torch.tensor([[2, 1, 0], [0, 3, 0], [0, 0, 0]]))
    tensor([0.6667, 0.7500,    nan])
    """
    hits, missed, false = _hits_missed_false(counts)
    return hits / (hits + missed + false)


def dice_score(counts: Tensor) -> Tensor:
    """Dice coefficient (F1) of each class, ``(C,)`` in 0..1; NaN where the class is absent."""
    hits, missed, false = _hits_missed_false(counts)
    return 2 * hits / (2 * hits + missed + false)


def class_recall(counts: Tensor) -> Tensor:
    """Share of each class's pixels that were found, ``(C,)``; NaN for a class with no pixel."""
    hits, missed, _ = _hits_missed_false(counts)
    return hits / (hits + missed)


def pixel_accuracy(counts: Tensor) -> Tensor:
    """Share of pixels (for multilabel: of pixel labels) that are right, in 0..1; NaN if none."""
    right = counts.diagonal(dim1=-2, dim2=-1).sum()
    return right / counts.sum()


def mean_present(scores: Tensor) -> Tensor:
    """Mean over the classes that have a score; NaN if none has."""
    return scores.nanmean()


class ConfusionCounts(Metric):
    """Confusion counts summed over batches and ranks; every score is derived from them.

    Args:
        num_classes: C, at least 2; for multilabel the number of labels, at least 1.
        task: ``"binary"`` counts as two classes; ``"multilabel"`` counts each label by itself.
        ignore_index: Pixels with this target value are left out.

    ``update(preds, target)`` takes class indices ``(N, ...)``, or 0 / 1 of shape ``(N, C, ...)``
    for multilabel. ``compute()`` returns int64 ``(C, C)`` with rows of true classes, or
    ``(C, 2, 2)`` for multilabel.

    Raises:
        ValueError: By ``compute()``, if any value was outside the classes.

    >>> metric = ConfusionCounts(2)
    >>> metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    >>> metric.compute()
    tensor([[1, 1],
            [0, 1]])
    """

    full_state_update = False
    counts: Tensor

    def __init__(
        self, num_classes: int, *, task: str = "multiclass", ignore_index: int | None = None
    ) -> None:
        super().__init__()
        one_of("task", task, _TASKS)
        in_range("num_classes", num_classes, 1 if task == "multilabel" else 2)
        self.num_classes = num_classes
        self.task = task
        self.ignore_index = ignore_index
        shape = (num_classes, 6) if task == "multilabel" else (num_classes**2 + 2,)
        # A long state stays exact: float32 stops counting at 16.7 million pixels.
        self.add_state("counts", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        if self.task != "multilabel":
            self.counts += confusion_counts(
                preds, target, self.num_classes, ignore_index=self.ignore_index
            )
            return
        for label in range(self.num_classes):
            self.counts[label] += confusion_counts(
                preds[:, label], target[:, label], 2, ignore_index=self.ignore_index
            )

    def compute(self) -> Tensor:
        """Counts so far, over all ranks."""
        invalid = int(self.counts[..., -1].sum())
        if invalid:
            classes = 2 if self.task == "multilabel" else self.num_classes
            raise ValueError(
                f"class values must lie in 0..{classes - 1}, but {invalid} pixels did not; "
                "pass ignore_index= if they mark unlabelled pixels"
            )
        side = 2 if self.task == "multilabel" else self.num_classes
        return self.counts[..., :-2].reshape(*self.counts.shape[:-1], side, side)


class _BinnedCounts(Metric):
    """Counts of right and wrong by class and by the highest threshold that a score reaches."""

    full_state_update = False
    right: Tensor
    wrong: Tensor
    missed: Tensor

    def __init__(self, num_classes: int, *, thresholds: int = 101) -> None:
        super().__init__()
        in_range("num_classes", num_classes, 1)
        in_range("thresholds", thresholds, 2)
        self.num_classes, self.thresholds = num_classes, thresholds
        for name, shape in (
            ("right", (num_classes, thresholds)),
            ("wrong", (num_classes, thresholds)),
            ("missed", (num_classes,)),
        ):
            self.add_state(name, torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """Counts so far, over all ranks."""
        hits, false = (
            state.flip(1).cumsum(1).flip(1) for state in (self.right, self.wrong)
        )  # at a threshold or above it
        rejected = self.wrong.sum(1, keepdim=True) - false
        lost = self.right.sum(1, keepdim=True) - hits + self.missed[:, None]
        return torch.stack([hits, false, rejected, lost])

    def _bins(self, scores: Tensor) -> Tensor:
        # Rounding must not take a score that equals a threshold below it.
        steps = (scores.float() * (self.thresholds - 1) + 1e-4).long()
        return steps.clamp(0, self.thresholds - 1)


class ScoreCounts(_BinnedCounts):
    """Positives and negatives by score, in bins: a precision-recall curve in constant memory.

    Args:
        num_classes: C, at least 1.
        thresholds: T, at least 2, evenly over [0, 1]. A score at or above one counts as positive.
        ignore_index: Targets of this value are left out.

    ``update(probs, target)`` takes probabilities ``(N, C, ...)`` and class indices ``(N, ...)``, or
    0 and 1 of shape ``(N, C, ...)``. ``compute()`` returns int64 ``(4, C, T)``: true positives,
    false positives, true negatives and false negatives of each class against all others.

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
            theirs = target[:, label] if by_label else target
            # 0: another class, 1: this one, 2: left out.
            side = (theirs == (1 if by_label else label)).long()
            if self.ignore_index is not None:
                side = torch.where(theirs == self.ignore_index, 2, side)
            cells = (side * self.thresholds + self._bins(probs[:, label])).flatten()
            counts = torch.bincount(cells, minlength=3 * self.thresholds)
            wrong, right, _ = counts.view(3, self.thresholds)
            self.right[label] += right
            self.wrong[label] += wrong


class BoxScoreCounts(_BinnedCounts):
    """The same of boxes that were matched, see :func:`~lightning_hparams.boxes.match_boxes`.

    ``update(labels, scores, hits, missed)`` takes of one image with P predictions: ``(P,)`` labels,
    scores in 0..1, and whether each found a true box; and the labels ``(M,)`` of the true boxes
    that none found. True negatives are the false positives of a lower threshold.
    """

    def update(self, labels: Tensor, scores: Tensor, hits: Tensor, missed: Tensor) -> None:
        """Add one image."""
        cells = labels.long() * self.thresholds + self._bins(scores)
        for state, kept in ((self.right, hits), (self.wrong, ~hits)):
            state += torch.bincount(cells[kept], minlength=state.numel()).view_as(state)
        self.missed += torch.bincount(missed.long(), minlength=self.num_classes)


_PARTS = 2**20  # of a confidence of 1, to which it is rounded


class CalibrationCounts(Metric):
    """How often predictions are right by how sure they are, in bins over [0, 1].

    torchmetrics' calibration errors keep every confidence of the set, which of masks are millions.

    Args:
        bins: B, at least 1.

    ``update(confidence, right)`` takes ``(N,)`` confidences in 0..1, and whether each prediction
    was right. ``compute()`` returns float64 ``(3, B)``: how many were right, how many there were,
    and the sum of their confidences.
    """

    full_state_update = False
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


class BatchMean(Metric):
    """Mean over images of a value that each batch has, such as its loss; NaN stays NaN.

    torchmetrics' MeanMetric leaves out NaN, which hides a model that diverges, or (1.9, with
    ``nan_strategy="disable"``) the number of images.

    ``update(value, images)`` takes a scalar and the number of images it stands for.

    >>> metric = BatchMean()
    >>> metric.update(torch.tensor(1.0), 3)
    >>> metric.update(torch.tensor(2.0), 1)
    >>> metric.compute()
    tensor(1.2500)
    """

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: Tensor, images: int) -> None:
        """Add one batch."""
        self.total += value * images
        self.images += images

    def compute(self) -> Tensor:
        """Mean over the images so far, over all ranks."""
        return self.total / self.images


def segmentation_scores(
    counts: Tensor, class_names: Sequence[str], *, ignore_index: int | None = None
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Every score of a segmentation, from its confusion counts.

    The keys do not depend on which classes occur, so they are the same on every rank.

    Args:
        counts: ``(C, C)``, or ``(C, 2, 2)`` for multilabel.
        class_names: C names.
        ignore_index: If it is one of the classes, that class has no score.

    Returns:
        Scores of the whole (``miou``, ``mdice``, ``pixel_accuracy``, ``mean_accuracy``), and
        scores by class name (``iou``, ``dice``).
    """
    iou, dice, recall = iou_score(counts), dice_score(counts), class_recall(counts)
    multilabel = counts.ndim == 3
    if not multilabel and ignore_index is not None and 0 <= ignore_index < len(class_names):
        for scores in (iou, dice, recall):
            scores[ignore_index] = torch.nan
    whole = {
        "miou": mean_present(iou),
        "mdice": mean_present(dice),
        "pixel_accuracy": pixel_accuracy(counts),
        "mean_accuracy": mean_present(recall),
    }
    by_class = {
        "iou": dict(zip(class_names, iou, strict=True)),
        "dice": dict(zip(class_names, dice, strict=True)),
    }
    return whole, by_class


def _hits_missed_false(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """True positives, false negatives and false positives of each class, each ``(C,)``."""
    if counts.ndim == 3:
        return counts[:, 1, 1], counts[:, 1, 0], counts[:, 0, 1]
    hits = counts.diagonal()
    return hits, counts.sum(dim=1) - hits, counts.sum(dim=0) - hits
