"""Schedules that rise and fall: the 1cycle policy and cyclic learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from ..checks import in_range, one_of
from ._steps import Curve, held

__all__ = [
    "exp_range",
    "exp_range_curve",
    "one_cycle",
    "one_cycle_curve",
    "triangular",
    "triangular2",
    "triangular2_curve",
    "triangular_curve",
]

_CYCLES = 4  # at least 3 cycles train most of the way, 4 or more do better (1506.01186, 3.2)


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
    """Return the multiplier of the peak learning rate in the 1cycle policy (1708.07120).

    Smith & Topin's policy with the arguments of torch's ``OneCycleLR``, and its values wherever
    torch's phases end on whole steps; here the peak always falls on one. For the curve of fastai's
    ``fit_one_cycle``, pass ``pct_start=0.25, div_factor=25, final_div_factor=4e3``.

    Args:
        step: Optimizer steps taken so far, at least 0; past the end the last value holds.
        total: Optimizer steps in the whole run, at least 1.
        pct_start: Share of the run spent rising, in 0..1.
        div_factor: The first multiplier is ``1 / div_factor``; above 0.
        final_div_factor: The last one is ``1 / (div_factor * final_div_factor)``; above 0.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        three_phase: First fall symmetrically to the first value, then on to the last.

    Raises:
        ValueError: If a value is out of range.

    >>> [round(one_cycle(step, 10), 3) for step in (0, 2, 9, 99)]
    [0.04, 1.0, 0.0, 0.0]
    """
    curve = one_cycle_curve(
        total, pct_start, div_factor, final_div_factor, anneal_strategy, three_phase
    )
    return curve(held(step, total))


@lru_cache  # the checks take three times as long as the curve itself
def one_cycle_curve(
    total: int,
    pct_start: float,
    div_factor: float,
    final_div_factor: float,
    anneal_strategy: Literal["cos", "linear"],
    three_phase: bool,
) -> Curve:
    """Return :func:`one_cycle` for a run of known length, as a function of the step."""
    in_range("pct_start", pct_start, 0, 1, remedy="0.3 is usual")
    in_range("div_factor", div_factor, above=0.0, remedy="25 is usual")
    in_range("final_div_factor", final_div_factor, above=0.0, remedy="1e4 is usual")
    one_of("anneal_strategy", anneal_strategy, ("cos", "linear"))
    start, last = 1 / div_factor, total - 1
    final = start / final_div_factor
    peak = min(max(round(pct_start * total) - 1, 0), last)
    # The last step always belongs to the third phase, however short that is.
    back = max(peak, min(2 * peak, last - 1)) if three_phase else peak
    top = start if three_phase else 1.0
    is_cos, cos, pi = anneal_strategy == "cos", math.cos, math.pi

    def curve(step: int) -> float:
        if step > last:
            step = last
        if step == peak:
            return 1.0
        if step < peak:
            begin, end, share = start, 1.0, step / peak
        elif step < back:
            begin, end, share = 1.0, start, (step - peak) / (back - peak)
        else:
            begin, end, share = top, final, (step - back) / (last - back)
        if is_cos:
            share = (1 - cos(pi * share)) / 2
        return begin * (1 - share) + end * share

    return curve


def triangular(
    step: int,
    total: int,
    *,
    base: float = 0.25,
    step_size_up: float | None = None,
    step_size_down: float | None = None,
) -> float:
    """Rise and fall in straight lines between the bounds of a cyclic rate (Smith, 1506.01186).

    With step sizes, this is torch's ``CyclicLR`` with ``base_lr = base * max_lr``.

    Args:
        step: Optimizer steps taken so far.
        total: Optimizer steps in the whole run.
        base: Multiplier at the foot of a cycle, in 0..1; 1/4 to 1/3 is usual (section 3.3).
        step_size_up: Steps from foot to peak, or below 1 a share of the run; None for four cycles
            that fill the run and end at the foot (fewer in a run of less than nine steps). Smith
            uses 2 to 10 epochs.
        step_size_down: Steps from peak to foot; None for ``step_size_up``.

    Raises:
        ValueError: If a value is out of range.

    >>> [triangular(step, 17) for step in (0, 1, 2, 3, 4, 16)]
    [0.25, 0.625, 1.0, 0.625, 0.25, 0.25]
    >>> triangular(2, 17) == triangular(2, 17, step_size_up=0.125) == 1.0
    True
    """
    return triangular_curve(total, base, step_size_up, step_size_down)(held(step, total))


@lru_cache
def triangular_curve(
    total: int, base: float, step_size_up: float | None, step_size_down: float | None
) -> Curve:
    """Return :func:`triangular` for a run of known length, as a function of the step."""
    return _cycles(total, base, step_size_up, step_size_down)


def triangular2(
    step: int,
    total: int,
    *,
    base: float = 0.25,
    step_size_up: float | None = None,
    step_size_down: float | None = None,
) -> float:
    """Like :func:`triangular`, with each cycle half as high as the previous one (1506.01186).

    >>> [triangular2(step, 17) for step in (2, 6, 10)]
    [1.0, 0.625, 0.4375]
    """
    return triangular2_curve(total, base, step_size_up, step_size_down)(held(step, total))


@lru_cache
def triangular2_curve(
    total: int, base: float, step_size_up: float | None, step_size_down: float | None
) -> Curve:
    """Return :func:`triangular2` for a run of known length, as a function of the step."""
    return _cycles(total, base, step_size_up, step_size_down, lambda cycle, step: 0.5**cycle)


def exp_range(
    step: int,
    total: int,
    *,
    base: float = 0.25,
    step_size_up: float | None = None,
    step_size_down: float | None = None,
    gamma: float = 0.99994,
) -> float:
    """Like :func:`triangular`, with heights multiplied by ``gamma**step`` (Smith, 1506.01186).

    ``gamma`` is above 0 and at most 1.

    >>> [round(exp_range(step, 17, base=0.0, gamma=0.9), 3) for step in (0, 2, 6)]
    [0.0, 0.81, 0.531]
    """
    return exp_range_curve(total, base, step_size_up, step_size_down, gamma)(held(step, total))


@lru_cache
def exp_range_curve(
    total: int,
    base: float,
    step_size_up: float | None,
    step_size_down: float | None,
    gamma: float,
) -> Curve:
    """Return :func:`exp_range` for a run of known length, as a function of the step."""
    in_range("gamma", gamma, high=1.0, above=0.0, remedy="0.99994 is Smith's")
    return _cycles(total, base, step_size_up, step_size_down, lambda cycle, step: gamma**step)


def _cycles(
    total: int,
    base: float,
    up: float | None,
    down: float | None,
    scale: Callable[[int, int], float] | None = None,
) -> Curve:
    """Return cycles whose heights are scaled by a function of their number and the step."""
    up, down = _cycle_sizes(total, base, up, down)
    last, period = total - 1, up + down

    def curve(step: int) -> float:
        if step > last:
            step = last
        cycle, into = divmod(step, period)
        height = into / up if into <= up else (period - into) / down
        if scale is not None:
            height *= scale(int(cycle), step)
        return base * (1 - height) + height

    return curve


def _cycle_sizes(
    total: int, base: float, up: float | None, down: float | None
) -> tuple[float, float]:
    """Return checked step sizes."""
    in_range("base", base, 0.0, 1.0, remedy="a quarter to a third is usual")
    if up is None:
        if down is not None:
            raise ValueError(f"`step_size_down={down}` needs `step_size_up`; give both or neither")
        last = max(total - 1, 2)
        up = last / (2 * min(_CYCLES, last // 2))
    up = _size("step_size_up", up, total)
    return up, up if down is None else _size("step_size_down", down, total)


def _size(name: str, size: float, total: int) -> float:
    """Return a checked step size in steps, at least one if it is a share of the run."""
    in_range(name, size, above=0.0, remedy="2 to 10 epochs are usual")
    return size if size >= 1 else max(size * (total - 1), 1.0)
