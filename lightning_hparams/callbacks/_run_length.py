"""How many optimizer steps a Trainer is going to take, as far as it can be known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer

__all__ = ["EpochSteps", "Position", "RunLength", "position", "time_limit", "timed_total"]

_UNKNOWN = 10**9  # steps of a run whose length is a time, before its first step was measured
_DEFAULT_EPOCHS = 1000  # Lightning's, where neither max_epochs nor anything else is given


@dataclass(frozen=True)
class EpochSteps:
    """What the optimizer steps of an epoch depend on.

    Args:
        batches: In an epoch, in each process; infinite where the loader has no length.
        accumulation: Pairs of an epoch and the batches that make a step from this epoch on, in
            order, the first for epoch 0.

    >>> EpochSteps(10, ((0, 4),)).to_come(1, 5, 3)  # of 3 steps an epoch: the last two, and 3 more
    5.0
    """

    batches: float
    accumulation: tuple[tuple[int, int], ...] = ((0, 1),)

    def in_epochs(self, begin: int, end: float) -> float:
        """Steps in the epochs from ``begin`` to before ``end``."""
        marks = [first for first, _ in self.accumulation] + [math.inf]
        steps = 0.0
        for (first, size), after in zip(self.accumulation, marks[1:], strict=True):
            epochs = min(after, end) - max(first, begin)
            if epochs > 0:
                steps += epochs * self._each(size)
        return steps

    def to_come(self, epoch: int, batch: int, epochs: float) -> float:
        """Steps from a batch of an epoch to the end of the last of ``epochs`` epochs."""
        if epoch >= epochs:
            return 0.0
        size = next(size for first, size in reversed(self.accumulation) if first <= epoch)
        here = self._each(size) - batch // size if batch < self.batches else 0.0
        return here + self.in_epochs(epoch + 1, epochs)

    def _each(self, size: int) -> float:
        return self.batches if math.isinf(self.batches) else float(math.ceil(self.batches / size))


@dataclass(frozen=True)
class Position:
    """Where a run is: the epoch, and the batches of it that are done."""

    epoch: int
    batch: int


def position(trainer: Trainer) -> Position:
    """Where a run is when training starts, be it resumed or not."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    unfinished = epochs.ready > epochs.processed
    return Position(epochs.processed, batches.processed if unfinished else 0)


class RunLength:
    """Steps of each optimizer in the whole run: those that were taken, and those to come.

    An epoch that has another number of steps than before, because the run was resumed with another
    batch size, accumulation, loader or number of processes, or because the loaders were made anew,
    counts from there on: what was taken stays taken.

    Args:
        given: What the user said: for all optimizers, one number each, or None for what the
            trainer plans. Under manual optimization each optimizer is taken to step once a batch.
        name: Of the callback that asks, for errors.
    """

    def __init__(self, given: int | Sequence[int] | None, name: str) -> None:
        self._given = given
        self._name = name
        self._epoch: EpochSteps | None = None
        self._shift: list[float] = []  # steps taken beyond those of as many epochs of this size

    def forget(self) -> None:
        """Begin a run of its own."""
        self._epoch, self._shift = None, []

    def totals(
        self, trainer: Trainer, module: LightningModule, taken: Sequence[int], at: Position
    ) -> list[int]:
        """Steps of each optimizer, once the training data are there.

        Args:
            trainer: Whose run it is.
            module: Its module.
            taken: Steps that each optimizer has taken.
            at: Where the run is.

        Raises:
            ValueError: If the number cannot be known, or there is not one for each optimizer.
        """
        count = len(taken)
        if self._given is not None:
            return self._from_user(self._given, count)
        epoch = _epoch_steps(trainer)
        epochs = _max_epochs(trainer)
        whole = epoch.in_epochs(0, epochs)
        if epoch != self._epoch:
            came = 0.0 if math.isinf(whole) else whole - epoch.to_come(at.epoch, at.batch, epochs)
            begun = at != Position(0, 0) or any(taken)
            self._shift = [steps - came if begun else 0.0 for steps in taken]
            self._epoch = epoch
        limit = math.inf
        if trainer.max_steps > 0:
            # Under manual optimization max_steps counts the steps of all optimizers together.
            automatic = module.automatic_optimization
            limit = trainer.max_steps if automatic else math.ceil(trainer.max_steps / count)
        totals = [min(whole + shift, limit) for shift in self._shift]
        if all(math.isfinite(total) for total in totals):
            return [max(int(total), 1) for total in totals]
        if time_limit(trainer) is not None:
            return [_UNKNOWN] * count
        raise ValueError(
            f"{self._name} needs to know the number of optimizer steps, which an endless run, or a "
            f"loader without a length, does not tell; pass {self._name}(total_steps=...) or "
            "Trainer(max_steps=...)"
        )

    def unasked(self, trainer: Trainer) -> str | None:
        """A word of warning where the length is one that Lightning assumes."""
        if self._given is not None or trainer.max_steps > 0:
            return None
        if trainer.max_epochs != _DEFAULT_EPOCHS or time_limit(trainer) is not None:
            return None
        return (
            f"the schedule is planned over {_DEFAULT_EPOCHS} epochs, which is what a Trainer "
            "without max_epochs assumes; pass Trainer(max_epochs=...) with the number that you "
            "are going to train, or total_steps=... if it is meant"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        epoch = self._epoch
        if epoch is None:
            return {}
        sizes = [list(pair) for pair in epoch.accumulation]
        return {"batches": epoch.batches, "accumulation": sizes, "shift": list(self._shift)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; nothing is known of a run that kept nothing."""
        self.forget()
        if state:
            sizes = tuple((int(first), int(size)) for first, size in state["accumulation"])
            self._epoch = EpochSteps(state["batches"], sizes)
            self._shift = list(state["shift"])

    def _from_user(self, given: int | Sequence[int], count: int) -> list[int]:
        if isinstance(given, int):
            return [given] * count
        if len(given) != count:
            raise ValueError(
                f"`total_steps` must have a number for each of {count} optimizers, "
                f"got {list(given)}"
            )
        return list(given)


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


def _max_epochs(trainer: Trainer) -> float:
    epochs = trainer.max_epochs
    return math.inf if epochs is None or epochs < 0 else epochs


def _epoch_steps(trainer: Trainer) -> EpochSteps:
    batches = trainer.num_training_batches
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, GradientAccumulationScheduler):
            # Lightning's estimate takes the accumulation of one epoch for that of all.
            return EpochSteps(batches, tuple(sorted(callback.scheduling.items())))
    return EpochSteps(batches, ((0, trainer.accumulate_grad_batches),))
