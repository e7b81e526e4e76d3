"""Skip values already written, since monitors may write the same tag at the same step."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["NewValues"]


class NewValues:
    """Remembers the last value of each tag and passes on only new ones."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float | None]] = {}

    def tags(self) -> set[str]:
        """Return all tags so far."""
        return set(self._last)

    def __call__(self, values: Mapping[str, float], step: int) -> dict[str, float]:
        """Return the values that differ from the last one of their tag at this step."""
        last, new = self._last, {}
        for tag, value in values.items():
            written = (step, value if value == value else None)  # NaN is not equal to itself
            if last.get(tag) != written:
                last[tag] = written
                new[tag] = value
        return new
