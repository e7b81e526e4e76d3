"""Read annotations in COCO's JSON format, and check that their parts refer to each other."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .pairs import first_names

__all__ = ["CocoFile", "in_order", "open_coco", "size_of"]


class CocoFile(NamedTuple):
    """A file of annotations."""

    path: Path
    names: dict[int, str]  # of the categories by id
    images: dict[Any, dict[str, Any]]  # by id
    annotations: dict[Any, list[dict[str, Any]]]  # by the id of the image


def open_coco(path: Path) -> CocoFile:
    """Read a JSON file, and check that its parts refer to each other.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not in COCO's format, or refers to an image or category it lacks.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`annotations`: {path} is not a file; check the path")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file ({error}); check the path") from error
    parts = ("images", "annotations", "categories")
    for part in parts:
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise ValueError(
                f"{path} is not in COCO's format, which has the lists {list(parts)}: no {part!r}; "
                "export the annotations as COCO's object detection, or pass a folder of images "
                "without them as predict_images="
            )
    names: dict[int, str] = {}
    for category in content["categories"]:
        number, name = _get(path, "category", category, "id", "name")
        _check_id(path, "a category", number)
        if not isinstance(name, (str, int, float)) or not str(name).strip():
            raise ValueError(f"{path}: category {number!r} has the name {name!r}; it must be text")
        if number in names or str(name) in names.values():
            raise ValueError(
                f"{path} has two categories with id {number} or the name {name!r}; ids and names "
                "must differ from each other"
            )
        names[number] = str(name)
    images: dict[Any, dict[str, Any]] = {}
    for image in content["images"]:
        number, file_name = _get(path, "image", image, "id", "file_name")
        _check_id(path, "an image", number)
        if not isinstance(file_name, str) or not file_name:
            raise ValueError(
                f"{path}: the image with id {number!r} has file_name {file_name!r}; it must be the "
                "name of a file"
            )
        if number in images:
            raise ValueError(f"{path} has two images with the id {number!r}; ids must differ")
        images[number] = image
    grouped: dict[Any, list[dict[str, Any]]] = {number: [] for number in images}
    for annotation in content["annotations"]:
        image, category, box = _get(
            path, "annotation", annotation, "image_id", "category_id", "bbox"
        )
        about = f"{path}: annotation {annotation.get('id')!r}"
        _check_id(path, "an annotation", image, "image_id")
        _check_id(path, "an annotation", category, "category_id")
        if image not in images:
            raise ValueError(
                f"{about} has image_id {image!r}, which no image has{_other_kind(image, images)}; "
                "correct or remove it"
            )
        if category not in names:
            raise ValueError(
                f"{about} of {images[image]['file_name']} has category_id {category!r}, which is "
                f"not among the categories {first_names([repr(each) for each in names])}"
                f"{_other_kind(category, names)}; correct it, or add the category"
            )
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise ValueError(f"{about} has bbox {box!r:.200}; it must be [x, y, width, height]")
        if annotation.get("iscrowd", 0) not in (0, 1):  # "0" would be true
            raise ValueError(
                f"{about} has iscrowd {annotation['iscrowd']!r:.100}; it must be 0 or 1"
            )
        grouped[image].append(annotation)
    return CocoFile(path, names, images, grouped)


def _get(path: Path, kind: str, item: object, *keys: str) -> list[Any]:
    if not isinstance(item, Mapping) or any(key not in item for key in keys):
        shown = repr(item)[:100]
        raise ValueError(
            f"{path}: each {kind} must have {list(keys)}, got {shown}; add the missing ones"
        )
    return [item[key] for key in keys]


def _other_kind(number: object, known: Collection[object]) -> str:
    """Return a hint where an id is text and known as a number, or the other way round."""
    other = next((each for each in known if str(each) == str(number)), None)
    return "" if other is None else f" ({other!r} is known, but text and numbers differ)"


def _check_id(path: Path, item: str, number: object, key: str = "id") -> None:
    if isinstance(number, bool) or not isinstance(number, (int, float, str)):
        raise ValueError(
            f"{path}: {item} has {key} {number!r:.100}; it must be a whole number, or text"
        )


def _is_number(value: object) -> bool:
    # JSON has integers of any length, of which no float holds the largest.
    return isinstance(value, (int, float)) and not (isinstance(value, int) and abs(value) > 2**53)


def in_order(category: tuple[int, str]) -> tuple[bool, int]:
    """Sort ids that are numbers before those that are text."""
    return isinstance(category[0], str), category[0]


def size_of(coco: CocoFile, image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return height and width by the annotations; None if they are missing or 0.

    Raises:
        ValueError: If they are not numbers.
    """
    sides = image.get("height"), image.get("width")
    try:
        height, width = (int(side or 0) for side in sides)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{coco.path}: the image {image['file_name']} has height and width {sides}; they must "
            "be whole numbers of pixels"
        ) from error
    return (height, width) if height and width else None
