"""Strict JSON: NaN and infinity, which it cannot represent, are strings as Python spells them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["Json", "finite", "number", "read", "write"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# The first versions wrote the last three into range test results.
_NUMBERS = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}


_ESCAPE = "\\"


def write(value: object, *, indent: int | None = None, exact: bool = False) -> str:
    """A value as strict JSON, with NaN and infinity as strings.

    Args:
        value: The value.
        indent: Spaces that each level is indented by; None for one line.
        exact: Whether texts that spell such a number get a backslash, by which :func:`read` with
            the same argument tells them apart.

    >>> write({"loss": float("nan"), "range": (0.1, float("inf"))})
    '{"loss": "nan", "range": [0.1, "inf"]}'
    """
    if exact:
        value = _mapped(value, _escaped)
    return json.dumps(finite(value), indent=indent, allow_nan=False)


def read(text: str, *, exact: bool = False) -> Any:
    """Inverse of :func:`write`, except that tuples become lists; older spellings are read too.

    A string that spells NaN or infinity is read as that number.

    Args:
        text: The text.
        exact: Whether it was written with ``exact=True``.

    >>> read('{"loss": "nan", "edge": "Infinity"}')
    {'loss': nan, 'edge': inf}
    """
    found = _mapped(json.loads(text), number)
    return _mapped(found, _unescaped) if exact else found


def finite(value: object) -> object:
    """The value with strings for NaN and infinity, also inside dicts, lists and tuples."""
    return _mapped(value, _text)


def number(value: object) -> object:
    """NaN or infinity for a string that spells it, any other value unchanged."""
    return _NUMBERS.get(value, value) if isinstance(value, str) else value


def _text(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _escaped(value: object) -> object:
    spells = isinstance(value, str) and value.lstrip(_ESCAPE) in _NUMBERS
    return f"{_ESCAPE}{value}" if spells else value


def _unescaped(value: object) -> object:
    if isinstance(value, str) and value[:1] == _ESCAPE and value.lstrip(_ESCAPE) in _NUMBERS:
        return value[1:]
    return value


def _mapped(value: object, change: Callable[[object], object]) -> object:
    if isinstance(value, dict):
        return {name: _mapped(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return change(value)
