"""What a monitor tries while others train: it may fail, but it must not end the run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Attempts"]


class Attempts:
    """Turns errors of a monitor into warnings, each given once in a fit.

    A warning is given by the process that has the problem, on any rank: the others know nothing of
    it.

    Args:
        owner: Name of the monitor.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._told: set[str] = set()

    def begin(self) -> None:
        """Warn again, in another fit."""
        self._told.clear()

    def warn(self, about: str, message: str) -> None:
        """Warn, unless it was done already about the same thing."""
        if about not in self._told:
            self._told.add(about)
            warnings.warn(f"{self._owner}: {message}", stacklevel=2)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Run a block; if it raises, it is left there, and ``what`` is said to be left out."""
        try:
            yield
        except Exception as error:
            self.warn(what, f"{what} left out: {type(error).__name__}: {error}")
