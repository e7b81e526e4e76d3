"""Labels and values of the images of a batch, with checks."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from ..checks import counted
from ..outputs import ClassificationBatch, RegressionBatch

__all__ = ["ImageBatch", "check_labels", "check_values", "labels_in", "values_in"]

ImageBatch: TypeAlias = (
    "ClassificationBatch | RegressionBatch | tuple[Tensor, Tensor] | list[Tensor]"
)


def labels_in(label: Tensor, images: int, num_classes: int, task: str) -> Tensor:
    """Return labels as int64: ``(N,)``, or ``(N, C)`` for multilabel.

    Args:
        label: As in the batch.
        images: N.
        num_classes: C.
        task: ``"multiclass"`` or ``"multilabel"``.

    Raises:
        TypeError: If they are numbers rather than classes.
        ValueError: If they have another shape.
    """
    if task == "multilabel":
        if tuple(label.shape) != (images, num_classes):
            raise ValueError(
                f"labels must be ({images}, {num_classes}) of 0 and 1 for "
                f"{counted(images, 'image')} and {counted(num_classes, 'class')}, got "
                f"{tuple(label.shape)}; pass task='multiclass' if each image has one class"
            )
        # Losses of several labels usually take floating point 0 and 1.
        return label if label.is_floating_point() else label.long()
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    if tuple(label.shape) == (images, num_classes) and label.is_floating_point():
        raise ValueError(
            f"labels must be ({images},) of class indices, got {tuple(label.shape)} of "
            f"{label.dtype}; pass mixup= or cutmix= to the task instead of mixing images in the "
            "loader, label.argmax(1) for one-hot labels, or task='multilabel' for several per image"
        )
    if tuple(label.shape) != (images,):
        raise ValueError(
            f"labels must be ({images},) of class indices for "
            f"{counted(images, 'image')}, got "
            f"{tuple(label.shape)}; pass task='multilabel' for several labels per image"
        )
    if label.is_floating_point():
        raise TypeError(
            f"labels must be class indices, got {label.dtype}; convert them with .long(), or use "
            "RegressionTask for numbers"
        )
    return label.long()


def check_labels(label: Tensor, classes: int, ignore_index: int | None, paths: list[str]) -> Tensor:
    """Check that each label is a class or ignored; otherwise the loss would be silently wrong.

    Args:
        label: From :func:`labels_in`.
        classes: Number of values that a label may have: 2 for multilabel.
        ignore_index: As in the task.
        paths: Of the images, if known.

    Returns:
        The labels as int64.

    Raises:
        ValueError: If one is not, with the value and the image.
    """
    wrong = (label < 0) | (label >= classes)
    if label.is_floating_point():
        wrong |= label != label.round()  # NaN too
    if ignore_index is not None:
        wrong &= label != ignore_index
    if bool(wrong.any()):
        sample = int(wrong.flatten(1).any(1).nonzero()[0] if label.ndim > 1 else wrong.nonzero()[0])
        value = float(label[sample][wrong[sample]].flatten()[0])
        remedy = "correct it"
        if value.is_integer():
            remedy = f"pass ignore_index={value:.0f} if it means unlabelled, or correct it"
        if value == classes and label.ndim == 1:
            remedy = f"subtract 1 if classes count from 1, pass num_classes={classes + 1}, or "
            remedy += "correct it"
        raise ValueError(
            f"{_image(sample, paths)} has label {value:g} but the classes are 0..{classes - 1}; "
            f"{remedy}"
        )
    return label.long()


def values_in(value: Tensor, images: int, num_values: int) -> Tensor:
    """Return values ``(N, D)`` in float32, or float64 if they have it.

    Raises:
        ValueError: If they have another shape.
        TypeError: If they are complex.
    """
    if value.is_complex():
        raise TypeError(f"values must be real numbers, got {value.dtype}")
    if value.ndim == 1 and num_values == 1:
        value = value[:, None]
    if tuple(value.shape) != (images, num_values):
        raise ValueError(
            f"values must be ({images}, {num_values}) for "
            f"{counted(images, 'image')} and num_values={num_values}, got "
            f"{tuple(value.shape)}; pass num_values= for the values of an image"
        )
    return value if value.dtype == torch.float64 else value.float()


def check_values(value: Tensor, paths: list[str]) -> None:
    """Check that no value ``(N, D)`` is infinite; NaN means unknown.

    Raises:
        ValueError: If one is, with the image.
    """
    infinite = value.isinf()
    if bool(infinite.any()):
        sample = int(infinite.any(1).nonzero()[0])
        raise ValueError(
            f"{_image(sample, paths)} has the value {float(value[sample][infinite[sample]][0])}; "
            "replace it by a number, or by NaN if it is unknown"
        )


def _image(sample: int, paths: list[str]) -> str:
    return paths[sample] if paths else f"image {sample} of the batch"
