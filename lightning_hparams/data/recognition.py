"""Recognise what kind of data a folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .coco import CocoData
from .files import FileData
from .image_folder import ImageFolderData
from .layout import find_layout, split_word
from .listing import folders_called, image_paths, is_visible
from .mask_folder import MaskFolderData
from .pictures import read_header
from .voc import VocData

__all__ = ["data_in"]

_HEAD = 1 << 16  # characters of an annotation file, whose keys may come in any order


def data_in(folder: str | Path, **options: Any) -> FileData:
    """Create the data module for a folder of images in one of the usual layouts.

    A folder with annotations of COCO or Pascal VOC holds boxes, one of images and masks a
    segmentation, and any other a folder for each class.

    Args:
        folder: The folder.
        options: Arguments that all of them have, such as ``batch_size``.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no images, or data that do not fit.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; check the path")
    paths = image_paths(root, below=True)
    if not paths:
        raise ValueError(f"{root} has no images; check the path")
    if "in_channels" not in options and (bands := _bands(paths[0])) not in (1, 3, 4):
        options["in_channels"] = bands
    if _has_coco(root):
        return CocoData(root, **options)
    if _has_voc(root):
        return VocData(root, **options)
    if _has_masks(root):
        return MaskFolderData.guessed(root, **options)
    return ImageFolderData(root, **options)


def _parts(root: Path) -> list[Path]:
    """The folder, those of its splits, and that of annotations."""
    inner = [path for path in sorted(root.iterdir()) if path.is_dir() and is_visible(path)]
    names = ("annotations", "images")
    return [root, *(path for path in inner if split_word(path.name) or path.name in names)]


def _has_coco(root: Path) -> bool:
    return any(_is_coco(path) for part in _parts(root) for path in sorted(part.glob("*.json")))


def _is_coco(path: Path) -> bool:
    """Whether a file has the keys of COCO; a long one is judged by its beginning."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_HEAD)
    except (OSError, ValueError):
        return False
    if len(text) == _HEAD:
        return any(f'"{key}"' in text for key in ("images", "annotations", "categories"))
    try:
        found = json.loads(text)
    except ValueError:
        return '"annotations"' in text
    return isinstance(found, dict) and "images" in found and "annotations" in found


def _has_voc(root: Path) -> bool:
    parts = [*_parts(root), *folders_called("Annotations", root)]
    return any(path.suffix.lower() == ".xml" for part in parts for path in part.iterdir())


def _has_masks(root: Path) -> bool:
    try:
        find_layout(root, whole=False)
    except ValueError:
        return False
    return True


def _bands(path: Path) -> int:
    try:
        return read_header(path).bands
    except (ValueError, OSError):
        return 3  # the error of reading it follows
