"""Words in a picture: titles, legends, captions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .colors import INK, MARGIN, PAPER, Color, Picture

__all__ = ["LINE", "Entry", "font", "framed", "shortened", "word"]

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
    return ImageFont.load_default(size=13)


@functools.lru_cache(maxsize=4096)
def word(text: str, color: Color, paper: Color) -> Picture:
    """A word on a coloured ground, ``(h, w, 3)``; the same few are drawn again and again."""
    width = round(font().getlength(text)) + 5
    tile = Image.new("RGB", (width, 15), paper)
    ImageDraw.Draw(tile).text((3, -1), text, fill=color, font=font())
    return np.asarray(tile)


def shortened(text: str, width: int) -> str:
    """Text that fits ``width`` pixels, with dots where letters were left out."""
    if font().getlength(text) <= width:
        return text
    while text and font().getlength(text + "...") > width:
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
    canvas = Image.new("RGB", (total, LINE + height + foot), PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        draw.text((index * step + 2, 2), title, fill=INK, font=font())
        canvas.paste(Image.fromarray(panel), (index * step, LINE))
    top = LINE + height + MARGIN // 2
    _write(draw, lines, 2, top)
    _write(draw, key_lines, step * (len(panels) - 1), top)
    if caption:
        draw.text((2, canvas.height - LINE), shortened(caption, total - 4), fill=INK, font=font())
    return np.asarray(canvas)


Line: TypeAlias = list[tuple[int, Entry]]  # offset of each entry


def _lines(entries: Sequence[Entry], width: int) -> list[Line]:
    """Break a legend into lines that fit the width."""
    lines: list[Line] = [[]]
    offset = 0
    for entry in entries:
        length = 18 + round(font().getlength(entry.text)) + 12
        if offset and offset + length > width:
            lines.append([])
            offset = 0
        lines[-1].append((offset, entry))
        offset += length
    return lines


def _write(draw: ImageDraw.ImageDraw, lines: Sequence[Line], left: int, top: int) -> None:
    for row, line in enumerate(lines):
        y = top + row * LINE
        for offset, entry in line:
            x = left + offset
            _swatch(draw, x, y + 3, entry)
            draw.text((x + 18, y + 1), entry.text, fill=INK, font=font())


def _swatch(draw: ImageDraw.ImageDraw, x: int, y: int, entry: Entry) -> None:
    if entry.style == "filled":
        draw.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=entry.color, outline=INK)
        return
    draw.rectangle((x, y, x + _SWATCH, y + _SWATCH), outline=entry.color, width=2)
    if entry.style == "dashed":
        for gap in (3, 8):
            draw.rectangle((x + gap, y, x + gap + 1, y + _SWATCH), fill=PAPER)
            draw.rectangle((x, y + gap, x + _SWATCH, y + gap + 1), fill=PAPER)
