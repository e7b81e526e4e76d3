"""Warnings and lines of information that the user is shown once."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

__all__ = ["FAILURE", "Notices", "kind_of"]

FAILURE = "failure"  # the topic of whatever failed, if no other is given


class Notices:
    """Tells the user each thing once, on rank zero.

    Args:
        speaker: Put before each message, with a colon; empty for none.
    """

    def __init__(self, speaker: str = "") -> None:
        self._prefix = f"{speaker}: " if speaker else ""
        self._told: set[Hashable] = set()

    def warn(self, about: Hashable, message: str) -> None:
        """Warn, unless something was said about this before.

        Args:
            about: The topic. A message may hold values that change from call to call; a topic must
                not, or every value would be a warning of its own.
            message: What to say about it.
        """
        if self._is_new(about):
            rank_zero_warn(self._prefix + message)

    def info(self, about: Hashable, message: str) -> None:
        """Inform, unless something was said about this before; see :meth:`warn`."""
        if self._is_new(about):
            rank_zero_info(self._prefix + message)

    def failed(self, what: str, error: Exception, about: Hashable = FAILURE) -> None:
        """Warn of something that failed, on the rank where it did: the others cannot know.

        Args:
            what: The end of "could not ...".
            error: Why.
            about: The topic; see :meth:`warn`.
        """
        self._warn_here(about, f"could not {what}, training goes on", error)

    @contextmanager
    def instead_of_errors(self, what: str) -> Iterator[None]:
        """Warn of an error in the block, and go on after it; see :meth:`failed`."""
        try:
            yield
        except Exception as error:
            self.failed(what, error)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Leave the block at an error; this rank warns that ``what``, the topic, is left out."""
        try:
            yield
        except Exception as error:
            self._warn_here(what, f"{what} left out", error)

    def clear(self) -> None:
        """Start over, as for another run."""
        self._told.clear()

    def __contains__(self, about: Hashable) -> bool:
        return about in self._told

    def _warn_here(self, about: Hashable, message: str, error: Exception) -> None:
        if self._is_new(about):
            text = f"{self._prefix}{message}: {type(error).__name__}: {error}"
            warnings.warn(text, stacklevel=2)

    def _is_new(self, about: Hashable) -> bool:
        is_new = about not in self._told
        self._told.add(about)
        return is_new


def kind_of(error: BaseException) -> str:
    """What kind of error it is, as a topic: whatever a file system says is of one kind.

    >>> kind_of(FileNotFoundError()), kind_of(OSError(28, "No space left")), kind_of(KeyError())
    ('OSError', 'OSError', 'KeyError')
    """
    return "OSError" if isinstance(error, OSError) else type(error).__name__
