"""The sweeps of a range test at one place of a run, and what comes of them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TypeAlias

import torch
from lightning import Callback, Trainer
from tqdm.auto import tqdm

from ..hparam_slots import find_slots
from ..isolation import random_state_kept
from ..range_test import (
    ParamTestResult,
    RangeTestResult,
    Rule,
    analyse,
    compare_values,
    probe,
)
from ..schedules import one_cycle
from .one_sweep import Found, run_sweep
from .place import Place
from .recorder import Plan

__all__ = ["Measurement", "Result"]

Result: TypeAlias = RangeTestResult | ParamTestResult

# Smith (arXiv:1803.09820, section 4) looks for the weight decay on a grid of decades and zero, and
# for the momentum between 0.8 and 0.99. The batch size is tried as configured, doubled, and so on.
_VALUES: dict[str, tuple[float, ...]] = {
    "weight_decay": (0.0, 1e-5, 1e-4, 1e-3, 1e-2),
    "momentum": (0.8, 0.85, 0.9, 0.95, 0.99),
    "batch_size": (1, 2, 4),
}


@dataclass(frozen=True)
class Measurement:
    """What is measured; the arguments are those of :class:`LRRangeTest`.

    Args:
        rates: Of each step of a sweep.
        param: What is compared, ``"lr"`` for a single sweep.
        name: Of the hyperparameter, where it is the batch size.
        values: To compare; None for usual ones.
        repeats: Sweeps at each value.
        val_batches: Behind each point; 0 for the training loss.
        rule: What is suggested.
        probe_steps: Of each short training; 0 for none.
        callbacks: That run in each sweep, as copies.
        isolation: How the module is kept out of it.
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

    def run(self, place: Place) -> tuple[Result, Found]:
        """Measure, without a trace.

        Returns:
            The result, the same on every rank, and what the last sweep saw of the configured rates.
        """
        start = time.perf_counter()
        found = self._found(place)
        sweeps = {value: [each.sweep for each in same] for value, same in found.items()}
        seconds = time.perf_counter() - start
        result: Result
        if self.param == "lr":
            (same,) = sweeps.values()
            result = analyse(same, self.rule, seconds=seconds)
            if self.probe_steps:
                tried = probe(result, partial(self._probed, place))
                result = replace(tried, seconds=time.perf_counter() - start)
        else:
            result = compare_values(self.param, sweeps, rule=self.rule, seconds=seconds)
        return _of_rank_zero(result), next(reversed(found.values()))[-1]

    def _found(self, place: Place) -> dict[float, list[Found]]:
        """What the sweeps at each value find."""
        values = self._values(place)
        found: dict[float, list[Found]] = {value: [] for value in values}
        with _bar(place.trainer, len(values) * self.repeats * len(self.rates)) as bar:
            for value in values:
                plan = replace(self._plan(self.rates, value), on_point=bar.update)
                # The same random states for each value, and so the same batches; repeats differ.
                with random_state_kept(), place.generators_kept():
                    data = place.own_data()
                    for _ in range(self.repeats):
                        found[value].append(run_sweep(place, data, plan, self.isolation))
                    del data  # before the next copy of them
        return found

    def _probed(self, place: Place, peak: float) -> float:
        """Loss at the end of a short one-cycle; infinite if it diverged."""
        steps = self.probe_steps
        plan = self._plan([peak * one_cycle(step, steps) for step in range(steps)], 0.0)
        with random_state_kept(), place.generators_kept():
            losses = run_sweep(place, place.own_data(), plan, self.isolation).sweep.losses
        return fmean(losses[-(steps // 5) :]) if len(losses) == steps else math.inf

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
        """Values of ``param``; a single one if it is the rate itself."""
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


def _of_rank_zero(result: Result) -> Result:
    """The same object on every rank: the seconds are each rank's own."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return result
    results = [result]
    torch.distributed.broadcast_object_list(results)
    return results[0]


def _bar(trainer: Trainer, total: int) -> tqdm[None]:
    shown = trainer.is_global_zero and trainer.progress_bar_callback is not None
    return tqdm(total=total, desc="LR range test", disable=not shown, leave=False)
