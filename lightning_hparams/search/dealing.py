"""Cores and GPUs of a machine dealt out to its workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Share", "deal", "visible_gpus"]


@dataclass(frozen=True)
class Share:
    """What one worker may use.

    Args:
        cores: Numbers of its cores; empty if the system does not let them be chosen.
        threads: Threads of each of its processes.
        gpus: Its GPUs as in CUDA_VISIBLE_DEVICES; None if there are none to deal out.
    """

    cores: tuple[int, ...]
    threads: int
    gpus: tuple[str, ...] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its process."""
        found = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        if self.gpus is not None:
            found["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return found


def deal(
    workers: int, cores: Sequence[int], gpus: Sequence[str] = (), *, usable: int | None = None
) -> list[Share]:
    """Deal out cores and GPUs.

    Args:
        workers: Number of workers.
        cores: Numbers of the cores.
        gpus: GPUs; with fewer than workers, several workers share one.
        usable: How many cores' worth of time there is, if less than cores, as in a container.

    >>> [share.cores for share in deal(2, [0, 1, 2, 3, 4])]
    [(0, 1, 2), (3, 4)]
    >>> [share.gpus for share in deal(3, [0, 1], ["0", "1"])]
    [('0',), ('1',), ('0',)]
    >>> [share.threads for share in deal(2, range(64), usable=4)]
    [2, 2]
    """
    time = min(len(cores), usable or len(cores))
    threads = max(1, time // workers)
    shares = []
    for index in range(workers):
        least, more = divmod(len(cores), workers)
        start = index * least + min(index, more)
        own = tuple(cores[start : start + least + (index < more)])
        devices = tuple(gpus[index::workers]) if len(gpus) >= workers else ()
        if gpus and not devices:
            devices = (gpus[index % len(gpus)],)
        # With a share of time rather than cores, or more workers than cores, any core will do.
        fits = len(cores) >= workers and time == len(cores)
        shares.append(Share(own if fits else (), threads, devices if gpus else None))
    return shares


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [one.strip() for one in named.split(",") if one.strip() not in ("", "-1")]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
