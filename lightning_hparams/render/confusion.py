"""A confusion matrix as a picture, without matplotlib."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from .colors import INK, PAPER, Picture
from .text import LINE, font, phrase, shortened, write

__all__ = ["confusion_picture"]

_LABEL = 120  # maximum width of a class name in pixels
_READABLE = 30  # minimum cell width for a number
_APART = 14  # minimum distance of two names in pixels
_SIDE = 800  # maximum side of the matrix in pixels; 1024 with the names
_RIGHT = 70  # pixels for the row totals


def confusion_picture(counts: Tensor, class_names: Sequence[str], *, title: str = "") -> Picture:
    """Draw counts by true class (rows) and predicted class (columns).

    Colour and number of a cell are its share of the row in percent, so the diagonal is the recall
    of each class. The total of each row is at its right, if totals are whole numbers. A class that
    does not occur has an empty row. With many classes only every n-th is labelled; beyond 800,
    neighbouring classes share a cell.

    Args:
        counts: ``(C, C)``, one row per true class.
        class_names: C names.
        title: Line of text above the matrix.

    Returns:
        ``(H, W, 3)``.
    """
    matrix = counts.detach().cpu().double().numpy()
    if matrix.ndim != 2 or matrix.shape != (len(class_names),) * 2:
        raise ValueError(
            f"counts must be ({len(class_names)}, {len(class_names)}) for {len(class_names)} class "
            f"names, got {tuple(matrix.shape)}"
        )
    group = -(-len(class_names) // _SIDE)
    matrix = _merged(matrix, group)
    totals = matrix.sum(1)
    shares = np.divide(
        matrix, totals[:, None], out=np.zeros_like(matrix), where=totals[:, None] > 0
    )
    classes = len(matrix)
    cell = min(_SIDE // classes, 44)
    every = -(-_APART // cell)
    names = {
        row: phrase(shortened(class_names[row * group], _LABEL)) for row in range(0, classes, every)
    }
    margin = max(name.shape[1] for name in names.values()) + 6
    left, top = LINE + margin, LINE * (1 + bool(title)) + margin
    cells = _cells(np.round(100 * shares).astype(np.intp), totals, cell)
    width = left + cells.shape[1] + _RIGHT
    canvas = np.full((top + len(cells) + 8, width, 3), PAPER[0], np.uint8)
    canvas[top : top + len(cells), left : left + cells.shape[1]] = cells
    write(canvas, shortened(title, width - 8), 2, 2)
    write(canvas, "predicted, %", left - 2, top - margin - LINE + 2)
    _paste(canvas, np.rot90(phrase("true")), 2, top)
    counted = bool((totals == totals.round()).all())
    for row, name in names.items():
        middle = row * cell + cell // 2 - 8
        _paste(canvas, name, left - 4 - name.shape[1], top + middle)
        _paste(canvas, np.rot90(name), left + middle, top - 2 - name.shape[1])
        if counted:
            write(canvas, _short(totals[row]), left + cells.shape[1] + 4, top + middle)
    return canvas


def _merged(matrix: npt.NDArray[np.float64], group: int) -> npt.NDArray[np.float64]:
    """Sum blocks of ``group`` neighbouring classes."""
    starts = np.arange(0, len(matrix), group)
    merged: npt.NDArray[np.float64] = np.add.reduceat(
        np.add.reduceat(matrix, starts, axis=0), starts, axis=1
    )
    return merged


def _paste(canvas: Picture, tile: Picture, left: int, top: int) -> None:
    """Paste a tile into a canvas, clipped to its bounds."""
    part = canvas[top : top + len(tile), left : left + tile.shape[1]]
    part[:] = tile[: len(part), : part.shape[1]]


def _cells(percent: npt.NDArray[np.intp], totals: npt.NDArray[np.float64], cell: int) -> Picture:
    """Draw the cells, with numbers if they are wide enough."""
    classes = len(percent)
    if cell >= _READABLE:
        table = _numbers(cell)
    else:
        table = np.broadcast_to(_shades()[:, None, None], (101, cell, cell, 3)).copy()
        if cell >= 8:
            table[:, -1:, :] = table[:, :, -1:] = np.uint8(235)
    tiles = table[percent]  # (C, C, cell, cell, 3)
    tiles[totals == 0] = 235
    drawn: Picture = tiles.transpose(0, 2, 1, 3, 4).reshape(classes * cell, classes * cell, 3)
    return drawn


@functools.lru_cache(maxsize=32)
def _numbers(cell: int) -> Picture:
    """A tile for each percentage, ``(101, cell, cell, 3)``; the tile of 0 has no number."""
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
    """White to dark blue with uniform lightness steps, readable in greyscale too."""
    stops = np.array(
        [(255, 255, 255), (190, 215, 235), (90, 155, 205), (15, 85, 155), (8, 45, 100)]
    )
    at = np.linspace(0, len(stops) - 1, 101)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _short(count: float) -> str:
    """Format a count in at most five characters: 950, 12k, 3.4M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        scaled = count / size
        # From 0.9995, three digits round up to 1; counts below 10k are written in full.
        if scaled >= (10 if unit == "k" else 0.9995):
            return f"{scaled:.3g}{unit}" if scaled < 999.5 else f"{scaled:.0f}{unit}"
    return f"{count:.0f}"
