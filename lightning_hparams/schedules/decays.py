"""Schedules that fall over the run, or stay as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ..checks import in_range, one_of
from ._steps import anneal, check_order, held, into_tail, share_of_run, to_steps

__all__ = ["constant", "cosine", "flat_cosine", "linear", "polynomial", "step", "wsd"]


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
        return anneal(1.0, end_factor, share_of_run(step, total), "cos")
    step, period = held(step, total), max(to_steps("T_0", T_0, total), 1)
    if T_mult == 1:
        step %= period
    while step >= period:
        step -= period
        period *= T_mult
    return anneal(1.0, end_factor, step / period, "cos")


def polynomial(step: int, total: int, *, power: float = 0.9, end_factor: float = 0.0) -> float:
    """The share of the run that is left, to a power: DeepLab's "poly" (1606.00915).

    ``power`` is above 0, and 1 is a straight line; the last step has ``end_factor``, at least 0.

    >>> [round(polynomial(step, 11), 3) for step in (0, 5, 10)]
    [1.0, 0.536, 0.0]
    """
    in_range("power", power, above=0.0, remedy="0.9 is usual")
    in_range("end_factor", end_factor, 0.0)
    return end_factor + (1 - end_factor) * math.pow(1 - share_of_run(step, total), power)


def linear(step: int, total: int, *, start_factor: float = 1.0, end_factor: float = 0.0) -> float:
    """A straight line over the whole run; downwards, it is hard to beat (2310.07831).

    The first step has ``start_factor``, the last ``end_factor``, both at least 0.

    >>> [linear(step, 5) for step in (0, 1, 4, 99)]
    [1.0, 0.75, 0.0, 0.0]
    """
    in_range("start_factor", start_factor, 0.0)
    in_range("end_factor", end_factor, 0.0)
    return anneal(start_factor, end_factor, share_of_run(step, total), "linear")


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
        TypeError: If the milestones are no list, such as a dict of steps and factors.

    >>> [round(step(at, 100), 3) for at in (0, 49, 50, 75)]
    [1.0, 1.0, 0.1, 0.01]
    """
    in_range("gamma", gamma, 0.0)
    check_order("milestones", milestones)
    at = held(step, total)
    passed: int = sum(to_steps("milestones", mark, total) <= at for mark in milestones)
    return gamma**passed


def constant(step: int, total: int, *, factor: float = 1.0) -> float:
    """The same ``factor``, at least 0, at every step.

    >>> constant(3, 10)
    1.0
    """
    held(step, total)
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
    flat = to_steps("pct_start", pct_start, total)
    share = into_tail(step, total, total - flat)
    return anneal(1.0, end_factor, share, "cos")


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
    falling = to_steps("decay", decay, total)
    rising = min(to_steps("warmup", warmup, total), total - falling)
    if step < rising:
        return anneal(start_factor, 1.0, held(step, total) / rising, "linear")
    return anneal(1.0, end_factor, into_tail(step, total, falling), anneal_strategy)
