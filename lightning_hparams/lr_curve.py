"""LR range test (Smith, 1506.01186): loss against a rising learning rate -> a peak, a range, a status.

Everything here is a function of numbers already measured. What is measured, and how it leaves no
trace, belongs to the callback.
"""

from __future__ import annotations

import json
import math
import warnings
from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from .checks import in_range, one_of

__all__ = [
    "PARAMS",
    "RULES",
    "Curve",
    "RangeTestResult",
    "Rule",
    "Status",
    "Stop",
    "Sweep",
    "analyse",
    "check_range_test",
    "lr_values",
    "smooth",
]

Array: TypeAlias = npt.NDArray[np.float64]
Status = Literal["ok", "no_descent", "no_divergence", "too_few_points", "non_finite"]
PARAMS = ("lr", "weight_decay", "momentum", "batch_size")

_MIN_POINTS = 10  # fewer points than this say nothing; also the least `num_steps`
_HEAD = 0.1  # share of the sweep, from its start, that tells the loss before training
_WIDTH = 0.03  # standard deviation of the smoothing kernel as a share of the sweep
_BELOW_EDGE = 3.0  # the peak of a one-cycle stands this factor below the edge of divergence


# -- the sweep -------------------------------------------------------------------------------------


def lr_values(min_lr: float, max_lr: float, num_steps: int, mode: str = "exp") -> list[float]:
    """The learning rate of each step of a sweep.

    Args:
        min_lr: The first value, above 0.
        max_lr: The last value, above ``min_lr``.
        num_steps: How many, at least 10.
        mode: ``"exp"`` for equal ratios between neighbours, ``"linear"`` for equal differences.

    Raises:
        ValueError: If a value is out of its range.

    >>> [f"{lr:g}" for lr in lr_values(1e-7, 100, 10)]
    ['1e-07', '1e-06', '1e-05', '0.0001', '0.001', '0.01', '0.1', '1', '10', '100']
    """
    in_range("min_lr", min_lr, above=0.0, remedy="1e-7 is usual")
    in_range("max_lr", max_lr, above=min_lr, remedy=f"it must exceed min_lr={min_lr!r}")
    in_range("max_lr", max_lr, high=1e300)
    in_range("num_steps", num_steps, _MIN_POINTS, remedy="100 is usual")
    one_of("mode", mode, ("exp", "linear"))
    if mode == "linear":
        if max_lr / min_lr > 100:
            warnings.warn(
                f'mode="linear" from {min_lr:g} to {max_lr:g} spends 90 % of its steps in the '
                'last decade; use mode="exp" or a range of at most two decades',
                stacklevel=2,
            )
        values = np.linspace(min_lr, max_lr, num_steps)
    else:
        values = np.geomspace(min_lr, max_lr, num_steps)
    values[0], values[-1] = min_lr, max_lr
    return [float(value) for value in values]


class Stop:
    """Says, loss by loss, when a sweep has seen enough.

    It has when a loss is not finite, or when the loss stands above where it began by three times
    what it had fallen and by six times its noise. Only differences of losses count, so that a loss
    may be negative; "four times the lowest loss", as others stop, ends those after two steps.

    >>> stop = Stop()
    >>> [stop.add(loss) for loss in [-5, -5, -5, -6, -6, -6, 9, 9, 9]].index(True)
    7
    """

    def __init__(self) -> None:
        self.start = math.nan  # loss before training
        self.lowest = math.inf
        self._head: list[float] = []
        self._last: deque[float] = deque(maxlen=3)
        self._jumps: list[float] = []  # sizes of the differences between neighbours, sorted

    def add(self, loss: float) -> bool:
        """Take the next loss; True if the sweep should end here."""
        if not math.isfinite(loss):
            return True
        if self._last:
            insort(self._jumps, abs(loss - self._last[-1]))
        self._last.append(loss)
        if len(self._head) < 3:
            self._head.append(loss)
            self.start = sum(self._head) / len(self._head)
        level = sorted(self._last)[len(self._last) // 2]  # one odd batch is no divergence
        self.lowest = min(self.lowest, level)
        if len(self._last) < 3:
            return False
        noise = self._jumps[len(self._jumps) // 2]
        return level > self.start + max(3 * (self.start - self.lowest), 6 * noise)


@dataclass(frozen=True)
class Sweep:
    """What one sweep measured: the loss before each step and the learning rate of that step.

    Give every loss that was seen, the one that ended the sweep too, finite or not.
    """

    lrs: Sequence[float]
    losses: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.lrs) != len(self.losses):
            raise ValueError(
                f"a sweep needs one loss for each learning rate, got {len(self.losses)} losses "
                f"for {len(self.lrs)} learning rates"
            )


# -- the curve -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """The usable part of a sweep, as the rules see it; arrays are ``(N,)``."""

    lrs: Array
    losses: Array  # as measured, clipped above
    smoothed: Array
    start: float  # loss before training
    noise: float  # standard deviation of a loss about the curve
    low: int  # index of the lowest smoothed loss

    @property
    def drop(self) -> float:
        """How far the smoothed loss fell."""
        return self.start - float(self.smoothed[self.low])


Rule: TypeAlias = Callable[[Curve], float]


def smooth(values: npt.ArrayLike, width: float) -> Array:
    """Local straight lines under a Gaussian: no lag, and no bias on constants and lines.

    Args:
        values: ``(N,)``, finite.
        width: Standard deviation of the kernel in points, at least 0; 0 leaves values as they are.
    """
    series = np.asarray(values, dtype=np.float64)
    if width <= 0 or len(series) < 3:
        return series.copy()
    index = np.arange(len(series), dtype=np.float64)
    offset = index[None, :] - index[:, None]
    weight = np.exp(-0.5 * (offset / width) ** 2)
    s0, s1, s2 = (np.sum(weight * offset**power, axis=1) for power in range(3))
    kernel = weight * (s2[:, None] - s1[:, None] * offset) / (s0 * s2 - s1**2)[:, None]
    middle = float(np.median(series))  # kept out of the sums, where it would cost digits
    smoothed: Array = kernel @ (series - middle) + middle
    return smoothed


def _edge(curve: Curve) -> float:
    """A third of the last rate at which the loss is still as good as its lowest, noise apart."""
    return float(curve.lrs[_edge_index(curve)]) / _BELOW_EDGE


def _edge_index(curve: Curve) -> int:
    limit = curve.smoothed[curve.low] + max(0.1 * curve.drop, 2 * curve.noise)
    above = np.flatnonzero(curve.smoothed[curve.low :] > limit)
    return int(curve.low + above[0] - 1) if len(above) else len(curve.lrs) - 1


def _min(curve: Curve) -> float:
    return float(curve.lrs[curve.low]) / _BELOW_EDGE


def _steep(curve: Curve) -> float:
    slope = np.gradient(curve.smoothed, np.log(curve.lrs))
    return float(curve.lrs[np.argmin(slope)])


def _valley(curve: Curve) -> float:
    return _min(curve)


def _slide(curve: Curve) -> float:
    return _min(curve)


RULES: dict[str, Rule] = {
    "edge": _edge,
    "min": _min,
    "steep": _steep,
    "valley": _valley,
    "slide": _slide,
}


# -- the result ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RangeTestResult:
    """What a range test found; ``suggestion`` is None unless the status allows one."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    base_lr: float | None
    max_lr: float | None
    diverged_at: float | None
    status: Status
    spread: float | None = None
    steps_run: int = 0
    seconds: float = 0.0
    param: str = "lr"
    rule: str = "edge"
    per_repeat: tuple[float | None, ...] = field(default=())

    @property
    def applies(self) -> bool:
        """Whether the suggestion may be used: status ``ok`` or ``no_divergence``."""
        return self.suggestion is not None

    def summary(self) -> str:
        """One line for people."""
        return f"{self.param} range test: {self.status}, suggestion {self.suggestion}"

    def __str__(self) -> str:
        return self.summary()

    def to_json(self) -> str:
        """Strict JSON; :meth:`from_json` gives back an equal result."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RangeTestResult:
        """The result that :meth:`to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        for item in fields(cls):
            if isinstance(values[item.name], list):
                values[item.name] = tuple(values[item.name])
        return cls(**values)


def analyse(
    sweeps: Sequence[Sweep],
    rule: str | Rule = "edge",
    *,
    param: str = "lr",
    seconds: float = 0.0,
) -> RangeTestResult:
    """Make a result of one sweep, or of several over the same rates.

    Args:
        sweeps: At least one.
        rule: A name in :data:`RULES`, or a function of a :class:`Curve` that returns a rate.
        param: What was swept.
        seconds: How long the sweeps took, for the record.

    Raises:
        ValueError: If there is no sweep or the rule is unknown.
    """
    if not sweeps:
        raise ValueError("`sweeps` must hold at least one sweep, got none")
    chosen = _rule(rule)
    sweep = sweeps[0]
    losses = np.asarray(sweep.losses, dtype=np.float64)
    finite = np.isfinite(losses)
    count = int(np.argmin(finite)) if not finite.all() else len(losses)
    width = _WIDTH * len(losses)
    smoothed = smooth(losses[:count], width)
    status: Status = "ok"
    suggestion = None
    if count < _MIN_POINTS:
        status = "too_few_points"
    else:
        start = float(smoothed[: max(3, int(_HEAD * count))].mean())
        noise = float(np.std(losses[:count] - smoothed))
        curve = Curve(
            np.asarray(sweep.lrs[:count], dtype=np.float64),
            losses[:count],
            smoothed,
            start,
            noise,
            int(np.argmin(smoothed)),
        )
        suggestion = chosen(curve)
    return RangeTestResult(
        lrs=tuple(map(float, sweep.lrs)),
        losses=tuple(map(float, sweep.losses)),
        smoothed=tuple(map(float, smoothed)),
        suggestion=suggestion,
        base_lr=None if suggestion is None else suggestion / 25,
        max_lr=suggestion,
        diverged_at=None,
        status=status,
        steps_run=sum(len(each.losses) for each in sweeps),
        seconds=seconds,
        param=param,
        rule=rule if isinstance(rule, str) else getattr(rule, "__name__", "custom"),
    )


def check_range_test(
    min_lr: float,
    max_lr: float,
    num_steps: int,
    mode: str = "exp",
    *,
    param: str = "lr",
    rule: str | Rule = "edge",
    repeats: int = 1,
) -> None:
    """Check the arguments of a range test before anything runs.

    Raises:
        ValueError: If a value is out of its range or a name is unknown.
    """
    lr_values(min_lr, max_lr, num_steps, mode)
    one_of("param", param, PARAMS)
    _rule(rule)
    in_range("repeats", repeats, 1, remedy="1 runs one sweep")


def _rule(rule: str | Rule) -> Rule:
    if callable(rule):
        return rule
    one_of("rule", rule, RULES)
    return RULES[rule]


_ = get_args
