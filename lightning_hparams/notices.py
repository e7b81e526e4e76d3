"""Warnings and info messages shown to the user once."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

__all__ = ["FAILURE", "Notices", "kind_of"]

FAILURE = "failure"  # default topic of a failure


class Notices:
    """Messages to the user, once per topic, on rank zero.

    Args:
        speaker: Prefix of each message, followed by a colon; empty for none.
    """

    def __init__(self, speaker: str = "") -> None:
        self._prefix = f"{speaker}: " if speaker else ""
        self._seen: set[Hashable] = set()

    def warn(self, about: Hashable, message: str) -> None:
        """Warn, unless this topic has had a message.

        Args:
            about: The topic. Unlike the message, it must not contain values that change between
                calls, or each value would raise its own warning.
            message: The text.
        """
        if self._is_new(about):
            rank_zero_warn(self._prefix + message)

    def info(self, about: Hashable, message: str) -> None:
        """Inform, unless this topic has had a message; see :meth:`warn`."""
        if self._is_new(about):
            rank_zero_info(self._prefix + message)

    def failed(self, what: str, error: Exception, about: Hashable = FAILURE) -> None:
        """Warn about a failure on the rank where it happened; the others do not see it.

        Args:
            what: Completes "could not ...".
            error: The cause.
            about: The topic; see :meth:`warn`.
        """
        self._warn_here(about, f"could not {what}, training continues", error)

    def failed_after(self, what: str, error: Exception, about: Hashable = FAILURE) -> None:
        """Warn about a failure while another error is raised, which stays the one users see.

        The arguments are those of :meth:`failed`.
        """
        with suppress(Warning):  # where warnings are errors
            self._warn_here(about, f"could not {what}", error)

    @contextmanager
    def after_error(self, what: str) -> Iterator[None]:
        """Turn an error in the block into a warning; see :meth:`failed_after`."""
        try:
            yield
        except Exception as error:
            self.failed_after(what, error, (what, kind_of(error)))

    @contextmanager
    def instead_of_errors(self, what: str) -> Iterator[None]:
        """Turn an error in the block into a warning; see :meth:`failed`."""
        try:
            yield
        except Exception as error:
            self.failed(what, error)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Turn an error in the block into a warning on this rank that ``what`` is left out."""
        try:
            yield
        except Exception as error:
            self._warn_here(what, f"{what} left out", error)

    def clear(self) -> None:
        """Forget all topics, as for a new run."""
        self._seen.clear()

    def __contains__(self, about: Hashable) -> bool:
        return about in self._seen

    def _warn_here(self, about: Hashable, message: str, error: Exception) -> None:
        if self._is_new(about):
            text = f"{self._prefix}{message}: {type(error).__name__}: {error}"
            warnings.warn(text, stacklevel=2)

    def _is_new(self, about: Hashable) -> bool:
        is_new = about not in self._seen
        self._seen.add(about)
        return is_new


def kind_of(error: BaseException) -> str:
    """Return the kind of an error, for use as a topic; all file system errors share one.

    >>> kind_of(FileNotFoundError()), kind_of(OSError(28, "No space left")), kind_of(KeyError())
    ('OSError', 'OSError', 'KeyError')
    """
    return "OSError" if isinstance(error, OSError) else type(error).__name__
