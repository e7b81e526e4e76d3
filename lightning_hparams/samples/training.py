"""What a training batch holds, as an output whose predictions are the true values themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..outputs import StepOutput
from .adapters import indices_of
from .contents import BOXES, IMAGES, TARGETS, entry_of

__all__ = ["training_output"]

_VALUES = ("value", "values")
# What a module may call its task.
_NUMBERS, _FOREGROUND = "regression", "binary"
_CLASSES = (_FOREGROUND, "multiclass", "multilabel")


def training_output(batch: object, task: object = None) -> StepOutput | None:
    """Build an output from a batch of images and masks, labels, values or boxes.

    Args:
        batch: One of the batches of :mod:`lightning_hparams.outputs`, or a pair of images and
            targets.
        task: What the module calls its task, such as ``"regression"``, which decides between
            targets of the same shape and type.

    Returns:
        An output with ``targets`` and no ``preds``; None if the batch is none of these.
    """
    images = entry_of(batch, IMAGES, 0)
    if not _are_images(images):
        return None
    kind, targets = _kind_and_targets(batch, images, task)
    if kind is None or len(targets) != len(images):
        return None
    return {"kind": kind, "images": images, "targets": targets, "indices": indices_of(batch)}


def _kind_and_targets(batch: object, images: Any, task: object) -> tuple[str | None, Any]:
    values = entry_of(batch, _VALUES)
    if isinstance(values, Tensor) and values.ndim in (1, 2):
        return "regression", values
    boxes = _boxes(batch)
    if boxes is not None:
        return "detection", boxes
    targets = entry_of(batch, TARGETS, 1)
    return _kind_of(targets, images, task), targets


def _are_images(images: object) -> bool:
    """Whether these are images ``(I, H, W)``, stacked or in a list."""
    if isinstance(images, Tensor):
        images = list(images) if images.ndim == 4 else []
    if not isinstance(images, (list, tuple)) or not images:
        return False
    return all(
        isinstance(image, Tensor)
        and image.ndim == 3
        and image.numel() > 0
        and not image.is_complex()
        and not image.shape[2] <= 4 < min(image.shape[:2])  # channels last
        for image in images
    )


def _boxes(batch: object) -> list[dict[str, Any]] | None:
    found = entry_of(batch, BOXES)
    if found is not None:
        labels = entry_of(batch, ("label", "labels"))
        if labels is None or len(labels) != len(found):
            return None
        return [{"boxes": b, "labels": names} for b, names in zip(found, labels, strict=True)]
    found = entry_of(batch, TARGETS, 1)
    if not isinstance(found, (list, tuple)) or not found:
        return None
    if not all(isinstance(each, Mapping) and {"boxes", "labels"} <= each.keys() for each in found):
        return None
    kept = ("boxes", "labels", "crowd")
    return [{key: each[key] for key in kept if key in each} for each in found]


def _kind_of(targets: object, images: Any, task: object) -> str | None:
    """The kind of task that targets are for; None if that cannot be told."""
    if not isinstance(targets, Tensor) or targets.ndim not in (1, 2, 3, 4):
        return None
    whole = not targets.is_floating_point() or bool((targets == targets.round()).all())
    if targets.ndim >= 3:
        is_mask = whole and targets.shape[-2:] == images[0].shape[-2:]
        return _kind_of_mask(targets, task) if is_mask else None
    if task == _NUMBERS or not _may_be_labels(targets, whole, task):
        return "regression"
    return "classification"


def _kind_of_mask(masks: Tensor, task: object) -> str:
    if masks.ndim == 4 and masks.shape[1] > 1:
        return "multilabel"
    is_binary = task == _FOREGROUND or (task not in _CLASSES and int(masks.max()) <= 1)
    return "binary" if is_binary else "multiclass"


def _may_be_labels(targets: Tensor, whole: bool, task: object) -> bool:
    if not targets.is_floating_point() or (whole and task in _CLASSES):
        return True
    if targets.ndim == 1 or targets.shape[1] == 1:
        return False
    shares = bool(((targets >= 0) & (targets <= 1)).all())
    sums = targets.float().sum(1)
    # Mixed images have shares of several classes.
    return shares and (whole or torch.allclose(sums, torch.ones_like(sums), atol=1e-2))
