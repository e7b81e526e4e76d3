"""Class names, in whichever form a module has them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import cast

from ..checks import type_name
from .names import unique_names, writable

__all__ = ["class_names"]


def class_names(given: object) -> list[str] | None:
    """Convert class names to a list in the order of the classes.

    Args:
        given: A sequence, an array, an ``Enum``, a dict from name to index or from index to name,
            or a function that returns one of these; None if there are no names.

    Returns:
        A unique string for each class; None for no names at all.

    Raises:
        TypeError: If the names have another form.
        ValueError: If the indices of a dict are not 0, 1, 2, ...

    >>> class_names({"road": 1, "sky": 0})
    ['sky', 'road']
    """
    if isinstance(given, type) and issubclass(given, enum.Enum):
        given = [member.name for member in given]
    elif callable(given):
        given = given()
    if given is None:
        return None
    if hasattr(given, "tolist"):  # arrays, tensors and pandas columns
        given = given.tolist()
    if isinstance(given, Mapping):
        given = _by_index(given)
    if isinstance(given, (str, bytes, set, frozenset)) or not isinstance(given, Iterable):
        raise TypeError(
            f"class names must be a list of names in the order of the classes, got "
            f"{type_name(given)}; a dict from name to index is accepted too"
        )
    return unique_names([writable(_text(name)) for name in given]) or None


def _by_index(given: Mapping[object, object]) -> list[object]:
    to_index = all(isinstance(index, Integral) for index in given.values())
    pairs = [(value, key) if to_index else (key, value) for key, value in given.items()]
    indices = [index for index, _ in pairs]
    if sorted(indices, key=str) != sorted(range(len(pairs)), key=str):
        raise ValueError(
            f"class names by index must have the indices 0..{len(pairs) - 1} once each, got "
            f"{indices[:10]}"
        )
    return [name for _, name in sorted(pairs, key=lambda pair: int(cast("int", pair[0])))]


def _text(name: object) -> str:
    if isinstance(name, (list, tuple, dict)):
        raise TypeError(f"a class name must be a string, got {name!r}")
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
