"""Warnings and info messages shown to the user once."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

__all__ = ["FAILURE", "Notices", "kind_of", "warn_user"]

FAILURE = "failure"  # default topic of a failure
_NAMES = 5  # of one kind, after which further ones are not warned about
# Packages between the user's code and a warning of ours.
_BETWEEN = {
    "lightning_hparams", "lightning", "lightning_fabric", "lightning_utilities",
    "pytorch_lightning", "torch", "contextlib", "functools",
}  # fmt: skip


def warn_user(message: str) -> None:
    """Warn on rank zero, at the user's line rather than one of this package or Lightning."""
    # Lightning sets the rank as it is imported, which a process need not have done to be warned.
    from lightning.pytorch.utilities import rank_zero_warn

    # Three of the frames below are those of rank_zero_warn.
    rank_zero_warn(message, stacklevel=3 + _level())


def _level() -> int:
    """``stacklevel`` for a warning of the caller to show the innermost line of the user."""
    here = inspect.currentframe()
    level, frame = 1, here.f_back if here is not None else None
    while frame is not None and frame.f_back is not None and _is_between(frame.f_globals):
        level, frame = level + 1, frame.f_back
    return level


def _is_between(module: Mapping[str, object]) -> bool:
    return str(module.get("__name__", "")).partition(".")[0] in _BETWEEN


class Notices:
    """Messages to the user, once per topic, on rank zero.

    Args:
        speaker: Prefix of each message, followed by a colon; empty for none.
    """

    def __init__(self, speaker: str = "") -> None:
        self._prefix = f"{speaker}: " if speaker else ""
        self._seen: set[Hashable] = set()
        self._names: Counter[str] = Counter()

    def warn(self, about: Hashable, message: str) -> None:
        """Warn, unless this topic has had a message.

        Args:
            about: The topic. Unlike the message, it must not contain values that change between
                calls, or each value would raise its own warning.
            message: The text.
        """
        if self._is_new(about):
            warn_user(self._prefix + message)

    def about(self, topic: Hashable) -> Callable[[str], None]:
        """:meth:`warn` for one topic, as a function of the message."""
        return partial(self.warn, topic)

    def warn_of_name(self, kind: str, name: str, message: str) -> None:
        """Warn about a name that comes from the user's code, such as the key of a loss.

        Such names may contain a number that changes with each step, so only the first few of a kind
        are warned about.
        """
        if (kind, name) not in self._seen and self._names[kind] < _NAMES:
            self._names[kind] += 1
            rest = "; no warning about further ones" if self._names[kind] == _NAMES else ""
            self.warn((kind, name), message + rest)

    def info(self, about: Hashable, message: str) -> None:
        """Inform, unless this topic has had a message; see :meth:`warn`."""
        from lightning.pytorch.utilities import rank_zero_info

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
        self._names.clear()

    def __contains__(self, about: Hashable) -> bool:
        return about in self._seen

    def _warn_here(self, about: Hashable, message: str, error: Exception) -> None:
        if self._is_new(about):
            text = f"{self._prefix}{message}: {type(error).__name__}: {error}"
            warnings.warn(text, stacklevel=_level())

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
