"""Schedules by name, and new ones made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from ..checks import in_range, one_of
from ._steps import anneal, check_order, held, to_steps
from .cycles import exp_range, one_cycle, triangular, triangular2
from .decays import constant, cosine, flat_cosine, linear, polynomial, step, wsd

__all__ = ["SCHEDULES", "Schedule", "as_schedule", "join", "warmup"]

Schedule = Callable[..., float]  # (step, total, **shape) -> multiplier


def warmup(
    step: int,
    total: int,
    *,
    warmup: float = 0.05,
    start_factor: float = 0.04,
    then: Schedule | str = constant,
) -> float:
    """A straight line up to 1 (Goyal et al., 1706.02677), and then another schedule.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        warmup: In steps (int) or as a share of the run (float).
        start_factor: Multiplier at the first step, at least 0.
        then: What follows, over the steps that are left: a schedule or its name.

    Raises:
        ValueError: If a value is out of its range, or the name is not known.

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
    """Schedules one after the other, each over a run of its own, as torch's ``SequentialLR``.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        schedules: At least one, or their names.
        milestones: Where each but the first begins, rising, in steps (int) or as a share of the
            run (float). A schedule that gets no step is left out.

    Raises:
        ValueError: If their numbers do not fit, or the milestones do not rise.
        TypeError: If one of them is no list.

    >>> [join(at, 8, schedules=[linear, "linear"], milestones=[0.5]) for at in (0, 3, 4, 7)]
    [1.0, 0.0, 1.0, 0.0]
    """
    for name, values in (("schedules", schedules), ("milestones", milestones)):
        check_order(name, values)
    if len(milestones) != len(schedules) - 1:
        raise ValueError(
            f"{len(schedules)} schedules need {len(schedules) - 1} milestones, "
            f"got {len(milestones)}; one for the beginning of each but the first"
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


def as_schedule(schedule: Schedule | str) -> Schedule:
    """A schedule as it is, or by its name.

    Raises:
        ValueError: If there is none of this name, with the nearest names.

    >>> as_schedule("linear")(2, 5)
    0.5
    """
    if not isinstance(schedule, str):
        return schedule
    one_of("schedule", schedule, SCHEDULES)
    return SCHEDULES[schedule]
