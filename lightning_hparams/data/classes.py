"""Normalise the user's description of the classes in mask files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ..checks import in_range, names_in, whole_number
from .masks import Color
from .pairs import first_names

__all__ = [
    "Palette",
    "alike_classes",
    "distinct_names",
    "plain_palette",
    "spelled_alike",
    "the_class_names",
    "the_class_values",
    "the_palette",
]

# As stored in a checkpoint: a list in the order of the classes or, if a class has several colours,
# the class of each colour as text.
Palette: TypeAlias = list[list[int]] | dict[str, int]


def the_class_names(
    class_names: Sequence[str] | None,
    num_classes: int | None,
    task: str,
    *,
    palette: object = None,
    class_values: object = None,
    ignore_index: int | None = None,
) -> list[str]:
    """Return the names of the classes, checked against their number.

    Without names and number, a multiclass task takes them from the palette or the class values.

    Raises:
        TypeError: If they are not a list of names.
        ValueError: If they do not match ``num_classes`` or the task.
    """
    if num_classes is not None:
        num_classes = whole_number("num_classes", num_classes)
    if class_names is None and num_classes is None and task != "binary":
        name, given = "palette", palette
        if palette is None:
            name, given = "class_values", class_values
        class_names, num_classes = _implied_classes(name, given, ignore_index)
    if class_names is None:
        if task == "binary":
            class_names = ["background", "foreground"]
        elif num_classes is None:
            raise ValueError("`class_names` or `num_classes` is needed: masks do not contain them")
        else:
            class_names = [f"class {index}" for index in range(num_classes)]
    names = names_in("class_names", class_names)
    if num_classes is not None and num_classes != len(names):
        raise ValueError(f"`num_classes` is {num_classes}, but class_names has {len(names)}")
    if task == "binary" and len(names) != 2:
        raise ValueError(f"a binary task has 2 classes, got class_names={names}")
    if len(set(names)) < len(names):
        raise ValueError(f"`class_names` must differ from each other, got {names}")
    in_range("num_classes", len(names), 2, 256, remedy="count the background too")
    return names


def distinct_names(class_names: Sequence[str] | None) -> list[str] | None:
    """Return the argument ``class_names`` of a data module that can find them itself.

    Raises:
        TypeError: If it is not a list of names.
        ValueError: If two are the same.
    """
    if class_names is None:
        return None
    names = names_in("class_names", class_names)
    if len(set(names)) < len(names):
        raise ValueError(f"`class_names` must differ from each other, got {names}")
    return names


def spelled_alike(name: str) -> str:
    """Return a name without what often differs by mistake: case, spaces, ``_`` and ``-``.

    >>> spelled_alike("Traffic_light ") == spelled_alike("traffic light")
    True
    """
    return re.sub(r"[\s_]+|(?<=\w)-(?=\w)", " ", name.casefold()).strip()


def alike_classes(names: Sequence[str]) -> str | None:
    """Return a warning about names of classes that may be meant to be the same, or None.

    >>> alike_classes(["Cat", "cat", "dog"])
    "the classes ['Cat', 'cat'] are spelled almost alike; if they are one class, make them equal"
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(spelled_alike(name), []).append(name)
    # Classes of letters have both a and A.
    found = [str(some) for short, some in groups.items() if len(some) > 1 and len(short) > 1]
    if not found:
        return None
    return (
        f"the classes {first_names(found)} are spelled almost alike; if they are one class, make "
        "them equal"
    )


def the_class_values(
    given: object, class_names: Sequence[str], ignore_index: int | None
) -> dict[int, int] | None:
    """Return the class index of each value, from a dict or a list in the order of the classes.

    >>> the_class_values([0, 128, 255], ["ground", "road", "car"], None)
    {0: 0, 128: 1, 255: 2}
    >>> the_class_values({"0": "ground", "255": "car"}, ["ground", "car"], None)
    {0: 0, 255: 1}
    >>> the_class_values({"ground": 0, "car": 255}, ["ground", "car"], None)
    {0: 0, 255: 1}

    Raises:
        ValueError: For an unknown class.
        TypeError: If it is neither a dict nor a list.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        pairs = list(given.items())
        if all(isinstance(key, str) and not key.isdecimal() for key, _ in pairs):
            pairs = [(value, name) for name, value in pairs]  # the value of each class
    else:
        values = _listed("class_values", given)
        if len(values) != len(class_names) or len(set(map(str, values))) < len(values):
            raise ValueError(
                f"`class_values` needs a different value for each of the {len(class_names)} "
                f"classes, or a dict {{value: class}}; got {values}"
            )
        pairs = [(value, index) for index, value in enumerate(values)]
    found: dict[int, int] = {}
    for value, target in pairs:
        index = _class_index("class_values", target, class_names)
        found[_number("class_values", value)] = index
        if not 0 <= index < len(class_names) and index != ignore_index:
            raise ValueError(
                f"`class_values` maps {value} to {index}, but the classes are "
                f"0..{len(class_names) - 1}; give {{value: class}}, and ignore_index for pixels to "
                "ignore"
            )
    if not found:
        raise ValueError("`class_values` must not be empty; leave it out for class indices")
    return found


def the_palette(
    given: object, class_names: Sequence[str], ignore_index: int | None
) -> dict[Color, int] | None:
    """Return the class of each colour, from a list in the order of the classes, or a dict.

    A dict maps colours to classes (by index or name) or classes to colours. A colour is a sequence
    of red, green and blue in 0..255, or a string such as ``"255, 0, 0"`` or ``"#ff0000"``.

    >>> the_palette([[0, 0, 0], [255, 0, 0]], ["ground", "car"], None)
    {(0, 0, 0): 0, (255, 0, 0): 1}
    >>> the_palette({"car": "#ff0000", "ground": [0, 0, 0]}, ["ground", "car"], None)
    {(255, 0, 0): 1, (0, 0, 0): 0}

    Raises:
        ValueError: For an invalid or repeated colour, or a class without a colour.
        TypeError: If it is neither a dict nor a list.
    """
    if given is None:
        return None
    count = len(class_names)
    if isinstance(given, Mapping):
        pairs = [_color_and_class(key, value, class_names) for key, value in given.items()]
    else:
        colors = [_color(color) for color in _listed("palette", given)]
        indices = [*range(count), *([] if ignore_index is None else [ignore_index])]
        if len(colors) not in {count, len(indices)} or len(set(colors)) < len(colors):
            raise ValueError(
                f"`palette` needs {count} different colours (num_classes), or one more with "
                f"ignore_index; got {len(colors)}: {[list(color) for color in colors]}"
            )
        pairs = list(zip(colors, indices, strict=False))
    palette = dict(pairs)
    if len(palette) < len(pairs):
        raise ValueError(f"`palette` must not repeat a colour, got {given}; remove one")
    for color, index in palette.items():
        if not 0 <= index < count and index != ignore_index:
            raise ValueError(
                f"`palette` has {list(color)} for {index}, but the classes are 0..{count - 1}; "
                "use ignore_index for pixels to ignore"
            )
    missing = [name for index, name in enumerate(class_names) if index not in palette.values()]
    if missing:
        raise ValueError(f"`palette` has no colour for the classes {missing}; add it")
    return palette


def plain_palette(palette: Mapping[Color, int] | None) -> Palette | None:
    """Convert a palette to a form that JSON and YAML can represent.

    >>> plain_palette({(255, 0, 0): 1, (0, 0, 0): 0})
    [[0, 0, 0], [255, 0, 0]]
    >>> plain_palette({(0, 0, 0): 0, (255, 0, 0): 1, (250, 0, 0): 1})
    {'0, 0, 0': 0, '255, 0, 0': 1, '250, 0, 0': 1}
    """
    if palette is None:
        return None
    by_class = {index: color for color, index in sorted(palette.items(), key=lambda item: item[1])}
    if len(by_class) == len(palette) and [*by_class] == [*range(len(palette))]:
        return [list(color) for color in by_class.values()]
    return {", ".join(map(str, color)): index for color, index in palette.items()}


def _color_and_class(key: object, value: object, class_names: Sequence[str]) -> tuple[Color, int]:
    """Return the colour and the class index, which may be in either order."""
    first = _is_color(key) and key not in class_names
    color, target = (key, value) if first else (value, key)
    return _color(color), _class_index("palette", target, class_names)


def _is_color(value: object) -> bool:
    try:
        _color(value)
    except (TypeError, ValueError):
        return False
    return True


def _color(value: object) -> Color:
    parts: Any = value  # int() below raises if these are not numbers
    if isinstance(value, str):
        if re.fullmatch("#[0-9a-fA-F]{6}", value):
            parts = bytes.fromhex(value[1:])
        else:
            parts = [int(part) for part in re.findall(r"-?\d+", value)]
    try:
        numbers = [int(part) for part in parts]
        exact = all(number == part for number, part in zip(numbers, parts, strict=True))
    except (TypeError, ValueError):
        numbers, exact = [], False
    if len(numbers) != 3 or not exact or not all(0 <= number <= 255 for number in numbers):
        raise ValueError(f"`palette` needs [red, green, blue] of 0..255, got {value}")
    return numbers[0], numbers[1], numbers[2]


def _class_index(name: str, target: object, class_names: Sequence[str]) -> int:
    if isinstance(target, str) and target in class_names:
        return class_names.index(target)
    try:
        return _number(name, target)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must name classes by index or by one of {list(class_names)}, got {target!r}"
        ) from error


def _number(name: str, value: object) -> int:
    if isinstance(value, str):  # JSON has no numeric keys
        try:
            return int(value)
        except ValueError as error:
            raise ValueError(
                f"`{name}` is a dict {{value: class}} with whole numbers as keys, got {value!r}"
            ) from error
    return whole_number(name, value)


def _listed(name: str, given: object) -> list[object]:
    """Convert a list, tuple, array or tensor to a list; refuse strings and unordered sets."""
    if hasattr(given, "tolist"):
        given = given.tolist()
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise TypeError(f"`{name}` must be a list or a dict, got {given!r}")
    return list(given)


def _implied_classes(
    name: str, given: object, ignore_index: int | None
) -> tuple[list[str] | None, int | None]:
    """Return the names or the number of the classes in a palette or class values.

    >>> _implied_classes("palette", [[0, 0, 0], [1, 2, 3], [224, 224, 192]], 255)
    (None, 2)
    >>> _implied_classes("class_values", {"ground": 0, "car": 255}, None)
    (['ground', 'car'], None)

    Raises:
        ValueError: If the classes are not 0..n-1, or names and indices are mixed.
        TypeError: If it is neither a dict nor a list.
    """
    if given is None:
        return None, None
    if not isinstance(given, Mapping):
        count = len(_listed(name, given))
        # A list of colours ends with that of ignore_index, unless an earlier one has that index.
        void = ignore_index is not None and ignore_index not in range(count - 1)
        return None, max(count - 1, 2) if void and name == "palette" else count
    targets = [*dict.fromkeys(_targets(name, given))]
    names = [target for target in targets if isinstance(target, str) and not target.isdecimal()]
    indices = {_number(name, target) for target in targets if target not in names}
    counted = indices - {ignore_index}
    if names and not counted:
        return names, None
    count = max(counted, default=-1) + 1
    if names or not {*range(count)} - {ignore_index} <= counted or min(counted, default=0) < 0:
        raise ValueError(
            f"`{name}` must name every class, or number them 0, 1, 2, ..., if neither "
            f"`class_names` nor `num_classes` is given; got {targets}; give `num_classes`, or "
            "`ignore_index` for pixels to ignore"
        )
    return None, count


def _targets(name: str, given: Mapping[Any, object]) -> list[object]:
    """Return the classes in a dict, which are its keys or its values."""
    if name == "palette":
        return [value if _is_color(key) else key for key, value in given.items()]
    names = all(isinstance(key, str) and not key.isdecimal() for key in given)
    return [*given] if names else [*given.values()]
