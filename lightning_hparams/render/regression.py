"""Draw an image with its true and predicted values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .colors import INK, PAPER, Color, Picture
from .images import panel_size, to_rgb
from .text import LINE, Entry, shortened, text_width, write
from .truth import truth_ground, truth_picture

__all__ = ["regression_picture", "regression_truth"]

# Okabe & Ito's vermilion on grey, distinct under all common colour blindness.
_PREDICTED: Color = (213, 94, 0)
_TRUE: Color = (205, 205, 205)
_TRACK = 12  # height of a bar
_ROW = LINE + _TRACK + 4
_MIDDLE: Color = (120, 120, 120)


def regression_picture(
    image: Tensor,
    pred: Tensor,
    target: Tensor,
    names: Sequence[str] | None = None,
    *,
    max_values: int = 8,
    caption: str = "",
    rgb: Sequence[int] = (0, 1, 2),
) -> Picture:
    """Draw an image above its true and predicted values.

    Each value has a line of text (if there are several: ``name: true -> predicted``) above a grey
    bar for the true value with an orange mark at the prediction. Each bar has its own scale, since
    values may differ in unit.

    Args:
        image: ``(I, H, W)``, as for :func:`to_rgb`.
        pred: ``(D,)``.
        target: ``(D,)``; NaN means unknown.
        names: D names; None to number the values.
        max_values: Maximum number of values to show, those with the largest errors.
        caption: Line of text above the picture.
        rgb: Channels to show.

    Returns:
        ``(H', W', 3)``.
    """
    size = panel_size(image.shape[-2], image.shape[-1])
    (ground,) = to_rgb(image[None], rgb, size)
    guessed, true = pred.float().tolist(), target.float().tolist()
    shown = _furthest(guessed, true, max_values)
    rest = len(true) - len(shown)
    width = max(size[1], 256)
    top = LINE * bool(caption)
    height = top + size[0] + 4 + _ROW * len(shown) + LINE * bool(rest)
    canvas = np.full((height, width, 3), PAPER[0], np.uint8)
    write(canvas, shortened(caption, width - 4), 0, 1)
    left = (width - size[1]) // 2
    canvas[top : top + size[0], left : left + size[1]] = ground
    for row, index in enumerate(shown):
        level = top + size[0] + 4 + row * _ROW
        name = names[index] if names else (f"value {index}" if len(true) > 1 else "")
        write(canvas, _line(name, true[index], guessed[index], width - 4), 0, level)
        _draw_track(canvas[level + LINE : level + LINE + _TRACK], true[index], guessed[index])
    if rest:
        write(canvas, f"and {rest} with smaller errors", 0, len(canvas) - LINE)
    return canvas


def regression_truth(
    image: Tensor, target: Tensor, names: Sequence[str] | None = None, *, caption: str = ""
) -> Picture:
    """Draw an image above its true values.

    Args:
        image: ``(I, H, W)``, as for :func:`to_rgb`.
        target: ``(D,)``; NaN means unknown.
        names: D names; None to number the values.
        caption: Line of text above the picture.

    Returns:
        ``(H', W', 3)``.
    """
    entries = []
    for index, value in enumerate(target.float().tolist()):
        name = names[index] if names else (f"value {index}" if len(target) > 1 else "")
        known = "unknown" if math.isnan(value) else f"{value:.4g}"
        entries.append(Entry(PAPER, f"{name}: {known}" if name else known, "text"))
    return truth_picture(truth_ground(image), entries, caption)


def _furthest(pred: Sequence[float], target: Sequence[float], count: int) -> list[int]:
    """Indices of the values with the largest errors, in ascending order."""

    def off(index: int) -> float:
        distance = abs(pred[index] - target[index])
        if math.isnan(distance):
            return -math.inf if math.isnan(target[index]) else math.inf
        return distance

    return sorted(sorted(range(len(target)), key=lambda index: -off(index))[:count])


def _line(name: str, true: float, pred: float, width: int) -> str:
    """True and predicted value; in short form after the name if there are several."""
    if not name:
        known = "unknown" if math.isnan(true) else f"{true:.4g}"
        off = "" if math.isnan(pred - true) else f" ({pred - true:+.3g})"
        return shortened(f"true: {known}, predicted: {pred:.4g}{off}", width)
    known = "?" if math.isnan(true) else f"{true:.3g}"
    values = f": {known} -> {pred:.3g}"
    return shortened(name, max(width - text_width(values), width // 3)) + values


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the scale, which includes 0."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    return (low, high) if high > low else (0.0, 1.0)


def _draw_track(track: Picture, true: float, pred: float) -> None:
    low, high = _ends((true, pred))
    width: int = track.shape[1] - 8

    def across(value: float) -> int:
        value = min(max(value, low), high)
        share = (value - low) / (high - low)
        return 4 + round(share * (width - 1))

    zero = across(0.0)
    track[_TRACK // 2, 4 : 4 + width] = _MIDDLE
    if not math.isnan(true):
        start, end = sorted((zero, across(true)))
        track[2:-2, start : end + 1] = _TRUE
        track[1:-1, end if true >= 0 else start] = INK
    track[:, zero] = _MIDDLE
    if not math.isnan(pred):
        at = across(pred)
        track[:, max(at - 1, 0) : at + 2] = _PREDICTED
