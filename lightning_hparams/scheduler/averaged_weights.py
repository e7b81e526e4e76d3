"""Schedule-free optimizers, which train with other weights than they are evaluated with."""

from __future__ import annotations

from typing import Any, Literal

from lightning import Trainer

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """Switches optimizers that have ``train()`` and ``eval()`` between their two sets of weights.

    This is the interface of schedule-free optimizers (2405.15682).
    """

    def __init__(self, trainer: Trainer | None = None) -> None:
        optimizers = [] if trainer is None else trainer.optimizers
        self._optimizers = [o for o in optimizers if hasattr(o, "train") and hasattr(o, "eval")]

    def switch(self, mode: Literal["train", "eval"]) -> None:
        """Switch to the training weights, or to the averaged ones."""
        for optimizer in self._optimizers:
            getattr(optimizer, mode)()

    def save(self, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        """Save the averaged weights in a checkpoint."""
        if self._optimizers:
            self.switch("eval")
            # The checkpoint shares the module's weights, but holds a copy of the optimizer's mode.
            states = [trainer.strategy.optimizer_state(o) for o in trainer.optimizers]
            checkpoint["optimizer_states"] = states
