"""Protocols between callbacks, open to third-party implementations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from lightning import Trainer

__all__ = ["FollowsRangeTest", "FoundRates", "RangeTester", "bounds_found"]


@runtime_checkable
class FollowsRangeTest(Protocol):
    """A callback that sets learning rates and can adopt those found by a range test."""

    def follow_range_test(self, trainer: Trainer) -> None:
        """Adopt the rates that a range test set in the parameter groups during training."""

    def own_peak(self) -> float | Sequence[float] | None:
        """The peak it sets regardless of range tests; None if it follows them."""


@runtime_checkable
class FoundRates(Protocol):
    """Result of a range test for the learning rate."""

    @property
    def status(self) -> str:
        """Outcome of the test; the rates are usable if ``ok`` or ``no_divergence``."""

    @property
    def base_lr(self) -> float | None:
        """Lower end of the range."""

    @property
    def max_lr(self) -> float | None:
        """Upper end of the range."""


@runtime_checkable
class RangeTester(Protocol):
    """A callback that runs range tests."""

    apply: bool

    @property
    def result(self) -> object:
        """Result of the last test; :class:`FoundRates` if it tested the learning rate."""


def bounds_found(trainer: Trainer) -> list[float] | None:
    """Return the lower and upper bounds that a range test found and applied; None if none did."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if not isinstance(callback, RangeTester) or not callback.apply:
            continue
        found = callback.result
        if isinstance(found, FoundRates) and found.status in ("ok", "no_divergence"):
            assert found.base_lr is not None  # always set for these statuses
            assert found.max_lr is not None
            return [float(found.base_lr), float(found.max_lr)]
    return None
