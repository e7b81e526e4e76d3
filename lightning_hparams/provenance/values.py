"""Values of any kind as what JSON, a table or a page holds."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import functools
import math
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import json_text
from .redaction import Json, redact

__all__ = ["flatten", "plain", "to_json", "to_markdown", "without_secrets"]

_SMALL = 32  # values of an array that are written


def to_json(value: Mapping[str, Any]) -> str:
    """What :func:`plain` makes, as text that every reader of JSON takes: NaN is ``"nan"`` there.

    >>> print(to_json({"loss": float("nan")}))
    {
      "loss": "nan"
    }
    """
    return json_text.write(value, indent=2)


def to_markdown(manifest: Mapping[str, Any]) -> str:
    """The manifest as text for a page; the patch and earlier manifests are only counted.

    It is a block of code, which no value can end: each stands in quotes on a line of its own.
    """
    shown, git = dict(manifest), dict(manifest.get("git") or {})
    if git.get("diff"):
        git["diff"] = f"{len(git['diff'].splitlines())} lines, see manifest.json"
    if earlier := shown.pop("earlier", None):
        shown["earlier"] = f"{len(earlier)}, see manifest.json"
    return f"```json\n{to_json({**shown, 'git': git})}\n```"


def plain(value: Any) -> Json:
    """Anything as what JSON holds, the same in every process: no addresses in memory.

    >>> plain({"lr": np.float32(0.5), "act": PurePath, "size": (3, None)})
    {'lr': 0.5, 'act': 'pathlib.PurePath', 'size': [3, None]}
    """
    match value:
        case np.generic():  # first, for some of them are numbers and texts of Python, too
            item = value.item()
            return str(item) if isinstance(item, np.generic) else plain(item)
        case None | bool() | int() | float() | str():
            # Subclasses of these, such as enumerations of strings, are written as their value.
            return value.value if isinstance(value, enum.Enum) else value
        case enum.Enum() | PurePath() | range() | complex() | torch.dtype() | torch.device():
            return str(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case argparse.Namespace():
            return plain(vars(value))
        case functools.partial():
            arguments = {"args": value.args} if value.args else {}
            return plain({"function": value.func, **arguments, **value.keywords})
        case set() | frozenset():
            return sorted((plain(item) for item in value), key=str)
        case list() | tuple() | deque():
            return [plain(item) for item in value]
        case Tensor() | np.ndarray():
            return _array(value)
        case _:
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                names = (field.name for field in dataclasses.fields(value))
                return {name: plain(getattr(value, name)) for name in names if hasattr(value, name)}
            if type(value).__name__ == "ListConfig":  # of OmegaConf
                return [plain(item) for item in value]
            return _name(value)


def without_secrets(
    values: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, bool | int | float | str]:
    """What :func:`flatten` makes of hyperparameters without what looks like a secret."""
    hidden = redact(plain(values), environ)
    assert isinstance(hidden, dict)
    return flatten(hidden)


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


def _array(value: Tensor | np.ndarray[Any, Any]) -> Json:
    """Values of a small one, such as the weights of classes; the shape of another."""
    if math.prod(value.shape) <= _SMALL:
        with suppress(RuntimeError, TypeError):  # one that is sparse, or has no values
            return plain(value.tolist())
    return f"{type(value).__name__}{tuple(value.shape)}"


def _name(value: Any) -> str:
    """The name of a class or function, or of the class of an object."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"
