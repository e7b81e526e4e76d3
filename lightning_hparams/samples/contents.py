"""Common names of what a batch contains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["BOXES", "IMAGES", "TARGETS", "entry_of", "paths_of"]

IMAGES = ("image", "images", "pixel_values", "x", "input", "inputs", "img")
TARGETS = ("mask", "masks", "label", "labels", "target", "targets", "y")
BOXES = ("bbox_xyxy", "boxes", "bboxes")


def entry_of(batch: object, names: Sequence[str], position: int | None = None) -> Any:
    """The entry of a batch under one of these names, or at a position of a tuple; or None."""
    if isinstance(batch, Mapping):
        return next((batch[name] for name in names if name in batch), None)
    if not isinstance(batch, (tuple, list)) or position is None or len(batch) <= position:
        return None
    return batch[position]


def paths_of(batch: object) -> list[str]:
    """The image files under the key ``path`` of a batch, if it has them."""
    paths = entry_of(batch, ("path", "paths"))
    listed = isinstance(paths, (list, tuple)) and all(isinstance(each, str) for each in paths)
    return list(paths) if listed else []
