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

    found: npt.NDArray[np.bool_]  # (T,) whether the true box is matched
    ignored: npt.NDArray[np.bool_]  # (P,) whether the prediction lies in a crowd instead
    crowd: npt.NDArray[np.bool_]  # (T,) whether the true box is a crowd, which cannot be missed
    partner: npt.NDArray[np.int64]  # (P,) index of the true box of a hit; -1 for other predictions

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Whether each prediction matches a true box of its class, ``(P,)``."""
        return self.partner >= 0

    @property
    def false(self) -> npt.NDArray[np.bool_]:
        """Whether each prediction is a false positive, ``(P,)``."""
        return ~(self.hits | self.ignored)

    @property
    def missed(self) -> npt.NDArray[np.bool_]:
        """Whether each true box is missed, ``(T,)``."""
        return ~(self.found | self.crowd)

    @property
    def counts(self) -> tuple[int, int, int]:
        """True positives, false positives and false negatives."""
        return int(self.hits.sum()), int(self.false.sum()), int(self.missed.sum())


def match_boxes(pred: Boxes, target: Boxes, *, min_iou: float = 0.5) -> Matches:
    """Match greedily, by descending score, each prediction to the true box that it overlaps most.

    A true box is matched at most once, by a prediction of its class with an intersection over union
    of at least ``min_iou``. A prediction whose best box is taken falls back to the next best, as in
    COCO (but not in Pascal VOC); one that is left without a box is a false positive, unless a crowd
    of its class covers at least ``min_iou`` of it.

    >>> box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    >>> truth = {"boxes": box, "labels": torch.tensor([1])}
    >>> match_boxes({**truth, "scores": torch.tensor([0.9])}, truth).counts
    (1, 0, 0)
    """
    partner = np.full(len(pred["boxes"]), -1, dtype=np.int64)
    ignored = np.zeros(len(partner), dtype=bool)
    found = np.zeros(len(target["boxes"]), dtype=bool)
    crowd = found.copy()
    if "crowd" in target:
        crowd[:] = target["crowd"].cpu().numpy()
    if not len(partner) or not len(found):
        return Matches(found, ignored, crowd, partner)
    overlap = _overlaps(pred, target)
    if crowd.any():
        ignored[:] = (_covered(pred, target)[:, crowd] >= min_iou).any(1)
        overlap[:, crowd] = -1
    for index in np.argsort(-_scores(pred), kind="stable"):
        best = int(overlap[index].argmax())
        if overlap[index, best] >= min_iou:
            partner[index], found[best] = best, True
            overlap[:, best] = -1
    return Matches(found, ignored & (partner < 0), crowd, partner)


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
    return _of_same_class(overlap, pred, target)


def _covered(pred: Boxes, target: Boxes) -> npt.NDArray[np.float64]:
    """Compute the share of each prediction in each true box, ``(P, T)``; -1 as above."""
    ours, theirs = (each["boxes"].cpu().double() for each in (pred, target))
    upper = torch.maximum(ours[:, None, :2], theirs[None, :, :2])
    lower = torch.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    area = (ours[:, 2:] - ours[:, :2]).prod(1, keepdim=True)
    share = (lower - upper).clamp(min=0).prod(2) / area.clamp(min=torch.finfo(area.dtype).tiny)
    return _of_same_class(share, pred, target)


def _of_same_class(values: Tensor, pred: Boxes, target: Boxes) -> npt.NDArray[np.float64]:
    same = pred["labels"].cpu()[:, None] == target["labels"].cpu()[None]
    array: npt.NDArray[np.float64] = torch.where(same, values, -1.0).numpy()
    return array


def _scores(pred: Boxes) -> npt.NDArray[np.float64]:
    scores: npt.NDArray[np.float64] = pred["scores"].detach().cpu().double().numpy()
    return scores
