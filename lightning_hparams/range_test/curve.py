"""One sweep of an LR range test (Smith, 1506.01186): its rates, its end, its curve, its rules.

Everything here is a function of numbers already measured. What is measured, and how it leaves no
trace, belongs to the callback.
"""

from __future__ import annotations

import itertools
import math
import statistics
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..checks import in_range, one_of, whole_number

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

MIN_POINTS = 10  # fewer points than this say nothing; also the least `num_steps`
_WIDTH = 0.05  # standard deviation of the smoothing kernel, as a share of the points
_HEAD = 0.3  # share of the points, from the first, that tells the loss at the start and its noise
# Standard errors between the start and the lowest point that count as a fall. Of a thousand curves
# of normal noise one or two pass it, of noise with heavy tails (Student, 3 degrees) two to five;
# the weakest real fall of the tasks that the rules were made on has 6.8.
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
        ValueError: If a value is out of its range or a name is unknown.
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
        num_steps: How many, at least 10.
        mode: ``"exp"`` for equal ratios between neighbours, ``"linear"`` for equal differences.

    Raises:
        ValueError: If a value is out of its range.

    >>> [f"{lr:g}" for lr in lr_values(1e-7, 100, 10)]
    ['1e-07', '1e-06', '1e-05', '0.0001', '0.001', '0.01', '0.1', '1', '10', '100']
    """
    in_range("min_lr", min_lr, above=0.0, remedy="1e-7 is usual")
    in_range("max_lr", max_lr, high=1e300, above=min_lr, remedy="10 is usual")
    whole_number("num_steps", num_steps, MIN_POINTS, remedy="100 is usual")
    one_of("mode", mode, ("exp", "linear"))
    if mode == "linear" and max_lr / min_lr > 100:
        warnings.warn(
            f'mode="linear" from {min_lr:g} to {max_lr:g} spends nine tenths of its steps in the '
            'last decade; use mode="exp", or at most two decades',
            stacklevel=2,
        )
    space = np.linspace if mode == "linear" else np.geomspace
    values = space(min_lr, max_lr, num_steps).tolist()
    return [min_lr, *values[1:-1], max_lr]


class Stop:
    """Says, loss by loss, when a sweep has seen enough.

    It has when a loss is not finite, or when the median of the last three stands above the start by
    three times what the loss had fallen and by 20 times its usual jump. Only differences of losses
    count, so that a loss may be negative: "four times the lowest loss", as others stop, ends a
    sweep of those after two steps.

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
        """Take the next loss; True if the sweep should end here."""
        if not math.isfinite(loss):
            return True
        self._last.append(loss)
        level = sorted(self._last)[len(self._last) // 2]  # one odd batch is no divergence
        self._lowest = min(self._lowest, level)
        if len(self._first) < MIN_POINTS:
            self._first.append(loss)
            if len(self._first) == MIN_POINTS:
                self._start = statistics.fmean(self._first[:3])
                jumps = [abs(b - a) for a, b in itertools.pairwise(self._first)]
                self._jump = statistics.median(jumps)
            return False
        # 20 jumps, since a validation loss without noise may rise before it falls (BatchNorm).
        return level > self._start + max(3 * (self._start - self._lowest), 20 * self._jump)


@dataclass(frozen=True)
class Sweep:
    """What one sweep measured: the loss before each step, and the learning rate of that step.

    Every loss that was seen belongs here, the one that ended the sweep too, finite or not.
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


# -- the curve, as rules see it --------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """The part of a sweep that can be read, as the rules see it. Arrays are ``(N,)``."""

    lrs: Array
    losses: Array  # as measured
    smoothed: Array  # of losses clipped to as far above the start as they fell below it
    start: float  # loss before training
    noise: float  # standard deviation of one loss about the curve
    error: float  # standard deviation of the lowest smoothed loss
    low: int  # index of the lowest smoothed loss
    ended: float | None  # rate at which the loss left for good, None if it never did
    finite: bool  # whether it left by getting large, and not by what is no number

    @property
    def drop(self) -> float:
        """How far the smoothed loss fell."""
        return self.start - float(self.smoothed[self.low])

    @property
    def fell(self) -> bool:
        """Whether it fell by more than its noise explains."""
        head = _head(len(self.lrs))
        error = math.hypot(self.noise / math.sqrt(head), self.error)
        return self.drop > _FALL * (1 + 2 / head) * error  # the noise of few points is uncertain

    @property
    def edge(self) -> float:
        """The last rate where the loss is low: within a tenth of the drop, or four errors."""
        rising = self.smoothed[self.low :] - self.smoothed[self.low]
        limit = max(0.1 * self.drop, 4 * self.error)
        last = int(np.flatnonzero(rising <= limit)[-1])
        if last == len(rising) - 1:
            return float(self.lrs[-1])
        share = (limit - rising[last]) / (rising[last + 1] - rising[last])
        before, behind = np.log(self.lrs[self.low + last : self.low + last + 2])
        return float(np.exp(before + share * (behind - before)))

    def fallen(self, share: float) -> float:
        """The rate from which on this share of the drop is done."""
        limit = self.start - share * self.drop
        above = np.flatnonzero(self.smoothed[: self.low] > limit)
        return float(self.lrs[above[-1] + 1 if len(above) else 0])

    @property
    def left(self) -> bool:
        """Whether the loss rose again behind its lowest point."""
        return self.ended is not None or self.edge < self.lrs[-1]


Rule: TypeAlias = Callable[[Curve], float]


def smooth(values: npt.ArrayLike, width: float) -> Array:
    """Straight lines fitted under a Gaussian: no lag, no bias on a constant or a line.

    Args:
        values: ``(N,)``, finite.
        width: Standard deviation of the Gaussian in points; below 0.3 nothing is smoothed.
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
    middle = float(np.median(series))  # kept out of the sums, where a large loss would cost digits
    t0, t1 = (moment(series - middle, power) for power in range(2))
    smoothed: Array = (s2 * t0 - s1 * t1) / (s0 * s2 - s1**2) + middle
    return smoothed


def _smooths(count: int, width: float) -> bool:
    return width >= 0.3 and count >= 3


def _error(count: int, width: float, at: int) -> float:
    """Standard deviation of one smoothed point among ``count`` independent ones of deviation 1."""
    if not _smooths(count, width):
        return 1.0
    offset = np.arange(count) - at
    weight = np.exp(-0.5 * (offset / width) ** 2)
    s0, s1, s2 = (float(np.sum(weight * offset**power)) for power in range(3))
    return float(np.linalg.norm(weight * (s2 - s1 * offset) / (s0 * s2 - s1**2)))


def _edge(curve: Curve) -> float:
    """A third of the geometric middle between nine tenths fallen and the edge.

    Where training turns unstable differs from seed to seed more than where it has learned; their
    middle varies less than the edge. A third of it, since a one-cycle stays near its peak for many
    steps and a sweep passes each rate once. See ``benchmarks/range_test_quality.py``.
    """
    return math.sqrt(curve.fallen(0.9) * curve.edge) / 3


def _min(curve: Curve) -> float:
    """A third of the rate with the lowest loss."""
    return float(curve.lrs[curve.low]) / 3


def _steep(curve: Curve) -> float:
    """Where the loss falls fastest against the logarithm of the rate."""
    return float(curve.lrs[np.argmin(_slopes(curve)[: curve.low + 1])])


def _valley(curve: Curve) -> float:
    """The geometric middle of the fall, between its first and its last tenth."""
    return math.sqrt(curve.fallen(0.1) * curve.fallen(0.9))


def _slide(curve: Curve) -> float:
    """From the right, the first rate where the loss still falls at half its steepest."""
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
    """The curve of a sweep; None if it has fewer than ten finite points."""
    stop = Stop()
    losses = np.asarray(sweep.losses, dtype=np.float64)
    stops = (index for index, loss in enumerate(losses.tolist()) if stop.add(loss))
    last = next(stops, None)
    count = len(losses) if last is None else last + int(np.isfinite(losses[last]))
    if count < MIN_POINTS:
        return None
    kept = losses[:count]
    padded = np.pad(kept, 1, mode="edge")
    calmed = np.median([padded[:-2], kept, padded[2:]], axis=0)  # without lonely spikes
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
    """A rule by its name; a function is one already.

    Raises:
        ValueError: If the name is unknown.
    """
    if callable(rule):
        return rule
    one_of("rule", rule, RULES)
    return RULES[rule]
