"""Copies of functions with their state: closures, defaults and attributes.

``copy`` returns a function itself and ``pickle`` stores only its name, so the original and the copy
would share a random generator in its closure. Here a function is copied in two steps, created empty
and then filled, since its state may refer to the function itself.
"""

from __future__ import annotations

import copy
import functools
import random
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor, nn

__all__ = [
    "attributes_of",
    "blank_copies",
    "cells_of",
    "fill_function",
    "function_state",
    "functions_in",
    "has_state",
    "is_filled",
    "method_copies",
    "rebind_methods",
    "value_copy",
]

_PLAIN = frozenset({int, float, bool, str, bytes, type(None), tuple})
_ATOMS = frozenset({int, float, bool, str, bytes, type(None)})
_LEAVES = (type, types.ModuleType, Tensor, np.ndarray, nn.Module)
_BUILT_IN = (list, dict, set, random.Random, np.random.Generator, np.random.RandomState)
# The generators of `random.random` and `np.random.rand`, which functions share with all others.
_GLOBAL = [getattr(function, "__self__", None) for function in (random.random, np.random.rand)]


def has_state(function: types.FunctionType) -> bool:
    """Whether a function has state that may change, besides the globals of its module."""
    held = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    return bool(
        function.__closure__ or vars(function) or any(type(value) not in _PLAIN for value in held)
    )


def function_state(function: types.FunctionType) -> tuple[Any, ...]:
    """The state of a function, for :func:`fill_function`; the contents of its cells come last."""
    held = tuple((cell.cell_contents,) if is_filled(cell) else () for cell in cells_of(function))
    plain = (function.__defaults__, function.__kwdefaults__, dict(vars(function)))
    return (*plain, function.__qualname__, function.__module__, held)


def fill_function(function: types.FunctionType, state: tuple[Any, ...]) -> None:
    """Fill an empty copy with the state of its original."""
    defaults, kwdefaults, attributes, qualname, module, held = state
    function.__defaults__, function.__kwdefaults__ = defaults, kwdefaults
    vars(function).update(attributes)
    function.__qualname__, function.__module__ = qualname, module
    for cell, content in zip(cells_of(function), held, strict=True):
        if content:
            cell.cell_contents = content[0]


def cells_of(function: types.FunctionType) -> tuple[types.CellType, ...]:
    """The cells of a function's closure."""
    return function.__closure__ or ()


def functions_in(values: Iterable[Any]) -> list[types.FunctionType]:
    """Functions with state, at any depth in plain objects and containers."""
    return [one for one in _callables_in(values) if isinstance(one, types.FunctionType)]


def method_copies(values: Iterable[Any], memo: dict[int, Any]) -> None:
    """Add to the memo of a ``deepcopy`` what it does not copy: methods of built-in objects.

    Such as ``random.Random().random`` or ``list.append`` in a ``functools.partial``. Those of
    objects that cannot be copied are left out.
    """
    for method in _callables_in(values):
        if isinstance(method, types.BuiltinMethodType):
            tried = dict(memo)  # an error leaves half of a copy in it
            try:
                tried[id(method)] = value_copy(method, tried)
            except Exception:
                continue
            memo.update(tried)


def _callables_in(values: Iterable[Any]) -> list[types.FunctionType | types.BuiltinMethodType]:
    """Functions with state and methods of built-in objects, at any depth."""
    found: list[types.FunctionType | types.BuiltinMethodType] = []
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
        elif is_method_with_state(value):
            waiting.append(value.__func__)
        elif _is_method_of_built_in(value):
            found.append(value)
        else:
            waiting += getattr(value, "__dict__", {}).values()
    return found


def attributes_of(module: nn.Module) -> list[Any]:
    """Attribute values of a module and all its layers, except layers and tensors."""
    parts = (vars(part).items() for part in module.modules())
    left_out = ("_modules", "_parameters", "_buffers", "_trainer", "_fabric")
    return [value for items in parts for name, value in items if name not in left_out]


def blank_copies(
    functions: Iterable[types.FunctionType],
) -> dict[int, tuple[types.FunctionType, types.FunctionType]]:
    """Copies of functions, still without state: ``id`` -> original, copy."""
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
    except ValueError:  # raised for an empty cell
        return False
    return True


def is_method_with_state(value: object) -> bool:
    """Whether it is a method of one instance, bound to a function that has state of its own.

    LightningCLI makes ``configure_optimizers`` like this: a partial that holds the optimizer.
    """
    if not isinstance(value, types.MethodType):
        return False
    function = value.__func__
    if not isinstance(function, types.FunctionType):
        return True
    made = getattr(type(value.__self__), function.__name__, None)
    return made is not function and has_state(function)


def value_copy(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy, also of the function that a method with state is bound to.

    ``deepcopy`` copies only the object that a method is bound to, and nothing of a method of a
    built-in object, such as ``list.append``.
    """
    if is_method_with_state(value):
        return types.MethodType(
            copy.deepcopy(value.__func__, memo), copy.deepcopy(value.__self__, memo)
        )
    if _is_method_of_built_in(value):
        return getattr(copy.deepcopy(value.__self__, memo), value.__name__)
    return copy.deepcopy(value, memo)


def rebind_methods(originals: Iterable[nn.Module], memo: dict[int, Any]) -> None:
    """Bind the methods that modules have as attributes to the state of the modules' copies.

    Args:
        originals: The modules that were copied.
        memo: The memo of that ``deepcopy``.
    """
    for module in originals:
        copied = memo.get(id(module))
        if copied is None or copied is module:
            continue
        for name, value in vars(module).items():
            if is_method_with_state(value) or _is_method_of_built_in(value):
                vars(copied)[name] = value_copy(value, memo)


def _is_method_of_built_in(value: object) -> bool:
    """Whether it is bound to a container or a random generator; numpy 1's methods are built in."""
    if not isinstance(value, types.BuiltinMethodType):
        return False
    owner = value.__self__
    return isinstance(owner, _BUILT_IN) and all(owner is not one for one in _GLOBAL)
