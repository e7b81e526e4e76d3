"""What other libraries' range tests suggest, from the raw loss of each step.

Written anew from their sources: Lightning 2.6.6 ``tuner/lr_finder.py``, fastai 2.8.12
``callback/schedule.py``, pytorch-lr-finder (00abb90) and ignite (036765e) ``lr_finder.py``.
Each has its own grid of rates, smoothing, stop, and points left out at both ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
STEPS = 100


@dataclass(frozen=True)
class Peer:
    """A library's default range test."""

    name: str
    lrs: list[float]  # of each step
    suggest: Callable[[Array, Sequence[float]], float | None]  # from rates and raw losses


# -- Lightning -------------------------------------------------------------------------------------


def lightning_lrs() -> list[float]:
    """1e-8 to 1; the second point is two steps from the first, and the last is the end."""
    return [1e-8, *(1e-8 * 1e8 ** ((step + 1) / STEPS) for step in range(1, STEPS))]


def lightning(lrs: Array, losses: Sequence[float]) -> float | None:
    """Steepest descent of the loss over the rate itself, ten points and one left out."""
    average, best = 0.0, 0.0
    seen = []
    for step, loss in enumerate(losses, start=1):
        average = 0.98 * average + 0.02 * loss
        smoothed = average / (1 - 0.98 ** (step + 1))  # one too many: the value starts too low
        seen.append(smoothed)
        if step > 1 and smoothed > 4 * best:
            break
        if smoothed < best or step == 1:
            best = smoothed
    kept = np.array(seen[10:-1], dtype=np.float32)
    rates = lrs[10 : 10 + len(kept)].astype(np.float32)
    finite = np.isfinite(kept)
    kept, rates = kept[finite], rates[finite]
    if len(kept) < 2:
        return None
    return float(rates[np.argmin(np.gradient(kept, rates))])


# -- fastai ----------------------------------------------------------------------------------------


def fastai_lrs() -> list[float]:
    """1e-7 to one step before 10."""
    return [1e-7 * 1e8 ** (step / STEPS) for step in range(STEPS)]


def _fastai(rule: Callable[[Array, Array], float]) -> Callable[[Array, Sequence[float]], float]:
    def suggest(lrs: Array, losses: Sequence[float]) -> float | None:
        average, best = 0.0, math.inf
        seen = []
        for step, loss in enumerate(losses, start=1):
            average = 0.98 * average + 0.02 * loss
            smoothed = average / (1 - 0.98**step)
            seen.append(smoothed)
            best = min(best, smoothed)
            if smoothed > 4 * best:
                break
        kept = np.array(seen[STEPS // 10 : -5])
        missing = np.flatnonzero(np.isnan(kept))
        kept = kept[: missing[0]] if len(missing) else kept
        if len(kept) < 2:
            return None  # an IndexError there
        try:
            return rule(lrs[STEPS // 10 : STEPS // 10 + len(kept)], kept)
        except IndexError:
            return None

    return suggest


def _valley(lrs: Array, losses: Array) -> float:
    """Half of the way along the last point's longest falling subsequence, counted in its length."""
    length = np.ones(len(losses), dtype=int)
    end = start = 0
    for i in range(1, len(losses)):
        for j in range(i):
            if losses[i] < losses[j] and length[i] < length[j] + 1:
                length[i] = length[j] + 1
            if length[end] < length[i]:
                end = i
                start = end - int(length[end])
    third = (end - start) / 3
    return float(lrs[start + int(third) + int(third / 2)])


def _slide(lrs: Array, losses: Array) -> float:
    """From the right, until the slopes at both ends of a window of 15 points are alike."""
    slope = np.gradient(losses)
    right = -1
    left = right - 15
    found = lrs[left]
    while left >= -len(losses) and abs(slope[right] - slope[left]) > 0.005:
        found = lrs[left]
        right, left = right - 1, left - 1
    return float(found)


def _minimum(lrs: Array, losses: Array) -> float:
    return float(lrs[np.argmin(losses)]) / 10


def _steep(lrs: Array, losses: Array) -> float:
    return float(lrs[np.argmin(np.diff(losses) / np.diff(np.log(lrs)))])


# -- pytorch-lr-finder and ignite ------------------------------------------------------------------


def _exponential(losses: Sequence[float]) -> list[float]:
    """Both smooth and stop alike: factor 0.05, five times the best."""
    seen: list[float] = []
    best = math.inf
    for loss in losses:
        seen.append(0.05 * loss + 0.95 * seen[-1] if seen else loss)
        best = min(best, seen[-1])
        if seen[-1] > 5 * best:
            break
    return seen


def lr_finder(lrs: Array, losses: Sequence[float]) -> float | None:
    """Steepest descent a step, ten points and five left out."""
    kept = np.array(_exponential(losses)[10:-5])
    if len(kept) < 2:
        return None
    return float(lrs[10:][np.gradient(kept).argmin()])  # a NaN there is the argmin, as with them


def ignite(lrs: Array, losses: Sequence[float]) -> float | None:
    """Steepest descent a step before the minimum."""
    seen = np.array(_exponential(losses))
    falling = seen[: int(np.argmin(seen)) + 1]
    if len(falling) < 3:
        return None  # a RuntimeError there
    return float(lrs[1 + int(np.argmin(falling[2:] - falling[:-2]))])


def _common_lrs() -> list[float]:
    """Their examples start at 1e-7; both end at 10."""
    return [float(lr) for lr in np.geomspace(1e-7, 10, STEPS)]


PEERS = [
    Peer("Lightning 2.6.6", lightning_lrs(), lightning),
    Peer("fastai valley (default)", fastai_lrs(), _fastai(_valley)),
    Peer("fastai slide", fastai_lrs(), _fastai(_slide)),
    Peer("fastai minimum", fastai_lrs(), _fastai(_minimum)),
    Peer("fastai steep", fastai_lrs(), _fastai(_steep)),
    Peer("pytorch-lr-finder", _common_lrs(), lr_finder),
    Peer("ignite", _common_lrs(), ignite),
]
