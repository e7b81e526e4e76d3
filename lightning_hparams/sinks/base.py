"""What a monitor writes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..render import Encoded

__all__ = ["Sink"]


class Sink(Protocol):
    """One place to write to. Monitors call it on rank zero only.

    ``step`` is ``trainer.global_step``: optimizer steps taken so far.
    """

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write several values of one step at once; NaN is a value."""
        ...

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """Write a picture; one tag is one picture over time."""
        ...

    def flush(self) -> None:
        """Bring everything written so far to where others see it."""
        ...
