"""Schedules that decay over the run or stay constant."""

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
    """Fall as half a cosine, optionally with warm restarts (Loshchilov & Hutter, 1608.03983).

    With ``T_0``, this is torch's ``CosineAnnealingWarmRestarts``, without it
    ``CosineAnnealingLR`` with ``T_max = total - 1``.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        end_factor: Multiplier at the end (of every period), at least 0.
        T_0: Length of the first period in steps (int) or as a share of the run (float); None for
            one period over the whole run.
        T_mult: Factor by which each period is longer than the previous one, at least 1.

    Raises:
        ValueError: If a value is out of range.

    >>> [round(cosine(step, 9), 3) for step in (0, 4, 8)]
    [1.0, 0.5, 0.0]
    >>> [round(cosine(step, 12, T_0=4, T_mult=2), 3) for step in (0, 2, 4, 8)]
    [1.0, 0.5, 1.0, 0.5]
    """
    in_range("end_factor", end_factor, 0.0)
    in_range("T_mult", T_mult, 1, remedy="1 keeps the length of periods")
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
    """Fall as a power of the remaining share of the run: DeepLab's "poly" (1606.00915).

    ``power`` is above 0, where 1 is a straight line; the last multiplier is ``end_factor``, at
    least 0.

    >>> [round(polynomial(step, 11), 3) for step in (0, 5, 10)]
    [1.0, 0.536, 0.0]
    """
    in_range("power", power, above=0.0, remedy="0.9 is usual")
    in_range("end_factor", end_factor, 0.0)
    return end_factor + (1 - end_factor) * math.pow(1 - share_of_run(step, total), power)


def linear(step: int, total: int, *, start_factor: float = 1.0, end_factor: float = 0.0) -> float:
    """Follow a straight line over the whole run; as a decay, it is hard to beat (2310.07831).

    From ``start_factor`` at the first step to ``end_factor`` at the last, both at least 0.

    >>> [linear(step, 5) for step in (0, 1, 4, 99)]
    [1.0, 0.75, 0.0, 0.0]
    """
    in_range("start_factor", start_factor, 0.0)
    in_range("end_factor", end_factor, 0.0)
    return anneal(start_factor, end_factor, share_of_run(step, total), "linear")


def step(
    step: int, total: int, *, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1
) -> float:
    """Multiply by ``gamma`` at each milestone; the default suits ResNets (1512.03385, 4.2).

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        milestones: In steps (int) or as shares of the run (float).
        gamma: At least 0.

    Raises:
        ValueError: If a value is out of range.
        TypeError: If the milestones are not a list, but a dict of steps and factors, say.

    >>> [round(step(at, 100), 3) for at in (0, 49, 50, 75)]
    [1.0, 1.0, 0.1, 0.01]
    """
    in_range("gamma", gamma, 0.0)
    check_order("milestones", milestones)
    at = held(step, total)
    passed: int = sum(to_steps("milestones", mark, total) <= at for mark in milestones)
    return gamma**passed


def constant(step: int, total: int, *, factor: float = 1.0) -> float:
    """Return the same ``factor``, at least 0, at every step.

    >>> constant(3, 10)
    1.0
    """
    held(step, total)
    in_range("factor", factor, 0.0)
    return factor


def flat_cosine(
    step: int, total: int, *, pct_start: float = 0.75, end_factor: float = 0.0
) -> float:
    """Stay flat, then fall as half a cosine: fastai's ``fit_flat_cos``, RTMDet (2212.07784).

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        pct_start: Length of the flat part, in steps (int) or as a share of the run (float).
        end_factor: Multiplier at the last step, at least 0.

    Raises:
        ValueError: If a value is out of range.

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

    A longer run can continue from any checkpoint of the stable phase: if ``warmup`` is given in
    steps, nothing up to there depends on the length.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        warmup: Length of the linear rise, in steps (int) or as a share of the run (float).
        decay: Length of the fall at the end, in steps (int) or as a share of the run (float).
        start_factor: Multiplier at the first step, at least 0.
        end_factor: Multiplier at the last step, at least 0.
        anneal_strategy: Shape of the fall: ``"1-sqrt"``, ``"cos"`` or ``"linear"``.

    Raises:
        ValueError: If a value is out of range, or warmup and decay are longer than the run.

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
