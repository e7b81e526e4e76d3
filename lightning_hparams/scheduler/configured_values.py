"""The values that parameter groups are configured with, as opposed to those of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer

from ..optim import keep_initial, set_param

__all__ = ["ConfiguredValues", "restore_momentum"]


class ConfiguredValues:
    """The values of all groups before a checkpoint restores its own.

    Args:
        optimizers: Optimizers whose groups are recorded.
        params: Returns the scheduled parameters of a group.
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer] = (),
        params: Callable[[dict[str, Any]], Sequence[str]] = lambda _: (),
    ) -> None:
        self._values = [
            [
                {param: keep_initial(group, param) for param in params(group)}
                for group in optimizer.param_groups
            ]
            for optimizer in optimizers
        ]

    def counts(self) -> list[int]:
        """Return the number of groups of each optimizer."""
        return [len(groups) for groups in self._values]

    def reapply(self, optimizers: Sequence[Optimizer], *, tested: bool) -> None:
        """Replace a checkpoint's initial values by those configured now.

        Except for groups added during training, which only the checkpoint has.

        Args:
            optimizers: The optimizers, after the checkpoint is loaded.
            tested: Whether a range test has found the rates; it does not run again, so they stay.
        """
        for optimizer, values_of in zip(optimizers, self._values, strict=True):
            for group, values in zip(optimizer.param_groups, values_of, strict=False):
                for param, value in values.items():
                    if param != "lr" or not tested or "initial_lr" not in group:
                        group[f"initial_{param}"] = value


def restore_momentum(optimizers: Sequence[Optimizer]) -> None:
    """Set the momentum of each group back to the configured one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if "initial_momentum" in group:
                set_param(group, "momentum", group["initial_momentum"])
