"""Tree crowns in aerial photographs, which the package deepforest brings, cut into tiles.

The package need not be imported, nor what it requires: ``pip install --no-deps deepforest``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from PIL import Image

__all__ = ["photographs", "write_tiles"]

TILE = 400


class Photograph(NamedTuple):
    """An image and the crowns in it."""

    path: Path
    boxes: list[tuple[int, ...]]  # left, upper, right, lower


def photographs() -> list[Photograph]:
    """The photographs with boxes in Pascal VOC's format; none without the package."""
    spec = importlib.util.find_spec("deepforest")
    if spec is None or spec.submodule_search_locations is None:
        return []
    folder = Path(spec.submodule_search_locations[0]) / "data"
    found = []
    for path in sorted(folder.glob("*.xml")):
        root = ElementTree.parse(path).getroot()
        boxes = [
            tuple(int(each.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax"))
            for each in root.iter("bndbox")
        ]
        found.append(Photograph(folder / root.findtext("filename", ""), boxes))
    return found


def write_tiles(folder: Path) -> int:
    """Write tiles without overlap and their boxes in Pascal VOC's format; return how many.

    A crown belongs to the tile that has its centre, and ends at its border. What is left over
    beside the last whole tile is not used.
    """
    images, annotations = folder / "JPEGImages", folder / "Annotations"
    images.mkdir(parents=True)
    annotations.mkdir()
    count = 0
    for photograph in photographs():
        with Image.open(photograph.path) as opened:
            picture = opened.convert("RGB")
        for left in range(0, picture.width - TILE + 1, TILE):
            for upper in range(0, picture.height - TILE + 1, TILE):
                name = f"{count:03}"
                picture.crop((left, upper, left + TILE, upper + TILE)).save(images / f"{name}.png")
                root = _annotation(f"{name}.png", _inside(photograph.boxes, left, upper))
                ElementTree.ElementTree(root).write(annotations / f"{name}.xml")
                count += 1
    return count


def _inside(boxes: list[tuple[int, ...]], left: int, upper: int) -> Iterator[list[int]]:
    """Boxes of a tile, in its pixels."""
    for x1, y1, x2, y2 in boxes:
        if 0 <= (x1 + x2) / 2 - left < TILE and 0 <= (y1 + y2) / 2 - upper < TILE:
            yield [
                min(max(edge - start, 0), TILE)
                for edge, start in zip((x1, y1, x2, y2), (left, upper) * 2, strict=True)
            ]


def _annotation(filename: str, boxes: Iterator[list[int]]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = filename
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", TILE), ("height", TILE), ("depth", 3)):
        ElementTree.SubElement(size, name).text = str(value)
    for box in boxes:
        thing = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(thing, "name").text = "tree"
        corners = ElementTree.SubElement(thing, "bndbox")
        for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(corners, name).text = str(edge)
    return root
