"""Schedules by name, and schedules made of other schedules."""

from __future__ import annotations

import inspect
import math
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from numbers import Real

from torch.optim.lr_scheduler import LRScheduler

from ..checks import in_range, one_of
from ._steps import Curve, anneal, check_order, held, to_steps
from .cycles import (
    exp_range,
    exp_range_curve,
    one_cycle,
    one_cycle_curve,
    triangular,
    triangular2,
    triangular2_curve,
    triangular_curve,
)
from .decays import constant, cosine, flat_cosine, linear, polynomial, step, wsd

__all__ = ["SCHEDULES", "Schedule", "as_schedule", "check_call", "curve_of", "join", "warmup"]

Schedule = Callable[..., float]  # (step, total, **shape) -> multiplier


def warmup(
    step: int,
    total: int,
    *,
    warmup: float = 0.05,
    start_factor: float = 0.04,
    then: Schedule | str = constant,
) -> float:
    """Rise to 1 in a straight line (Goyal et al., 1706.02677), then follow another schedule.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        warmup: Length in steps (int) or as a share of the run (float).
        start_factor: Multiplier at the first step, at least 0.
        then: Schedule for the remaining steps, or its name.

    Raises:
        ValueError: If a value is out of range or the name is unknown.

    >>> [round(warmup(step, 14, warmup=4, then=cosine), 2) for step in (0, 2, 4, 13)]
    [0.04, 0.52, 1.0, 0.0]
    """
    in_range("start_factor", start_factor, 0.0)
    rising = to_steps("warmup", warmup, total)
    step = held(step, total)
    if step < rising:
        return anneal(start_factor, 1.0, step / rising, "linear")
    return as_schedule(then)(step - rising, total - rising)


def join(
    step: int,
    total: int,
    *,
    schedules: Sequence[Schedule | str],
    milestones: Sequence[float],
) -> float:
    """Follow several schedules, one after the other, like torch's ``SequentialLR``.

    Each schedule sees its own part as a whole run.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        schedules: At least one schedule or name.
        milestones: The start of each schedule but the first, in rising order, in steps (int) or as
            shares of the run (float). A schedule that is left with no steps is skipped.

    Raises:
        ValueError: If there is not one milestone fewer than schedules, or they do not rise.
        TypeError: If either is not a list.

    >>> [join(at, 8, schedules=[linear, "linear"], milestones=[0.5]) for at in (0, 3, 4, 7)]
    [1.0, 0.0, 1.0, 0.0]
    """
    for name, values in (("schedules", schedules), ("milestones", milestones)):
        check_order(name, values)
    if len(milestones) != len(schedules) - 1:
        raise ValueError(
            f"{len(schedules)} schedules need {len(schedules) - 1} milestones, "
            f"got {len(milestones)}; give the start of each but the first"
        )
    step = held(step, total)
    marks = [0, *(to_steps("milestones", mark, total) for mark in milestones), total]
    if marks != sorted(marks):
        raise ValueError(f"`milestones` must rise, got {list(milestones)}")
    for schedule, (begin, end) in zip(schedules, pairwise(marks), strict=True):
        if begin <= step < end:
            return as_schedule(schedule)(step - begin, end - begin)
    raise AssertionError("the milestones cover the run")


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "exp_range": exp_range,
    "flat_cosine": flat_cosine,
    "join": join,
    "linear": linear,
    "one_cycle": one_cycle,
    "polynomial": polynomial,
    "step": step,
    "triangular": triangular,
    "triangular2": triangular2,
    "warmup": warmup,
    "wsd": wsd,
}


_CURVES: dict[Schedule, Callable[..., Curve]] = {
    exp_range: exp_range_curve,
    one_cycle: one_cycle_curve,
    triangular: triangular_curve,
    triangular2: triangular2_curve,
}


def curve_of(schedule: Schedule, total: int) -> Curve:
    """Return a schedule for a run of known length, as a function of the step.

    Its values are those of the schedule; some schedules check their arguments only once this way.

    >>> curve_of(linear, 5)(2)
    0.5
    """
    if isinstance(schedule, partial) and not schedule.args and schedule.func in _CURVES:
        shape = {**(schedule.func.__kwdefaults__ or {}), **schedule.keywords}
        return _CURVES[schedule.func](total, **shape)
    return lambda step: schedule(step, total)


def as_schedule(schedule: Schedule | str) -> Schedule:
    """Return a schedule, given as a function, by name, or by the import path of a function.

    Raises:
        ValueError: If the name is unknown, suggesting similar names, or cannot be imported.
        TypeError: If it is not a function.

    >>> as_schedule("linear")(2, 5)
    0.5
    """
    if isinstance(schedule, str) and schedule not in SCHEDULES and "." in schedule:
        try:
            schedule = pkgutil.resolve_name(schedule)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"`schedule={schedule!r}` cannot be imported: {error}") from error
    if isinstance(schedule, str):
        one_of("schedule", schedule, SCHEDULES)
        return SCHEDULES[schedule]
    made_by = getattr(schedule, "func", schedule)  # of a partial
    kind = made_by if isinstance(made_by, type) else type(made_by)
    if issubclass(kind, LRScheduler):
        raise TypeError(
            f"`schedule` must be a function (step, total) -> multiplier, or one of "
            f"{list(SCHEDULES)}, got torch's {kind.__name__}; return that from "
            "configure_optimizers, without this callback"
        )
    if isinstance(schedule, type) or not callable(schedule):
        raise TypeError(
            f"`schedule` must be a function (step, total) -> multiplier, or one of "
            f"{list(SCHEDULES)}, got {schedule!r}"
        )
    return schedule


def check_call(schedule: Schedule) -> None:
    """Check that a schedule can be called as ``schedule(step, total)`` and returns a number.

    Raises:
        TypeError: If it takes other arguments, or does not return a number.
        ValueError: If the number is not finite.
    """
    try:
        inspect.signature(schedule).bind(0, 1000)
    except TypeError as error:
        raise TypeError(
            f"a schedule is called as schedule(step, total), with the optimizer steps taken so far "
            f"and those of the whole run, but this one does not accept these: {error}; write "
            "`lambda step, total: ...`, with step / total as the share of the run"
        ) from error
    except ValueError:  # a builtin, which has no signature
        pass
    value = schedule(0, 1000)
    number = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(number, bool) or not isinstance(number, Real):
        raise TypeError(f"`schedule` must return a number, got {value!r} at (0, 1000)")
    if not math.isfinite(number):
        raise ValueError(f"`schedule` must return finite numbers, got {value!r} at (0, 1000)")
