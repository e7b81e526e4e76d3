"""Text in pictures: titles, legends and captions."""

from __future__ import annotations

import bisect
import functools
import importlib.util
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..notices import warn_user
from .colors import INK, MARGIN, PAPER, Color, Picture

__all__ = ["LINE", "Entry", "font", "framed", "phrase", "shortened", "text_width", "write"]

LINE = 20  # height of a line of text
_SWATCH = 12
_LONGEST = 4096  # letters measured and drawn
_NARROWEST = 200  # minimum panel width in pixels, so that titles, legend and key fit

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow searches the system's font folders for them. The last three have Chinese characters.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "arial.ttf", "Arial.ttf", "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc", "msyh.ttc",
)  # fmt: skip
# Letters that Unicode does not decompose into an ASCII letter and an accent.
_WRITTEN_OUT = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
     "đ": "d", "Đ": "D", "\u0131": "i"}
)  # fmt: skip
_NO_LETTER = "\U0010ffff"  # no font has it, so it is drawn as the glyph for missing letters


@dataclass(frozen=True)
class Entry:
    """A legend entry: a coloured square, or its outline, and a text; or the text alone."""

    color: Color
    text: str
    style: str = "filled"  # "filled", "solid", "dashed" or "text"


@functools.cache
def font() -> Font:
    """Pillow's built-in font, so that pictures look the same on every machine."""
    loaded = ImageFont.load_default(size=13)
    if isinstance(loaded, ImageFont.FreeTypeFont) and loaded.font_bytes:
        # Without Raqm, which not every Pillow build has, and which is slower.
        basic = ImageFont.Layout.BASIC
        return ImageFont.truetype(io.BytesIO(loaded.font_bytes), 13, layout_engine=basic)
    return loaded


@functools.lru_cache(maxsize=4096)
def _set(text: str) -> tuple[str, Font]:
    """The drawable form of a text, and a font for it.

    Pillow's font has little beyond ASCII. Other letters are drawn with a system font or, if none
    has them, without their accents. Folder names may be in decomposed Unicode, hence NFC.
    """
    text = unicodedata.normalize("NFC", text)
    fonts = [font()] if text.isascii() else [font(), *_other_fonts()]
    for plain in (text, _without_accents(text)):
        for one in fonts:
            if plain.isascii() or _has(one, plain):
                return plain, one
    _warn_of_letters()
    return text, max(fonts, key=lambda one: sum(_has(one, letter) for letter in text))


@functools.cache
def _warn_of_letters() -> None:
    """Warn once, since class names recur in every picture."""
    warn_user(
        "no font on this machine has all letters of the names in the pictures, so some are drawn "
        "as boxes; install a font that has them, such as DejaVu Sans or Noto Sans CJK"
    )


@functools.cache
def _other_fonts() -> list[Font]:
    bundled = importlib.util.find_spec("matplotlib")
    found: list[Font] = []
    names = list(_SYSTEM_FONTS)
    if bundled is not None and bundled.origin is not None:
        fonts = Path(bundled.origin).parent / "mpl-data" / "fonts" / "ttf"
        names.insert(0, str(fonts / "DejaVuSans.ttf"))
    for name in names:
        try:
            found.append(ImageFont.truetype(name, 12, layout_engine=ImageFont.Layout.BASIC))
        except OSError:
            continue
    return found


def _has(one: Font, text: str) -> bool:
    """Whether a font has all letters of a text."""
    return all(letter.isspace() or _has_letter(one, letter) for letter in set(text))


@functools.lru_cache(maxsize=16384)
def _has_letter(one: Font, letter: str) -> bool:
    return bytes(one.getmask(letter)) != bytes(one.getmask(_NO_LETTER))


def _ascent(one: Font) -> int:
    return one.getmetrics()[0] if isinstance(one, ImageFont.FreeTypeFont) else 0


def _without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.translate(_WRITTEN_OUT))
    return "".join(part for part in parts if not unicodedata.combining(part))


def text_width(text: str) -> int:
    """Width in pixels of a text drawn by :func:`phrase`, without margins.

    Only the first 4096 letters count, which are more than any picture has room for.
    """
    return sum(_word_width(word) + 4 for word in _words(text)) - 4


def phrase(text: str, ink: Color = INK, paper: Color = PAPER) -> Picture:
    """Draw text on a coloured background, ``(17, w, 3)``.

    Words are cached one by one: names and numbers combine in many ways, but are few.
    """
    return np.concatenate([_word(word, ink, paper) for word in _words(text)], axis=1)


def _words(text: str) -> list[str]:
    return " ".join(text[:_LONGEST].splitlines()).split(" ")


@functools.lru_cache(maxsize=4096)
def _word_width(word: str) -> int:
    drawn, with_font = _set(word)
    return round(with_font.getlength(drawn))


def write(canvas: Picture, text: str, left: int, top: int) -> None:
    """Write text into a picture, clipped to its bounds."""
    if text:
        tile = phrase(text)
        part = canvas[top : top + len(tile), left : left + tile.shape[1]]
        part[:] = tile[: part.shape[0], : part.shape[1]]


@functools.lru_cache(maxsize=4096)
def _word(text: str, ink: Color, paper: Color) -> Picture:
    tile = Image.new("RGB", (_word_width(text) + 4, 17), paper)
    drawn, with_font = _set(text)
    # Align the baselines of all fonts with that of Pillow's own.
    top = 0 if with_font is font() else _ascent(font()) - _ascent(with_font)
    ImageDraw.Draw(tile).text((2, top), drawn, fill=ink, font=with_font)
    return np.asarray(tile)


def shortened(text: str, width: int) -> str:
    """Truncate text to ``width`` pixels, with ``...`` at the end if it was cut."""
    # Cut first, since measuring thousands of letters is slow; a letter is at least a pixel wide.
    head = text[: max(4 * width, 0)]
    if len(head) == len(text) and text_width(text) <= width:
        return text
    fitting = bisect.bisect_right(
        range(1, len(head) + 1), width, key=lambda count: text_width(head[:count] + "...")
    )
    return head[:fitting] + "..."


def framed(
    panels: Sequence[Picture],
    titles: Sequence[str],
    legend: Sequence[Entry],
    key: Sequence[Entry],
    caption: str,
) -> Picture:
    """Arrange titled panels side by side, above a legend and the key of the last panel."""
    height, width = panels[0].shape[:2]
    slot = max(width, _NARROWEST)
    step = slot + MARGIN
    total = step * len(panels) - MARGIN
    lines = _lines(legend, step * (len(panels) - 1) - MARGIN)
    key_lines = _lines(key, slot)
    foot = LINE * (max(len(lines), len(key_lines)) + bool(caption)) + MARGIN
    canvas = np.full((LINE + height + foot, total, 3), PAPER[0], np.uint8)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        write(canvas, shortened(title, slot - 4), index * step, 2)
        canvas[LINE : LINE + height, index * step : index * step + width] = panel
    top = LINE + height + MARGIN // 2
    _write_lines(canvas, lines, 2, top)
    _write_lines(canvas, key_lines, step * (len(panels) - 1), top)
    write(canvas, shortened(caption, total - 4), 0, len(canvas) - LINE)
    return canvas


Line: TypeAlias = list[tuple[int, Entry]]  # offset of each entry


def _lines(entries: Sequence[Entry], width: int) -> list[Line]:
    """Wrap legend entries into lines of at most ``width`` pixels."""
    lines: list[Line] = [[]]
    offset = 0
    for entry in entries:
        if text_width(entry.text) > width - 24:
            entry = replace(entry, text=shortened(entry.text, width - 24))
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
            if entry.style == "text":
                write(canvas, entry.text, left + offset, y + 1)
                continue
            tile = _swatch(entry.color, entry.style)
            part = canvas[y + 3 : y + 3 + len(tile), left + offset : left + offset + len(tile)]
            part[:] = tile[:, : part.shape[1]]
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
