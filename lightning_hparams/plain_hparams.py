"""Hyperparameters as Python's numbers, which any checkpoint and configuration can hold."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from .checks import as_plain
from .internals import initial_hparams

if TYPE_CHECKING:
    from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin as _Saving
else:
    _Saving = object  # the class beside it has Lightning's method

__all__ = ["PlainHparams", "plain"]


class PlainHparams(_Saving):
    """Saves numbers, arrays and tensors among the hyperparameters as numbers and lists.

    torch loads no checkpoint with numpy's scalars under ``weights_only=True``, its default.
    """

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Sequence[str] | str | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Save the arguments of ``__init__``, as Lightning does."""
        here = inspect.currentframe()
        caller = frame or (here.f_back if here is not None else None)
        super().save_hyperparameters(*args, ignore=ignore, frame=caller, logger=logger)
        for kept in (self.hparams, initial_hparams(self) or {}):
            kept.update({name: plain(value) for name, value in kept.items()})


def plain(value: Any) -> Any:
    """Convert numbers, arrays and tensors, also in lists and dicts, and leave the rest."""
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return as_plain(value)
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {key: plain(each) for key, each in value.items()}
    return value
