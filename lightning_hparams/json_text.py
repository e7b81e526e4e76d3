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


def write(value: object, *, indent: int | None = None) -> str:
    """A value as strict JSON, with NaN and infinity as strings.

    >>> write({"loss": float("nan"), "range": (0.1, float("inf"))})
    '{"loss": "nan", "range": [0.1, "inf"]}'
    """
    return json.dumps(finite(value), indent=indent, allow_nan=False)


def read(text: str) -> Any:
    """Inverse of :func:`write`, except that tuples become lists; older spellings are read too.

    A string that spells NaN or infinity is read as that number.

    >>> read('{"loss": "nan", "edge": "Infinity"}')
    {'loss': nan, 'edge': inf}
    """
    return _mapped(json.loads(text), number)


def finite(value: object) -> object:
    """The value with strings for NaN and infinity, also inside dicts, lists and tuples."""
    return _mapped(value, _text)


def number(value: object) -> object:
    """NaN or infinity for a string that spells it, any other value unchanged."""
    return _NUMBERS.get(value, value) if isinstance(value, str) else value


def _text(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _mapped(value: object, change: Callable[[object], object]) -> object:
    if isinstance(value, dict):
        return {name: _mapped(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return change(value)
