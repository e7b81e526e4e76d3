"""Finds the rate by short trainings to each side of what a sweep suggests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev, variance

from ..checks import in_range
from .result import RangeTestResult, range_base

__all__ = ["MOST_TRAININGS", "Trained", "refine", "training_steps"]

MOST_TRAININGS = 8
_USUAL = 5  # trainings; the benchmark needs 3 to 5
_SHORTEST, _LONGEST = 50, 300  # steps of a training: shorter ones favour rates that are too high
_ENOUGH = 100  # trainings of 50 steps lost a third more in the benchmark, on average
_STRIDE = math.sqrt(10)
_TOLERANCE = 0.1  # of what the best training gained late, see `gained`
_FARTHEST = 10.0  # times below the first rate that trains; farther down, a training shows nothing
_ERRORS = 4  # standard errors that a fall must exceed
# The same if the training loss fell too: 60 samples held out of 300 rows show little more.
_ERRORS_BESIDE = 3.7
_CHANCE = 3e-4  # or the chance that so many batches fall; of 16, one may rise
_UNREADABLE = ("non_finite", "too_few_points")


@dataclass(frozen=True)
class Trained:
    """What a short training measured.

    Args:
        losses: Training loss of each step; fewer than planned if it diverged.
        before: Losses of some batches before training, kept out of it if possible.
        after: Losses of the same batches after it; empty if it diverged.
    """

    losses: Sequence[float]
    before: Sequence[float]
    after: Sequence[float]

    @property
    def loss(self) -> float:
        """The mean loss after training; infinite if it diverged."""
        mean = fmean(self.after) if self.after else math.inf
        return mean if math.isfinite(mean) else math.inf

    @property
    def gained(self) -> float:
        """How far the training loss fell in the second half of the training, more or less."""
        count = len(self.losses)
        middle = fmean(self.losses[count * 3 // 10 : max(count // 2, count * 3 // 10 + 1)])
        return middle - fmean(self.losses[-max(count // 5, 1) :])

    @property
    def fell(self) -> bool:
        """Whether the loss fell by more than the batches differ, or in nearly all of them.

        Where few samples make up most of the loss, as with counts, only the latter shows it. If the
        training loss fell as well, a little less is enough.
        """
        if len(self.after) < 2 or not math.isfinite(self.loss):
            return False
        falls = [b - a for b, a in zip(self.before, self.after, strict=True)]
        if not fmean(falls) > 0:
            return False
        needed = _ERRORS_BESIDE if self._fits else _ERRORS
        clear = fmean(falls) > needed * stdev(falls) / math.sqrt(len(falls))
        return clear or _chance(sum(fall <= 0 for fall in falls), len(falls)) < _CHANCE

    @property
    def _fits(self) -> bool:
        """Whether the training loss fell by more than chance from the first fifth to the last."""
        fifth = len(self.losses) // 5
        if fifth < 2:
            return False
        first, last = self.losses[:fifth], self.losses[-fifth:]
        error = math.sqrt((variance(first) + variance(last)) / fifth)
        return fmean(first) - fmean(last) > _ERRORS * error


def training_steps(
    budget: float | None, planned: float, spent: int, *, suggests: bool = True
) -> int:
    """Steps of each short training that a budget allows; 0 if it allows none.

    By default, the test takes a tenth of the run, or enough for trainings of 100 steps if that is
    at most a quarter of it. Where the sweeps suggest nothing, their cost is wasted unless trainings
    follow: five of them may then take as many steps as the run, and at most 100 each.

    Args:
        budget: Optimizer steps for the whole test; up to 1, as a share of those of the run; None
            for the default.
        planned: Optimizer steps of the run; infinite if unknown.
        spent: Steps of the sweeps.
        suggests: Whether the sweeps suggest a rate.

    >>> training_steps(None, 10_000, 100), training_steps(None, 2400, 100)
    (180, 100)
    >>> training_steps(None, 1000, 100), training_steps(None, 1000, 100, suggests=False)
    (0, 100)
    >>> training_steps(600, math.inf, 100)
    100
    """
    enough = spent + _USUAL * _ENOUGH
    if budget is not None:
        steps = budget if budget > 1 else budget * planned
    elif suggests:
        steps = max(planned / 10, enough if enough <= planned / 4 else 0)
    else:
        steps = min(enough, spent + planned) if math.isfinite(planned) else 0
    if not math.isfinite(steps):
        return 0
    each = int((steps - spent) // _USUAL)
    return min(each, _LONGEST) if each >= _SHORTEST else 0


def refine(
    result: RangeTestResult,
    train: Callable[[float], Trained],
    *,
    first: float,
    limit: int = MOST_TRAININGS,
) -> RangeTestResult:
    """Replace a suggestion by the lowest rate that trains as well as the best.

    A sweep spends a single step at each rate: it shows where training becomes unstable, and not
    which rate trains best, which may be ten times below or above. Short trainings show that, all
    from the same start and on the same batches, at rates half a decade apart: upwards while they
    improve, then downwards until they are clearly worse.

    Short trainings favour higher rates than long ones. Hence the lowest rate whose loss is nearly
    that of the best is chosen, and not the best. What counts as nearly is relative to what the best
    training gained late, since the first fall is often that to a constant prediction.

    Args:
        result: Result of the sweeps.
        train: Trains a one-cycle with a given peak, from the same start on the same batches.
        first: The first rate, if the sweeps suggest none.
        limit: Maximum number of trainings, at least 2.

    Returns:
        The result with the new suggestion, which may have the status ``ok`` even if the loss did
        not fall in the sweep. If it fell in no training, there is no suggestion, and the status is
        ``not_trained`` if it fell in the sweep.
    """
    in_range("limit", limit, 2, remedy="8 is usual")
    if result.status in _UNREADABLE:
        return result
    start = result.suggestion or first
    runs: dict[float, Trained] = {start: train(start)}
    _search(runs, train, start, limit)
    rates = sorted(runs)
    tried = replace(
        result,
        probes=tuple((rate, runs[rate].loss) for rate in rates),
        steps_run=result.steps_run + sum(len(run.losses) for run in runs.values()),
    )
    if not _best(runs).fell:
        if not result.applies:
            return tried
        return replace(tried, status="not_trained", suggestion=None, base_lr=None, max_lr=None)
    rate = _lowest(runs)
    base = range_base(result.base_lr or rate / 10, rate)
    status = result.status if result.applies else "ok"
    return replace(tried, status=status, suggestion=rate, base_lr=base, max_lr=rate)


def _search(
    runs: dict[float, Trained], train: Callable[[float], Trained], start: float, limit: int
) -> None:
    """Train at more rates: upwards while the loss improves, and downwards until it is worse."""
    rate = start
    while len(runs) < limit and math.isfinite(runs[rate].loss):
        rate *= _STRIDE
        runs[rate] = train(rate)
        if runs[rate].loss > _highest(runs):
            break
    while len(runs) < limit:
        lowest = min(runs)
        stable = (rate for rate, run in runs.items() if rate <= start and math.isfinite(run.loss))
        far = lowest < max(stable, default=0.0) / _FARTHEST
        if far or runs[lowest].loss > _highest(runs):
            break
        runs[lowest / _STRIDE] = train(lowest / _STRIDE)


def _chance(rises: int, count: int) -> float:
    """Probability of at most so many rises if falls and rises are equally likely."""
    return sum(math.comb(count, each) for each in range(rises + 1)) / float(2**count)


def _best(runs: dict[float, Trained]) -> Trained:
    return min(runs.values(), key=lambda run: run.loss)


def _highest(runs: dict[float, Trained]) -> float:
    """The highest loss that is nearly as good as the best."""
    best = _best(runs)
    fall = fmean(best.before) - best.loss
    if not (math.isfinite(fall) and fall > 0):
        return best.loss
    return best.loss + _TOLERANCE * min(max(best.gained, 0.02 * fall), fall)


def _lowest(runs: dict[float, Trained]) -> float:
    """The lowest rate with nearly the best loss, between those tried by interpolation."""
    highest = _highest(runs)
    rates = sorted(runs)
    index = next(index for index, rate in enumerate(rates) if runs[rate].loss <= highest)
    if not index or not math.isfinite(runs[rates[index - 1]].loss):
        return rates[index]
    below, loss = runs[rates[index - 1]].loss, runs[rates[index]].loss
    share = (highest - loss) / (below - loss)
    return float(rates[index] / (rates[index] / rates[index - 1]) ** share)
