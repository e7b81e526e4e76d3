"""Finds the peak learning rates that a run is configured for, and scales whole schedules."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..held_optimizers import optimizers_in
from ..internals import LAST_RATES, PARTS
from ..isolation import random_state_kept
from ..notices import warn_user

__all__ = [
    "Early",
    "RunLength",
    "made_by",
    "made_early",
    "peak_rates",
    "present_peak",
    "scale_rates",
    "unaffected",
]

Early = list[tuple[Optimizer, list[float]]]  # optimizers with the rates of their groups

# Maximum number of scheduler steps simulated, at 5 us each.
_TRIED = 100_000
_IN_GROUPS = ("lr", "initial_lr", "max_lr", "min_lr", "swa_lr")
# Attributes of schedulers that are learning rates.
_RATES = ("base_lrs", "max_lrs", "min_lrs", LAST_RATES.path)
_RATE = ("eta_min",)


@dataclass(frozen=True)
class RunLength:
    """Length of a run in optimizer steps and epochs."""

    steps: float = math.inf
    epochs: float = math.inf

    @classmethod
    def of(cls, steps: float | None, epochs: int | None) -> RunLength:
        """Create from values of a Trainer, where -1 and None mean unknown."""
        return cls(*(math.inf if n is None or n < 1 else n for n in (steps, epochs)))

    def calls(self, config: LRSchedulerConfig) -> float:
        """Number of times that a scheduler will be stepped."""
        length = self.steps if config.interval == "step" else self.epochs
        return length // max(config.frequency or 1, 1)


def peak_rates(
    optimizers: Sequence[Optimizer], configs: Sequence[LRSchedulerConfig], length: RunLength
) -> list[list[float]]:
    """Return the largest learning rate of each parameter group over the run, per optimizer.

    Args:
        optimizers: Optimizers as configured, before any step.
        configs: Their schedulers, before any step. Each is simulated to its end on a stand-in
            optimizer, which works for any scheduler, including nested ones.
        length: Length of the run. If unknown, only the schedulers' own attributes are used.
    """
    peaks = [[_initial(group) for group in one.param_groups] for one in optimizers]
    for config in configs:
        owner = config.scheduler.optimizer
        index = next((at for at, one in enumerate(optimizers) if one is owner), None)
        if index is not None:
            peaks[index] = _peaks(config, length, peaks[index])
    return peaks


def present_peak(optimizers: Sequence[Optimizer], lifts: Sequence[Sequence[float]]) -> float:
    """Return the largest rate of the whole schedule, given the optimizers during training.

    Args:
        optimizers: Optimizers whose groups hold their initial rates.
        lifts: Ratio of each group's peak rate to its initial rate; groups added later count as 1.
    """
    return max(
        _initial(group) * (by[place] if place < len(by) else 1.0)
        for optimizer, by in zip(optimizers, lifts, strict=True)
        for place, group in enumerate(optimizer.param_groups)
    )


def scale_rates(optimizers: Iterable[Optimizer], schedulers: Iterable[Any], factor: float) -> None:
    """Multiply every rate in optimizers and schedulers; schedules keep their shape."""
    for group in (group for one in optimizers for group in one.param_groups):
        for key in _IN_GROUPS:
            if isinstance(group.get(key), Tensor):  # in place, as compiled optimizers need
                group[key].mul_(factor)
            elif group.get(key) is not None:
                group[key] *= factor
    for scheduler in _nested(schedulers):
        for name in (name for name in _RATES if hasattr(scheduler, name)):
            setattr(scheduler, name, [rate * factor for rate in getattr(scheduler, name)])
        for name in (name for name in _RATE if hasattr(scheduler, name)):
            setattr(scheduler, name, getattr(scheduler, name) * factor)


def made_by(made: object) -> tuple[list[Optimizer], list[Any]]:
    """Extract optimizers and schedulers from any return value of ``configure_optimizers``."""
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


def made_early(module: nn.Module) -> Early:
    """Return the optimizers that a module has before ``configure_optimizers``, with rates."""
    return [(one, _initials(one)) for one in optimizers_in(module)]


def unaffected(made: object, early: Early) -> tuple[list[Optimizer], list[Any]]:
    """Return the optimizers made early whose rates are still the same, and their schedulers."""
    optimizers, schedulers = made_by(made)
    same = [one for one, rates in early if _initials(one) == rates]
    kept = [one for one in optimizers if any(one is each for each in same)]
    own = [each for each in schedulers if any(each.optimizer is one for one in kept)]
    return kept, own


def _initials(optimizer: Optimizer) -> list[float]:
    return [_initial(group) for group in optimizer.param_groups]


def _nested(schedulers: Iterable[Any]) -> Iterator[Any]:
    """Yield schedulers and, recursively, the schedulers they contain."""
    for scheduler in schedulers:
        yield scheduler
        yield from _nested(getattr(scheduler, PARTS.path, ()))


def _initial(group: Mapping[str, Any]) -> float:
    return float(group.get("initial_lr", group["lr"]))


def _peaks(config: LRSchedulerConfig, length: RunLength, initial: list[float]) -> list[float]:
    scheduler = config.scheduler
    groups = scheduler.optimizer.param_groups
    calls = length.calls(config)
    if all("max_lr" in group for group in groups):  # OneCycleLR; its steps may skip the exact peak
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
    """The largest factor of a LambdaLR, sampled at about a thousand steps at most."""
    if not math.isfinite(calls):
        return 1.0
    return max(float(function(at)) for at in range(0, int(calls) or 1, max(1, int(calls) // 1000)))


def _tried(scheduler: Any, calls: float) -> list[float] | None:
    """Return the largest rates set by a copy of a scheduler; None if it cannot be copied."""
    optimizer = scheduler.optimizer
    stand_in = torch.optim.SGD([_without_weights(group) for group in optimizer.param_groups], lr=1)
    with warnings.catch_warnings(), random_state_kept():
        warnings.simplefilter("ignore")  # it is stepped without an optimizer step
        try:
            own = copy.deepcopy(scheduler, {id(optimizer): stand_in})
        except Exception:
            return None
        highest = [float(group["lr"]) for group in stand_in.param_groups]
        last = 0
        for call in range(1, min(int(calls), _TRIED)):
            try:
                own.step()
            except Exception:  # past its end, or `step` needs an argument
                break
            for place, group in enumerate(stand_in.param_groups):
                if float(group["lr"]) > highest[place]:
                    highest[place], last = float(group["lr"]), call
    if last == _TRIED - 1:
        warn_user(
            f"the range test follows {type(scheduler).__name__} for {_TRIED} steps, and the rate "
            f"still rises there: the suggestion is reached at that step, and not at the peak"
        )
    return highest


def _without_weights(group: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a parameter group, with a single dummy parameter."""
    rest = {key: value for key, value in group.items() if key != "params"}
    return {**copy.deepcopy(rest), "params": [torch.zeros(1)]}
