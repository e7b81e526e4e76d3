"""What made a trial fail, and when failures end a study."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

__all__ = ["KILLED", "Failure", "failure_of", "repeated"]

KILLED = "Killed"  # class of the failure of a trial whose worker died
_LINES = 12
_EQUAL = 3  # failures at the start that end a study
_OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "can't allocate memory")


@dataclass(frozen=True)
class Failure:
    """Class and last lines of an error, kept in the trial's attribute ``failure``.

    Args:
        kind: Name of the class, ``OutOfMemory`` for all kinds of that.
        lines: Last lines of the traceback; the last one is the message.
    """

    kind: str
    lines: list[str]

    def to_mapping(self) -> dict[str, object]:
        """Convert to plain types."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Failure:
        """Reverse :meth:`to_mapping`."""
        lines = mapping.get("lines")
        return cls(
            str(mapping.get("kind")), [str(one) for one in lines] if isinstance(lines, list) else []
        )

    @property
    def message(self) -> str:
        """The last line."""
        return self.lines[-1] if self.lines else self.kind


def failure_of(error: BaseException) -> Failure:
    """Describe an error.

    >>> failure_of(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")).kind
    'OutOfMemory'
    >>> failure_of(ValueError("`lr` must be above 0")).message
    'ValueError: `lr` must be above 0'
    """
    text = "".join(traceback.format_exception(error)).rstrip()
    lines = [line for line in text.splitlines() if line.strip()][-_LINES:]
    is_memory = isinstance(error, MemoryError) or any(part in str(error) for part in _OUT_OF_MEMORY)
    return Failure("OutOfMemory" if is_memory else type(error).__name__, lines)


def repeated(failures: Sequence[Failure | None]) -> Failure | None:
    """Return the error with which all of the first trials failed; None if they did not.

    Args:
        failures: Failure of each finished trial, in the order in which they finished; None for
            one that did not fail.

    >>> oom = Failure("OutOfMemory", ["CUDA out of memory"])
    >>> repeated([oom, oom]), repeated([oom, None, oom, oom])
    (None, None)
    >>> repeated([oom, oom, oom]).kind
    'OutOfMemory'
    """
    first = failures[:_EQUAL]
    if len(first) < _EQUAL or first[0] is None:
        return None
    alike = all(one is not None and one.kind == first[0].kind for one in first)
    messages = {one.message for one in first if one is not None}
    # Amounts of memory differ from one trial to the next.
    return first[0] if alike and (len(messages) == 1 or first[0].kind == "OutOfMemory") else None
