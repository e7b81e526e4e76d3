"""Match predicted boxes with true ones. Boxes are xyxy in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .outputs import Boxes

__all__ = ["Matches", "check_boxes", "confident", "match_boxes"]


@dataclass(frozen=True)
class Matches:
    """The outcome of matching P predicted boxes with T true ones."""

    hits: npt.NDArray[np.bool_]  # (P,) whether the prediction matches a true box of its class
    found: npt.NDArray[np.bool_]  # (T,) whether the true box is matched

    @property
    def counts(self) -> tuple[int, int, int]:
        """True positives, false positives and false negatives."""
        hits = int(self.hits.sum())
        return hits, len(self.hits) - hits, int((~self.found).sum())


def match_boxes(pred: Boxes, target: Boxes, *, min_iou: float = 0.5) -> Matches:
    """Match greedily, by descending score, each prediction to the true box that it overlaps most.

    A true box is matched at most once, by a prediction of its class with an intersection over union
    of at least ``min_iou``. A prediction whose best box is taken falls back to the next best, as in
    COCO (but not in Pascal VOC); one that is left without a box is a false positive.

    >>> box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    >>> truth = {"boxes": box, "labels": torch.tensor([1])}
    >>> match_boxes({**truth, "scores": torch.tensor([0.9])}, truth).counts
    (1, 0, 0)
    """
    hits = np.zeros(len(pred["boxes"]), dtype=bool)
    found = np.zeros(len(target["boxes"]), dtype=bool)
    if not len(hits) or not len(found):
        return Matches(hits, found)
    overlap = _overlaps(pred, target)
    for index in np.argsort(-_scores(pred), kind="stable"):
        best = int(overlap[index].argmax())
        if overlap[index, best] >= min_iou:
            hits[index] = found[best] = True
            overlap[:, best] = -1
    return Matches(hits, found)


def confident(pred: Boxes, min_score: float) -> Boxes:
    """Return the predictions with a score of at least ``min_score``, highest first."""
    scores = pred["scores"]
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] >= min_score]
    return {"boxes": pred["boxes"][order], "labels": pred["labels"][order], "scores": scores[order]}


def check_boxes(images: Sequence[Tensor], what: str) -> None:
    """Check that the boxes ``(K, 4)`` of several images are xyxy in pixels.

    They are judged together, since a single small box does not reveal its unit.

    Raises:
        ValueError: If they are not, suggesting a conversion.
    """
    for boxes in images:
        if boxes.ndim != 2 or boxes.shape[-1] != 4:
            raise ValueError(f"{what}: boxes must be (K, 4), got {tuple(boxes.shape)}")
    boxes = torch.cat([each.detach().cpu() for each in images]) if images else torch.zeros(0, 4)
    if bool((boxes <= 1).all()) and bool((boxes > 0).any()):
        raise ValueError(
            f"{what}: boxes must be xyxy in pixels, got values <= 1; "
            "multiply them by the width and height of the image"
        )
    backwards = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if bool(backwards.any()):
        box = [round(value, 1) for value in boxes[backwards][0].tolist()]
        raise ValueError(
            f"{what}: boxes must be xyxy in pixels, got {box} with x2 < x1 or y2 < y1; "
            "convert them with torchvision.ops.box_convert"
        )


def _overlaps(pred: Boxes, target: Boxes) -> npt.NDArray[np.float64]:
    """Compute the intersection over union, ``(P, T)``; -1 between different classes."""
    from torchvision.ops import box_iou  # takes a second to import, and only detection needs it

    # On the CPU: Apple's GPUs have no float64.
    overlap = box_iou(pred["boxes"].cpu().double(), target["boxes"].cpu().double())
    same = pred["labels"].cpu()[:, None] == target["labels"].cpu()[None]
    array: npt.NDArray[np.float64] = torch.where(same, overlap, -1.0).numpy()
    return array


def _scores(pred: Boxes) -> npt.NDArray[np.float64]:
    scores: npt.NDArray[np.float64] = pred["scores"].detach().cpu().double().numpy()
    return scores
