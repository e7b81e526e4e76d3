"""Everything needed to repeat a run: code, command, environment, seeds, packages, hardware.

A manifest is a ``dict`` of JSON values. Only a short list of environment variables is recorded, and
anything that looks like a secret is removed from every string.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import random
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
import torch

from ..json_text import Json
from .redaction import redact
from .repository import repository
from .values import plain

__all__ = ["FORMAT", "code", "environment", "file_hash", "take"]

FORMAT = 1
_ENVIRONMENT = (
    *("CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "LOCAL_WORLD_SIZE", "MKL_NUM_THREADS"),
    *("NCCL_DEBUG", "OMP_NUM_THREADS", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PYTHONHASHSEED"),
    *("SLURM_JOB_ID", "SLURM_NNODES", "SLURM_NTASKS", "WORLD_SIZE"),
)


def take(
    config: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
    *,
    git: Json | EllipsisType = ...,
) -> dict[str, Any]:
    """The manifest of this process, to which the run adds its data and results.

    Args:
        config: The configuration of the run: hyperparameters, trainer, callbacks.
        environ: Environment variables; None for ``os.environ``.
        git: What :func:`code` returned when the program began, if that is known.
    """
    environ = os.environ if environ is None else environ
    found = {
        "command": [Path(sys.executable).name, *sys.argv],
        "git": None,
        "config": config,
        "environment": environment(environ),
    }
    hidden = redact(plain(found), environ)
    assert isinstance(hidden, dict)
    return {
        "format": FORMAT,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "status": "running",
        **hidden,
        "git": code(environ) if git is ... else git,
        "seeds": _seeds(environ),
        "deterministic": _deterministic(),
        "python": platform.python_version(),
        "packages": _packages(),
        "hardware": _hardware(),
    }


def code(environ: Mapping[str, str] | None = None) -> Json:
    """The repository in the working directory, without secrets; None outside a repository.

    Args:
        environ: Environment variables; None for ``os.environ``.
    """
    return redact(plain(repository()), os.environ if environ is None else environ)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that affect how a run is computed."""
    return {name: environ[name] for name in _ENVIRONMENT if name in environ}


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's contents."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _seeds(environ: Mapping[str, str]) -> dict[str, object]:
    """Seeds if they can be read, otherwise digests of the generators' states."""
    return {
        "global": environ.get("PL_GLOBAL_SEED"),
        "workers": environ.get("PL_SEED_WORKERS"),
        "torch": torch.initial_seed(),
        "torch_state": _digest(torch.get_rng_state().numpy().tobytes()),
        "numpy_state": _digest(repr(np.random.get_state(legacy=False)).encode()),
        "python_state": _digest(repr(random.getstate()).encode()),
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _deterministic() -> dict[str, object]:
    return {
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
    }


def _packages() -> dict[str, str]:
    return dict(_installed())


@lru_cache(maxsize=1)
def _installed() -> dict[str, str]:
    """Read once in a process: reading all of them takes time that each trial would wait."""
    # `metadata` parses the file each time, and `version` calls it.
    read = (dist.metadata for dist in importlib.metadata.distributions())
    found = {metadata["Name"]: metadata["Version"] for metadata in read}
    return {name: found[name] for name in sorted(filter(None, found), key=str.lower)}


def _hardware() -> dict[str, object]:
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "cuda": torch.version.cuda,
        "gpus": [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GB" for gpu in gpus],
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1] if found else platform.processor()


def _memory_gb() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None  # unknown on this system
