"""Confusion counts, and the segmentation scores that follow from them.

Counting and scoring are separate: :class:`ConfusionCounts` sums counts over batches and ranks, the
functions below turn counts into scores. A class that occurs in neither targets nor predictions
scores NaN and is left out of every mean. (torchmetrics' MeanIoU counts it as -1 or 0 per image,
smp's ``iou_score`` as 1.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import one_of, whole_number
from ._states import CountingMetric, as_long

__all__ = [
    "ConfusionCounts",
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
    """Count pixels by true class and predicted class.

    Args:
        preds: Predicted class indices, any shape and integer type.
        target: True class indices, shaped like ``preds``.
        num_classes: C, at least 2 (1 counts a single label's 0 and 1 as two classes).
        ignore_index: Pixels with this target value are left out; it may be one of the classes.

    Returns:
        int64 ``(C * C + 2,)``: the C x C counts row by row (row = target, column = prediction),
        the number of ignored pixels, and the number of those with a value outside 0..C-1.

    >>> confusion_counts(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 9]), 2)
    tensor([1, 0, 0, 1, 0, 1])
    """
    if preds.shape != target.shape:
        raise ValueError(
            "`preds` and `target` must have the same shape, "
            f"got {tuple(preds.shape)} and {tuple(target.shape)}"
        )
    preds, target = (_comparable(values.flatten()) for values in (preds, target))
    num_classes = int(num_classes)  # numpy's uint8 would overflow
    if ignore_index is not None:
        ignore_index = int(ignore_index)
    counts = None
    # Reading the values would synchronise with a GPU, which does not need the faster path.
    if preds.device.type == "cpu":
        counts = _by_rows(preds, target, num_classes, ignore_index)
    if counts is None:
        counts = _by_pixel(preds.long(), target.long(), num_classes, ignore_index)
    return counts


_MOST_CELLS = 2**20  # a larger table of counts is not worth its memory
# Pixels per part: few enough to stay in a core's cache, and for torch not to start other threads,
# which takes longer than the operations themselves.
_PART = 2**15
_ORDERED = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _comparable(values: Tensor) -> Tensor:
    """Cast types for which torch has no minimum and maximum, such as uint16."""
    return values if values.dtype in _ORDERED else as_long(values)


def _by_rows(
    preds: Tensor, target: Tensor, num_classes: int, ignore_index: int | None
) -> Tensor | None:
    """Count with one table row per target value up to ``ignore_index``, comparing no pixel.

    Returns:
        None if a target or a prediction lies outside the table.
    """
    height = num_classes if ignore_index is None else max(num_classes, ignore_index + 1)
    size = height * num_classes
    if size > _MOST_CELLS:
        return None
    rows = torch.zeros(size, dtype=torch.long, device=target.device)
    for each, true in zip(preds.split(_PART), target.split(_PART), strict=True):
        if not (_all_below(num_classes, each) and _all_below(height, true)):
            return None
        # int32 takes half the time of int64.
        cells = torch.add(each.int(), true.int(), alpha=num_classes)
        rows += torch.bincount(cells, minlength=size)
    rows = rows.view(height, num_classes)
    ignored = rows.new_zeros(1)
    if ignore_index is not None and ignore_index >= 0:
        ignored += rows[ignore_index].sum()
        rows[ignore_index] = 0
    return torch.cat([rows[:num_classes].flatten(), ignored, rows[num_classes:].sum()[None]])


def _all_below(bound: int, values: Tensor) -> bool:
    if not values.numel():
        return True
    low, high = values.aminmax()
    return int(low) >= 0 and int(high) < bound


def _by_pixel(preds: Tensor, target: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Count pixels of any value, without synchronising with a GPU."""
    square = num_classes**2
    valid = (target >= 0) & (target < num_classes) & (preds >= 0) & (preds < num_classes)
    cell = torch.where(valid, target * num_classes + preds, square + 1)
    if ignore_index is not None:
        cell = torch.where(target == ignore_index, square, cell)
    return torch.bincount(cell, minlength=square + 2)


def iou_score(counts: Tensor) -> Tensor:
    """Compute intersection over union per class, ``(C,)`` in 0..1; NaN if the class is absent.

    Args:
        counts: ``(C, C)`` with true classes as rows, or ``(C, 2, 2)`` for multilabel.

    >>> iou_score(torch.tensor([[2, 1, 0], [0, 3, 0], [0, 0, 0]]))
    tensor([0.6667, 0.7500,    nan])
    """
    hits, missed, false = _hits_missed_false(counts)
    return _share(hits, hits + missed + false)


def dice_score(counts: Tensor) -> Tensor:
    """Compute the Dice coefficient (F1) per class, ``(C,)`` in 0..1; NaN if the class is absent."""
    hits, missed, false = _hits_missed_false(counts)
    return _share(2 * hits, 2 * hits + missed + false)


def class_recall(counts: Tensor) -> Tensor:
    """Compute the recall per class, ``(C,)`` in 0..1; NaN for a class without pixels."""
    hits, missed, _ = _hits_missed_false(counts)
    return _share(hits, hits + missed)


def pixel_accuracy(counts: Tensor) -> Tensor:
    """Compute the share of correct pixels (multilabel: pixel labels), 0..1; NaN without pixels."""
    right = counts.diagonal(dim1=-2, dim2=-1).sum()
    return _share(right, counts.sum())


def mean_present(scores: Tensor) -> Tensor:
    """Average over the classes that have a score; NaN if none has."""
    return scores.nanmean()


class ConfusionCounts(CountingMetric):
    """Confusion counts, summed over batches and ranks, from which every score is derived.

    Args:
        num_classes: C, at least 2; for multilabel the number of labels, at least 1.
        task: ``"binary"`` counts two classes; ``"multilabel"`` counts each label separately.
        ignore_index: Pixels with this target value are left out.

    ``update(preds, target)`` takes class indices ``(N, ...)``, or 0 / 1 of shape ``(N, C, ...)``
    for multilabel. ``compute()`` returns int64 ``(C, C)`` with true classes as rows, or
    ``(C, 2, 2)`` for multilabel.

    Raises:
        ValueError: From ``compute()``, if any value was outside the classes.

    >>> metric = ConfusionCounts(2)
    >>> metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    >>> metric.compute()
    tensor([[1, 1],
            [0, 1]])
    """

    counts: Tensor

    def __init__(
        self, num_classes: int, *, task: str = "multiclass", ignore_index: int | None = None
    ) -> None:
        super().__init__()
        one_of("task", task, _TASKS)
        lowest = 1 if task == "multilabel" else 2
        self.num_classes = num_classes = whole_number("num_classes", num_classes, lowest)
        self.task = task
        self.ignore_index = ignore_index
        shape = (num_classes, 6) if task == "multilabel" else (num_classes**2 + 2,)
        # int64 stays exact; float32 stops counting at 16.7 million pixels.
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
        """Return the counts so far, summed over all ranks."""
        invalid = int(self.counts[..., -1].sum())
        if invalid:
            classes = 2 if self.task == "multilabel" else self.num_classes
            raise ValueError(
                f"class values must lie in 0..{classes - 1}, got {invalid} pixels outside; "
                "pass ignore_index= if they mark unlabelled pixels"
            )
        side = 2 if self.task == "multilabel" else self.num_classes
        return self.counts[..., :-2].reshape(*self.counts.shape[:-1], side, side)


def segmentation_scores(
    counts: Tensor, class_names: Sequence[str], *, ignore_index: int | None = None
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Compute all segmentation scores from confusion counts.

    The keys do not depend on the classes that occur, so they are the same on every rank.

    Args:
        counts: ``(C, C)``, or ``(C, 2, 2)`` for multilabel.
        class_names: C names.
        ignore_index: If it is one of the classes, that class scores NaN.

    Returns:
        Overall scores (``miou``, ``mdice``, ``pixel_accuracy``, ``mean_accuracy``), and scores
        (``iou``, ``dice``) by class name.
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


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Divide in float32 at least: Lightning may have set the default dtype to bfloat16."""
    return part / whole if whole.is_floating_point() else part.float() / whole.float()


def _hits_missed_false(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return true positives, false negatives and false positives per class, each ``(C,)``."""
    if counts.ndim == 3:
        return counts[:, 1, 1], counts[:, 1, 0], counts[:, 0, 1]
    hits = counts.diagonal()
    return hits, counts.sum(dim=1) - hits, counts.sum(dim=0) - hits
