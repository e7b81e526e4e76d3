"""What sinks share that write beside a logger of Lightning."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..internals import tag_prefix
from ..provenance import plain, redact

__all__ = ["ReplacedMethod", "hide_secrets", "with_prefix"]

_OPAQUE = (bool, int, float, str, type, type(None), Tensor, np.ndarray, nn.Module)
_DEPTH = 4  # of attributes of attributes


def with_prefix(logger: Any, tag: str) -> str:
    """A scalar's tag as a logger of Lightning calls it."""
    return f"{tag_prefix(logger)}{tag}"


def hide_secrets(logger: Any) -> None:
    """Have a logger of Lightning write hyperparameters without the secrets among them."""
    if "log_hyperparams" not in vars(logger):
        logger.log_hyperparams = partial(_log_hyperparams, logger)


def _log_hyperparams(logger: Any, params: Any, *args: Any, **kwargs: Any) -> None:
    telling: list[Any] = []
    values = _nested(params, telling)
    hidden = redact(values, os.environ)
    changed = bool(telling) or hidden != values
    type(logger).log_hyperparams(logger, hidden if changed else params, *args, **kwargs)


def _nested(value: Any, telling: list[Any]) -> Any:
    """With plain dicts and lists, in which secrets are looked for.

    An object whose text or attributes hold one, which a YAML file would have in full, is written as
    in the manifest, and noted in ``telling``.
    """
    if isinstance(value, Namespace) or (is_dataclass(value) and not isinstance(value, type)):
        value = getattr(value, "__dict__", value)
    if isinstance(value, Mapping):
        return {str(key): _nested(item, telling) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nested(item, telling) for item in value]
    if isinstance(value, _OPAQUE) or not _tells(value):
        return value
    telling.append(value)
    return plain(value)


def _tells(value: Any) -> bool:
    shown = _shown(value, _DEPTH)
    return bool(redact(shown, os.environ) != shown)


def _shown(value: Any, depth: int) -> Any:
    """All that a text or a file of an object may have, as JSON; what cannot be read is left out."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, _OPAQUE) or not depth:
        return None
    if isinstance(value, Mapping):
        return {str(key): _shown(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_shown(item, depth - 1) for item in value]
    shown: dict[str, Any] = {}
    with suppress(Exception):
        shown["its text"] = repr(value)
    slots = [getattr(kind, "__slots__", ()) for kind in type(value).__mro__]
    names = [name for names in slots for name in ([names] if isinstance(names, str) else names)]
    for name in (*names, *getattr(value, "__dict__", {})):
        with suppress(Exception):
            shown[name] = _shown(getattr(value, name), depth - 1)
    return shown


class ReplacedMethod:
    """Takes the place of a logger's method; a copy of the logger has its own method again.

    Args:
        logger: Its attribute is set.
        name: Of the method.
        function: Called in its stead, with the same arguments.
    """

    def __init__(self, logger: Any, name: str, function: Callable[..., Any]) -> None:
        self._logger, self._name, self._function = logger, name, function
        setattr(logger, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return getattr, (self._logger, self._name)  # of a copy that has only its class yet
