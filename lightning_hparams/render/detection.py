"""Draw true and predicted boxes, and which of them match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..boxes import Matches, confident, match_boxes
from ..outputs import Boxes
from .colors import ERROR_COLORS, PAPER, Color, Picture, as_color, palette
from .images import panel_size, to_rgb
from .text import Entry, framed, phrase, text_width
from .truth import truth_ground, truth_picture

__all__ = ["detection_picture", "detection_truth"]

_FALSE, _MISSED = ERROR_COLORS["false positive"], ERROR_COLORS["missed"]
_CROWD = ERROR_COLORS["ignored"]
_NO_BOX = Entry(PAPER, "no boxes", "text")
_DASH, _GAP = 6, 4  # pixels
_THICK = 2
_FEW = 10  # up to this many boxes, all labels are drawn


def detection_picture(
    image: Tensor,
    pred: Boxes,
    target: Boxes,
    class_names: Sequence[str],
    *,
    min_score: float = 0.3,
    max_boxes: int = 50,
    caption: str = "",
    rgb: Sequence[int] = (0, 1, 2),
    colors: Picture | None = None,
) -> Picture:
    """Draw true and predicted boxes side by side.

    Matched boxes have solid lines in the colour of their class; false positives and misses are
    dashed in the colours of :data:`ERROR_COLORS`. See
    :func:`~lightning_hparams.boxes.match_boxes`.

    Args:
        image: ``(I, H, W)``, as for :func:`to_rgb`.
        pred: Boxes with scores.
        target: Boxes.
        class_names: A name for each label.
        min_score: Predictions with a lower score are neither drawn nor counted.
        max_boxes: Maximum number of true boxes, of predictions (the most confident) and of misses
            to draw; all are counted.
        caption: Text before the counts below the picture.
        rgb: Channels to show.
        colors: ``(C, 3)``; None for :func:`palette`.

    Returns:
        ``(H', W', 3)``.
    """
    size = panel_size(image.shape[-2], image.shape[-1])
    (ground,) = to_rgb(image[None], rgb, size)
    colors = palette(len(class_names)) if colors is None else colors
    pred = confident(pred, min_score)
    matches = match_boxes(pred, target)
    scale = (size[1] / image.shape[-1], size[0] / image.shape[-2])
    truth = _drawable(target, ~matches.missed, class_names, colors, scale, _MISSED)
    guesses = _drawable(pred, ~matches.false, class_names, colors, scale, _FALSE)
    missed = [box for box in truth if box.dashed][:max_boxes]
    hits, false, lost = matches.counts
    counts = f"{hits} found, {false} false, {lost} missed"
    return framed(
        [_panel(ground, truth[:max_boxes]), _panel(ground, [*guesses[:max_boxes], *missed])],
        ["ground truth", f"prediction, score >= {min_score:g}"],
        _class_legend(pred, target, matches, class_names, colors),
        [Entry(_FALSE, "false positive", "dashed"), Entry(_MISSED, "missed", "dashed")],
        f"{caption}: {counts}" if caption else counts,
    )


def detection_truth(
    image: Tensor,
    target: Boxes,
    class_names: Sequence[str],
    *,
    caption: str = "",
    colors: Picture | None = None,
) -> Picture:
    """Draw true boxes alone; crowd regions are dashed.

    Args:
        image: ``(I, H, W)``, as for :func:`to_rgb`.
        target: Boxes.
        class_names: A name for each label.
        caption: Line of text above the picture.
        colors: ``(C, 3)``; None for :func:`palette`.

    Returns:
        ``(H', W', 3)``.
    """
    ground = truth_ground(image)
    colors = palette(len(class_names)) if colors is None else colors
    scale = (ground.shape[1] / image.shape[-1], ground.shape[0] / image.shape[-2])
    labels = target["labels"].cpu()
    crowd = target.get("crowd", torch.zeros(len(labels), dtype=torch.bool)).cpu().bool()
    drawn = _drawable(target, (~crowd).numpy(), class_names, colors, scale, _CROWD)
    entries = [
        Entry(as_color(colors[label]), f"{class_names[label]}: {count}")
        for label, count in zip(*_counted(labels[~crowd]), strict=True)
    ]
    if crowd.any():
        entries.append(Entry(_CROWD, f"crowd: {int(crowd.sum())}", "dashed"))
    return truth_picture(_panel(ground, drawn), entries or [_NO_BOX], caption)


def _counted(labels: Tensor) -> tuple[list[int], list[int]]:
    found, counts = labels.unique(return_counts=True)
    return found.tolist(), counts.tolist()


@dataclass(frozen=True)
class _Drawn:
    """A box in pixels of the panel."""

    corners: tuple[int, int, int, int]
    color: Color
    dashed: bool
    name: str
    score: str  # "" for a true box


def _drawable(
    boxes: Boxes,
    right: Sequence[bool] | np.ndarray[tuple[int], np.dtype[np.bool_]],
    names: Sequence[str],
    colors: Picture,
    scale: tuple[float, float],
    wrong: Color,
) -> list[_Drawn]:
    corners = boxes["boxes"].float().cpu() * torch.tensor([*scale, *scale])
    labels = boxes["labels"].tolist()
    scores = boxes["scores"].tolist() if "scores" in boxes else [None] * len(labels)
    return [
        _Drawn(
            (x1, y1, x2, y2),
            as_color(colors[label]) if is_right else wrong,
            not is_right,
            names[label],
            "" if score is None else f"{score:.2f}",
        )
        for (x1, y1, x2, y2), label, score, is_right in zip(
            corners.round().int().tolist(), labels, scores, right, strict=True
        )
    ]


def _panel(ground: Picture, boxes: Sequence[_Drawn]) -> Picture:
    """Draw boxes by ascending score, so that the most confident is on top, then the labels.

    Among many boxes, a label that is wider than its box or overlaps that of a more confident one
    loses its score or is left out.
    """
    picture = ground.copy()
    for box in reversed(boxes):
        _outline(picture, box)
    if len(boxes) <= _FEW:
        for box in reversed(boxes):
            _label(picture, box, f"{box.name} {box.score}".rstrip())
        return picture
    taken = np.zeros(picture.shape[:2], bool)
    for box in boxes:
        for text in (f"{box.name} {box.score}".rstrip(), box.name):
            fits = text_width(text) + 4 <= box.corners[2] - box.corners[0]
            if fits and not taken[_label_area(picture, box, text)].any():
                taken[_label_area(picture, box, text)] = True
                _label(picture, box, text)
                break
    return picture


def _outline(picture: Picture, box: _Drawn) -> None:
    height, width = picture.shape[:2]
    x1, x2 = (min(max(x, 0), width - 1) for x in box.corners[::2])
    y1, y2 = (min(max(y, 0), height - 1) for y in box.corners[1::2])
    if not box.dashed:
        inner = min(y1 + _THICK, y2 + 1), max(y2 + 1 - _THICK, y1)
        picture[y1 : inner[0], x1 : x2 + 1] = picture[inner[1] : y2 + 1, x1 : x2 + 1] = box.color
        left, right = min(x1 + _THICK, x2 + 1), max(x2 + 1 - _THICK, x1)
        picture[y1 : y2 + 1, x1:left] = picture[y1 : y2 + 1, right : x2 + 1] = box.color
        return
    across, down = np.arange(x1, x2 + 1), np.arange(y1, y2 + 1)
    across = across[(across - x1) % (_DASH + _GAP) < _DASH]
    down = down[(down - y1) % (_DASH + _GAP) < _DASH]
    for offset in range(_THICK):
        picture[min(y1 + offset, y2), across] = box.color
        picture[max(y2 - offset, y1), across] = box.color
        picture[down, min(x1 + offset, x2)] = box.color
        picture[down, max(x2 - offset, x1)] = box.color


def _label(picture: Picture, box: _Drawn, text: str) -> None:
    """Write a label above its box, or inside at the top edge of the image."""
    part = picture[_label_area(picture, box, text)]
    part[:] = _tile(box, text)[: part.shape[0], : part.shape[1]]


def _tile(box: _Drawn, text: str) -> Picture:
    return phrase(text, _ink_on(box.color), box.color)[1:-1]


def _label_area(picture: Picture, box: _Drawn, text: str) -> tuple[slice, slice]:
    height, width = _tile(box, text).shape[:2]
    left = min(max(box.corners[0], 0), max(picture.shape[1] - width, 0))
    top = box.corners[1] - height
    if top < 0:
        top = min(max(box.corners[1], 0), max(picture.shape[0] - height, 0))
    return slice(top, top + height), slice(left, left + width)


def _ink_on(color: Color) -> Color:
    """Black or white, whichever has more contrast (luma of Rec. 601)."""
    red, green, blue = color
    return (0, 0, 0) if 299 * red + 587 * green + 114 * blue > 140_000 else (255, 255, 255)


def _class_legend(
    pred: Boxes, target: Boxes, matches: Matches, names: Sequence[str], colors: Picture
) -> list[Entry]:
    """Found, true and false boxes of each class in the picture."""
    true, guessed = target["labels"].cpu().numpy(), pred["labels"].cpu().numpy()
    entries = []
    for label in sorted({*true.tolist(), *guessed.tolist()}):
        there = int((~matches.crowd)[true == label].sum())
        found = int(matches.found[true == label].sum())
        false = int(matches.false[guessed == label].sum())
        text = f"{names[label]}: {found} of {there}" + (f", {false} false" if false else "")
        entries.append(Entry(as_color(colors[label]), text))
    return entries
