"""Colours of classes and errors, distinct under all common colour blindness."""

from __future__ import annotations

import colorsys
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..checks import in_range

__all__ = ["ERROR_COLORS", "INK", "MARGIN", "PAPER", "Color", "Picture", "as_color", "palette"]

Picture: TypeAlias = npt.NDArray[np.uint8]
Color: TypeAlias = tuple[int, int, int]

# Okabe & Ito's colours with Paul Tol's indigo in place of black (Color Universal Design, 2008;
# SRON/EPS/TN/09-002, 2021), distinct under all common colour blindness. Blue and orange are second
# and third, since the first class is often the background. Each further colour maximizes the CIELAB
# distance to all before it, when blended over black, grey and white as `overlay` does.
_BASE: list[Color] = [
    (0, 158, 115), (86, 180, 233), (230, 159, 0), (204, 121, 167), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (51, 34, 136), (51, 51, 17), (221, 238, 187),
    (119, 0, 0), (85, 119, 0), (0, 255, 255), (136, 0, 85), (255, 170, 136),
    (153, 153, 255), (136, 255, 170), (68, 51, 85), (255, 221, 255), (51, 119, 119),
]  # fmt: skip
_GOLDEN = 0.618034  # steps by the golden ratio spread any number of hues

# Red and blue differ in every common colour blindness; amber differs from both in brightness.
ERROR_COLORS: dict[str, Color] = {
    "false positive": (220, 50, 47),
    "missed": (38, 110, 255),
    "wrong class": (255, 190, 0),
    "ignored": (128, 128, 128),
}

INK, PAPER = (25, 25, 25), (250, 250, 250)
MARGIN = 6  # between panels, in pixels


def palette(num_classes: int) -> Picture:
    """Colours of the classes, ``(C, 3)``; a class index has the same colour in every run.

    >>> palette(2).tolist()
    [[0, 158, 115], [86, 180, 233]]
    """
    in_range("num_classes", num_classes, 1)
    colors = list(_BASE[:num_classes])
    for index in range(len(colors), num_classes):
        hue = (index * _GOLDEN) % 1
        light = (0.45, 0.62, 0.78)[index % 3]
        red, green, blue = colorsys.hls_to_rgb(hue, light, 0.7)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return np.array(colors, dtype=np.uint8)


def as_color(row: npt.NDArray[np.uint8]) -> Color:
    """Convert a row of a palette to a tuple for Pillow."""
    red, green, blue = (int(value) for value in row)
    return red, green, blue
