"""What sinks share that write beside a logger of Lightning."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import partial
from typing import Any

from ..internals import tag_prefix
from ..provenance import redact

__all__ = ["hide_secrets", "with_prefix"]


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
