"""Images and boxes of a batch, with checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..checks import counted, described
from ..outputs import Boxes, DetectionBatch

__all__ = ["Batch", "Images", "checked_targets", "images_of", "targets_of", "without_crowds"]

Images: TypeAlias = "list[Tensor] | Tensor"
Batch: TypeAlias = "DetectionBatch | tuple[Any, Any] | list[Any]"

_SLACK = 0.01  # pixels by which rounding may carry a box over the edge
_FORM = (
    "a batch must be a dict with 'image' and 'target', or a pair of images and targets, where a "
    "target is a dict of 'boxes' (K, 4) and 'labels' (K,)"
)


def images_of(batch: Batch | Tensor) -> Images:
    """Return the images of a batch, as one tensor or one for each.

    A batch may also be a list of images alone, for prediction.

    Raises:
        ValueError: If there are none, or one has no pixels.
    """
    found: object = batch
    if isinstance(batch, dict):
        found = batch.get("image")
    elif isinstance(batch, (tuple, list)) and batch:
        alone = all(isinstance(each, Tensor) and each.ndim == 3 for each in batch)
        found = batch if alone else batch[0]
    if isinstance(found, Tensor):
        images: Images = found if found.ndim != 3 else found[None]
    elif isinstance(found, (tuple, list)) and found and all(isinstance(i, Tensor) for i in found):
        images = list(found)
    else:
        raise ValueError(f"{_FORM}; got {described(batch)}")
    for image in images:
        if not image.numel():
            raise ValueError(
                f"images must have pixels, got {tuple(image.shape)}; leave out empty images"
            )
    if not len(images):
        raise ValueError("a batch must hold an image, got none; leave out empty batches")
    return images


def targets_of(batch: Batch) -> list[Boxes]:
    """Return the targets of a batch: float32 boxes and int64 labels, unchecked otherwise.

    Raises:
        ValueError: If there are none, or one lacks its boxes or labels.
    """
    found: object = None
    if isinstance(batch, dict):
        found = batch.get("target")
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        found = batch[1]
    if not isinstance(found, (tuple, list)):
        raise ValueError(f"{_FORM}; got {described(batch)}")
    return [_target(each) for each in found]


def checked_targets(
    images: Images, targets: Sequence[Boxes], num_classes: int, paths: Sequence[str]
) -> None:
    """Check that all boxes lie in their image, and that all labels are classes.

    torchvision's models train on most wrong boxes without a word; Faster R-CNN ends the whole
    process at an infinite one.

    Raises:
        ValueError: If one does not, with its values, and the image or its path.
    """
    if len(images) != len(targets):
        raise ValueError(
            f"a batch needs one target for each image, got "
            f"{counted(len(images), 'image')} and {counted(len(targets), 'target')}; "
            "an image without objects has boxes of shape (0, 4)"
        )
    for index, target in enumerate(targets):
        where = _where(paths, index)
        for name in ("labels", "crowd"):
            if name in target and len(target[name]) != len(target["boxes"]):
                raise ValueError(
                    f"{where} needs as many {name} as boxes, got {len(target[name])} {name} and "
                    f"{len(target['boxes'])} boxes; correct its annotation"
                )
    if not any(len(target["boxes"]) for target in targets):
        return
    boxes = torch.cat([target["boxes"] for target in targets])
    labels = torch.cat([target["labels"] for target in targets])
    counts = [len(target["boxes"]) for target in targets]
    sides = torch.tensor([[image.shape[-1], image.shape[-2]] * 2 for image in images])
    limits = sides.to(boxes).repeat_interleave(torch.tensor(counts).to(boxes.device), 0)
    # NaN fails both comparisons.
    inside = ((boxes >= -_SLACK) & (boxes <= limits + _SLACK)).all(1)
    wide = (boxes[:, 2:] > boxes[:, :2]).all(1)
    known = (labels >= 0) & (labels < num_classes)
    if not bool((inside & wide & known).all()):
        bad = int((~(inside & wide & known)).nonzero()[0])
        image = next(i for i in range(len(counts)) if bad < sum(counts[: i + 1]))
        raise _error(
            f"{_where(paths, image)}, box {bad - sum(counts[:image])}",
            boxes[bad],
            int(labels[bad]),
            [int(each) for each in sides[image][:2]],
            num_classes,
        )
    if bool((boxes <= 1).all()) and min(int(each) for each in sides.flatten()) > 2:
        raise ValueError(
            f"{_where(paths, counts.index(max(counts)))}: boxes must be xyxy in pixels, but all "
            f"values of the batch are <= 1, as in {_rounded(boxes[0])}; multiply them by the width "
            "and height of the image"
        )


def without_crowds(target: Boxes, first_label: int) -> dict[str, Tensor]:
    """Return what a detector learns from: boxes of single objects, with its own labels."""
    boxes, labels = target["boxes"], target["labels"] + first_label
    if "crowd" in target:
        single = ~target["crowd"].bool()
        boxes, labels = boxes[single], labels[single]
    return {"boxes": boxes, "labels": labels}


def _target(target: object) -> Boxes:
    if not isinstance(target, dict) or not all(
        isinstance(target.get(key), Tensor) for key in ("boxes", "labels")
    ):
        raise ValueError(f"{_FORM}; got a target of {described(target)}")
    boxes, labels = target["boxes"].as_subclass(Tensor), target["labels"].as_subclass(Tensor)
    if not boxes.numel():
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be (K, 4), got {tuple(boxes.shape)}; give x1, y1, x2, y2")
    if labels.is_floating_point() and labels.numel():
        raise TypeError(f"labels must be integers, got {labels.dtype}; convert them with .long()")
    made: Boxes = {"boxes": boxes.float(), "labels": labels.reshape(-1).long()}
    if isinstance(target.get("crowd"), Tensor):
        made["crowd"] = target["crowd"].bool()
    return made


def _error(where: str, box: Tensor, label: int, size: list[int], num_classes: int) -> ValueError:
    got = f"got {_rounded(box)} in an image of {size[0]} x {size[1]} pixels (width x height)"
    data = "correct the annotation, or pass boxes='drop' to the data module"
    if not bool(box.isfinite().all()):
        return ValueError(f"{where} must be finite, {got}; {data}")
    if not bool((box[2:] > box[:2]).all()):
        return ValueError(f"{where} must have x1 < x2 and y1 < y2 (xyxy), {got}; {data}")
    if not 0 <= label < num_classes:
        hint = "; labels count from 0, without the background" if label == num_classes else ""
        return ValueError(
            f"{where} has label {label}, but the classes are 0..{num_classes - 1}{hint}; "
            "correct num_classes= or the labels"
        )
    return ValueError(
        f"{where} must lie in its image, {got}; resize boxes together with images, or pass "
        "boxes='clip' to the data module"
    )


def _where(paths: Sequence[str], index: int) -> str:
    return paths[index] if index < len(paths) else f"image {index} of the batch"


def _rounded(box: Tensor) -> list[float]:
    return [round(value, 2) for value in box.tolist()]
