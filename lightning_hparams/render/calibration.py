"""Reliability diagram: accuracy by confidence, above a histogram of the confidences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from .colors import INK, PAPER, Color, Picture
from .text import LINE, font, text_width

__all__ = ["calibration_picture"]

_SIDE, _STRIP = 320, 90  # side of the diagram, height of the histogram
_LEFT, _GAP = 52, 34
# Okabe & Ito's blue, vermilion and sky blue, distinct under all common colour blindness.
_RIGHT: Color = (0, 114, 178)
_ABOVE: Color = (213, 94, 0)
_BELOW: Color = (86, 180, 233)
_GRID: Color = (225, 225, 225)


def calibration_picture(counts: Tensor, error: float, *, title: str = "") -> Picture:
    """Draw accuracy by confidence, and the number of predictions in each bin.

    The height of a bar is the accuracy in its bin. If the model is overconfident, the gap up to its
    confidence is orange; if underconfident, the part above its confidence is light blue. See Guo et
    al., "On Calibration of Modern Neural Networks", 2017.

    Args:
        counts: ``(3, B)`` as returned by :class:`~lightning_hparams.metrics.CalibrationCounts`.
        error: Expected calibration error in 0..1.
        title: Line of text above the diagram.

    Returns:
        ``(H, W, 3)``.
    """
    right, total, sure = counts.detach().cpu().double().numpy()
    top = LINE * (1 + bool(title)) + 14
    strip = top + _SIDE + _GAP
    canvas = Image.new("RGB", (_LEFT + _SIDE + 16, strip + _STRIP + 3 * LINE + 6), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((4, 2), title, fill=INK, font=font())
    summary = f"accuracy, %; calibration error {100 * error:.1f} %"
    draw.text((4, top - LINE - 6), summary, fill=INK, font=font())
    for percent in (0, 25, 50, 75, 100):
        level = top + _SIDE - round(_SIDE * percent / 100)
        draw.line((_LEFT, level, _LEFT + _SIDE, level), fill=_GRID)
        _write_left(draw, str(percent), level)
    _draw_bars(draw, right, total, sure, top)
    draw.line((_LEFT, top + _SIDE, _LEFT + _SIDE, top), fill=INK)
    most = max(total.max(), 1.0)
    for index, count in enumerate(total):
        box = _column(index, len(total), strip, _STRIP, count / most)
        if count:
            draw.rectangle(box, fill=(150, 150, 150))
    draw.line((_LEFT, strip + _STRIP, _LEFT + _SIDE, strip + _STRIP), fill=INK)
    draw.text(
        (4, strip - LINE),
        f"predictions, {int(total.sum())} in total",
        fill=INK,
        font=font(),
    )
    for percent in (0, 50, 100):
        text = f"{percent}"
        across = _LEFT + _SIDE * percent // 100 - text_width(text) // 2
        draw.text((across, strip + _STRIP + 3), text, fill=INK, font=font())
    draw.text((_LEFT, strip + _STRIP + LINE + 1), "confidence, %", fill=INK, font=font())
    key = ((_ABOVE, "overconfident"), (_BELOW, "underconfident"))
    for across, (color, text) in zip((4, 180), key, strict=True):
        level = strip + _STRIP + 2 * LINE + 4
        draw.rectangle((across, level, across + 12, level + 12), fill=color)
        draw.text((across + 18, level - 1), text, fill=INK, font=font())
    return np.asarray(canvas)


def _draw_bars(
    draw: ImageDraw.ImageDraw,
    right: npt.NDArray[np.float64],
    total: npt.NDArray[np.float64],
    sure: npt.NDArray[np.float64],
    top: int,
) -> None:
    for index in range(len(total)):
        if not total[index]:
            continue
        accuracy, confidence = right[index] / total[index], sure[index] / total[index]
        low, high = sorted((accuracy, confidence))
        rest = _ABOVE if confidence > accuracy else _BELOW
        draw.rectangle(_column(index, len(total), top, _SIDE, high), fill=rest)
        draw.rectangle(_column(index, len(total), top, _SIDE, low), fill=_RIGHT)


def _column(index: int, count: int, top: int, height: int, share: float) -> tuple[int, ...]:
    """Corners of a bar on the baseline, one pixel narrower than its bin."""
    left, right = (_LEFT + _SIDE * edge // count for edge in (index, index + 1))
    right = max(right - 1, left + 1)
    return left + 1, top + height - round(height * share), right, top + height


def _write_left(draw: ImageDraw.ImageDraw, text: str, level: int) -> None:
    draw.text((_LEFT - 6 - text_width(text), level - LINE // 2 + 1), text, fill=INK, font=font())
