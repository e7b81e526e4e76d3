"""Conversion of arbitrary values to JSON, table cells and Markdown."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import functools
import math
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import json_text
from ..json_text import Json
from .redaction import redact

__all__ = ["flatten", "plain", "to_json", "to_markdown", "without_secrets"]

_SMALL = 32  # arrays up to this many values are written in full


def to_json(value: Mapping[str, object]) -> str:
    """The result of :func:`plain` as strict JSON, where NaN is ``"nan"``.

    >>> print(to_json({"loss": float("nan")}))
    {
      "loss": "nan"
    }
    """
    return json_text.write(value, indent=2)


def to_markdown(manifest: Mapping[str, Any]) -> str:
    """The manifest as Markdown; only the sizes of the patch and of earlier manifests are given.

    A value cannot close the code block, since each is quoted on a line of its own.
    """
    shown, git = dict(manifest), _section(manifest.get("git"))
    if isinstance(diff := git.get("diff"), str) and diff:
        git["diff"] = f"{len(diff.splitlines())} lines, see manifest.json"
    if isinstance(earlier := shown.pop("earlier", None), list) and earlier:
        shown["earlier"] = f"{len(earlier)}, see manifest.json"
    return f"```json\n{to_json({**shown, 'git': git})}\n```"


def _section(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}


def plain(value: object) -> Json:
    """Any value as JSON values, identical in every process: without memory addresses.

    >>> plain({"lr": np.float32(0.5), "act": deque, "size": (3, None)})
    {'lr': 0.5, 'act': 'collections.deque', 'size': [3, None]}
    """
    match value:
        case np.generic():  # first: some of them subclass Python's numbers and strings
            item = value.item()
            return str(item) if isinstance(item, np.generic) else plain(item)
        case None | bool() | int() | float() | str():
            # Subclasses of these, such as string enumerations, are written as their value.
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
            if type(value).__name__ == "ListConfig" and isinstance(value, Iterable):  # OmegaConf
                return [plain(item) for item in value]
            return _name(value)


def without_secrets(
    values: Mapping[str, object], environ: Mapping[str, str]
) -> dict[str, bool | int | float | str]:
    """Hyperparameters with secrets hidden, then flattened (see :func:`flatten`)."""
    hidden = redact(plain(values), environ)
    assert isinstance(hidden, dict)
    return flatten(hidden)


def flatten(values: Mapping[str, object]) -> dict[str, bool | int | float | str]:
    """Flat hyperparameters for a table: ``a.b`` for a nested name, without ``None``.

    A column that is a number in one run and ``None`` in another would become text, so such a cell
    is left empty. Lists are written as text.

    >>> flatten({"lr": 0.1, "opt": {"betas": (0.9, 0.99), "wd": None}})
    {'lr': 0.1, 'opt.betas': '[0.9, 0.99]'}
    """
    flat: dict[str, bool | int | float | str] = {}
    for name, given in values.items():
        match value := plain(given):
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
    """The values of a small array, such as class weights; the shape of a larger one."""
    if math.prod(value.shape) <= _SMALL:
        with suppress(RuntimeError, TypeError):  # a sparse or meta tensor
            return plain(value.tolist())
    return f"{type(value).__name__}{tuple(value.shape)}"


def _name(value: object) -> str:
    """Qualified name of a class or function, or of an object's class."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"
