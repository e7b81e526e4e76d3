"""The largest learning rates of a run as it is configured, and how to scale a whole schedule."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..internals import LAST_RATES, PARTS
from ..isolation import random_state_kept

__all__ = ["RunLength", "made_by", "peak_rates", "present_peak", "scale_rates"]

# Steps of a scheduler that are tried, in 5 us each.
_TRIED = 100_000
_IN_GROUPS = ("lr", "initial_lr", "max_lr", "min_lr", "swa_lr")
# Attributes of schedulers that are learning rates.
_RATES = ("base_lrs", "max_lrs", "min_lrs", LAST_RATES.path)
_RATE = ("eta_min",)


@dataclass(frozen=True)
class RunLength:
    """How far schedulers are going to run."""

    steps: float = math.inf
    epochs: float = math.inf

    @classmethod
    def of(cls, steps: float | None, epochs: int | None) -> RunLength:
        """From what a Trainer says, where -1 and None stand for what nobody knows."""
        return cls(*(math.inf if n is None or n < 1 else n for n in (steps, epochs)))

    def calls(self, config: LRSchedulerConfig) -> float:
        """How often a scheduler is going to be stepped."""
        length = self.steps if config.interval == "step" else self.epochs
        return length // max(config.frequency or 1, 1)


def peak_rates(
    optimizers: Sequence[Optimizer], configs: Sequence[LRSchedulerConfig], length: RunLength
) -> list[list[float]]:
    """The largest learning rate that each group of each optimizer is going to have.

    Args:
        optimizers: As configured, before any step.
        configs: Their schedulers, likewise. Each is run to its end on a stand-in, which is right
            for schedulers of any kind, also for those made of others.
        length: Of the run. Where it is not known, what a scheduler says of itself must do.
    """
    peaks = [[_initial(group) for group in one.param_groups] for one in optimizers]
    for config in configs:
        owner = config.scheduler.optimizer
        index = next((at for at, one in enumerate(optimizers) if one is owner), None)
        if index is not None:
            peaks[index] = _peaks(config, length, peaks[index])
    return peaks


def present_peak(optimizers: Sequence[Optimizer], lifts: Sequence[Sequence[float]]) -> float:
    """The largest rate of the whole schedule, from the optimizers in mid-training.

    Args:
        optimizers: Each group keeps its initial rate.
        lifts: By what the peak of each group's schedule is above its initial rate; for groups
            that were added later, it is not.
    """
    return max(
        _initial(group) * (by[place] if place < len(by) else 1.0)
        for optimizer, by in zip(optimizers, lifts, strict=True)
        for place, group in enumerate(optimizer.param_groups)
    )


def scale_rates(optimizers: Iterable[Optimizer], schedulers: Iterable[Any], factor: float) -> None:
    """Multiply every rate in optimizers and schedulers, which keeps the shape of a schedule."""
    for group in (group for one in optimizers for group in one.param_groups):
        for key in _IN_GROUPS:
            if isinstance(group.get(key), Tensor):  # its identity is kept, for compiled optimizers
                group[key].mul_(factor)
            elif group.get(key) is not None:
                group[key] *= factor
    for scheduler in _nested(schedulers):
        for name in (name for name in _RATES if hasattr(scheduler, name)):
            setattr(scheduler, name, [rate * factor for rate in getattr(scheduler, name)])
        for name in (name for name in _RATE if hasattr(scheduler, name)):
            setattr(scheduler, name, getattr(scheduler, name) * factor)


def made_by(made: object) -> tuple[list[Optimizer], list[Any]]:
    """Optimizers and schedulers in what ``configure_optimizers`` returned, in any of its forms."""
    optimizers: list[Optimizer] = []
    schedulers: list[Any] = []
    values = [made]
    while values:
        value = values.pop(0)
        if isinstance(value, Optimizer):
            optimizers.append(value)
        elif isinstance(value, Mapping):
            values += value.values()
        elif isinstance(value, (list, tuple)):
            values += value
        elif hasattr(value, "optimizer") and hasattr(value, "step"):
            schedulers.append(value)
        elif isinstance(value, LRSchedulerConfig):
            schedulers.append(value.scheduler)
    return optimizers, schedulers


def _nested(schedulers: Iterable[Any]) -> Iterator[Any]:
    """Schedulers, and those that they are made of."""
    for scheduler in schedulers:
        yield scheduler
        yield from _nested(getattr(scheduler, PARTS.path, ()))


def _initial(group: Mapping[str, Any]) -> float:
    return float(group.get("initial_lr", group["lr"]))


def _peaks(config: LRSchedulerConfig, length: RunLength, initial: list[float]) -> list[float]:
    scheduler = config.scheduler
    groups = scheduler.optimizer.param_groups
    calls = length.calls(config)
    if all("max_lr" in group for group in groups):  # OneCycleLR; a step may pass the very peak by
        return [float(group["max_lr"]) for group in groups]
    if hasattr(scheduler, "max_lrs"):  # CyclicLR
        return [float(rate) for rate in scheduler.max_lrs]
    if type(scheduler) is LambdaLR:
        lambdas = zip(initial, scheduler.lr_lambdas, strict=True)
        return [rate * _highest(function, calls) for rate, function in lambdas]
    if config.reduce_on_plateau or not math.isfinite(calls):
        return initial
    return _tried(scheduler, calls) or initial


def _highest(function: Callable[[int], float], calls: float) -> float:
    """The largest factor of a LambdaLR, looked at in a thousand positions at most."""
    if not math.isfinite(calls):
        return 1.0
    return max(float(function(at)) for at in range(0, int(calls) or 1, max(1, int(calls) // 1000)))


def _tried(scheduler: Any, calls: float) -> list[float] | None:
    """The largest rates that a copy of a scheduler sets; None if it cannot be copied."""
    optimizer = scheduler.optimizer
    stand_in = torch.optim.SGD([_without_weights(group) for group in optimizer.param_groups], lr=1)
    with warnings.catch_warnings(), random_state_kept():
        warnings.simplefilter("ignore")  # it is stepped without its optimizer
        try:
            own = copy.deepcopy(scheduler, {id(optimizer): stand_in})
        except Exception:
            return None
        highest = [float(group["lr"]) for group in stand_in.param_groups]
        last = 0
        for call in range(1, min(int(calls), _TRIED)):
            try:
                own.step()
            except Exception:  # past its end, or with an argument of the user's own
                break
            for place, group in enumerate(stand_in.param_groups):
                if float(group["lr"]) > highest[place]:
                    highest[place], last = float(group["lr"]), call
    if last == _TRIED - 1:
        rank_zero_warn(
            f"the range test follows {type(scheduler).__name__} for {_TRIED} steps, and the rate "
            f"still rises there: the suggestion is reached at that step, and not at the peak"
        )
    return highest


def _without_weights(group: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a parameter group, with one number for all its parameters."""
    rest = {key: value for key, value in group.items() if key != "params"}
    return {**copy.deepcopy(rest), "params": [torch.zeros(1)]}
