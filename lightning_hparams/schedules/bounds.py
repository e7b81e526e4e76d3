"""Between which two values a schedule moves a value of a parameter group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ..checks import in_range
from ..optim import has_param, initial_param

__all__ = ["MomentumCycle", "RateBound", "Span", "check_rates"]

Span = tuple[float, float]  # the value where the schedule is 0, and where it is 1


class RateBound(NamedTuple):
    """A learning rate asked for, and the largest configured one, for which it stands.

    >>> bound = RateBound.among("max_lr", 0.5, [0.1, 0.01])
    >>> bound.at(0.1, place=0), round(bound.at(0.01, place=1), 3)
    (0.5, 0.05)
    """

    asked: float | Sequence[float] | None
    largest: float

    @classmethod
    def among(
        cls, name: str, asked: float | Sequence[float] | None, rates: Sequence[float]
    ) -> RateBound:
        """Check what was asked for against the configured rates of all groups.

        Raises:
            ValueError: If it is a list of another length, or all rates are 0.
        """
        if isinstance(asked, Sequence) and len(asked) != len(rates):
            raise ValueError(
                f"`{name}` must have a rate for each of {len(rates)} parameter groups, "
                f"got {list(asked)}; a number stands for the largest group, the others in ratio"
            )
        if asked is not None and not max(rates) > 0:
            raise ValueError(
                f"`{name}={asked}` stands for the group with the largest rate, and all are "
                "configured as 0; configure their ratio"
            )
        return cls(asked, max(rates))

    def at(self, own: float, place: int | None) -> float:
        """The bound of a group.

        Args:
            own: Its configured rate.
            place: Its place among the configured groups; None if it was added later.
        """
        if self.asked is None:
            return own
        if isinstance(self.asked, Sequence):
            return own if place is None else self.asked[place]
        return self.asked * (own / self.largest)


class MomentumCycle(NamedTuple):
    """Momentum (or first beta) that is ``top`` where the rate is low, and ``base`` at its peak."""

    cycle: bool | Literal["auto"]
    base: float
    top: float

    @property
    def span(self) -> Span:
        """From the top where the rate's schedule is 0 to the base where it is 1."""
        return self.top, self.base

    def check(self) -> None:
        """Check the range of each.

        Raises:
            ValueError: If one is out of it.
        """
        if self.cycle not in (True, False, "auto"):
            raise ValueError(f"`cycle_momentum` must be True, False or 'auto', got {self.cycle!r}")
        in_range("max_momentum", self.top, 0.0, math.nextafter(1.0, 0.0), remedy="0.95 is usual")
        in_range("base_momentum", self.base, 0.0, self.top, remedy="0.85 is usual")

    def cycles(self, group: Mapping[str, Any]) -> bool:
        """Whether the momentum of this parameter group is to cycle.

        Raises:
            ValueError: If it is to, and has none.
        """
        if not self.cycle:
            return False
        has = has_param(group, "momentum") and initial_param(group, "momentum") > 0
        if self.cycle == "auto":
            return has and "momentum" in group
        if not has:
            raise ValueError(
                "`cycle_momentum=True` needs a momentum (or first beta) above 0 in every group, "
                f"and {group.get('name', 'one')!r} has none; configure it, or pass 'auto' or False"
            )
        return True


def check_rates(name: str, rates: float | Sequence[float] | None) -> None:
    """Check that learning rates are above 0, where any are given.

    Raises:
        ValueError: If one is not.
    """
    for rate in rates if isinstance(rates, Sequence) else [rates]:
        if rate is not None:
            in_range(name, rate, above=0.0)
