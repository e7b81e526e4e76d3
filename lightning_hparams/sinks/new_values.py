"""Skip values already written, since monitors may write the same tag at the same step."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["NewValues"]


class NewValues:
    """Remembers the last value of each tag and passes on only new ones.

    NaN is remembered as None, since it is not equal to itself.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float | None]] = {}

    def tags(self) -> set[str]:
        """Return all tags so far."""
        return set(self._last)

    def remember(self, tag: str, value: float, step: int) -> None:
        """Record a value that an earlier process has written."""
        self._last[tag] = (step, value if value == value else None)

    def __call__(self, values: Mapping[str, float], step: int) -> dict[str, float]:
        """Return the values that differ from the last one of their tag at this step."""
        last, new = self._last, {}
        for tag, value in values.items():
            written = (step, value if value == value else None)
            if last.get(tag) != written:
                last[tag] = written
                new[tag] = value
        return new
