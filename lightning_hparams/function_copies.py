"""What functions hold besides their code: closures, defaults and attributes.

``copy`` takes a function for an atom and ``pickle`` for a name: a random generator in a closure is
then used by the original and the copy alike. Here a function is copied in two steps, empty and
then filled, since what it holds may lead back to it.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor, nn

__all__ = [
    "blank_copies",
    "cells_of",
    "fill_function",
    "function_state",
    "functions_in",
    "has_state",
    "is_filled",
]

_PLAIN = frozenset({int, float, bool, str, bytes, type(None), tuple})
_ATOMS = frozenset({int, float, bool, str, bytes, type(None)})
_LEAVES = (type, types.ModuleType, Tensor, np.ndarray, nn.Module)


def has_state(function: types.FunctionType) -> bool:
    """Whether a function holds anything that may change, besides the globals of its module."""
    held = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    return bool(
        function.__closure__ or vars(function) or any(type(value) not in _PLAIN for value in held)
    )


def function_state(function: types.FunctionType) -> tuple[Any, ...]:
    """Everything that it holds, for :func:`fill_function`; its cells' contents last."""
    held = tuple((cell.cell_contents,) if is_filled(cell) else () for cell in cells_of(function))
    plain = (function.__defaults__, function.__kwdefaults__, dict(vars(function)))
    return (*plain, function.__qualname__, function.__module__, held)


def fill_function(function: types.FunctionType, state: tuple[Any, ...]) -> None:
    """Give an empty copy what the original holds."""
    defaults, kwdefaults, attributes, qualname, module, held = state
    function.__defaults__, function.__kwdefaults__ = defaults, kwdefaults
    vars(function).update(attributes)
    function.__qualname__, function.__module__ = qualname, module
    for cell, content in zip(cells_of(function), held, strict=True):
        if content:
            cell.cell_contents = content[0]


def cells_of(function: types.FunctionType) -> tuple[types.CellType, ...]:
    """The cells of its closure."""
    return function.__closure__ or ()


def functions_in(values: Iterable[Any]) -> list[types.FunctionType]:
    """Functions that hold something, however deep in plain objects and containers."""
    found: list[types.FunctionType] = []
    seen: set[int] = set()
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if type(value) in _ATOMS or isinstance(value, _LEAVES) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, types.FunctionType):
            if has_state(value):
                found.append(value)
                waiting += function_state(value)
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set)):
            waiting += value
        elif isinstance(value, functools.partial):
            waiting += (value.func, *value.args, *value.keywords.values())
        else:
            waiting += getattr(value, "__dict__", {}).values()
    return found


def blank_copies(
    functions: Iterable[types.FunctionType],
) -> dict[int, tuple[types.FunctionType, types.FunctionType]]:
    """Functions that hold nothing as yet, in the place of others: ``id`` -> original, copy."""
    cells: dict[int, types.CellType] = {}
    made = {}
    for function in functions:
        closure = tuple(cells.setdefault(id(cell), types.CellType()) for cell in cells_of(function))
        own = types.FunctionType(
            function.__code__, function.__globals__, function.__name__, None, closure or None
        )
        made[id(function)] = (function, own)
    return made


def is_filled(cell: types.CellType) -> bool:
    """Whether a variable of a closure has a value yet."""
    try:
        _ = cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return False
    return True
