"""Draw true masks alone, without a prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from torch import Tensor

from ..resize import resized
from .colors import ERROR_COLORS, PAPER, Picture, as_color, palette
from .text import Entry
from .truth import truth_ground, truth_picture

__all__ = ["segmentation_truth"]

_ALPHA = 0.4
_IGNORED = ERROR_COLORS["ignored"]


def segmentation_truth(
    image: Tensor,
    target: Tensor,
    class_names: Sequence[str],
    *,
    background: int | None = None,
    ignore_index: int | None = None,
    caption: str = "",
    colors: Picture | None = None,
) -> Picture:
    """Draw a true mask over its image, with the share of pixels of each class.

    Args:
        image: ``(I, H, W)``, as for :func:`to_rgb`.
        target: ``(H, W)`` class indices, or ``(C, H, W)`` of 0 and 1 for multilabel. Values outside
            0..C-1 are not painted.
        class_names: C names; at most 255.
        background: Index of the class not to paint.
        ignore_index: Value of ignored pixels, which are hatched.
        caption: Line of text above the picture.
        colors: ``(C, 3)``; None for :func:`palette`.

    Returns:
        ``(H', W', 3)``.
    """
    ground = truth_ground(image)
    colors = palette(len(class_names)) if colors is None else colors
    labels = [n for n in range(len(class_names)) if n != background]
    shares = _shares(target, labels)
    entries = [
        Entry(as_color(colors[label]), f"{class_names[label]} {share:.1%}")
        for label, share in zip(labels, shares, strict=True)
        if share
    ]
    shown = resized(target[None], ground.shape[:2], mask=True)[0].cpu().numpy()
    # A line no wider than a pixel of the image leaves thin objects visible.
    line = 2 if ground.shape[1] >= 2 * image.shape[-1] else 1
    picture = ground
    for label in labels:
        layer = shown == label if target.ndim == 2 else shown[label] == 1
        picture = _painted(picture, layer, colors[label], line)
    ignored = np.zeros(ground.shape[:2], bool)
    if ignore_index is not None:
        ignored = shown == ignore_index if target.ndim == 2 else (shown == ignore_index).any(0)
    if ignored.any():
        entries.append(Entry(_IGNORED, f"ignored {ignored.mean():.1%}"))
        picture = _hatched(picture, ignored)
    return truth_picture(picture, entries or [Entry(PAPER, "nothing", "text")], caption)


def _shares(target: Tensor, labels: Sequence[int]) -> list[float]:
    """The share of pixels of each label."""
    layers = [target == n if target.ndim == 2 else target[n] == 1 for n in labels]
    return [float(layer.float().mean()) for layer in layers]


def _painted(picture: Picture, layer: npt.NDArray[np.bool_], color: Picture, line: int) -> Picture:
    """Blend a colour over part of a picture, with an opaque line along its border."""
    size = 2 * line + 1
    inner = np.array(Image.fromarray(layer).convert("L").filter(ImageFilter.MinFilter(size))) > 0
    painted = picture.copy()
    painted[layer & ~inner] = color
    painted[inner] = (picture[inner] * (1 - _ALPHA) + color * _ALPHA).astype(np.uint8)
    return painted


def _hatched(picture: Picture, ignored: npt.NDArray[np.bool_]) -> Picture:
    rows, columns = np.ogrid[: ignored.shape[0], : ignored.shape[1]]
    hatched = picture.copy()
    hatched[ignored & ((rows + columns) % 8 < 2)] = _IGNORED
    return hatched
