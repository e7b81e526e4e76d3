"""Checks the rate that a range test suggests by training with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ..checks import in_range
from .curve import Curve, Sweep, read
from .result import RangeTestResult, range_base

__all__ = ["probe"]

_TRAINED = 0.5  # of a fall seen before; a working training falls at least as far
_LONGER = 4  # longer trainings at most; each but the last usually ends early


def probe(
    result: RangeTestResult,
    train: Callable[[float], float],
    hold: Callable[[float], float] | None = None,
    *,
    factor: float = 3.0,
    limit: int = 6,
) -> RangeTestResult:
    """Check a suggestion by short trainings, and lower it while that improves the loss.

    A sweep spends one step at each rate, so it misses a rate that kills the network after fifty
    (unscaled targets), and it finds no fall in a network that is already trained. Two short
    trainings reveal both, at the suggested rate and at a third of it. Only lower rates are tried,
    because short runs favour higher rates than long ones.

    Near the limit of stability, the batch that kills a network may come hundreds of steps later. No
    loss of a short training announces it, hence the longer training at the rate that is chosen. If
    its final loss has not fallen at least half as far, the rate is lowered and tried again.

    Args:
        result: Result of a range test. Without a suggestion, the first rate is half of its edge.
        train: Trains a short one-cycle, of about 50 steps, with the given peak and from the same
            start as the sweep, and returns the final loss, averaged over several batches.
        hold: Trains several times as long, at the given constant rate, and returns the final loss;
            None to skip this check.
        factor: Ratio of one rate to the next, above 1.
        limit: Maximum number of short trainings, at least 2.

    Returns:
        The result with the rate that trained best. The suggestion stays as it was if there is no
        first rate, or if the loss fell neither in the sweep nor in the trainings. If it fell in the
        sweep but less than half as far in every training, or if no longer training keeps half of
        the fall, the status is ``not_trained`` and there is no suggestion.
    """
    in_range("factor", factor, above=1.0, remedy="3 is usual")
    in_range("limit", limit, 2, remedy="6 is usual")
    curve = read(Sweep(result.lrs, result.losses))
    first = result.suggestion
    if first is None and result.edge is not None:
        first = result.edge / 2
    if first is None or curve is None:
        return result
    probes = []
    for index in range(limit):
        probes.append(_trained(train, first / factor**index))
        if index and probes[-1][1] >= probes[-2][1] < math.inf:
            break
    tried = replace(result, probes=tuple(probes))
    best, lowest = min(probes, key=lambda pair: pair[1])
    if not lowest < _required(curve, found=result.applies):
        # Many steps at this rate undo the gain of single ones, so it is unfit for training.
        return _without_rate(tried) if result.applies else tried
    if hold is None:
        return _with_rate(tried, best)
    return _held(tried, hold, best, factor, highest=curve.start - _TRAINED * (curve.start - lowest))


def _held(
    tried: RangeTestResult,
    hold: Callable[[float], float],
    rate: float,
    factor: float,
    *,
    highest: float,
) -> RangeTestResult:
    """The first rate, from this one down, at which a longer training ends below ``highest``."""
    longer: list[tuple[float, float]] = []
    for index in range(_LONGER):
        longer.append(_trained(hold, rate / factor**index))
        tried = replace(tried, longer=tuple(longer))
        if longer[-1][1] < highest:
            return _with_rate(tried, longer[-1][0])
    return _without_rate(tried)


def _required(curve: Curve, *, found: bool) -> float:
    """The loss that a short training must get below, given whether the sweep found a fall."""
    return curve.start - (_TRAINED * curve.drop if found else curve.noise / 2)


def _trained(train: Callable[[float], float], rate: float) -> tuple[float, float]:
    loss = train(rate)
    return rate, loss if math.isfinite(loss) else math.inf


def _with_rate(result: RangeTestResult, rate: float) -> RangeTestResult:
    status = result.status if result.applies else "ok"
    base = range_base(result.base_lr or rate / 10, rate)
    return replace(result, status=status, suggestion=rate, base_lr=base, max_lr=rate)


def _without_rate(result: RangeTestResult) -> RangeTestResult:
    return replace(result, status="not_trained", suggestion=None, base_lr=None, max_lr=None)
