"""Resident memory, and the peaks of the right GPU."""

import mmap
import os
import resource
import sys

import numpy as np
import pytest
import torch

from lightning_hparams.speed import hardware, memory_mib, peak_flops


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_resident_memory_grows_with_memory_that_is_written():
    before = memory_mib(torch.device("cpu"))
    block = mmap.mmap(-1, 64 * 2**20)  # np.ones may get memory that was resident before
    np.frombuffer(block, np.uint8)[:] = 1
    grown = memory_mib(torch.device("cpu"))["rss"] - before["rss"]
    assert set(before) == {"rss"}
    assert 60 < grown < 70
    assert block[-1] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_without_proc_the_peak_of_resident_memory_is_used(monkeypatch):
    def missing(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(hardware, "open", missing, raising=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 2**20 if sys.platform == "darwin" else 2**10
    assert memory_mib(torch.device("cpu"))["rss"] == pytest.approx(peak / scale, rel=0.01)


def test_a_gpu_reports_its_memory_peaks(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 4 * 2**20)
    found = memory_mib(torch.device("cuda", 0))
    assert (found["cuda_peak_allocated"], found["cuda_peak_reserved"]) == (3, 4)


@pytest.mark.parametrize(
    ("name", "precision", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16-mixed", 989.5),
        ("NVIDIA H100 PCIe", "16-mixed", 756),
        ("NVIDIA H100 NVL", "bf16-true", 835.5),
        ("NVIDIA A100-SXM4-40GB", "32-true", 156),
        ("NVIDIA A100 80GB PCIe", "16-true", 312),
        ("NVIDIA L4", "bf16-mixed", 121),
        ("NVIDIA L40S", "bf16-mixed", 362),
        ("Tesla V100-SXM2-16GB", "32-true", 15.7),
        ("Tesla T4", "16-mixed", 65),
        ("NVIDIA GeForce RTX 4090", "16-mixed", 165.2),
    ],
)
def test_peak_flops_match_the_data_sheets(name, precision, tera):
    assert peak_flops(name, precision) == tera * 1e12


@pytest.mark.parametrize(
    "name",
    ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA L400", ""],
)
def test_a_gpu_with_a_similar_name_has_no_known_peak(name):
    assert peak_flops(name, "16-mixed") is None


def test_double_precision_has_no_known_peak():
    assert peak_flops("NVIDIA L4", "64-true") is None
