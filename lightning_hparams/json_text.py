"""Strict JSON: NaN and infinity, for which it has no word, are texts as Python writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

__all__ = ["finite", "number", "read", "write"]

# The last three were written into results of range tests by the first versions.
_NUMBERS = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}


def write(value: Any, *, indent: int | None = None) -> str:
    """A value as strict JSON, NaN and infinity as texts.

    >>> write({"loss": float("nan"), "range": (0.1, float("inf"))})
    '{"loss": "nan", "range": [0.1, "inf"]}'
    """
    return json.dumps(finite(value), indent=indent, allow_nan=False)


def read(text: str) -> Any:
    """What :func:`write` was given, but for tuples, which are lists; older words are read too.

    A text that is the word for such a number is read as the number.

    >>> read('{"loss": "nan", "edge": "Infinity"}')
    {'loss': nan, 'edge': inf}
    """
    return _mapped(json.loads(text), number)


def finite(value: Any) -> Any:
    """With texts for NaN and infinity, in dicts, lists and tuples too."""
    return _mapped(value, _text)


def number(value: Any) -> Any:
    """The number that a text stands for if it is NaN or infinite, else the value as it is."""
    return _NUMBERS.get(value, value) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _mapped(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return change(value)
