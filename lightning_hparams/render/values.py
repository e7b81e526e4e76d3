"""Predicted against true values as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from .colors import INK, PAPER, Picture
from .images import sheet
from .text import LINE, font, phrase, shortened, text_width, write

__all__ = ["values_picture"]

_SIDE = 256  # of a panel in pixels
_LEFT = 56  # for the numbers of the vertical axis
_COLUMNS = 4
_LIGHT, _DARK = np.array([158, 202, 225]), np.array([8, 48, 107])  # of ColorBrewer's Blues
_DIAGONAL = (213, 94, 0)


def values_picture(
    counts: Tensor, edges: Tensor, names: Sequence[str], *, max_values: int = 12
) -> Picture:
    """Draw how often values were predicted for true ones, a panel for each of D values.

    A perfect prediction lies on the diagonal. The darker a cell, the more samples it holds, on a
    logarithmic scale.

    Args:
        counts: ``(D, B, B)`` with true values as rows, as returned by
            :class:`~lightning_hparams.metrics.ValueCounts`.
        edges: ``(D, 2)``, the lowest and the highest value of the cells.
        names: D names.
        max_values: Maximum number of panels, the first ones.

    Returns:
        ``(H, W, 3)``.
    """
    cells, ends = counts.cpu().numpy(), edges.cpu().double().numpy()
    if len(names) != len(cells):
        raise ValueError(f"`names` needs {len(cells)} names, one for each value, got {names}")
    shown = range(min(len(cells), max_values))
    panels = [_panel(cells[n], ends[n], names[n]) for n in shown]
    picture = sheet(panels, min(len(panels), _COLUMNS))
    if len(cells) <= max_values:
        return picture
    canvas = np.full((picture.shape[0] + LINE, picture.shape[1], 3), PAPER[0], np.uint8)
    canvas[: picture.shape[0]] = picture
    write(canvas, f"and {len(cells) - max_values} more values", 2, picture.shape[0])
    return canvas


def _panel(counts: npt.NDArray[np.int64], ends: npt.NDArray[np.float64], name: str) -> Picture:
    top = 2 * LINE + 4
    canvas = Image.new("RGB", (_LEFT + _SIDE + 24, top + _SIDE + 2 * LINE + 6), PAPER)
    # Rows are true values, which run to the right; predicted ones run upwards.
    canvas.paste(Image.fromarray(_cells(counts.T[::-1])), (_LEFT, top))
    draw = ImageDraw.Draw(canvas)
    right, below = _LEFT + _SIDE - 1, top + _SIDE - 1
    draw.line((_LEFT, below, right, top), fill=_DIAGONAL)
    draw.rectangle((_LEFT, top, right, below), outline=INK)
    for share in (0.0, 0.5, 1.0):
        text = f"{ends[0] + share * (ends[1] - ends[0]):.4g}"
        across = _LEFT + round(share * (_SIDE - 1))
        width = text_width(text)
        draw.text((across - width // 2, below + 4), text, fill=INK, font=font())
        level = below - round(share * (_SIDE - 1))
        draw.text((max(_LEFT - width - 6, 0), level - 8), text, fill=INK, font=font())
    picture = np.array(canvas)
    write(picture, shortened(name, picture.shape[1] - 8), 4, 2)
    write(picture, f"predicted, {int(counts.sum())} samples", 4, LINE + 2)
    label = phrase("true")
    picture[-label.shape[0] :, right - label.shape[1] : right] = label
    return picture


def _cells(counts: npt.NDArray[np.int64]) -> Picture:
    """Colour the cells, enlarged to the side of a panel."""
    depth = np.log1p(counts) / np.log1p(max(counts.max(), 1))
    colors = _LIGHT + depth[..., None] * (_DARK - _LIGHT)
    colors[counts == 0] = PAPER
    image = Image.fromarray(colors.round().astype(np.uint8))
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
