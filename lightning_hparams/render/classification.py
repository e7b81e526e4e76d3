"""Draw an image with its true class, prediction and probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .colors import PAPER, Color, Picture, as_color, palette
from .images import panel_size, to_rgb
from .text import LINE, Entry, shortened, text_width, write
from .truth import truth_ground, truth_picture

__all__ = ["classification_picture", "classification_truth"]

# Okabe & Ito's bluish green and vermilion, distinct under all common colour blindness. The frame of
# a wrong prediction is also dashed, like wrong boxes in detection pictures.
_RIGHT, _WRONG, _OTHER = (0, 158, 115), (213, 94, 0), (150, 150, 150)
_FRAME = 6
_DASH, _GAP = 16, 10


def classification_picture(
    image: Tensor,
    pred: Tensor,
    target: Tensor,
    class_names: Sequence[str],
    *,
    probs: Tensor | None = None,
    top_k: int = 3,
    caption: str = "",
    rgb: Sequence[int] = (0, 1, 2),
) -> Picture:
    """Draw an image, framed by correctness, above its most probable classes.

    Args:
        image: ``(I, H, W)``, as for :func:`to_rgb`.
        pred: Scalar class index, or ``(C,)`` of 0 and 1 for multilabel.
        target: Shaped like ``pred``; a class index outside 0..C-1 means unlabelled.
        class_names: C names.
        probs: ``(C,)`` in 0..1; None if unknown.
        top_k: Number of highest probabilities to show, plus that of the true class if it is not
            among them. For multilabel, up to ``top_k + 1`` wrong or true labels are added.
        caption: Line of text above the picture.
        rgb: Channels to show.

    Returns:
        ``(H', W', 3)``.
    """
    size = panel_size(image.shape[-2], image.shape[-1])
    (ground,) = to_rgb(image[None], rgb, size)
    true, guessed = _labels(target), _labels(pred)
    is_right: bool | None = true == guessed
    if all(0 <= label < len(class_names) for label in true):
        texts = [f"true: {_names(true, class_names)}"]
    else:
        is_right, true, texts = None, [], ["true: unlabelled"]
    rows = _rows(probs, true, guessed, top_k)
    if not is_right and (probs is None or pred.ndim):
        texts.append(f"predicted: {_names(guessed, class_names)}")
    width = max(size[1] + 2 * _FRAME, 200)
    top = LINE * bool(caption)
    below = top + size[0] + 2 * _FRAME + 2
    lines = len(texts) + len(rows)
    canvas = np.full((below + LINE * lines, width, 3), PAPER[0], np.uint8)
    write(canvas, shortened(caption, width - 4), 0, 1)
    framed = _in_frame(ground, is_right)
    left = (width - framed.shape[1]) // 2
    canvas[top : top + len(framed), left : left + framed.shape[1]] = framed
    for row, text in enumerate(texts):
        write(canvas, shortened(text, width - 4), 0, below + row * LINE)
    for row, (label, prob) in enumerate(rows, start=len(texts)):
        color = _OTHER
        if is_right is not None:
            color = _RIGHT if label in true else _WRONG if label in guessed else _OTHER
        bar = canvas[below + row * LINE : below + (row + 1) * LINE]
        _draw_bar(bar, class_names[label], prob, color)
    return canvas


def classification_truth(
    image: Tensor,
    target: Tensor,
    class_names: Sequence[str],
    *,
    caption: str = "",
    colors: Picture | None = None,
) -> Picture:
    """Draw an image above its true classes.

    Args:
        image: ``(I, H, W)``, as for :func:`to_rgb`.
        target: Scalar class index, one outside 0..C-1 means unlabelled; or ``(C,)`` of 0 and 1, or
            of shares, as of mixed images.
        class_names: C names.
        caption: Line of text above the picture.
        colors: ``(C, 3)``; None for :func:`palette`.

    Returns:
        ``(H', W', 3)``.
    """
    colors = palette(len(class_names)) if colors is None else colors
    labels = _labels(target)
    if not target.ndim and not 0 <= labels[0] < len(class_names):
        entries = [Entry(PAPER, "unlabelled", "text")]
    else:
        shares = [float(target[label]) if target.ndim else 1.0 for label in labels]
        entries = [
            Entry(as_color(colors[label]), class_names[label] + f" {share:.2f}" * (share != 1))
            for label, share in zip(labels, shares, strict=True)
        ] or [Entry(PAPER, "no label", "text")]
    return truth_picture(truth_ground(image), entries, caption)


def _labels(value: Tensor) -> list[int]:
    labels: list[int] = (value > 0).nonzero().flatten().tolist() if value.ndim else [int(value)]
    return labels


def _names(labels: Sequence[int], names: Sequence[str]) -> str:
    return ", ".join(names[label] for label in labels) or "none"


def _rows(
    probs: Tensor | None, true: Sequence[int], guessed: Sequence[int], top_k: int
) -> list[tuple[int, float]]:
    """Labels and probabilities to show: the highest, then wrong labels, then true ones."""
    if probs is None:
        return []
    values = probs.nan_to_num(-1.0).tolist()
    highest = sorted(range(len(values)), key=lambda label: -values[label])[:top_k]
    shown = list(dict.fromkeys([*highest, *sorted({*true} ^ {*guessed}), *true]))[: 2 * top_k + 1]
    return [(label, float(probs[label])) for label in shown]


def _draw_bar(row: Picture, name: str, prob: float, color: Color) -> None:
    """Draw a bar proportional to the probability, with class name and value on it."""
    width = row.shape[1]
    pale = np.array([round(255 - (255 - part) * 0.45) for part in color], np.uint8)
    value = f"{prob:.2f}"
    write(row, shortened(name, width - 60), 7, 1)
    write(row, value, width - 8 - text_width(value), 1)
    # The text is dark on light, so the minimum with the bar keeps both visible.
    length = 0 if math.isnan(prob) else round(prob * (width - 4))
    bar = row[2:-2, 2 : 2 + max(length, 2)]
    np.minimum(bar, pale, out=bar)
    bar[:, :3] = color


def _in_frame(ground: Picture, is_right: bool | None) -> Picture:
    height, width = (side + 2 * _FRAME for side in ground.shape[:2])
    framed = np.empty((height, width, 3), np.uint8)
    framed[:] = _OTHER if is_right is None else _RIGHT if is_right else _WRONG
    if is_right is False:
        for across in np.arange(width)[np.arange(width) % (_DASH + _GAP) >= _DASH]:
            framed[:, across] = PAPER
        gaps = np.arange(height) % (_DASH + _GAP) >= _DASH
        framed[gaps, :_FRAME] = PAPER
        framed[gaps, -_FRAME:] = PAPER
        framed[~gaps, :_FRAME] = _WRONG
        framed[~gaps, -_FRAME:] = _WRONG
    framed[_FRAME:-_FRAME, _FRAME:-_FRAME] = ground
    return framed
