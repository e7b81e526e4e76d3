"""Arguments common to the callbacks that draw samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from lightning import LightningModule

from ..checks import as_plain, in_range, names_in, numbers_in, whole_number
from ..notices import Notices
from ..samples import DrawOptions
from ..tags import class_names as names_of
from ._monitor import module_value

__all__ = ["DrawArguments", "check_channels", "check_classes", "draw_options"]


class DrawArguments(Protocol):
    """Arguments that a callback keeps under their names."""

    class_names: Sequence[str] | None
    class_colors: Sequence[Sequence[int]] | None
    ignore_index: int | None
    background: int | None
    rgb: Sequence[int]


def draw_options(
    given: DrawArguments, module: LightningModule, notices: Notices, *, min_score: float = 0.3
) -> DrawOptions:
    """Drawing options from the arguments of a callback, or else from the module."""
    ignore, colors, names = given.ignore_index, given.class_colors, None
    with notices.attempt("class_names"):
        names = names_of(given.class_names or module_value(module, "class_names"))
    return DrawOptions(
        class_names=names,
        ignore_index=module_value(module, "ignore_index") if ignore is None else ignore,
        background=given.background,
        rgb=given.rgb,
        min_score=min_score,
        colors=None if colors is None else np.array(colors, np.uint8),
        # Too few names in an argument are an error; those of the module are only looked at.
        on_missing_names=notices.about("class names") if given.class_names is None else None,
    )


def check_classes(
    names: Sequence[str] | None,
    colors: Sequence[Sequence[int]] | None,
    background: int | None,
) -> None:
    """Check class names, their colours and the index of the background."""
    if names is not None:
        names_in("class_names", names)
    plain = [] if colors is None else as_plain(colors)
    if not isinstance(plain, Sequence):
        raise ValueError(f"`class_colors` needs a colour for each class, got {colors}")
    for color in plain:
        if not _is_color(color):
            shown = tuple(color) if isinstance(color, list) else color
            raise ValueError(f"`class_colors` needs (red, green, blue), got {shown}")
        for part in color:
            whole_number("class_colors", part, 0, 255)
    if background is not None:
        whole_number("background", background, -1, remedy="-1 paints every class")


def check_channels(
    rgb: Sequence[int],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    value_range: Sequence[float] | None,
) -> None:
    """Check which channels are shown, and the value range of the images."""
    if not isinstance(as_plain(rgb), Sequence) or len(rgb) != 3:
        raise ValueError(f"`rgb` needs 3 channels, got {rgb}; repeat one three times for grey")
    for channel in rgb:
        whole_number("rgb", channel, 0)
    if (mean is None) != (std is None) or len(mean or []) != len(std or []):
        raise ValueError(
            f"`mean` and `std` must be given together, one value per channel, got {mean=}, {std=}"
        )
    for value in std or ():
        in_range("std", value, above=0.0)
    limits = [0.0, 1.0] if value_range is None else numbers_in("value_range", value_range)
    if len(limits) != 2 or limits[0] >= limits[1]:
        raise ValueError(
            f"`value_range` must be the lowest and highest value, got {value_range}; "
            "(0, 255) is usual"
        )


def _is_color(color: object) -> bool:
    return isinstance(color, Sequence) and not isinstance(color, str) and len(color) == 3
