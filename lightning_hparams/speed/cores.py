"""CPU cores that a process may use: its affinity, and the quota of its container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cores", "cpu_quota", "usable_cores"]


@dataclass(frozen=True)
class Cores:
    """CPU cores by three counts, of which the smallest one applies.

    Attributes:
        machine: Cores of the machine, which containers see too.
        affinity: Cores that the process may run on, as set by Slurm, ``taskset`` or a cpuset.
        quota: CPU time per time, as set by ``docker --cpus`` or a Kubernetes limit; None for no
            limit. Threads beyond it do not run faster: the kernel halts all of them for the rest
            of each period.
    """

    machine: int
    affinity: int
    quota: float | None

    @property
    def usable(self) -> int:
        """Number of threads that can run at the same time, at least 1.

        >>> Cores(machine=64, affinity=16, quota=3.5).usable
        3
        """
        most = self.affinity  # among the cores of the machine
        return max(1, most if self.quota is None else min(most, math.floor(self.quota)))


def usable_cores() -> Cores:
    """Return the cores of this process."""
    machine = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:  # not Linux
        groups = ""
    return Cores(machine, affinity, cpu_quota(groups, Path("/sys/fs/cgroup")))


def cpu_quota(groups: str, root: Path) -> float | None:
    """Return the CPU quota of control groups: the smallest of a group and those above it.

    Args:
        groups: Content of ``/proc/self/cgroup``.
        root: Where control groups are mounted, of version 1 or 2.

    Returns:
        CPUs, such as 1.5; None if there is no limit.
    """
    limits = []
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if not controllers:  # version 2
            limits += [_quota_v2(folder) for folder in _upwards(root, name)]
        elif "cpu" in controllers.split(","):
            for mount in (root / controllers, root / "cpu"):
                limits += [_quota_v1(folder) for folder in _upwards(mount, name)]
    return min((limit for limit in limits if limit is not None), default=None)


def _upwards(root: Path, name: str) -> Iterator[Path]:
    """A group's folder and those above it; inside a container only the last may exist."""
    folder = root / name.strip("/")
    while folder != root:
        yield folder
        folder = folder.parent
    yield root


def _quota_v2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = (_words(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return _ratio(quota[0], period[0]) if quota and period else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _ratio(quota: str, period: str) -> float | None:
    """Quota over period; None for the spellings of no limit, ``max`` and -1."""
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(quota) / int(period) or None
