"""The optimizers of a run, with hooks around their steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_

from torch.optim import Optimizer

from .group_values import StepHooks

__all__ = ["HookedOptimizers"]


class HookedOptimizers:
    """Calls functions around each step of every optimizer.

    Args:
        name: Name of the callback, for errors.
        before: Called right before an update, with the index of the optimizer.
        after: Called after each step, with the index of the optimizer.
    """

    def __init__(
        self, name: str, before: Callable[[int], None], after: Callable[[int], None]
    ) -> None:
        self._name, self._before, self._after = name, before, after
        self._hooks: list[StepHooks] = []
        self.optimizers: list[Optimizer] = []

    def hook(self, optimizers: Sequence[Optimizer]) -> None:
        """Move the hooks to these optimizers.

        Raises:
            TypeError: If the steps of an optimizer cannot be counted.
        """
        self.remove()
        self.optimizers = list(optimizers)
        for index, optimizer in enumerate(optimizers):
            self._hooks.append(StepHooks(optimizer, self._name, self._before, self._after, index))

    def are(self, optimizers: Sequence[Optimizer]) -> bool:
        """Whether these are the optimizers with the hooks."""
        same_count = len(optimizers) == len(self.optimizers)
        return same_count and all(map(is_, optimizers, self.optimizers))

    def forget_errors(self) -> None:
        """Restart the count of nested steps, after one that may have ended in an error."""
        for hooks in self._hooks:
            hooks.depth = 0

    def remove(self) -> None:
        """Remove the hooks, and release the optimizers."""
        for hooks in self._hooks:
            hooks.remove()
        self._hooks, self.optimizers = [], []
