"""Images, masks and other goals of a batch, with checks."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor

from ..checks import type_name
from ..outputs import ClassificationBatch, RegressionBatch, SegmentationBatch

__all__ = ["Batch", "check_mask", "goal_of", "image_of", "mask_of", "paths_of"]

Batch: TypeAlias = "SegmentationBatch | tuple[Tensor, Tensor] | list[Tensor]"
_AnyBatch: TypeAlias = "Batch | ClassificationBatch | RegressionBatch"


def paths_of(batch: _AnyBatch) -> list[str]:
    """Return the paths of the images, if the batch has them."""
    return batch.get("path", []) if isinstance(batch, dict) else []


def image_of(batch: _AnyBatch, goal: str = "mask") -> Tensor:
    """Return the images of a batch.

    Args:
        batch: A dict, or a pair with the images first.
        goal: What a batch has besides images, for the message.

    Raises:
        ValueError: If there are none, or they have no pixels.
    """
    found: object = None
    if isinstance(batch, dict):
        found = batch.get("image")
    elif isinstance(batch, (tuple, list)) and batch:
        found = batch[0]
    if not isinstance(found, Tensor):
        raise _no_batch(batch, goal)
    if not found.numel():
        raise ValueError(
            f"images must have pixels, got {tuple(found.shape)}; leave out empty batches and images"
        )
    return found


def goal_of(batch: _AnyBatch, goal: str) -> Tensor:
    """Return what a model is to predict for the images of a batch.

    Args:
        batch: A dict, or a pair with the images first.
        goal: Its key: ``"mask"``, ``"label"`` or ``"value"``.

    Raises:
        ValueError: If there is none.
    """
    found: object = None
    if isinstance(batch, dict):
        found = batch.get(goal)
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        found = batch[1]
    if not isinstance(found, Tensor):
        raise _no_batch(batch, goal)
    return found


def mask_of(batch: Batch) -> Tensor:
    """Return the masks of a batch as int64.

    In uint8, values would wrap around in comparisons: class 256 is 0, an ``ignore_index`` of -1
    is 255.

    Raises:
        ValueError: If there are none.
        TypeError: If they have a floating point type.
    """
    found = goal_of(batch, "mask")
    if found.is_floating_point():
        raise TypeError(f"masks must be integers, got {found.dtype}; convert them with .long()")
    return found.long()


def check_mask(mask: Tensor, classes: int, ignore_index: int | None, paths: list[str]) -> None:
    """Check that each value is a class or ignored; otherwise the loss would be silently wrong.

    Raises:
        ValueError: If one is not, with the value, its share, and the mask or its path.
    """
    wrong = (mask < 0) | (mask >= classes)
    if ignore_index is not None:
        wrong &= mask != ignore_index
    if not wrong.any():
        return
    sample = int(wrong.flatten(1).any(1).nonzero()[0])
    value = int(mask[sample][wrong[sample]][0])
    share = float((mask[sample] == value).float().mean())
    where = paths[sample] if paths else f"mask {sample} of the batch"
    remedy = "map values to classes when reading"
    if classes == 2 and value == 255:
        remedy = "pass (mask == 255) if they are the foreground"
    raise ValueError(
        f"{where} has mask value {value} ({share:.1%} of pixels) but the classes are "
        f"0..{classes - 1}; pass ignore_index={value}, or {remedy}"
    )


def _no_batch(batch: object, goal: str) -> ValueError:
    named: dict[object, object] = {}
    if isinstance(batch, dict):
        named = batch
    elif isinstance(batch, (tuple, list)):
        named = dict(enumerate(batch))
    got = {key: type_name(value) for key, value in named.items()} or type_name(batch)
    return ValueError(
        f"a batch must be a dict of tensors 'image' and {goal!r}, or a pair (image, {goal}), "
        f"got {got}; rename the keys, or stack the tensors in the loader's collate_fn"
    )
