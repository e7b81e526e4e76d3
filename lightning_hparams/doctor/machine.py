"""GPUs, threads, shared memory and disk space, as far as training needs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..speed import Cores, usable_cores
from .findings import Finding

__all__ = ["Machine", "machine_findings", "this_machine"]

_SHARED = 1.0  # GiB below which loader workers fail on batches of usual images; Docker gives 1/16
_DISK = 2.0  # GiB


@dataclass(frozen=True)
class Machine:
    """Facts about a machine.

    Attributes:
        cores: CPU cores.
        threads: Threads that torch uses.
        omp: The environment variable ``OMP_NUM_THREADS``, if set.
        cuda: CUDA version that torch was built for; None for a build without it.
        driver: Whether an NVIDIA driver is loaded.
        gpus: Names of the GPUs that can compute.
        broken: Why a GPU cannot compute, by name.
        hidden: The environment variable ``CUDA_VISIBLE_DEVICES``, if set.
        mps: Whether an Apple GPU can be used.
        shared_gb: Size of ``/dev/shm`` in GiB, if there is one.
        disk_gb: Free space in the current folder in GiB.
    """

    cores: Cores
    threads: int
    omp: str | None = None
    cuda: str | None = None
    driver: bool = False
    gpus: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    hidden: str | None = None
    mps: bool = False
    shared_gb: float | None = None
    disk_gb: float | None = None


def this_machine() -> Machine:
    """Look at this machine; each visible GPU computes a sum."""
    gpus, broken = _gpus()
    shared = Path("/dev/shm")
    return Machine(
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        omp=os.environ.get("OMP_NUM_THREADS"),
        cuda=torch.version.cuda,
        driver=Path("/proc/driver/nvidia/version").exists() or bool(shutil.which("nvidia-smi")),
        gpus=gpus,
        broken=broken,
        hidden=os.environ.get("CUDA_VISIBLE_DEVICES"),
        mps=torch.backends.mps.is_available(),
        shared_gb=shutil.disk_usage(shared).total / 2**30 if shared.is_dir() else None,
        disk_gb=shutil.disk_usage(".").free / 2**30,
    )


def machine_findings(machine: Machine) -> list[Finding]:
    """Judge the facts."""
    return [*_of_gpus(machine), *_of_cores(machine), *_of_space(machine)]


def _gpus() -> tuple[list[str], dict[str, str]]:
    """Names of the GPUs that can compute, and why others cannot."""
    working, broken = [], {}
    for index in range(torch.cuda.device_count()):
        name = f"cuda:{index}"
        try:
            facts = torch.cuda.get_device_properties(index)
            name = f"{name} {facts.name}, {facts.total_memory / 2**30:.0f} GiB"
            float(torch.ones(2, device=f"cuda:{index}").sum())
        except RuntimeError as error:  # no kernel for its architecture, or no memory left
            broken[name] = str(error).strip().splitlines()[0]
        else:
            working.append(name)
    return working, broken


def _of_gpus(machine: Machine) -> Iterator[Finding]:
    for name, reason in machine.broken.items():
        yield Finding(
            "machine",
            "error",
            f"the GPU {name} cannot compute: {reason}",
            "install a build of torch for it (https://pytorch.org/get-started), or free its memory",
        )
    if machine.gpus:
        yield Finding("machine", "ok", f"GPUs: {'; '.join(machine.gpus)} (CUDA {machine.cuda})")
    elif machine.broken:
        return
    elif machine.mps:
        yield Finding("machine", "ok", "GPU: Apple's, by mps")
    elif machine.driver and machine.cuda is None:
        yield Finding(
            "machine",
            "warning",
            "there is an NVIDIA driver, but torch was built without CUDA",
            "install a build with CUDA: https://pytorch.org/get-started",
        )
    elif machine.driver and machine.hidden is not None:
        yield Finding(
            "machine",
            "warning",
            f"CUDA_VISIBLE_DEVICES={machine.hidden!r} hides all GPUs",
            "unset CUDA_VISIBLE_DEVICES, or list the indices of GPUs in it",
        )
    elif machine.driver:
        yield Finding(
            "machine",
            "warning",
            f"there is an NVIDIA driver, but torch (CUDA {machine.cuda}) finds no GPU",
            "check that nvidia-smi lists one, and that the driver is new enough for this CUDA",
        )
    else:
        yield Finding("machine", "note", "no GPU: training uses the CPU")


def _of_cores(machine: Machine) -> Iterator[Finding]:
    cores = machine.cores
    limits = [f"{cores.machine} of the machine"]
    if cores.affinity < cores.machine:
        limits.append(f"{cores.affinity} by affinity")
    if cores.quota is not None:
        limits.append(f"{cores.quota:g} by the quota of the container")
    yield Finding("machine", "ok", f"CPU cores: {cores.usable} usable ({', '.join(limits)})")
    used = "OMP_NUM_THREADS" if machine.omp is not None else "torch's default"
    if machine.threads > cores.usable:
        yield Finding(
            "machine",
            "warning",
            f"torch uses {machine.threads} threads ({used}) on {cores.usable} usable cores, which "
            "is slower than as many threads as cores",
            f"export OMP_NUM_THREADS={cores.usable}",
        )
    else:
        yield Finding("machine", "ok", f"threads of torch: {machine.threads} ({used})")


def _of_space(machine: Machine) -> Iterator[Finding]:
    if machine.shared_gb is not None and machine.shared_gb < _SHARED:
        yield Finding(
            "machine",
            "warning",
            f"shared memory (/dev/shm) has {machine.shared_gb * 1024:.0f} MiB: workers of data "
            "loaders may fail with a bus error",
            "start the container with --shm-size=8g or --ipc=host, or use num_workers=0",
        )
    if machine.disk_gb is not None and machine.disk_gb < _DISK:
        yield Finding(
            "machine",
            "warning",
            f"{machine.disk_gb:.1f} GiB of disk space are free in the current folder",
            "free some, or write runs to another disk",
        )
