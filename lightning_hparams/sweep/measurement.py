"""Runs the sweeps of one range test and analyses them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TypeAlias, TypeVar

import torch
from lightning import Callback, Trainer
from tqdm.auto import tqdm

from ..hparam_slots import find_slots
from ..isolation import random_state_kept
from ..range_test import (
    ParamTestResult,
    RangeTestResult,
    Rule,
    Trained,
    analyse,
    compare_values,
    probe,
    refine,
    training_steps,
)
from ..schedules import one_cycle
from .one_sweep import Found, run_sweep
from .place import Place
from .recorder import Plan

__all__ = ["Measurement", "Result"]

Result: TypeAlias = RangeTestResult | ParamTestResult
_Measured = TypeVar("_Measured")

# Smith (arXiv:1803.09820, section 4) searches the weight decay over decades and zero, and the
# momentum between 0.8 and 0.99. The batch sizes are multiples of the configured one.
_VALUES: dict[str, tuple[float, ...]] = {
    "weight_decay": (0.0, 1e-5, 1e-4, 1e-3, 1e-2),
    "momentum": (0.8, 0.85, 0.9, 0.95, 0.99),
    "batch_size": (1, 2, 4),
}


# Steps of a longer training, as a multiple of those of a short one.
_LONGER = 6


@dataclass(frozen=True)
class Measurement:
    """Settings of a range test, as in :class:`LRRangeTest`.

    Args:
        rates: Learning rate of each step of a sweep.
        param: The hyperparameter to compare; ``"lr"`` to sweep the rate alone.
        name: Attribute that holds the batch size, if ``param`` is ``"batch_size"``.
        values: Values to compare; None for common ones.
        repeats: Sweeps per value.
        val_batches: Validation batches per step; 0 for the training loss.
        rule: How the rate is chosen.
        probe_steps: Steps of each short training, a sixth of those of a longer one; 0 for none.
        budget: Steps for the whole test, as a share of the run's if at most 1; 0 for the sweeps
            alone, None for the default of :func:`~lightning_hparams.range_test.training_steps`.
        callbacks: Callbacks to run in each sweep, as copies.
        isolation: How the user's module is protected: ``"copy"`` or ``"snapshot"``.
    """

    rates: Sequence[float]
    param: str
    name: str
    values: Sequence[float] | None
    repeats: int
    val_batches: int
    rule: str | Rule
    probe_steps: int
    callbacks: Sequence[Callback]
    isolation: str
    budget: float | None = 0.0

    def run(self, place: Place) -> tuple[Result, Found]:
        """Run the sweeps without affecting the user's run.

        Returns:
            The result, identical on every rank, and the last sweep with the configured rates.
        """
        start = time.perf_counter()
        found = self._found(place)
        sweeps = {value: [each.sweep for each in same] for value, same in found.items()}
        seconds = time.perf_counter() - start
        result: Result
        if self.param == "lr":
            ((value, same),) = found.items()
            result = analyse(sweeps[value], self.rule, seconds=seconds)
            if self.probe_steps:
                tried = probe(result, partial(self._probed, place), self._hold(place, same[-1]))
                result = replace(tried, seconds=time.perf_counter() - start)
            elif steps := self._steps(place, same[-1], result):
                tried = refine(result, partial(self._refined, place, steps), first=same[-1].peak)
                result = replace(tried, seconds=time.perf_counter() - start)
        else:
            result = compare_values(self.param, sweeps, rule=self.rule, seconds=seconds)
        return _of_rank_zero(result), next(reversed(found.values()))[-1]

    def _found(self, place: Place) -> dict[float, list[Found]]:
        """Run the sweeps at each value."""
        values = self._values(place)
        found: dict[float, list[Found]] = {value: [] for value in values}
        with _bar(place.trainer, len(values) * self.repeats * len(self.rates)) as bar:
            for value in values:
                plan = replace(self._plan(self.rates, value), on_point=bar.update)
                # Same random states, hence same batches, for each value; repeats differ.
                with random_state_kept(), place.generators_kept():
                    data = place.own_data()
                    for _ in range(self.repeats):
                        found[value].append(run_sweep(place, data, plan, self.isolation))
                    del data  # before the next copy is made
        return found

    def _steps(self, place: Place, found: Found, result: RangeTestResult) -> int:
        """Steps of each short training that the budget allows; 0 for none."""
        left = found.length.steps - place.trainer.global_step
        # After the first epoch, a loss that no longer falls is to be expected.
        suggests = result.applies or place.epoch > 0
        return training_steps(self.budget, left, result.steps_run, suggests=suggests)

    def _refined(self, place: Place, steps: int, peak: float) -> Trained:
        """Train a short one-cycle, and judge it by samples that are kept out of it if possible."""
        rates = [peak * one_cycle(step, steps) for step in range(steps)]
        plan = replace(self._plan(rates, 0.0), val_batches=0, hold_out=True)
        found = self._training(place, plan)
        losses, fifth = found.sweep.losses, steps // 5
        if found.before:
            return _of_rank_zero(Trained(losses, found.before, found.after))
        return Trained(losses, losses[:fifth], losses[-fifth:] if len(losses) == len(rates) else ())

    def _probed(self, place: Place, peak: float) -> float:
        """Loss at the end of a short one-cycle training; infinite if it diverged."""
        steps = self.probe_steps
        return self._trained(place, [peak * one_cycle(step, steps) for step in range(steps)])

    def _held(self, place: Place, steps: int, warm_up: float, rate: float) -> float:
        """Loss at the end of a training at a constant rate, reached in ``warm_up`` steps."""
        return self._trained(place, [rate * min((n + 1) / warm_up, 1.0) for n in range(steps)])

    def _hold(self, place: Place, found: Found) -> Callable[[float], float] | None:
        """The longer training; None if what is left of the run is as short as a probe.

        It begins as the run does: at once, or by a warm-up if the module's schedule has one.
        """
        left = found.length.steps - place.trainer.global_step
        steps = min(_LONGER * self.probe_steps, left)
        if not steps > self.probe_steps:
            return None
        warms_up = any(lift > 1 for lifts in found.lifts for lift in lifts)
        return partial(self._held, place, int(steps), steps / 10 if warms_up else 1)

    def _trained(self, place: Place, rates: Sequence[float]) -> float:
        """Mean loss over the last fifth of a training; infinite if it diverged."""
        losses = self._training(place, self._plan(rates, 0.0)).sweep.losses
        last = losses[-(len(rates) // 5) :]
        return fmean(last) if len(losses) == len(rates) else math.inf

    def _training(self, place: Place, plan: Plan) -> Found:
        """Train briefly, from the same start and on the same batches each time."""
        about = f"LR range test, training at {max(plan.rates):.2g}"
        with (
            random_state_kept(),
            place.generators_kept(),
            _bar(place.trainer, len(plan.rates), about) as bar,
        ):
            shown = replace(plan, on_point=bar.update)
            return run_sweep(place, place.own_data(), shown, self.isolation)

    def _plan(self, rates: Sequence[float], value: float) -> Plan:
        is_batch, is_lr = self.param == "batch_size", self.param == "lr"
        return Plan(
            rates,
            held={} if is_batch or is_lr else {self.param: value},
            written={self.name: int(value)} if is_batch else {},
            val_batches=self.val_batches,
            callbacks=self.callbacks,
        )

    def _values(self, place: Place) -> Sequence[float]:
        """Values of ``param`` to compare; a single placeholder for ``"lr"``."""
        if self.param == "lr":
            return [0.0]
        if self.param != "batch_size":
            return self.values or _VALUES[self.param]
        slots = find_slots(place.owners, self.name)
        if not slots or place.data.train is not None:
            raise AttributeError(
                f"param='batch_size' needs a module or data module with `{self.name}` and a "
                "train_dataloader made of it; a loader that is made already keeps its size"
            )
        configured = slots[0].read()
        return self.values or [configured * times for times in _VALUES["batch_size"]]


def _of_rank_zero(measured: _Measured) -> _Measured:
    """Broadcast from rank 0 what differs between ranks: seconds, statistics of BatchNorm."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return measured
    values = [measured]
    torch.distributed.broadcast_object_list(values)
    return values[0]


def _bar(trainer: Trainer, total: int, about: str = "LR range test") -> tqdm[None]:
    shown = trainer.is_global_zero and trainer.progress_bar_callback is not None
    return tqdm(total=total, desc=about, disable=not shown, leave=False)
