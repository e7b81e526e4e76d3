"""Which process runs a trial, and whether it is still alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Owner", "is_dead"]


@dataclass(frozen=True)
class Owner:
    """A worker process.

    Args:
        place: Machine, and what shares its process numbers.
        pid: Number of the process.
        born: When it was started, to tell it from a later process with that number.
        index: Index of the worker on its machine.
    """

    place: str
    pid: int
    born: int
    index: int = 0

    @classmethod
    def me(cls, index: int = 0) -> Owner:
        """Describe this process."""
        return cls(_place(), os.getpid(), _born(os.getpid()) or 0, index)

    def to_mapping(self) -> dict[str, object]:
        """Convert to plain types, as the trial's attribute ``worker``."""
        return asdict(self)

    def owns(self, attributes: Mapping[str, object]) -> bool:
        """Whether a trial with these user attributes is this worker's."""
        return attributes.get("worker") == self.to_mapping()


def is_dead(worker: object) -> bool | None:
    """Whether the process that a trial names has ended; None if that cannot be known from here.

    Args:
        worker: The trial's attribute ``worker``.
    """
    if not isinstance(worker, Mapping) or worker.get("place") != _place():
        return None
    pid, born = int(worker.get("pid", 0)), int(worker.get("born", 0))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it exists, and belongs to another user
    found = _born(pid)
    return found is None or found != born if born else False


@lru_cache(1)
def _place() -> str:
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))  # of a container
    except OSError:
        pass  # not Linux
    return " ".join(parts)


def _born(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; None for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
