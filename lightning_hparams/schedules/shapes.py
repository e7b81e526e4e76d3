"""Schedules: what an optimizer's value is multiplied by, as a function of (step, total).

Every one is called as ``schedule(step, total, **shape)`` with ``step`` the optimizer steps taken so
far (at least 0) and ``total`` those of the whole run (at least 1), and keeps nothing between calls:
the value of step 1000 is the same in a run that was stopped at 999. Past the end the last value
holds. ``functools.partial`` gives a schedule its shape; :func:`warmup` and :func:`join` make new
ones of those that are there.

Where an argument counts steps, an int is a number of steps and a float a share of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from ..checks import in_range, one_of

__all__ = [
    "SCHEDULES",
    "Schedule",
    "as_schedule",
    "constant",
    "cosine",
    "exp_range",
    "flat_cosine",
    "join",
    "linear",
    "one_cycle",
    "polynomial",
    "step",
    "triangular",
    "triangular2",
    "warmup",
    "wsd",
]

Schedule = Callable[..., float]  # (step, total, **shape) -> multiplier

_CYCLES = 4  # "at least 3" trains most of the way, and 4 or more do better (1506.01186, 3.2)


def one_cycle(
    step: int,
    total: int,
    *,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
) -> float:
    """Multiplier of the peak learning rate under the 1cycle policy (Smith & Topin, 1708.07120).

    The arguments are those of torch's ``OneCycleLR``, and so are the values wherever torch's
    phases end on whole steps; here the peak always falls on one. The curve of fastai's
    ``fit_one_cycle`` is that of ``pct_start=0.25, div_factor=25, final_div_factor=4e3``.

    Args:
        step: Optimizer steps taken so far, at least 0; past the end the last value holds.
        total: Optimizer steps in the whole run, at least 1.
        pct_start: Share of the run spent rising, in 0..1.
        div_factor: The first step has ``1 / div_factor``, above 0.
        final_div_factor: The last step has ``1 / (div_factor * final_div_factor)``, above 0.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        three_phase: Fall as long as it rose, to the first step's value, and on from there.

    Raises:
        ValueError: If a value is out of its range.

    >>> [round(one_cycle(step, 10), 3) for step in (0, 2, 9, 99)]
    [0.04, 1.0, 0.0, 0.0]
    """
    step = _held(step, total)
    start, final, peak, back = _one_cycle_marks(
        total, pct_start, div_factor, final_div_factor, anneal_strategy, three_phase
    )
    if step == peak:
        return 1.0
    if step < peak:
        return _anneal(start, 1.0, step / peak, anneal_strategy)
    if step < back:
        return _anneal(1.0, start, (step - peak) / (back - peak), anneal_strategy)
    top = start if three_phase else 1.0
    return _anneal(top, final, (step - back) / (total - 1 - back), anneal_strategy)


@lru_cache
def _one_cycle_marks(
    total: int,
    pct_start: float,
    div_factor: float,
    final_div_factor: float,
    anneal_strategy: str,
    three_phase: bool,
) -> tuple[float, float, int, int]:
    """First and last value, the step of the peak and that of the second phase's end.

    Kept between calls, because checking takes three times as long as the curve itself.
    """
    in_range("pct_start", pct_start, 0, 1, remedy="0.3 is usual")
    in_range("div_factor", div_factor, above=0.0, remedy="25 is usual")
    in_range("final_div_factor", final_div_factor, above=0.0, remedy="1e4 is usual")
    one_of("anneal_strategy", anneal_strategy, ("cos", "linear"))
    start, last = 1 / div_factor, total - 1
    peak = min(max(round(pct_start * total) - 1, 0), last)
    # The last step is the third phase's, however little of the run is left for it.
    back = max(peak, min(2 * peak, last - 1)) if three_phase else peak
    return start, start / final_div_factor, peak, back


def triangular(
    step: int,
    total: int,
    *,
    base: float = 0.25,
    step_size_up: float | None = None,
    step_size_down: float | None = None,
) -> float:
    """Multiplier of the upper bound that rises and falls in straight lines (Smith, 1506.01186).

    With step sizes this is torch's ``CyclicLR`` with ``base_lr = base * max_lr``.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        base: Multiplier at the foot of a cycle, in 0..1; a quarter to a third (section 3.3).
        step_size_up: Steps from foot to peak, above 0; None for four cycles that fill the run and
            end at the foot (fewer in a run of less than nine steps). Smith takes 2 to 10 epochs.
        step_size_down: Steps from peak to foot; None for as many as up.

    Raises:
        ValueError: If a value is out of its range.

    >>> [triangular(step, 17) for step in (0, 1, 2, 3, 4, 16)]
    [0.25, 0.625, 1.0, 0.625, 0.25, 0.25]
    """
    _, height = _in_cycle(step, total, base, step_size_up, step_size_down)
    return base * (1 - height) + height


def triangular2(
    step: int,
    total: int,
    *,
    base: float = 0.25,
    step_size_up: float | None = None,
    step_size_down: float | None = None,
) -> float:
    """As :func:`triangular`, each cycle half as high as the one before (Smith, 1506.01186).

    >>> [triangular2(step, 17) for step in (2, 6, 10)]
    [1.0, 0.625, 0.4375]
    """
    cycle, height = _in_cycle(step, total, base, step_size_up, step_size_down)
    height *= 0.5**cycle
    return base * (1 - height) + height


def exp_range(
    step: int,
    total: int,
    *,
    base: float = 0.25,
    step_size_up: float | None = None,
    step_size_down: float | None = None,
    gamma: float = 0.99994,
) -> float:
    """As :func:`triangular`, its height times ``gamma**step`` (Smith, 1506.01186).

    ``gamma`` is above 0 and at most 1.

    >>> [round(exp_range(step, 17, base=0.0, gamma=0.9), 3) for step in (0, 2, 6)]
    [0.0, 0.81, 0.531]
    """
    in_range("gamma", gamma, high=1.0, above=0.0, remedy="0.99994 is Smith's")
    _, height = _in_cycle(step, total, base, step_size_up, step_size_down)
    height *= gamma ** _held(step, total)
    return base * (1 - height) + height


def cosine(
    step: int,
    total: int,
    *,
    end_factor: float = 0.0,
    T_0: float | None = None,
    T_mult: int = 1,
) -> float:
    """Half a cosine from 1 down, with warm restarts if told (Loshchilov & Hutter, 1608.03983).

    With ``T_0`` it is torch's ``CosineAnnealingWarmRestarts``, without it the
    ``CosineAnnealingLR`` of ``T_max = total - 1``.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        end_factor: Multiplier at the end (of every period), at least 0.
        T_0: Length of the first period in steps (int) or as a share of the run (float); None for
            one period over the whole run.
        T_mult: Each period is this many times as long as the one before, at least 1.

    Raises:
        ValueError: If a value is out of its range.

    >>> [round(cosine(step, 9), 3) for step in (0, 4, 8)]
    [1.0, 0.5, 0.0]
    >>> [round(cosine(step, 12, T_0=4, T_mult=2), 3) for step in (0, 2, 4, 8)]
    [1.0, 0.5, 1.0, 0.5]
    """
    in_range("end_factor", end_factor, 0.0)
    in_range("T_mult", T_mult, 1, remedy="1 keeps all periods alike")
    if T_0 is None:
        return _anneal(1.0, end_factor, _share(step, total), "cos")
    step, period = _held(step, total), max(_count("T_0", T_0, total), 1)
    if T_mult == 1:
        step %= period
    while step >= period:
        step -= period
        period *= T_mult
    return _anneal(1.0, end_factor, step / period, "cos")


def polynomial(step: int, total: int, *, power: float = 0.9, end_factor: float = 0.0) -> float:
    """The share of the run that is left, to a power: DeepLab's "poly" (1606.00915).

    ``power`` is above 0, and 1 is a straight line; the last step has ``end_factor``, at least 0.

    >>> [round(polynomial(step, 11), 3) for step in (0, 5, 10)]
    [1.0, 0.536, 0.0]
    """
    in_range("power", power, above=0.0, remedy="0.9 is usual")
    in_range("end_factor", end_factor, 0.0)
    return end_factor + (1 - end_factor) * math.pow(1 - _share(step, total), power)


def linear(step: int, total: int, *, start_factor: float = 1.0, end_factor: float = 0.0) -> float:
    """A straight line over the whole run; downwards, it is hard to beat (2310.07831).

    The first step has ``start_factor``, the last ``end_factor``, both at least 0.

    >>> [linear(step, 5) for step in (0, 1, 4, 99)]
    [1.0, 0.75, 0.0, 0.0]
    """
    in_range("start_factor", start_factor, 0.0)
    in_range("end_factor", end_factor, 0.0)
    return _anneal(start_factor, end_factor, _share(step, total), "linear")


def step(
    step: int, total: int, *, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1
) -> float:
    """Times ``gamma`` at each milestone; the default is that of ResNets (1512.03385, section 4.2).

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        milestones: In steps (int) or as shares of the run (float).
        gamma: At least 0.

    Raises:
        ValueError: If a value is out of its range.

    >>> [round(step(at, 100), 3) for at in (0, 49, 50, 75)]
    [1.0, 1.0, 0.1, 0.01]
    """
    in_range("gamma", gamma, 0.0)
    at = _held(step, total)
    passed: int = sum(_count("milestones", mark, total) <= at for mark in milestones)
    return gamma**passed


def constant(step: int, total: int, *, factor: float = 1.0) -> float:
    """The same ``factor``, at least 0, at every step.

    >>> constant(3, 10)
    1.0
    """
    _held(step, total)
    in_range("factor", factor, 0.0)
    return factor


def flat_cosine(
    step: int, total: int, *, pct_start: float = 0.75, end_factor: float = 0.0
) -> float:
    """Flat, then half a cosine: fastai's ``fit_flat_cos``, and RTMDet's (2212.07784).

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        pct_start: What is flat, in steps (int) or as a share of the run (float).
        end_factor: Multiplier at the last step, at least 0.

    Raises:
        ValueError: If a value is out of its range.

    >>> [round(flat_cosine(step, 8), 3) for step in (0, 5, 6, 7)]
    [1.0, 1.0, 0.5, 0.0]
    """
    in_range("end_factor", end_factor, 0.0)
    flat = _count("pct_start", pct_start, total)
    share = _into_tail(step, total, total - flat)
    return _anneal(1.0, end_factor, share, "cos")


def wsd(
    step: int,
    total: int,
    *,
    warmup: float = 0.05,
    decay: float = 0.2,
    start_factor: float = 0.04,
    end_factor: float = 0.0,
    anneal_strategy: Literal["1-sqrt", "cos", "linear"] = "1-sqrt",
) -> float:
    """Warmup, stable, decay (MiniCPM, 2404.06395), decaying as 1 - sqrt (2405.18392).

    A longer run goes on from any checkpoint of the stable phase: up to there nothing depends on
    the length, if ``warmup`` is given in steps.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        warmup: Rising in a straight line, in steps (int) or as a share of the run (float).
        decay: Falling to the end, in steps (int) or as a share of the run (float).
        start_factor: Multiplier at the first step, at least 0.
        end_factor: Multiplier at the last step, at least 0.
        anneal_strategy: How it falls: ``"1-sqrt"``, ``"cos"`` or ``"linear"``.

    Raises:
        ValueError: If a value is out of its range, or warmup and decay are more than the run.

    >>> [round(wsd(step, 20, warmup=2, decay=4), 3) for step in (0, 1, 2, 15, 16, 19)]
    [0.04, 0.52, 1.0, 1.0, 0.5, 0.0]
    """
    in_range("start_factor", start_factor, 0.0)
    in_range("end_factor", end_factor, 0.0)
    one_of("anneal_strategy", anneal_strategy, ("1-sqrt", "cos", "linear"))
    if isinstance(warmup, float) and isinstance(decay, float):
        in_range("warmup + decay", warmup + decay, 0.0, 1.0, remedy="both must fit into the run")
    falling = _count("decay", decay, total)
    rising = min(_count("warmup", warmup, total), total - falling)
    if step < rising:
        return _anneal(start_factor, 1.0, _held(step, total) / rising, "linear")
    return _anneal(1.0, end_factor, _into_tail(step, total, falling), anneal_strategy)


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
    rising = _count("warmup", warmup, total)
    step = _held(step, total)
    if step < rising:
        return _anneal(start_factor, 1.0, step / rising, "linear")
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

    >>> [join(at, 8, schedules=[linear, "linear"], milestones=[0.5]) for at in (0, 3, 4, 7)]
    [1.0, 0.0, 1.0, 0.0]
    """
    if len(milestones) != len(schedules) - 1:
        raise ValueError(
            f"{len(schedules)} schedules need {len(schedules) - 1} milestones, "
            f"got {len(milestones)}; one for the beginning of each but the first"
        )
    step = _held(step, total)
    marks = [0, *(_count("milestones", mark, total) for mark in milestones), total]
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


def _held(step: int, total: int) -> int:
    """The step, or the last one of the run past its end."""
    if step < 0 or total < 1:
        in_range("total", total, 1, remedy="count optimizer steps")
        in_range("step", step, 0, remedy="count optimizer steps")
    return step if step < total else total - 1


def _share(step: int, total: int) -> float:
    """How far the run has come: 0 at its first step, 1 at its last."""
    step = _held(step, total)
    return step / (total - 1) if step else 0.0


def _into_tail(step: int, total: int, tail: int) -> float:
    """How far the last ``tail`` steps have come: 0 before them, 1 at the last."""
    into = _held(step, total) - (total - tail) + 1
    return into / tail if into > 0 else 0.0


def _count(name: str, amount: float, total: int) -> int:
    """Steps, of a number of them (int) or a share of the run (float)."""
    if isinstance(amount, int):
        in_range(name, amount, 0, remedy="a number of steps, or a share of the run as a float")
        return min(amount, total)
    in_range(name, amount, 0.0, 1.0, remedy="a share of the run, or a number of steps as an int")
    return round(amount * total)


def _in_cycle(
    step: int, total: int, base: float, up: float | None, down: float | None
) -> tuple[int, float]:
    """Cycles behind, and the height in this one: 0 at its foot, 1 at its peak."""
    step = _held(step, total)
    up, down = _cycle_sizes(total, base, up, down)
    cycle, into = divmod(step, up + down)
    return int(cycle), into / up if into <= up else (up + down - into) / down


@lru_cache
def _cycle_sizes(
    total: int, base: float, up: float | None, down: float | None
) -> tuple[float, float]:
    """Checked steps up and down; kept between calls, because checking takes the longer part."""
    in_range("base", base, 0.0, 1.0, remedy="a quarter to a third is usual")
    if up is None:
        if down is not None:
            raise ValueError(f"`step_size_down={down}` needs `step_size_up`; give both or none")
        last = max(total - 1, 2)
        up = last / (2 * min(_CYCLES, last // 2))
    down = up if down is None else down
    in_range("step_size_up", up, above=0.0, remedy="Smith takes 2 to 10 epochs")
    in_range("step_size_down", down, above=0.0, remedy="Smith takes 2 to 10 epochs")
    return up, down


def _anneal(first: float, last: float, share: float, strategy: str) -> float:
    """From ``first`` to ``last`` as ``share`` goes from 0 to 1, exact at both ends."""
    if strategy == "cos":
        share = (1 - math.cos(math.pi * share)) / 2
    elif strategy == "1-sqrt":
        share = math.sqrt(share)
    return first * (1 - share) + last * share
