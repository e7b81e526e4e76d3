"""Steps of a run, and interpolation between two values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from typing import TypeAlias

from ..checks import in_range

__all__ = ["Curve", "anneal", "check_order", "held", "into_tail", "share_of_run", "to_steps"]

Curve: TypeAlias = Callable[[int], float]
"""A schedule for a run of known length: step -> multiplier."""


def held(step: int, total: int) -> int:
    """Return the step, or the last step of the run if it is past the end."""
    if step < 0 or total < 1:
        in_range("total", total, 1, remedy="count optimizer steps")
        in_range("step", step, 0, remedy="count optimizer steps")
    return step if step < total else total - 1


def share_of_run(step: int, total: int) -> float:
    """Return the progress of the run: 0 at its first step, 1 at its last."""
    step = held(step, total)
    return step / (total - 1) if step else 0.0


def into_tail(step: int, total: int, tail: int) -> float:
    """Return the progress through the last ``tail`` steps: 0 before them, 1 at the last."""
    into = held(step, total) - (total - tail) + 1
    return into / tail if into > 0 else 0.0


def to_steps(name: str, amount: float, total: int) -> int:
    """Convert a number of steps (int) or a share of the run (float) to steps."""
    if isinstance(amount, int):
        in_range(name, amount, 0, remedy="a number of steps, or a share of the run as a float")
        return min(amount, total)
    in_range(name, amount, 0.0, 1.0, remedy="a share of the run, or a number of steps as an int")
    return round(amount * total)


def anneal(first: float, last: float, share: float, strategy: str) -> float:
    """Interpolate from ``first`` (share 0) to ``last`` (share 1), exactly at both ends."""
    if strategy == "cos":
        share = (1 - math.cos(math.pi * share)) / 2
    elif strategy == "1-sqrt":
        share = math.sqrt(share)
    return first * (1 - share) + last * share


def check_order(name: str, values: object) -> None:
    """Refuse unordered collections, and those that Python iterates by key or by character."""
    if isinstance(values, (Mapping, Set, str)):
        raise TypeError(f"`{name}` must be a list in the order of steps, got {values!r}")
