"""Optimizers that a module has before ``configure_optimizers`` is called."""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from .function_copies import attributes_of

__all__ = ["optimizers_in", "restoring"]


def optimizers_in(module: nn.Module) -> list[Optimizer]:
    """Optimizers that a module holds: as attributes, or bound to a method, as LightningCLI's."""
    found: list[Optimizer] = []
    waiting = attributes_of(module)
    while waiting:
        value = waiting.pop()
        if isinstance(value, Optimizer):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, functools.partial):
            waiting += (value.func, *value.args, *value.keywords.values())
        elif isinstance(value, types.MethodType):
            waiting.append(value.__func__)
    return found


def restoring(optimizer: Optimizer, memo: dict[int, Any]) -> Callable[[], None]:
    """Return a function that restores an optimizer in place, as schedulers have patched its `step`.

    Args:
        optimizer: The optimizer.
        memo: Memo for ``deepcopy``, with the parameters, which are not copied; the optimizer is
            added, so that copies of other objects keep referring to it.
    """
    originals, groups = dict(vars(optimizer)), list(optimizer.param_groups)
    state, contents = copy.deepcopy((optimizer.state, groups), memo)
    memo[id(optimizer)] = optimizer

    def restore() -> None:
        optimizer.__dict__.clear()
        optimizer.__dict__.update(originals)
        optimizer.state, optimizer.param_groups[:] = state, groups
        for group, content in zip(groups, contents, strict=True):
            group.clear()
            group.update(content)

    return restore
