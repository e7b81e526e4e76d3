"""Schedule-free optimizers, which train with other weights than they are evaluated with."""

from __future__ import annotations

from typing import Any, Literal

from lightning import Trainer

from ..optim import switch_weights

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """Switches optimizers that have ``train()`` and ``eval()`` between their two sets of weights.

    This is the interface of schedule-free optimizers (2405.15682).
    """

    def __init__(self, trainer: Trainer | None = None) -> None:
        self._optimizers = [] if trainer is None else list(trainer.optimizers)

    def switch(self, mode: Literal["train", "eval"]) -> bool:
        """Switch to the training weights, or to the averaged ones; False if there is one set."""
        return switch_weights(self._optimizers, mode)

    def save(self, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        """Save the averaged weights in a checkpoint."""
        if self.switch("eval"):
            # The checkpoint shares the module's weights, but holds a copy of the optimizer's mode.
            states = [trainer.strategy.optimizer_state(o) for o in trainer.optimizers]
            checkpoint["optimizer_states"] = states
