"""The number of optimizer steps a Trainer is going to take, if it can be determined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer

__all__ = [
    "EpochSteps",
    "LengthState",
    "Position",
    "RunLength",
    "position",
    "refuse_endless",
    "time_limit",
    "timed_total",
]

_UNKNOWN = 10**9  # steps of a run limited by time, before its first step is timed
_DEFAULT_EPOCHS = 1000  # Lightning's default, without max_epochs or another limit


@dataclass(frozen=True)
class EpochSteps:
    """The number of batches in an epoch, and how many of them make an optimizer step.

    Args:
        batches: Batches per epoch and process; infinite if the loader has no length.
        accumulation: Sorted pairs of an epoch and the number of batches per step from this epoch
            on; the first is for epoch 0.

    >>> EpochSteps(10, ((0, 4),)).to_come(1, 5, 3)  # 3 steps per epoch: the last two, and 3 more
    5.0
    """

    batches: float
    accumulation: tuple[tuple[int, int], ...] = ((0, 1),)

    def in_epochs(self, begin: int, end: float) -> float:
        """Steps in epochs ``begin`` (inclusive) to ``end`` (exclusive)."""
        marks = [first for first, _ in self.accumulation] + [math.inf]
        steps = 0.0
        for (first, size), after in zip(self.accumulation, marks[1:], strict=True):
            epochs = min(after, end) - max(first, begin)
            if epochs > 0:
                steps += epochs * self._each(size)
        return steps

    def size(self, epoch: int) -> int:
        """Batches per step in an epoch."""
        return next(size for first, size in reversed(self.accumulation) if first <= epoch)

    def to_come(self, epoch: int, batch: int, epochs: float, size: int | None = None) -> float:
        """Steps remaining from a batch of an epoch to the end of the run.

        Args:
            epoch: Current epoch.
            batch: Batches already processed in it.
            epochs: Epochs in the run.
            size: Batches per step in the current epoch, if not as planned.
        """
        if epoch >= epochs:
            return 0.0
        size = self.size(epoch) if size is None else size
        here = self._each(size) - batch // size
        if batch >= self.batches:
            # Resumed past the last batch, Lightning takes one more before it ends the epoch.
            here = float(batch > self.batches)
        return here + self.in_epochs(epoch + 1, epochs)

    def _each(self, size: int) -> float:
        return self.batches if math.isinf(self.batches) else float(math.ceil(self.batches / size))


class Position(NamedTuple):
    """Progress of a run: the epoch, its processed batches, and the batches per step.

    A ``size`` of None means as planned. Lightning does not call the hooks of an epoch's start when
    it resumes within an epoch, so a GradientAccumulationScheduler has no effect there.
    """

    epoch: int
    batch: int
    size: int | None = None


def position(trainer: Trainer, epoch: int | None = None) -> Position:
    """The position of a run, new or resumed, when training starts.

    Args:
        trainer: The trainer of the run.
        epoch: Current epoch, once training has started.
    """
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    if epoch is not None:
        return Position(epoch, batches.processed)
    unfinished = epochs.ready > epochs.processed
    return Position(epochs.processed, batches.processed if unfinished else 0)


class LengthState(TypedDict, total=False):
    """State of a :class:`RunLength` in a checkpoint; empty for a new run."""

    ahead: float  # remaining steps
    lengths: list[float]  # of each optimizer


class RunLength:
    """Steps of each optimizer in the whole run: those taken and those remaining.

    A change in the remaining steps (a run resumed with another batch size, accumulation, loader or
    number of processes, for more epochs, or at another batch; recreated loaders) changes the length
    by as much. While the remaining steps are as expected, the length is unchanged, even if a
    gradient scaler has skipped steps.

    Args:
        given: The user's number of steps for all optimizers, or one number for each; None for the
            trainer's plan. Manual optimization is assumed to step each optimizer once per batch.
        name: Name of the callback, for errors.
    """

    def __init__(self, given: int | Sequence[int] | None, name: str) -> None:
        self._given = given
        self._name = name
        self._plan: tuple[EpochSteps, float] | None = None  # with the number of epochs
        self._expected: float | None = None  # remaining steps of the stopped run
        self._lengths: list[float] = []  # of each optimizer, before applying max_steps

    def totals(
        self, trainer: Trainer, module: LightningModule, taken: Sequence[int], at: Position
    ) -> list[int]:
        """Steps of each optimizer, once the training data are loaded.

        Args:
            trainer: The trainer of the run.
            module: Its module.
            taken: Steps taken by each optimizer.
            at: Position of the run.

        Raises:
            ValueError: If the number cannot be determined, or is not given for each optimizer.
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
        raise _endless(self._name)

    def unasked(self, trainer: Trainer) -> str | None:
        """A warning if the length is merely Lightning's default, or None."""
        if self._given is not None or trainer.max_steps > 0:
            return None
        if trainer.max_epochs != _DEFAULT_EPOCHS or time_limit(trainer) is not None:
            return None
        return (
            f"the schedule is planned over {_DEFAULT_EPOCHS} epochs, the default of a Trainer "
            "without max_epochs; pass Trainer(max_epochs=...) with the number of epochs to train, "
            "or total_steps=... if this is intended"
        )

    def state_dict(self, at: Position) -> LengthState:
        """Return the state needed to resume a run stopped at a position."""
        ahead = self._ahead(at)
        return {} if ahead is None else {"ahead": ahead, "lengths": list(self._lengths)}

    def load_state_dict(self, state: LengthState) -> None:
        """Restore a state; an empty one is that of a new run."""
        self._plan, self._expected = None, state.get("ahead")
        self._lengths = list(state.get("lengths", []))

    def _ahead(self, at: Position) -> float | None:
        """Remaining steps as planned."""
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
    """The Timer that ends the run, if any."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, Timer) and callback.time_remaining("train") is not None:
            return callback
    return None


def timed_total(trainer: Trainer, timer: Timer, steps: int) -> int:
    """Estimate the steps in the run, if the remaining ones take as long as the ``steps`` taken."""
    elapsed, remaining = timer.time_elapsed("train"), timer.time_remaining("train") or 0.0
    total = math.ceil(steps * (1 + max(remaining, 0.0) / max(elapsed, 1e-9)))
    # Clocks differ between ranks, and different rates would give different weights.
    return total if trainer.world_size == 1 else trainer.strategy.broadcast(total)


def refuse_endless(trainer: Trainer, given: int | Sequence[int] | None, name: str) -> None:
    """Check that a run has a length, as far as that is known before its data are loaded.

    Args:
        trainer: The trainer of the run.
        given: The user's number of steps, if any.
        name: Name of the callback that needs it.

    Raises:
        ValueError: If the run is endless.
    """
    if given is not None or time_limit(trainer) is not None or trainer.max_steps > 0:
        return
    if math.isinf(_max_epochs(trainer)):
        raise _endless(name)


def _endless(name: str) -> ValueError:
    return ValueError(
        f"{name} needs the number of optimizer steps, which is unknown for an endless "
        f"run or a loader without a length; pass {name}(total_steps=...) or "
        "Trainer(max_steps=...)"
    )


def _max_epochs(trainer: Trainer) -> float:
    epochs = trainer.max_epochs
    return math.inf if epochs is None or epochs < 0 else epochs


def _epoch_steps(trainer: Trainer) -> EpochSteps:
    batches = trainer.num_training_batches
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, GradientAccumulationScheduler):
            # Lightning's estimate applies one epoch's accumulation to all epochs.
            return EpochSteps(batches, tuple(sorted(callback.scheduling.items())))
    return EpochSteps(batches, ((0, trainer.accumulate_grad_batches),))
