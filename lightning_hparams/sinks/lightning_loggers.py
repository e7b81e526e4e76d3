"""Shared parts of the sinks that write along with a Lightning logger."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor, nn

from ..internals import tag_prefix
from ..json_text import Json
from ..provenance import plain, redact, without_secrets
from ..tags import writable
from .base import Scalar

__all__ = ["ReplacedMethod", "hide_secrets", "logged_hparams", "with_prefix"]

Params: TypeAlias = dict[str, object] | Namespace

_OPAQUE = (bool, int, float, str, type, type(None), Tensor, np.ndarray, nn.Module)
_DEPTH = 4  # levels of nested attributes


def with_prefix(logger: Logger, tag: str) -> str:
    """Return a scalar's tag with the prefix of a Lightning logger."""
    return f"{tag_prefix(logger)}{tag}"


def hide_secrets(logger: Logger) -> None:
    """Make a Lightning logger redact secrets from the hyperparameters it writes."""
    if "log_hyperparams" not in vars(logger):
        vars(logger)["log_hyperparams"] = partial(_log_hyperparams, logger)


def logged_hparams(logger: TensorBoardLogger) -> dict[str, Scalar]:
    """Return the hyperparameters passed to a logger so far, flat and without secrets."""
    given = logger.hparams
    values = without_secrets(vars(given) if isinstance(given, Namespace) else given, os.environ)
    return {writable(k): writable(v) if isinstance(v, str) else v for k, v in values.items()}


def _log_hyperparams(logger: Logger, params: Params, *args: object, **kwargs: object) -> None:
    leaking: list[object] = []
    values = _nested(params, leaking)
    hidden: Any = redact(values, os.environ)
    changed = bool(leaking) or hidden != values
    type(logger).log_hyperparams(logger, hidden if changed else params, *args, **kwargs)


def _nested(value: object, leaking: list[object]) -> Any:
    """Convert containers to plain dicts and lists, to be searched for secrets.

    An object whose text or attributes hold a secret, which a YAML file would show in full, is
    converted as in the manifest and appended to ``leaking``.
    """
    if isinstance(value, Namespace) or (is_dataclass(value) and not isinstance(value, type)):
        value = getattr(value, "__dict__", value)
    if isinstance(value, Mapping):
        return {str(key): _nested(item, leaking) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nested(item, leaking) for item in value]
    if isinstance(value, _OPAQUE) or not _leaks(value):
        return value
    leaking.append(value)
    return plain(value)


def _leaks(value: object) -> bool:
    shown = _shown(value, _DEPTH)
    return bool(redact(shown, os.environ) != shown)


def _shown(value: object, depth: int) -> Json:
    """Return all that a dump of an object may show, as JSON; unreadable parts are omitted."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, _OPAQUE) or not depth:
        return None
    if isinstance(value, Mapping):
        return {str(key): _shown(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_shown(item, depth - 1) for item in value]
    shown: dict[str, Json] = {}
    with suppress(Exception):
        shown["its text"] = repr(value)
    slots = [getattr(kind, "__slots__", ()) for kind in type(value).__mro__]
    names = [name for names in slots for name in ([names] if isinstance(names, str) else names)]
    for name in (*names, *getattr(value, "__dict__", {})):
        with suppress(Exception):
            shown[name] = _shown(getattr(value, name), depth - 1)
    return shown


class ReplacedMethod:
    """Replaces a logger's method; a copy of the logger has the original method.

    Args:
        logger: The logger, whose attribute is set.
        name: Name of the method.
        function: The replacement, called with the same arguments.
    """

    def __init__(self, logger: Logger, name: str, function: Callable[..., object]) -> None:
        self._logger, self._name, self._function = logger, name, function
        setattr(logger, name, self)

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call the function."""
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Logger, str]]:
        return getattr, (self._logger, self._name)  # the copy has only its class's method yet
