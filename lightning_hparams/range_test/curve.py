"""One sweep of an LR range test (Smith, 1506.01186): rates, stopping rule, curve, suggestion rules.

Everything here is a pure function of measured numbers; the callback does the measuring, and makes
sure that it has no side effects.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..checks import in_range, one_of, whole_number
from ..notices import warn_user

__all__ = [
    "PARAMS",
    "RULES",
    "Curve",
    "Rule",
    "Stop",
    "Sweep",
    "check_range_test",
    "lr_values",
    "read",
    "rule_named",
    "smooth",
]

Array: TypeAlias = npt.NDArray[np.float64]
PARAMS = ("lr", "weight_decay", "momentum", "batch_size")

MIN_POINTS = 10  # a curve with fewer points cannot be read; also the least `num_steps`
_LARGEST = 1e100  # losses beyond it have diverged, and would overflow the sums below
_WIDTH = 0.05  # standard deviation of the smoothing kernel, as a share of the points
_HEAD = 0.3  # share of the points, from the first, that estimates the initial loss and its noise
# Standard errors between the start and the lowest point that count as a fall. Of a thousand curves
# of pure noise, one or two exceed it if the noise is normal, two to five if it has heavy tails
# (Student, 3 degrees); the weakest real fall of the tasks used to design the rules has 6.8.
_FALL = 4.5


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
        ValueError: If a value is out of range or a name is unknown.
    """
    lr_values(min_lr, max_lr, num_steps, mode)
    one_of("param", param, PARAMS)
    rule_named(rule)
    whole_number("repeats", repeats, 1, remedy="1 runs one sweep")


# -- the sweep -------------------------------------------------------------------------------------


def lr_values(min_lr: float, max_lr: float, num_steps: int, mode: str = "exp") -> list[float]:
    """The learning rate of each step of a sweep.

    Args:
        min_lr: The first value, above 0.
        max_lr: The last value, above ``min_lr``.
        num_steps: Number of steps, at least 10.
        mode: ``"exp"`` for equal ratios between neighbours, ``"linear"`` for equal differences.

    Raises:
        ValueError: If a value is out of range.

    >>> [f"{lr:g}" for lr in lr_values(1e-7, 100, 10)]
    ['1e-07', '1e-06', '1e-05', '0.0001', '0.001', '0.01', '0.1', '1', '10', '100']
    """
    in_range("min_lr", min_lr, above=0.0, remedy="1e-7 is usual")
    in_range("max_lr", max_lr, high=1e300, above=min_lr, remedy="10 is usual")
    num_steps = whole_number("num_steps", num_steps, MIN_POINTS, remedy="100 is usual")
    one_of("mode", mode, ("exp", "linear"))
    if mode == "linear" and max_lr / min_lr > 100:
        warn_user(
            f'mode="linear" from {min_lr:g} to {max_lr:g} spends nine tenths of its steps in the '
            'last decade; use mode="exp", or at most two decades'
        )
    space = np.linspace if mode == "linear" else np.geomspace
    values = space(min_lr, max_lr, num_steps).tolist()
    return [min_lr, *values[1:-1], max_lr]


class Stop:
    """Decides after each loss whether to end a sweep.

    A sweep ends when a loss is not finite, or when the median of the last three losses exceeds the
    initial loss by three times the fall so far and by 20 times the usual jump. Only differences of
    losses count, so losses may be negative; the usual criterion, "four times the lowest loss",
    would end a sweep of negative losses after two steps.

    >>> stop = Stop()
    >>> [stop.add(loss) for loss in [-5] * 6 + [-6] * 6 + [20] * 3].index(True)
    13
    """

    def __init__(self) -> None:
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=3)
        self._start = self._jump = 0.0
        self._lowest = math.inf

    def add(self, loss: float) -> bool:
        """Add the next loss; True if the sweep should end here."""
        if not abs(loss) < _LARGEST:
            return True
        self._last.append(loss)
        level = sorted(self._last)[len(self._last) // 2]  # ignores a single outlier
        self._lowest = min(self._lowest, level)
        if len(self._first) < MIN_POINTS:
            self._first.append(loss)
            if len(self._first) == MIN_POINTS:
                self._start = statistics.fmean(self._first[:3])
                jumps = [abs(b - a) for a, b in itertools.pairwise(self._first)]
                self._jump = statistics.median(jumps)
            return False
        # 20 jumps, since a noise-free validation loss may rise before it falls (BatchNorm).
        return level > self._start + max(3 * (self._start - self._lowest), 20 * self._jump)


@dataclass(frozen=True)
class Sweep:
    """The learning rate of each step of a sweep, and the loss before that step.

    Includes every measured loss, even the one that ended the sweep, finite or not.
    """

    lrs: Sequence[float]
    losses: Sequence[float]

    def __post_init__(self) -> None:
        for name in ("lrs", "losses"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if len(self.lrs) != len(self.losses):
            raise ValueError(
                f"a sweep needs a loss for each learning rate, got {len(self.losses)} losses "
                f"for {len(self.lrs)} learning rates"
            )


# -- the curve, as passed to rules -----------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """The usable part of a sweep, as passed to a rule. Arrays are ``(N,)``."""

    lrs: Array
    losses: Array  # as measured
    smoothed: Array  # of losses clipped at as far above the start as they fell below it
    start: float  # loss before training
    noise: float  # standard deviation of one loss about the curve
    error: float  # standard deviation of the lowest smoothed loss
    low: int  # index of the lowest smoothed loss
    ended: float | None  # rate at which the loss diverged, None if it did not
    finite: bool  # False if the sweep ended with a NaN or infinite loss

    @property
    def drop(self) -> float:
        """How far the smoothed loss fell."""
        return self.start - float(self.smoothed[self.low])

    @property
    def fell(self) -> bool:
        """Whether it fell by more than noise explains."""
        head = _head(len(self.lrs))
        error = math.hypot(self.noise / math.sqrt(head), self.error)
        return self.drop > _FALL * (1 + 2 / head) * error  # few points give an uncertain noise

    @property
    def edge(self) -> float:
        """The last rate with a loss within a tenth of the drop, or four errors, of the lowest."""
        rising = self.smoothed[self.low :] - self.smoothed[self.low]
        limit = max(0.1 * self.drop, 4 * self.error)
        last = int(np.flatnonzero(rising <= limit)[-1])
        if last == len(rising) - 1:
            return float(self.lrs[-1])
        share = (limit - rising[last]) / (rising[last + 1] - rising[last])
        before, behind = np.log(self.lrs[self.low + last : self.low + last + 2])
        return float(np.exp(before + share * (behind - before)))

    def fallen(self, share: float) -> float:
        """The rate from which the loss has fallen by at least this share of the drop."""
        limit = self.start - share * self.drop
        above = np.flatnonzero(self.smoothed[: self.low] > limit)
        return float(self.lrs[above[-1] + 1 if len(above) else 0])

    @property
    def left(self) -> bool:
        """Whether the loss rose again after its lowest point."""
        return self.ended is not None or self.edge < self.lrs[-1]


Rule: TypeAlias = Callable[[Curve], float]


def smooth(values: npt.ArrayLike, width: float) -> Array:
    """Smooth by local linear regression with Gaussian weights: no lag, no bias on straight lines.

    Args:
        values: ``(N,)``, finite.
        width: Standard deviation of the Gaussian in points; below 0.3, values are not smoothed.
    """
    series = np.asarray(values, dtype=np.float64)
    if not _smooths(len(series), width):
        return series.copy()
    reach = min(math.ceil(4 * width), len(series) - 1)
    offset = np.arange(reach, -reach - 1, -1.0)
    weight = np.exp(-0.5 * (offset / width) ** 2)

    def moment(of: Array, power: int) -> Array:
        around: Array = np.convolve(of, weight * offset**power)[reach : reach + len(series)]
        return around

    s0, s1, s2 = (moment(np.ones(len(series)), power) for power in range(3))
    middle = float(np.median(series))  # subtracted first, since large losses would lose precision
    t0, t1 = (moment(series - middle, power) for power in range(2))
    smoothed: Array = (s2 * t0 - s1 * t1) / (s0 * s2 - s1**2) + middle
    return smoothed


def _smooths(count: int, width: float) -> bool:
    return width >= 0.3 and count >= 3


def _error(count: int, width: float, at: int) -> float:
    """Standard deviation of a smoothed point, of ``count`` independent points with deviation 1."""
    if not _smooths(count, width):
        return 1.0
    offset = np.arange(count) - at
    weight = np.exp(-0.5 * (offset / width) ** 2)
    s0, s1, s2 = (float(np.sum(weight * offset**power)) for power in range(3))
    return float(np.linalg.norm(weight * (s2 - s1 * offset) / (s0 * s2 - s1**2)))


def _edge(curve: Curve) -> float:
    """A third of the geometric mean of the edge and the rate at nine tenths of the drop.

    The rate at which training turns unstable varies more between seeds than the rate by which it
    has learned, so their mean varies less than the edge. A third of it, since a one-cycle stays
    near its peak for many steps, a sweep only for one. See ``benchmarks/range_test_quality.py``.
    """
    return math.sqrt(curve.fallen(0.9) * curve.edge) / 3


def _min(curve: Curve) -> float:
    """A third of the rate with the lowest loss."""
    return float(curve.lrs[curve.low]) / 3


def _steep(curve: Curve) -> float:
    """Where the loss falls fastest against the logarithm of the rate."""
    return float(curve.lrs[np.argmin(_slopes(curve)[: curve.low + 1])])


def _valley(curve: Curve) -> float:
    """The geometric mean of the rates at a tenth and nine tenths of the fall."""
    return math.sqrt(curve.fallen(0.1) * curve.fallen(0.9))


def _slide(curve: Curve) -> float:
    """The last rate where the loss still falls at half its steepest slope or faster."""
    slopes = _slopes(curve)[: curve.low + 1]
    return float(curve.lrs[np.flatnonzero(slopes <= slopes.min() / 2)[-1]])


def _slopes(curve: Curve) -> Array:
    slopes: Array = np.gradient(curve.smoothed, np.log(curve.lrs))
    return slopes


RULES: dict[str, Rule] = {
    "edge": _edge,
    "min": _min,
    "steep": _steep,
    "valley": _valley,
    "slide": _slide,
}


def read(sweep: Sweep) -> Curve | None:
    """Return the curve of a sweep, or None if it has fewer than ten finite points."""
    stop = Stop()
    losses = np.asarray(sweep.losses, dtype=np.float64)
    stops = (index for index, loss in enumerate(losses.tolist()) if stop.add(loss))
    last = next(stops, None)
    count = len(losses) if last is None else last + int(abs(losses[last]) < _LARGEST)
    if count < MIN_POINTS:
        return None
    kept = losses[:count]
    padded = np.pad(kept, 1, mode="edge")
    calmed = np.median([padded[:-2], kept, padded[2:]], axis=0)  # without single spikes
    head = _head(count)
    start = float(calmed[:head].mean())
    jumps = np.abs(np.diff(kept[:head]))
    noise = float(jumps.mean()) * math.sqrt(math.pi) / 2
    ceiling = start + max(start - float(calmed.min()), 6 * noise)
    width = _WIDTH * count
    smoothed = smooth(np.minimum(calmed, ceiling), width)
    low = int(np.argmin(smoothed))
    return Curve(
        lrs=np.asarray(sweep.lrs[:count], dtype=np.float64),
        losses=kept,
        smoothed=smoothed,
        start=start,
        noise=noise,
        error=noise * _error(count, width, low),
        low=low,
        ended=None if last is None else float(sweep.lrs[last]),
        finite=last is None or math.isfinite(losses[last]),
    )


def _head(count: int) -> int:
    return max(int(_HEAD * count), 4)


def rule_named(rule: str | Rule) -> Rule:
    """Return the rule of a name; a function is returned as it is.

    Raises:
        ValueError: If the name is unknown.
    """
    if callable(rule):
        return rule
    one_of("rule", rule, RULES)
    return RULES[rule]
