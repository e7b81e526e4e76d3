"""Warnings that come once a run, in place of errors that would end it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_warn

__all__ = ["FAILURE", "WarnOnce"]

FAILURE = "a failure"  # warned of once, whatever failed


class WarnOnce:
    """Warns on rank zero, once about each matter.

    Args:
        name: Of the callback that warns.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: set[str] = set()

    def __call__(self, message: str, about: str | None = None) -> None:
        """Warn.

        Args:
            message: What is wrong.
            about: The matter, of which no more is said; None for the message itself.
        """
        about = about or message
        if about not in self.told:
            self.told.add(about)
            rank_zero_warn(f"{self.name}: {message}")

    def forget(self) -> None:
        """Warn again, in a new run."""
        self.told.clear()

    def of_failure(self, what: str, error: Exception) -> None:
        """Warn of something that failed."""
        message = f"could not {what}, training goes on: {type(error).__name__}: {error}"
        self(message, about=FAILURE)

    @contextmanager
    def instead_of_errors(self, what: str) -> Iterator[None]:
        """Never let an error stop training: warn of it."""
        try:
            yield
        except Exception as error:
            self.of_failure(what, error)
