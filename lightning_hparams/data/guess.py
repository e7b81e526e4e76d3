"""Infer the arguments of a data module from its mask files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..notices import warn_user
from .masks import Color, color_of, mask_colors, mask_values
from .pairs import Pair
from .pictures import Pixels, open_picture, read_header
from .strays import Stray, find_strays

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
    if any(in_color for _, in_color in found) and not chosen & {"palette"}:
        # If one mask is in colour, grey ones are too: black is a colour.
        counts = [
            {color_of(code if in_color else code * 0x10101): n for code, n in some.items()}
            for some, in_color in found
        ]
        strays = find_strays([(mask, each) for (_, mask), each in zip(pairs, counts, strict=True)])
        guess = _of_colors({color for each in counts for color in each}, set(given), strays)
    elif chosen & {"palette", "class_values"}:
        guess = Guess({}, [])
    else:
        rare = find_strays([(mask, n) for (_, mask), (n, _) in zip(pairs, found, strict=True)])
        guess = guess_classes({value for some, _ in found for value in some}, given, rare)
    bands = {header.bands for header in headers if header.mode not in ("P", "PA")}
    if "in_channels" not in chosen and bands == {1} and all(h.mode != "P" for h in headers):
        guess.arguments["in_channels"] = 1
        guess.reasons.append("images are grey: in_channels=1")
    elif "in_channels" not in chosen and len(bands) == 1 and not bands & {1, 3, 4}:
        guess.arguments["in_channels"] = bands.pop()
        guess.reasons.append(f"images have {guess.arguments['in_channels']} bands")
    return guess


def guess_classes(
    values: set[int],
    given: Mapping[str, object],
    strays: Mapping[int, Stray] | None = None,
) -> Guess:
    """Infer the arguments for masks with these values, apart from those that were given.

    Args:
        values: All values in the masks.
        given: Arguments chosen by the user.
        strays: The values that are too rare to be inferred as classes.

    >>> guess_classes({0, 255}, {}).arguments
    {'task': 'binary'}
    >>> guess_classes({0, 1, 2, 7, 255}, {}).arguments
    {'ignore_index': 255, 'num_classes': 8}
    >>> guess_classes({0, 100, 200}, {}).arguments
    {'num_classes': 3, 'class_values': {0: 0, 100: 1, 200: 2}}
    >>> guess_classes({0, 1, 2, 3}, {"ignore_index": 3}).arguments
    {'num_classes': 3}

    Raises:
        ValueError: If there are too many values to be classes, or if it is not clear whether a rare
            one is a class.
    """
    values = values - {given.get("ignore_index")}
    guess = _of_values(values, given)
    rare = {value: stray for value, stray in (strays or {}).items() if value in values}
    if len(values) <= 2 or not rare:
        return guess
    usual = values - set(rare)
    if "class_values" in guess.arguments or _IGNORED in usual <= {0, _IGNORED}:
        raise ValueError(_too_rare(usual, rare))
    if "num_classes" in guess.arguments and (doubtful := set(rare) - {_IGNORED}):
        warn_user(
            f"value {min(doubtful)}, which occurs {rare[min(doubtful)]}, becomes a class; if it is "
            f"not one, correct the mask, or pass ignore_index={min(doubtful)}"
        )
    return guess


def _of_values(values: set[int], given: Mapping[str, object]) -> Guess:
    """Infer the arguments from all values but that of ``ignore_index``."""
    chosen = given.keys()
    guess = Guess({}, [])
    if len(values) > _MOST + 1:
        raise ValueError(
            f"the masks have {len(values)} different values, too many for classes: smooth edges "
            "or a lossy format (JPEG, WebP) add values; save masks as PNG, without smoothing"
        )
    two = values <= {0, _IGNORED} and (_IGNORED in values or "ignore_index" not in chosen)
    if two and _count(given) in (None, 2):
        if "task" not in chosen:
            guess.arguments["task"] = "binary"
            guess.reasons.append("masks have values 0 and 255: task=binary")
        elif given["task"] != "binary":
            guess.arguments["class_values"] = {0: 0, _IGNORED: 1}
            if _count(given) is None:
                guess.arguments["num_classes"] = 2
        return guess
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


def _too_rare(usual: set[int], rare: Mapping[int, Stray]) -> str:
    first = min(rare)
    more = f" (so are {sorted(set(rare) - {first})})" if len(rare) > 1 else ""
    each = {value: index for index, value in enumerate([*sorted(usual), *sorted(rare)])}
    remedies = ["correct the masks"]
    harmless = len(rare) == 1 and first >= len(usual)  # otherwise it is the index of a class
    remedies += [f"pass ignore_index={first} to ignore these pixels"] if harmless else []
    if _IGNORED in usual and max(rare) < _IGNORED - 1 and max(rare) < _MOST:
        remedies.append(f"ignore_index={_IGNORED} if {_IGNORED} marks pixels to ignore")
    remedies.append(f"class_values={each} with the class of each value")
    return (
        f"the masks have value {first} {rare[first]}, too rare for a class beside "
        f"{sorted(usual)}{more}: {', or '.join(remedies)}"
    )


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


def _of_colors(
    colors: set[Color], chosen: set[str], strays: Mapping[Color, Stray] = MappingProxyType({})
) -> Guess:
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
    if strays and len(colors) > 2:
        color = min(strays)
        raise ValueError(
            f"the masks have colour {list(color)} {strays[color]}, too rare for a class: correct "
            "the masks, or pass palette= with the colour of each class"
        )
    palette = [list(color) for color in sorted(colors)]
    arguments = {"palette": palette}
    if not chosen & {"class_names", "num_classes"}:
        arguments["class_names"] = [f"rgb {' '.join(map(str, color))}" for color in palette]
    return Guess(arguments, [f"masks have {len(palette)} colours: one class each"])


def _values(path: Path) -> tuple[dict[int, int], bool]:
    """Return how often a mask has each value, and whether these are colours."""
    picture = open_picture(path)
    try:
        return _counts(mask_values(picture)), False
    except ValueError:
        if not picture.color:
            raise
        return _counts(mask_colors(picture)), True


def _counts(pixels: Pixels) -> dict[int, int]:
    values, counts = np.unique(pixels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
