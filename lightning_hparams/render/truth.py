"""Shared by pictures of true values without a prediction: small, for a sheet of many."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .colors import PAPER, Picture
from .images import to_rgb
from .text import Entry, framed

__all__ = ["truth_ground", "truth_picture"]

_SIDE = 256  # of a panel in pixels
_MOST = 8  # entries below a panel


def truth_ground(image: Tensor, rgb: Sequence[int] = (0, 1, 2)) -> Picture:
    """The image with a longer side of at most 256 pixels; small ones enlarged by an integer."""
    height, width = image.shape[-2:]
    longest = max(height, width)
    scale = _SIDE // longest if longest <= _SIDE else _SIDE / longest
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    ground: Picture = to_rgb(image[None], rgb, size)[0]
    return ground


def truth_picture(panel: Picture, entries: Sequence[Entry], caption: str) -> Picture:
    """Draw a panel below its caption and above a legend of at most eight entries."""
    shown = list(entries)
    if len(shown) > _MOST:
        rest = len(shown) - _MOST + 1
        shown = [*shown[: _MOST - 1], Entry(PAPER, f"and {rest} more", "text")]
    return framed([panel], [caption], [], shown, "")
