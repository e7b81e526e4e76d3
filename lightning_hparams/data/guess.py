"""Infer the arguments of a data module from its mask files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .masks import Color, color_of, mask_colors, mask_values
from .pairs import Pair
from .pictures import open_picture, read_header

__all__ = ["Guess", "guess_arguments", "guess_classes", "voc_palette"]

_IGNORED = 255  # the usual value of pixels to ignore
_MOST = 64  # maximum number of different values that may be classes
_VOC_BORDER = (224, 224, 192)


class Guess(NamedTuple):
    """Inferred arguments of a data module, and the reasons for them."""

    arguments: dict[str, Any]
    reasons: list[str]


def guess_arguments(pairs: Sequence[Pair], given: Mapping[str, object]) -> Guess:
    """Infer the arguments for images and masks, apart from those that were given.

    Args:
        pairs: Files to read.
        given: Arguments chosen by the user.

    Raises:
        ValueError: If a file cannot be read or masks have too many values.
    """
    chosen = given.keys()
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_values, [mask for _, mask in pairs]))
        headers = list(pool.map(read_header, [image for image, _ in pairs]))
    colors = {color for some, in_color in found if in_color for color in some}
    values = {value for some, in_color in found if not in_color for value in some}
    if colors and not chosen & {"palette"}:
        # If one mask is in colour, grey ones are too: black is a colour.
        colors |= {value * 0x10101 for value in values}
        guess = _of_colors({color_of(code) for code in colors}, set(given))
    elif chosen & {"palette", "class_values"}:
        guess = Guess({}, [])
    else:
        guess = guess_classes(values, given)
    bands = {header.bands for header in headers if header.mode not in ("P", "PA")}
    if "in_channels" not in chosen and bands == {1} and all(h.mode != "P" for h in headers):
        guess.arguments["in_channels"] = 1
        guess.reasons.append("images are grey: in_channels=1")
    elif "in_channels" not in chosen and len(bands) == 1 and not bands & {1, 3, 4}:
        guess.arguments["in_channels"] = bands.pop()
        guess.reasons.append(f"images have {guess.arguments['in_channels']} bands")
    return guess


def guess_classes(values: set[int], given: Mapping[str, object]) -> Guess:
    """Infer the arguments for masks with these values, apart from those that were given.

    >>> guess_classes({0, 255}, {}).arguments
    {'task': 'binary'}
    >>> guess_classes({0, 1, 2, 7, 255}, {}).arguments
    {'ignore_index': 255, 'num_classes': 8}
    >>> guess_classes({0, 100, 200}, {}).arguments
    {'num_classes': 3, 'class_values': {0: 0, 100: 1, 200: 2}}
    >>> guess_classes({0, 1, 2, 3}, {"ignore_index": 3}).arguments
    {'num_classes': 3}

    Raises:
        ValueError: If there are too many values to be classes.
    """
    chosen = given.keys()
    guess = Guess({}, [])
    if len(values) > _MOST + 1:
        raise ValueError(
            f"the masks have {len(values)} different values, too many for classes: smooth edges "
            "or a lossy format (JPEG, WebP) add values; save masks as PNG, without smoothing"
        )
    if values <= {0, _IGNORED} and _count(given) in (None, 2) and "ignore_index" not in chosen:
        if "task" not in chosen:
            guess.arguments["task"] = "binary"
            guess.reasons.append("masks have values 0 and 255: task=binary")
        elif given["task"] != "binary":
            guess.arguments["class_values"] = {0: 0, _IGNORED: 1}
            if _count(given) is None:
                guess.arguments["num_classes"] = 2
        return guess
    values = values - {given.get("ignore_index")}
    rest = values - {_IGNORED}
    dense = bool(rest) and max(rest) < 2 * len(rest) + 8
    if _IGNORED in values and dense and "ignore_index" not in chosen:
        guess.arguments["ignore_index"] = _IGNORED
        guess.reasons.append(f"masks have value 255 besides 0..{max(rest)}: ignore_index=255")
    elif _IGNORED in values and "ignore_index" not in chosen:
        rest = values
        dense = False
    if chosen & {"num_classes", "class_names"} or given.get("task") == "binary" or not rest:
        return guess
    count = max(rest) + 1 if dense else len(rest)
    guess.arguments["num_classes"] = max(count, 2)
    if dense:
        guess.reasons.append(f"masks have values up to {max(rest)}: num_classes={count}")
    else:
        listed = sorted(rest)
        guess.arguments["class_values"] = {value: index for index, value in enumerate(listed)}
        guess.reasons.append(f"masks have values {listed}: one class each, in this order")
    return guess


def _count(given: Mapping[str, object]) -> int | None:
    """Return the number of classes that was given, if any."""
    names, count = given.get("class_names"), given.get("num_classes")
    if isinstance(names, Sequence):
        return len(names)
    return count if isinstance(count, int) else None


def voc_palette(num_classes: int = 21) -> list[list[int]]:
    """Return the colours of Pascal VOC's classes: bits of the index, spread over the channels.

    >>> voc_palette(3)
    [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    colors = []
    for index in range(num_classes):
        color = [0, 0, 0]
        for bit in range(8):
            color[bit % 3] |= (index >> bit & 1) << 7 - bit // 3
        colors.append(color)
    return colors


def _of_colors(colors: set[Color], chosen: set[str]) -> Guess:
    if len(colors) > _MOST:
        raise ValueError(
            f"the masks have {len(colors)} different colours, too many for classes: smooth edges "
            "or a lossy format (JPEG, WebP) add colours; save masks as PNG, without smoothing"
        )
    known = [tuple(color) for color in voc_palette()]
    if colors <= {*known, _VOC_BORDER} and len(colors) > 2:
        palette = [list(color) for color in known]
        arguments: dict[str, Any] = {"palette": palette, "num_classes": len(palette)}
        if _VOC_BORDER in colors:
            arguments |= {"palette": [*palette, list(_VOC_BORDER)], "ignore_index": _IGNORED}
        reason = f"masks have the colours of Pascal VOC: num_classes={len(palette)}"
        if "class_names" in chosen or "num_classes" in chosen:
            arguments.pop("num_classes")
        return Guess(arguments, [reason])
    palette = [list(color) for color in sorted(colors)]
    arguments = {"palette": palette}
    if not chosen & {"class_names", "num_classes"}:
        arguments["class_names"] = [f"rgb {' '.join(map(str, color))}" for color in palette]
    return Guess(arguments, [f"masks have {len(palette)} colours: one class each"])


def _values(path: Path) -> tuple[set[int], bool]:
    """Return the values of a mask, and whether they are colours."""
    picture = open_picture(path)
    try:
        return set(np.unique(mask_values(picture)).tolist()), False
    except ValueError:
        if not picture.color:
            raise
        return set(np.unique(mask_colors(picture)).tolist()), True
