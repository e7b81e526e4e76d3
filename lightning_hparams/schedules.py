"""Schedules: what an optimizer's value is multiplied by, as a function of (step, total)."""

from __future__ import annotations

import math
from typing import Literal

from .checks import in_range, one_of

__all__ = ["one_cycle"]


def one_cycle(
    step: int,
    total: int,
    *,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    anneal_strategy: Literal["cos", "linear"] = "cos",
) -> float:
    """Multiplier of the peak learning rate under the 1cycle policy (Smith & Topin, 1708.07120).

    The arguments are those of torch's ``OneCycleLR``, and so are the values wherever torch's
    phases end on whole steps; here the peak always falls on one.

    Args:
        step: Optimizer steps taken so far, at least 0; past the end the last value holds.
        total: Optimizer steps in the whole run, at least 1.
        pct_start: Share of the run spent rising, in 0..1.
        div_factor: The first step has ``1 / div_factor``, above 0.
        final_div_factor: The last step has ``1 / (div_factor * final_div_factor)``, above 0.
        anneal_strategy: ``"cos"`` or ``"linear"``.

    Raises:
        ValueError: If a value is out of its range.

    >>> [round(one_cycle(step, 10), 3) for step in (0, 2, 9, 99)]
    [0.04, 1.0, 0.0, 0.0]
    """
    in_range("total", total, 1, remedy="count optimizer steps")
    in_range("step", step, 0, remedy="count optimizer steps")
    in_range("pct_start", pct_start, 0, 1, remedy="0.3 is usual")
    in_range("div_factor", div_factor, above=0.0, remedy="25 is usual")
    in_range("final_div_factor", final_div_factor, above=0.0, remedy="1e4 is usual")
    one_of("anneal_strategy", anneal_strategy, ("cos", "linear"))
    start, last = 1 / div_factor, total - 1
    final = start / final_div_factor
    peak = min(max(round(pct_start * total) - 1, 0), last)
    step = min(step, last)
    if step == peak:
        return 1.0
    if step < peak:
        return _anneal(start, 1.0, step / peak, anneal_strategy)
    return _anneal(1.0, final, (step - peak) / (last - peak), anneal_strategy)


def _anneal(first: float, last: float, share: float, strategy: str) -> float:
    """From ``first`` to ``last`` as ``share`` goes from 0 to 1, exact at both ends."""
    if strategy == "cos":
        share = (1 - math.cos(math.pi * share)) / 2
    return first * (1 - share) + last * share
