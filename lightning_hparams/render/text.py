"""Words in a picture: titles, legends, captions."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .colors import INK, MARGIN, PAPER, Color, Picture

__all__ = ["LINE", "Entry", "font", "framed", "phrase", "shortened", "text_width", "write"]

LINE = 20  # height of a line of text
_SWATCH = 12


@dataclass(frozen=True)
class Entry:
    """A line of a legend: a coloured square, or the outline of one, and what it means."""

    color: Color
    text: str
    style: str = "filled"  # "filled", "solid" or "dashed"


@functools.cache
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that pictures look alike on every machine."""
    loaded = ImageFont.load_default(size=13)
    if isinstance(loaded, ImageFont.FreeTypeFont) and loaded.font_bytes:
        # Without Raqm, which a Pillow may have or not, and which takes longer over each word.
        basic = ImageFont.Layout.BASIC
        return ImageFont.truetype(io.BytesIO(loaded.font_bytes), 13, layout_engine=basic)
    return loaded


@functools.lru_cache(maxsize=4096)
def text_width(text: str) -> int:
    """Width of a text in pixels."""
    return round(font().getlength(text))


def phrase(text: str, ink: Color = INK, paper: Color = PAPER) -> Picture:
    """Words on a coloured ground, ``(17, w, 3)``.

    The words are kept, each by itself: names and numbers come in ever new pairs, but are few.
    """
    return np.concatenate([_word(word, ink, paper) for word in text.split(" ")], axis=1)


def write(canvas: Picture, text: str, left: int, top: int) -> None:
    """Write into a picture, as far as there is room."""
    if text:
        tile = phrase(text)
        place = canvas[top : top + len(tile), left : left + tile.shape[1]]
        place[:] = tile[: place.shape[0], : place.shape[1]]


@functools.lru_cache(maxsize=4096)
def _word(text: str, ink: Color, paper: Color) -> Picture:
    tile = Image.new("RGB", (text_width(text) + 4, 17), paper)
    ImageDraw.Draw(tile).text((2, 0), text, fill=ink, font=font())
    return np.asarray(tile)


def shortened(text: str, width: int) -> str:
    """Text that fits ``width`` pixels, with dots where letters were left out."""
    if text_width(text) <= width:
        return text
    while text and text_width(text + "...") > width:
        text = text[:-1]
    return text + "..."


def framed(
    panels: Sequence[Picture],
    titles: Sequence[str],
    legend: Sequence[Entry],
    key: Sequence[Entry],
    caption: str,
) -> Picture:
    """Panels side by side under their titles; below them the legend, and the key of the last."""
    height, width = panels[0].shape[:2]
    step = width + MARGIN
    total = step * len(panels) - MARGIN
    lines = _lines(legend, step * (len(panels) - 1) - MARGIN)
    key_lines = _lines(key, width)
    foot = LINE * (max(len(lines), len(key_lines)) + bool(caption)) + MARGIN
    canvas = np.full((LINE + height + foot, total, 3), PAPER[0], np.uint8)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        write(canvas, title, index * step, 2)
        canvas[LINE : LINE + height, index * step : index * step + width] = panel
    top = LINE + height + MARGIN // 2
    _write_lines(canvas, lines, 2, top)
    _write_lines(canvas, key_lines, step * (len(panels) - 1), top)
    write(canvas, shortened(caption, total - 4), 0, len(canvas) - LINE)
    return canvas


Line: TypeAlias = list[tuple[int, Entry]]  # offset of each entry


def _lines(entries: Sequence[Entry], width: int) -> list[Line]:
    """Break a legend into lines that fit the width."""
    lines: list[Line] = [[]]
    offset = 0
    for entry in entries:
        length = 18 + text_width(entry.text) + 12
        if offset and offset + length > width:
            lines.append([])
            offset = 0
        lines[-1].append((offset, entry))
        offset += length
    return lines


def _write_lines(canvas: Picture, lines: Sequence[Line], left: int, top: int) -> None:
    for row, line in enumerate(lines):
        y = top + row * LINE
        for offset, entry in line:
            tile = _swatch(entry.color, entry.style)
            place = canvas[y + 3 : y + 3 + len(tile), left + offset : left + offset + len(tile)]
            place[:] = tile[:, : place.shape[1]]
            write(canvas, entry.text, left + offset + 16, y + 1)


@functools.lru_cache(maxsize=1024)
def _swatch(color: Color, style: str) -> Picture:
    side = _SWATCH + 1
    tile = np.full((side, side, 3), color, np.uint8)
    if style == "filled":
        tile[[0, -1]] = tile[:, [0, -1]] = INK
        return tile
    tile[2:-2, 2:-2] = PAPER
    if style == "dashed":
        for gap in (3, 8):
            tile[gap : gap + 2] = tile[:, gap : gap + 2] = PAPER
    return tile
