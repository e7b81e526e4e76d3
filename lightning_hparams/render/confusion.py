"""A confusion matrix as a picture, without matplotlib."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from .colors import INK, PAPER, Color, Picture
from .text import LINE, font, shortened, text_width

__all__ = ["confusion_picture"]

_LABEL = 120  # longest name of a class, in pixels
_READABLE = 30  # a cell less wide has no room for a number
_SIDE = 640  # pixels that the cells of many classes share


def confusion_picture(counts: Tensor, class_names: Sequence[str], *, title: str = "") -> Picture:
    """Draw counts by true class (rows) and predicted class (columns).

    The colour of a cell, and the number in it, is its share of the row in percent: the diagonal is
    the recall of each class. The number of samples or pixels of a row stands at its right. A class
    that does not occur has an empty row.

    Args:
        counts: ``(C, C)``, rows of true classes.
        class_names: C names.
        title: A line above.

    Returns:
        ``(H, W, 3)``.
    """
    matrix = counts.detach().cpu().double().numpy()
    if matrix.ndim != 2 or matrix.shape != (len(class_names),) * 2:
        raise ValueError(
            f"counts must be ({len(class_names)}, {len(class_names)}) for {len(class_names)} class "
            f"names, got {tuple(matrix.shape)}"
        )
    totals = matrix.sum(1)
    percent = np.round(100 * matrix / np.maximum(totals, 1)[:, None]).astype(np.intp)
    classes = len(class_names)
    cell = min(max(_SIDE // classes, 4), 44)
    named = cell >= 14
    names = [shortened(name, _LABEL) for name in class_names]
    margin = max(text_width(name) for name in names) + 10 if named else 8
    cells = _cells(percent, totals, cell)
    top = LINE * (1 + bool(title)) + margin
    right = 70 if named else 8
    canvas = Image.new("RGB", (LINE + margin + cells.shape[1] + right, top + len(cells) + 8), PAPER)
    draw = ImageDraw.Draw(canvas)
    canvas.paste(Image.fromarray(cells), (LINE + margin, top))
    if title:
        draw.text((4, 2), title, fill=INK, font=font())
    draw.text((LINE + margin, top - margin - LINE + 2), "predicted, %", fill=INK, font=font())
    _write_upwards(canvas, "true", (2, top), INK)
    if named:
        for index, name in enumerate(names):
            middle = index * cell + cell // 2 - 8
            length = text_width(name)
            draw.text((LINE + margin - 6 - length, top + middle), name, fill=INK, font=font())
            draw.text(
                (LINE + margin + cells.shape[1] + 6, top + middle),
                _short(totals[index]),
                fill=INK,
                font=font(),
            )
            _write_upwards(canvas, name, (LINE + margin + middle, top - 4 - length), INK)
    return np.asarray(canvas)


def _cells(percent: npt.NDArray[np.intp], totals: npt.NDArray[np.float64], cell: int) -> Picture:
    """The coloured squares, each with its number if it is wide enough for one."""
    classes = len(percent)
    if cell >= _READABLE:
        table = _numbers(cell)
    else:
        table = np.broadcast_to(_shades()[:, None, None], (101, cell, cell, 3)).copy()
        table[:, -1:, :] = table[:, :, -1:] = np.uint8(235)
    tiles = table[percent]  # (C, C, cell, cell, 3)
    tiles[totals == 0] = 235
    drawn: Picture = tiles.transpose(0, 2, 1, 3, 4).reshape(classes * cell, classes * cell, 3)
    return drawn


@functools.lru_cache(maxsize=32)
def _numbers(cell: int) -> Picture:
    """A tile for each whole percentage, ``(101, cell, cell, 3)``; of nothing, no number."""
    tiles = []
    for value, shade in enumerate(_shades()):
        tile = Image.new("RGB", (cell, cell), tuple(int(part) for part in shade))
        draw = ImageDraw.Draw(tile)
        if value:
            ink = (255, 255, 255) if value > 50 else INK
            draw.text((cell // 2, cell // 2), str(value), fill=ink, font=font(), anchor="mm")
        draw.line((0, cell - 1, cell, cell - 1), fill=(235, 235, 235))
        draw.line((cell - 1, 0, cell - 1, cell), fill=(235, 235, 235))
        tiles.append(np.asarray(tile))
    return np.stack(tiles)


@functools.cache
def _shades() -> Picture:
    """White to dark blue, even in lightness, so that it reads in grey too."""
    stops = np.array(
        [(255, 255, 255), (190, 215, 235), (90, 155, 205), (15, 85, 155), (8, 45, 100)]
    )
    at = np.linspace(0, len(stops) - 1, 101)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _write_upwards(canvas: Image.Image, text: str, place: tuple[int, int], ink: Color) -> None:
    tile = Image.new("RGB", (text_width(text) + 4, LINE - 3), PAPER)
    ImageDraw.Draw(tile).text((1, 0), text, fill=ink, font=font())
    canvas.paste(tile.transpose(Image.Transpose.ROTATE_90), place)


def _short(count: float) -> str:
    """A count in at most five letters: 950, 12k, 3.4M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= limit:
            scaled = count / (1e3 if unit == "k" else limit)
            return f"{scaled:.3g}{unit}" if scaled < 1000 else f"{scaled:.0f}{unit}"
    return f"{count:.0f}"
