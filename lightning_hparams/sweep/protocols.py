"""What callbacks ask of each other, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from lightning import Trainer

__all__ = ["FollowsRangeTest", "FoundRates", "RangeTester", "bounds_found"]


@runtime_checkable
class FollowsRangeTest(Protocol):
    """A callback that sets learning rates, and takes over those that a range test has found."""

    def follow_range_test(self, trainer: Trainer) -> None:
        """Take over the rates that the parameter groups have been given in mid-training."""

    def own_peak(self) -> float | Sequence[float] | None:
        """The peak that it sets whatever a range test finds; None if it follows the test."""


@runtime_checkable
class FoundRates(Protocol):
    """The result of a range test of the learning rate."""

    @property
    def status(self) -> str:
        """Whether the rates are to be used: ``ok`` and ``no_divergence`` say so."""

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
        """Of the last one: :class:`FoundRates` if it tested the learning rate."""


def bounds_found(trainer: Trainer) -> list[float] | None:
    """Lower and upper bound that a range test has found and set, by whichever callback."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if not isinstance(callback, RangeTester) or not callback.apply:
            continue
        found = callback.result
        if isinstance(found, FoundRates) and found.status in ("ok", "no_divergence"):
            assert found.base_lr is not None  # asked only of results that apply
            assert found.max_lr is not None
            return [float(found.base_lr), float(found.max_lr)]
    return None
