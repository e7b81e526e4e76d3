"""What sinks share that write beside a logger of Lightning."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import partial
from typing import Any

from ..internals import tag_prefix
from ..provenance import redact

__all__ = ["ReplacedMethod", "hide_secrets", "with_prefix"]


def with_prefix(logger: Any, tag: str) -> str:
    """A scalar's tag as a logger of Lightning calls it."""
    return f"{tag_prefix(logger)}{tag}"


def hide_secrets(logger: Any) -> None:
    """Have a logger of Lightning write hyperparameters without the secrets among them."""
    if "log_hyperparams" not in vars(logger):
        logger.log_hyperparams = partial(_log_hyperparams, logger)


def _log_hyperparams(logger: Any, params: Any, *args: Any, **kwargs: Any) -> None:
    values = _nested(params)
    hidden = redact(values, os.environ)
    type(logger).log_hyperparams(logger, params if hidden == values else hidden, *args, **kwargs)


def _nested(value: Any) -> Any:
    """With plain dicts and lists, in which secrets are looked for."""
    if isinstance(value, Namespace) or (is_dataclass(value) and not isinstance(value, type)):
        value = getattr(value, "__dict__", value)
    if isinstance(value, Mapping):
        return {str(key): _nested(item) for key, item in value.items()}
    return [_nested(item) for item in value] if isinstance(value, (list, tuple)) else value


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
