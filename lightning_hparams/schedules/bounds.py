"""The two values between which a schedule moves a value of a parameter group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ..checks import as_number, as_plain, in_range
from ..optim import ReadOnlyGroup, has_param, initial_param

__all__ = ["MomentumCycle", "RateBound", "Span", "as_rates"]

Span = tuple[float, float]  # the value where the schedule is 0, and where it is 1


class RateBound(NamedTuple):
    """A requested learning rate, and the largest configured rate, which it replaces.

    >>> bound = RateBound.among("max_lr", 0.5, [0.1, 0.01])
    >>> bound.at(0.1, index=0), round(bound.at(0.01, index=1), 3)
    (0.5, 0.05)
    """

    asked: float | Sequence[float] | None
    largest: float

    @classmethod
    def among(
        cls, name: str, asked: float | Sequence[float] | None, rates: Sequence[float]
    ) -> RateBound:
        """Check a requested rate against the configured rates of all groups.

        Raises:
            ValueError: If it is a list of another length, or all configured rates are 0.
        """
        if isinstance(asked, Sequence) and len(asked) != len(rates):
            raise ValueError(
                f"`{name}` must have a rate for each of {len(rates)} parameter groups, "
                f"got {list(asked)}; a number sets the largest rate, and the others in ratio"
            )
        if asked is not None and not max(rates) > 0:
            raise ValueError(
                f"`{name}={asked}` replaces the largest configured rate and scales the others in "
                "ratio, but all are configured as 0; configure their ratio"
            )
        return cls(asked, max(rates))

    def at(self, configured: float, index: int | None) -> float:
        """Return the bound of a group.

        Args:
            configured: The group's configured rate.
            index: Its index among the configured groups; None if it was added later.
        """
        if self.asked is None:
            return configured
        if isinstance(self.asked, Sequence):
            return configured if index is None else self.asked[index]
        return self.asked * (configured / self.largest)


class MomentumCycle(NamedTuple):
    """Momentum (or first beta) that moves from ``top`` at low rates to ``base`` at the peak."""

    cycle: bool | Literal["auto"]
    base: float | list[float]
    top: float | list[float]

    @classmethod
    def of(
        cls,
        cycle: bool | Literal["auto"],
        base: float | Sequence[float],
        top: float | Sequence[float],
    ) -> MomentumCycle:
        """Check the arguments; each momentum is a number, or a list with one per group.

        Raises:
            ValueError: If one is out of range, or two lists have different lengths.
            TypeError: If one is neither a number nor a list of numbers.
        """
        cycle = as_plain(cycle)
        if not isinstance(cycle, (bool, str)) or cycle not in (True, False, "auto"):
            raise ValueError(f"`cycle_momentum` must be True, False or 'auto', got {cycle!r}")
        low, high = _as_numbers("base_momentum", base), _as_numbers("max_momentum", top)
        lengths = {len(each) for each in (low, high) if isinstance(each, list)}
        if len(lengths) > 1:
            raise ValueError(
                "`base_momentum` and `max_momentum` must have the same length, got "
                f"{low} and {high}; a number applies to all groups"
            )
        for index in range(max(lengths, default=1)):
            bottom, above = _of_group(low, index), _of_group(high, index)
            in_range("max_momentum", above, 0.0, math.nextafter(1.0, 0.0), remedy="0.95 is usual")
            in_range("base_momentum", bottom, 0.0, above, remedy="0.85 is usual")
        return cls(cycle, low, high)

    def check_groups(self, count: int) -> None:
        """Check that a list has one momentum per parameter group.

        Raises:
            ValueError: If its length differs from ``count``.
        """
        for name, listed in (("base_momentum", self.base), ("max_momentum", self.top)):
            if isinstance(listed, list) and len(listed) != count:
                raise ValueError(
                    f"`{name}` must have a momentum for each of {count} parameter groups, "
                    f"got {listed}; a number applies to all of them"
                )

    def span(self, index: int | None) -> Span:
        """Return the momenta where the schedule of the rate is 0 (top) and 1 (base)."""
        return _of_group(self.top, index or 0), _of_group(self.base, index or 0)

    def cycles(self, group: ReadOnlyGroup, index: int | None = 0) -> bool:
        """Whether the momentum of this parameter group cycles.

        A group that was added during training has no entry in a list of momenta, so it does not
        cycle if one was given.

        Raises:
            ValueError: If it should cycle but has no momentum.
        """
        listed = isinstance(self.base, list) or isinstance(self.top, list)
        if not self.cycle or (listed and index is None):
            return False
        has = has_param(group, "momentum") and initial_param(group, "momentum") > 0
        if self.cycle == "auto":
            return has and "momentum" in group
        if not has:
            raise ValueError(
                "`cycle_momentum=True` needs a momentum (or first beta) above 0 in every group, "
                f"but {group.get('name', 'one')!r} has none; configure it, or pass 'auto' or False"
            )
        return True


def as_rates(name: str, rates: object) -> float | list[float] | None:
    """Convert a learning rate, or a list, array or tensor of them, to floats; None stays None.

    Raises:
        ValueError: If one is not above 0 and finite.
        TypeError: If one is not a number.
    """
    if rates is None:
        return None
    numbers = _as_numbers(name, rates)
    for rate in numbers if isinstance(numbers, list) else [numbers]:
        in_range(name, rate, above=0.0)
        in_range(name, rate, below=math.inf)
    return numbers


def _as_numbers(name: str, value: object) -> float | list[float]:
    plain = as_plain(value)
    remedy = "give a number, or a list with one for each parameter group"
    if isinstance(plain, Sequence) and not isinstance(plain, str):
        return [as_number(name, each, remedy=remedy) for each in plain]
    return as_number(name, plain, remedy=remedy)


def _of_group(value: float | list[float], index: int) -> float:
    return value[index] if isinstance(value, list) else value
