"""How many optimizer steps a Trainer is going to take, as far as it can be known."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer

__all__ = ["planned_steps", "time_limit", "timed_total"]

_UNKNOWN = 10**9  # steps of a run whose length is a time, before its first step was measured


def planned_steps(
    trainer: Trainer, module: LightningModule, given: int | Sequence[int] | None, name: str
) -> list[int]:
    """Steps of each optimizer in the whole run, once the training data are there.

    Args:
        trainer: Whose run it is.
        module: Under manual optimization each optimizer is taken to step once a batch.
        given: What the user said: for all optimizers, one number each, or None.
        name: Of the callback that asks, for the error.

    Raises:
        ValueError: If the number cannot be known, or there is not one for each optimizer.
    """
    count = len(trainer.optimizers)
    if isinstance(given, int):
        return [given] * count
    if given is not None:
        if len(given) != count:
            raise ValueError(
                f"`total_steps` must have a number for each of {count} optimizers, "
                f"got {list(given)}"
            )
        return list(given)
    steps = _estimated_steps(trainer)
    if not module.automatic_optimization and trainer.max_steps > 0:
        # Under manual optimization max_steps counts the steps of all optimizers together.
        steps = min(steps, math.ceil(trainer.max_steps / count))
    if math.isfinite(steps):
        return [int(steps)] * count
    if time_limit(trainer) is not None:
        return [_UNKNOWN] * count
    raise ValueError(
        f"{name} needs to know the number of optimizer steps, which an endless run, or a loader "
        f"without a length, does not tell; pass {name}(total_steps=...) or Trainer(max_steps=...)"
    )


def time_limit(trainer: Trainer) -> Timer | None:
    """What ends the run after a time, if anything does."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, Timer) and callback.time_remaining("train") is not None:
            return callback
    return None


def timed_total(trainer: Trainer, timer: Timer, steps: int) -> int:
    """Steps in the run, if those to come take as long as the ``steps`` behind."""
    elapsed, remaining = timer.time_elapsed("train"), timer.time_remaining("train") or 0.0
    total = math.ceil(steps * (1 + max(remaining, 0.0) / max(elapsed, 1e-9)))
    # Clocks differ, and ranks that go by different rates would train different weights.
    return total if trainer.world_size == 1 else trainer.strategy.broadcast(total)


def _estimated_steps(trainer: Trainer) -> float:
    steps: float = trainer.estimated_stepping_batches
    epochs, batches = trainer.max_epochs or 0, trainer.num_training_batches
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, GradientAccumulationScheduler) and epochs > 0 and steps > 0:
            # Lightning's estimate takes the accumulation of one epoch for that of all.
            each = (callback.get_accumulate_grad_batches(epoch) for epoch in range(epochs))
            steps = sum(math.ceil(batches / accumulated) for accumulated in each)
            steps = min(steps, trainer.max_steps) if trainer.max_steps > 0 else steps
    return steps if steps >= 1 else math.inf  # -1 where the loader has no length
