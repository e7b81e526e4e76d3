"""Scores of detected boxes over a whole set: average precision, F1, and a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from ..boxes import Matches, match_boxes
from ..checks import whole_number
from ..outputs import Boxes
from ._states import CountingMetric

__all__ = [
    "BoxConfusion",
    "DetectionScores",
    "average_precisions",
    "best_f1",
    "box_confusion",
]

Image = tuple[Boxes, Boxes]  # predicted and true boxes
_MIN_IOU = 0.5
_UNSURE = 0.5  # threshold of a class without a best one


class DetectionScores(CountingMetric):
    """Scores of boxes over all batches and ranks; they do not depend on the order of the images.

    Args:
        num_classes: C, at least 1.
        max_detections: Number of most confident predictions that average precision takes, of each
            class in an image.

    ``update(preds, targets)`` takes the :class:`~lightning_hparams.outputs.Boxes` of N images.
    ``compute()`` returns ``map``, ``map50`` and ``map75``, and, of shape ``(C,)``, ``ap``,
    ``precision``, ``recall``, ``f1`` and ``threshold``, see :func:`average_precisions` and
    :func:`best_f1`, and ``confusion``, see :func:`box_confusion`, all on the CPU. Those of a single
    class are scalars, of which torchmetrics makes every value that stands alone.
    """

    sizes: list[Tensor]  # (N, 2) number of predictions and of true boxes of each image
    found: list[Tensor]  # (P, 5) predicted corners and score
    found_labels: list[Tensor]  # (P,)
    true: list[Tensor]  # (T, 4) true corners
    true_labels: list[Tensor]  # (T, 2) label, and whether it is a crowd

    def __init__(self, num_classes: int, *, max_detections: int = 100) -> None:
        super().__init__()
        self.num_classes = whole_number("num_classes", num_classes, 1)
        self.max_detections = whole_number("max_detections", max_detections, 1)
        # Tables rather than one tensor per image: ranks may have different numbers of images.
        for name in ("sizes", "found", "found_labels", "true", "true_labels"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self._begin()

    def update(self, preds: Sequence[Boxes], targets: Sequence[Boxes]) -> None:
        """Add the images of a batch."""
        for pred, target in zip(preds, targets, strict=True):
            found = torch.cat([pred["boxes"].float(), pred["scores"].float()[:, None]], 1)
            labels = target["labels"].long()
            crowd = target["crowd"].long() if "crowd" in target else torch.zeros_like(labels)
            self._add(
                [[len(found), len(labels)]],
                found,
                pred["labels"].long(),
                target["boxes"].float(),
                torch.stack([labels, crowd], 1),
            )

    def compute(self) -> dict[str, Tensor]:
        """Return the scores of all images so far, on all ranks."""
        # Predictions with equal scores count in the order of their images.
        images = sorted(self._images(), key=_content)
        scores = average_precisions(images, self.num_classes, max_detections=self.max_detections)
        matches = [match_boxes(pred, target, min_iou=_MIN_IOU) for pred, target in images]
        scores |= best_f1(images, matches, self.num_classes)
        threshold = scores["threshold"].nan_to_num(_UNSURE)
        scores["confusion"] = box_confusion(images, threshold, self.num_classes)
        return scores

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._begin()

    def _begin(self) -> None:
        """Add tables without rows: a rank without images must gather as many as the others."""
        self._add([], *(torch.zeros(0, *shape) for shape in ((5,), (), (4,), (2,))))

    def _add(self, sizes: list[list[int]], *tables: Tensor) -> None:
        counts = torch.tensor(sizes, dtype=torch.long).reshape(-1, 2)
        states = (self.sizes, self.found, self.found_labels, self.true, self.true_labels)
        types = (torch.long, torch.float32, torch.long, torch.float32, torch.long)
        for state, table, dtype in zip(states, (counts, *tables), types, strict=True):
            state.append(table.detach().to(device=self.device, dtype=dtype))

    def _images(self) -> list[Image]:
        tables = (self.sizes, self.found, self.found_labels, self.true, self.true_labels)
        sizes, found, labels, true, true_labels = (_joined(table).cpu() for table in tables)
        preds, truths = sizes.unbind(1)
        parts = zip(
            found.split(preds.tolist()),
            labels.split(preds.tolist()),
            true.split(truths.tolist()),
            true_labels.split(truths.tolist()),
            strict=True,
        )
        return [
            (
                {"boxes": each[:, :4], "scores": each[:, 4], "labels": names},
                {"boxes": corners, "labels": kinds[:, 0], "crowd": kinds[:, 1].bool()},
            )
            for each, names, corners, kinds in parts
        ]


class BoxConfusion(Metric):
    """The confusion matrix of a :class:`DetectionScores`, which gets all updates."""

    full_state_update = False

    def __init__(self, scores: DetectionScores) -> None:
        super().__init__(compute_with_cache=False)
        self._scores = (scores,)  # a tuple keeps it from becoming a submodule in two parents

    def update(self) -> None:
        """Do nothing."""

    def compute(self) -> Tensor:
        """Return the counts ``(C + 1, C + 1)``, with true classes as rows, background last."""
        return self._scores[0].compute()["confusion"]


def average_precisions(
    images: Sequence[Image], num_classes: int, *, max_detections: int = 100
) -> dict[str, Tensor]:
    """Compute COCO's average precision with faster-coco-eval.

    Args:
        images: Predicted and true boxes of each image.
        num_classes: C.
        max_detections: Number of most confident predictions to take, of each class in an image.

    Returns:
        ``map`` (mean over IoU thresholds from 0.5 to 0.95), ``map50`` and ``map75``, means over the
        classes with true boxes, and ``ap`` of each class ``(C,)``; NaN without true boxes.
    """
    nan = torch.tensor(torch.nan)
    scores = {"map": nan, "map50": nan, "map75": nan, "ap": nan.repeat(num_classes)}
    if not any(len(target["labels"]) for _, target in images):
        return scores
    from torchmetrics.detection import MeanAveragePrecision  # takes a second to import

    metric = MeanAveragePrecision(
        backend="faster_coco_eval",
        # COCO's own: torchmetrics' are float32, above which 0.6, say, is no longer a recall of 3/5.
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
        rec_thresholds=np.linspace(0.0, 1.0, 101).tolist(),
        extended_summary=True,
        max_detection_thresholds=[max_detections] * 3,  # it takes three, and the last one counts
        sync_on_compute=False,
    )
    metric.warn_on_many_detections = False
    metric.update(
        [{key: pred[key] for key in ("boxes", "scores", "labels")} for pred, _ in images],
        [
            {"boxes": target["boxes"], "labels": target["labels"], "iscrowd": _crowd(target).long()}
            for _, target in images
        ],
    )
    found = metric.compute()
    precision = found["precision"][
        ..., 0, -1
    ].float()  # IoU x recall x class, for boxes of any size
    present = sorted({int(each) for image in images for boxes in image for each in boxes["labels"]})
    scores["ap"][present] = _mean_where_known(precision.flatten(0, 1))
    for name, at in (("map", slice(None)), ("map50", slice(0, 1)), ("map75", slice(5, 6))):
        scores[name] = _mean_where_known(precision[at].flatten(0, 1)).nanmean()
    return scores


def best_f1(
    images: Sequence[Image], matches: Sequence[Matches], num_classes: int
) -> dict[str, Tensor]:
    """Find the score from which predictions of each class have the highest F1.

    Args:
        images: Predicted and true boxes of each image.
        matches: Their matches, see :func:`~lightning_hparams.boxes.match_boxes`.
        num_classes: C.

    Returns:
        ``threshold``, ``precision``, ``recall`` and ``f1``, each ``(C,)``. All four are NaN for a
        class without true boxes. Without a single hit the threshold is NaN, the others are 0.
    """
    scores, labels, hits, true = _pooled(images, matches)
    rows = [
        _best(scores[labels == label], hits[labels == label], int((true == label).sum()))
        for label in range(num_classes)
    ]
    table = torch.tensor(rows, dtype=torch.float32).reshape(num_classes, 4)
    names = ("threshold", "precision", "recall", "f1")
    return dict(zip(names, table.unbind(1), strict=True))


def box_confusion(images: Sequence[Image], threshold: Tensor, num_classes: int) -> Tensor:
    """Count true boxes by their class and the class of the prediction at their place.

    Predictions are matched with true boxes of their own class first, see
    :func:`~lightning_hparams.boxes.match_boxes`, and what is left with boxes of any class.

    Args:
        images: Predicted and true boxes of each image.
        threshold: Lowest score of a prediction that counts, for each class.
        num_classes: C.

    Returns:
        int64 ``(C + 1, C + 1)`` with true classes as rows. The last column counts missed boxes,
        the last row false positives.
    """
    counts = torch.zeros(num_classes + 1, num_classes + 1, dtype=torch.long)
    for pred, target in (map(_long_labels, image) for image in images):
        sure = _rows(pred, pred["scores"] >= threshold[pred["labels"]])
        matches = match_boxes(sure, target, min_iou=_MIN_IOU)
        labels = sure["labels"][torch.from_numpy(matches.hits)]
        counts += _pairs(labels, labels, num_classes)
        false = _rows(sure, torch.from_numpy(matches.false))
        missed = _rows(target, torch.from_numpy(matches.missed))
        counts += _confused(false, missed, num_classes)
    return counts


class _Best(NamedTuple):
    threshold: float
    precision: float
    recall: float
    f1: float


def _best(scores: Tensor, hits: Tensor, true: int) -> _Best:
    if not true:
        return _Best(*[float("nan")] * 4)
    if not hits.any():
        return _Best(float("nan"), 0.0, 0.0, 0.0)
    scores, order = scores.sort(descending=True, stable=True)
    found = hits[order].double().cumsum(0)
    taken = torch.arange(1, len(scores) + 1)
    f1 = 2 * found / (taken + true)
    # A threshold takes all predictions with the same score.
    f1[:-1][scores[:-1] == scores[1:]] = -1
    best = int(f1.argmax())
    return _Best(
        float(scores[best]),
        float(found[best] / taken[best]),
        float(found[best] / true),
        float(f1[best]),
    )


def _pooled(
    images: Sequence[Image], matches: Sequence[Matches]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores, labels and hits of the predictions that count, and the labels of true boxes."""
    scores, hits = [torch.zeros(0)], [torch.zeros(0, dtype=torch.bool)]
    labels, true = [torch.zeros(0, dtype=torch.long)], [torch.zeros(0, dtype=torch.long)]
    for (pred, target), match in zip(images, matches, strict=True):
        counted = torch.from_numpy(~match.ignored)
        scores.append(pred["scores"][counted])
        labels.append(pred["labels"][counted])
        hits.append(torch.from_numpy(match.hits)[counted])
        true.append(target["labels"][torch.from_numpy(~match.crowd)])
    return torch.cat(scores), torch.cat(labels), torch.cat(hits), torch.cat(true)


def _confused(false: Boxes, missed: Boxes, num_classes: int) -> Tensor:
    """Count false positives and missed boxes of one image: pairs at one place, then the rest."""
    anything: tuple[Boxes, Boxes] = (
        {**false, "labels": torch.zeros_like(false["labels"])},
        {"boxes": missed["boxes"], "labels": torch.zeros_like(missed["labels"])},
    )
    partner = torch.from_numpy(match_boxes(*anything, min_iou=_MIN_IOU).partner)
    background = torch.tensor([num_classes])
    # Without a partner, -1, the last one: the background.
    counts = _pairs(
        torch.cat([missed["labels"], background])[partner], false["labels"], num_classes
    )
    left = torch.ones(len(missed["labels"]), dtype=torch.bool)
    left[partner[partner >= 0]] = False
    labels = missed["labels"][left]
    return counts + _pairs(labels, background.expand_as(labels), num_classes)


def _pairs(true: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    side = num_classes + 1
    return torch.bincount(true * side + predicted, minlength=side * side).view(side, side)


def _long_labels(boxes: Boxes) -> Boxes:
    """In uint8, labels would wrap around, and index as a mask."""
    return {**boxes, "labels": boxes["labels"].long()}


def _rows(boxes: Boxes, kept: Tensor) -> Boxes:
    made: Boxes = {"boxes": boxes["boxes"][kept], "labels": boxes["labels"][kept]}
    if "scores" in boxes:
        made["scores"] = boxes["scores"][kept]
    if "crowd" in boxes:
        made["crowd"] = boxes["crowd"][kept]
    return made


def _crowd(target: Boxes) -> Tensor:
    return target["crowd"] if "crowd" in target else torch.zeros_like(target["labels"]).bool()


def _mean_where_known(values: Tensor) -> Tensor:
    """Average over the first axis without the -1 that stand for no value; NaN without any."""
    return torch.where(values > -1, values, torch.nan).nanmean(0)


def _joined(tables: list[Tensor] | Tensor) -> Tensor:
    """After synchronisation, torchmetrics has joined the tables already."""
    return tables if isinstance(tables, Tensor) else torch.cat(tables)


def _content(image: Image) -> bytes:
    pred, target = image
    parts = [pred[key] for key in ("scores", "boxes", "labels")]
    parts += [target[key] for key in ("boxes", "labels", "crowd")]
    return b"".join(part.contiguous().numpy().tobytes() for part in parts)
