"""How many optimizer steps a Trainer is going to take, as far as it can be known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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

    def size(self, epoch: int) -> int:
        """Batches that make a step in an epoch."""
        return next(size for first, size in reversed(self.accumulation) if first <= epoch)

    def to_come(self, epoch: int, batch: int, epochs: float, size: int | None = None) -> float:
        """Steps from a batch of an epoch to the end of the last of ``epochs`` epochs.

        Args:
            epoch: The present one.
            batch: Batches of it that are done.
            epochs: In the run.
            size: Batches that make a step in the present epoch, where it is not as planned.
        """
        if epoch >= epochs:
            return 0.0
        size = self.size(epoch) if size is None else size
        here = self._each(size) - batch // size
        if batch >= self.batches:
            # Lightning ends an epoch with the batch by which it sees that there are enough.
            here = float(batch > self.batches)
        return here + self.in_epochs(epoch + 1, epochs)

    def _each(self, size: int) -> float:
        return self.batches if math.isinf(self.batches) else float(math.ceil(self.batches / size))


class Position(NamedTuple):
    """Where a run is: the epoch, the batches of it that are done, and how many make a step.

    None stands for as many as planned. Lightning does not call the hooks of an epoch's start when
    it goes on within one, so that a GradientAccumulationScheduler has no effect there.
    """

    epoch: int
    batch: int
    size: int | None = None


def position(trainer: Trainer, epoch: int | None = None) -> Position:
    """Where a run is when training starts, be it resumed or not.

    Args:
        trainer: Whose run it is.
        epoch: The present epoch, once training is under way.
    """
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    if epoch is not None:
        return Position(epoch, batches.processed)
    unfinished = epochs.ready > epochs.processed
    return Position(epochs.processed, batches.processed if unfinished else 0)


class RunLength:
    """Steps of each optimizer in the whole run: those that were taken, and those to come.

    Whatever changes the number to come (a run resumed with another batch size, accumulation, loader
    or number of processes, for more epochs, or at another batch than it was stopped at; loaders
    made anew) changes the length by as much. As long as it is as expected, the length stays, also
    where a gradient scaler has skipped steps.

    Args:
        given: What the user said: for all optimizers, one number each, or None for what the
            trainer plans. Under manual optimization each optimizer is taken to step once a batch.
        name: Of the callback that asks, for errors.
    """

    def __init__(self, given: int | Sequence[int] | None, name: str) -> None:
        self._given = given
        self._name = name
        self._plan: tuple[EpochSteps, float] | None = None  # and the number of epochs
        self._expected: float | None = None  # steps to come, when the run was stopped
        self._lengths: list[float] = []  # of each optimizer, unless max_steps ends the run before

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
        expected = self._ahead(at._replace(size=None))
        self._plan, self._expected = (_epoch_steps(trainer), _max_epochs(trainer)), None
        ahead = self._ahead(at)
        if ahead != expected and ahead is not None:
            self._lengths = [steps + ahead for steps in taken]
        limit = math.inf
        if trainer.max_steps > 0:
            # Under manual optimization max_steps counts the steps of all optimizers together.
            automatic = module.automatic_optimization
            limit = trainer.max_steps if automatic else math.ceil(trainer.max_steps / count)
        totals = [min(length, limit) for length in self._lengths]
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

    def state_dict(self, at: Position) -> dict[str, Any]:
        """What a run that is stopped at a position needs to go on."""
        ahead = self._ahead(at)
        return {} if ahead is None else {"ahead": ahead, "lengths": list(self._lengths)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; nothing is expected of a run that kept nothing, or of a new one."""
        self._plan, self._expected = None, state.get("ahead")
        self._lengths = list(state.get("lengths", []))

    def _ahead(self, at: Position) -> float | None:
        """Steps to come as they were planned."""
        if self._plan is None:
            return self._expected
        epoch, epochs = self._plan
        return epoch.to_come(at.epoch, at.batch, epochs, at.size)

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
