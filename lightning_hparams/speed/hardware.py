"""Memory in use, and the peak performance of GPUs."""

from __future__ import annotations

import os
import re
import sys

import torch

__all__ = ["memory_mib", "peak_flops"]


def memory_mib(device: torch.device) -> dict[str, float]:
    """Return memory in MiB: ``rss`` of this process without its workers, and peaks on CUDA.

    Where the system does not report the resident memory, ``rss`` is its peak.
    """
    found = {}
    resident = _resident_bytes()
    if resident is not None:
        found["rss"] = resident / 2**20
    if device.type == "cuda":
        found["cuda_peak_allocated"] = torch.cuda.max_memory_allocated(device) / 2**20
        found["cuda_peak_reserved"] = torch.cuda.max_memory_reserved(device) / 2**20
    return found


def _resident_bytes() -> int | None:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# Name from torch.cuda.get_device_name -> dense peaks in TFLOP/s with float32 accumulation, for
# float16 and bfloat16, and for TF32 (float32 on GPUs without TF32). From NVIDIA's data sheets of
# H100, H200, A100, A40, A30, A10, L40S, L40, L4, V100 and T4 (figures "with sparsity" are halved),
# and the white papers of GA102 (RTX 3090, A6000) and AD102 (RTX 4090).
_PEAKS = {
    r"NVIDIA H200 NVL|NVIDIA H100 NVL": (835.5, 417.5),
    r"NVIDIA H100 PCIe": (756.0, 378.0),
    r"NVIDIA H200|NVIDIA H100 80GB HBM3": (989.5, 494.5),
    r"(NVIDIA )?A100-(SXM4|PCIE|PCIe)-\d+GB|NVIDIA A100 80GB PCIe": (312.0, 156.0),
    r"NVIDIA A40": (149.7, 74.8),
    r"NVIDIA A30": (165.0, 82.0),
    r"NVIDIA A10": (125.0, 62.5),
    r"NVIDIA L40S": (362.0, 183.0),
    r"NVIDIA L40": (181.0, 90.5),
    r"NVIDIA L4": (121.0, 60.0),
    r"Tesla V100-SXM\d-\d+GB(-LS)?": (125.0, 15.7),
    r"Tesla V100-PCIE-\d+GB": (112.0, 14.0),
    r"(NVIDIA )?Tesla T4|NVIDIA T4": (65.0, 8.1),
    r"(NVIDIA )?RTX A6000": (154.8, 77.4),
    r"(NVIDIA )?GeForce RTX 3090": (71.0, 35.6),
    r"(NVIDIA )?GeForce RTX 4090": (165.2, 82.6),
}


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return the peak floating point operations per second of a GPU, or None if unknown.

    Args:
        device_name: From ``torch.cuda.get_device_name``.
        precision: From ``Trainer.precision``. Float32 counts as TF32 on GPUs that support it, since
            cuDNN's convolutions use it by default.

    >>> peak_flops("NVIDIA A100-SXM4-80GB", "bf16-mixed")
    312000000000000.0
    """
    if not precision.startswith(("16", "bf16", "32")):
        return None
    for pattern, (half, single) in _PEAKS.items():
        if re.fullmatch(pattern, device_name):
            return (single if precision.startswith("32") else half) * 1e12
    return None
