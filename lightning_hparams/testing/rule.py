"""The contract of suggestion rules: functions from the curve of a range test to a rate."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..range_test import Rule, Sweep, analyse, lr_values, read
from ._no_trace import no_trace

__all__ = ["RuleContract"]

_Losses = npt.NDArray[np.float64]


class RuleContract(ABC):
    """Tests of a suggestion rule: a function of a :class:`~lightning_hparams.range_test.Curve`.

    Name the subclass ``Test...`` for pytest to find it.
    """

    @abstractmethod
    def make_rule(self) -> Rule:
        """Return the rule."""

    def test_a_suggestion_is_a_rate_of_the_sweep_or_a_little_below(self) -> None:
        """At most a decade below the first rate, and not beyond the rate that diverged."""
        for lrs, losses in _sweeps():
            curve = read(Sweep(lrs, losses.tolist()))
            assert curve is not None
            rate = float(self.make_rule()(curve))
            highest = lrs[-1] if curve.ended is None else curve.ended
            assert math.isfinite(rate), f"got {rate}"
            assert lrs[0] / 10 <= rate <= highest, f"{rate} is outside {lrs[0]}..{highest}"

    def test_level_and_unit_of_the_loss_do_not_matter(self) -> None:
        """A loss in other units, or with a constant added, suggests the same rate."""
        for lrs, losses in _sweeps():
            expected = self._suggestion(lrs, losses)
            for scale, shift in ((1e-3, 0.0), (1e3, 0.0), (1.0, 5.0), (1.0, -50.0)):
                found = self._suggestion(lrs, scale * losses + shift)
                assert _agree(found, expected), f"loss * {scale} + {shift}: {found}, not {expected}"

    def test_the_suggestion_follows_the_rates(self) -> None:
        """A module that needs rates ten times as high gets a suggestion ten times as high."""
        for lrs, losses in _sweeps():
            expected = self._suggestion(lrs, losses)
            found = self._suggestion([10 * lr for lr in lrs], losses)
            assert _agree(found, None if expected is None else 10 * expected), (found, expected)

    def test_a_curve_that_never_falls_gets_no_suggestion(self) -> None:
        """Whatever the rule says: it is not asked."""
        rates = lr_values(1e-7, 10, 100)
        for losses in (np.full(100, 2.0), 2 + 0.1 * np.random.default_rng(0).normal(size=100)):
            assert self._suggestion(rates, losses) is None

    def test_a_curve_is_only_read(self) -> None:
        """Neither the curve nor random generators change, and twice gives the same."""
        rule = self.make_rule()
        for lrs, losses in _sweeps():
            curve = read(Sweep(lrs, losses.tolist()))
            assert curve is not None
            with no_trace("a rule", curve):
                first = float(rule(curve))
            assert float(rule(copy.deepcopy(curve))) == first, "the second call differs"

    def _suggestion(self, lrs: Sequence[float], losses: _Losses) -> float | None:
        return analyse([Sweep(lrs, losses.tolist())], self.make_rule()).suggestion


def _sweeps() -> Iterator[tuple[Sequence[float], _Losses]]:
    """Rates and losses that fall about 10**-3 and explode about 10**0, smooth, noisy and cut."""
    for count, mode, low in ((100, "exp", 1e-7), (10, "exp", 1e-6), (40, "linear", 0.01)):
        lrs = lr_values(low, 10.0 if mode == "exp" else 1.0, count, mode)
        x = np.log10(lrs)
        fall = -3.0 if mode == "exp" else -1.0
        smooth = 2.3 - 1.5 / (1 + np.exp(-4 * (x - fall)))
        noise = np.random.default_rng(count).normal(size=count)
        for rise in (0.0, 3.0):  # diverges within the sweep; does not
            exploded = smooth + np.exp(np.minimum(6 * (x - rise), 50))
            yield lrs, exploded
            yield lrs, exploded + 0.02 * noise


def _agree(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return abs(math.log10(found / expected)) < 0.1  # rounding may decide between two neighbours
