"""What is needed to repeat a run, and what differs between two."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

__all__ = ["flatten", "plain"]

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None


def plain(value: Any) -> Json:
    """Anything as what JSON holds, the same in every process: no addresses in memory.

    >>> plain({"lr": np.float32(0.5), "act": PurePath, "size": (3, None)})
    {'lr': 0.5, 'act': 'pathlib.PurePath', 'size': [3, None]}
    """
    match value:
        case None | bool() | int() | float() | str():
            # Subclasses of these, such as enumerations of strings, are written as their value.
            return value.value if isinstance(value, enum.Enum) else value
        case enum.Enum():
            return str(value)
        case PurePath():
            return str(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case set() | frozenset():
            return sorted((plain(item) for item in value), key=str)
        case list() | tuple() | range():
            return [plain(item) for item in value]
        case np.generic():
            return plain(value.item())
        case Tensor() | np.ndarray():
            if value.ndim == 0:
                return plain(value.item())
            return f"{type(value).__name__}{tuple(value.shape)}"
        case _:
            return _name(value)


def flatten(values: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Hyperparameters as a table has them: ``a.b`` for a nested name, and no ``None``.

    A column that is a number in one run and ``None`` in another would become text; where a value
    is not given, the cell is empty. Lists are written as text.

    >>> flatten({"lr": 0.1, "opt": {"betas": (0.9, 0.99), "wd": None}})
    {'lr': 0.1, 'opt.betas': '[0.9, 0.99]'}
    """
    flat: dict[str, bool | int | float | str] = {}
    for name, value in values.items():
        value = plain(value)
        match value:
            case None:
                pass
            case dict():
                for inner, item in flatten(value).items():
                    flat[f"{name}.{inner}"] = item
            case list():
                flat[name] = str(value)
            case _:
                flat[str(name)] = value
    return flat


def _name(value: Any) -> str:
    """The name of a class or function, or of the class of an object."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
