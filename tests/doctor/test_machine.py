from dataclasses import replace

import pytest

from lightning_hparams.doctor.machine import Machine, machine_findings, this_machine
from lightning_hparams.speed import Cores

GOOD = Machine(Cores(8, 8, None), threads=8, shared_gb=8.0, disk_gb=100.0)


def bad(machine):
    return [each for each in machine_findings(machine) if each.level in ("warning", "error")]


def test_a_plain_machine_raises_no_warning():
    assert bad(GOOD) == []
    assert bad(replace(GOOD, gpus=["cuda:0 H100, 79 GiB"], cuda="12.6", driver=True)) == []


def test_threads_beyond_the_quota_of_a_container_are_a_warning():
    (found,) = bad(replace(GOOD, cores=Cores(64, 64, 4.0), threads=64))
    assert "64 threads (torch's default) on 4 usable cores" in found.text
    assert found.remedy == "export OMP_NUM_THREADS=4"
    assert bad(replace(GOOD, cores=Cores(64, 64, 4.0), threads=4, omp="4")) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"driver": True}, "torch was built without CUDA"),
        ({"driver": True, "cuda": "12.6", "hidden": ""}, "CUDA_VISIBLE_DEVICES='' hides all GPUs"),
        ({"driver": True, "cuda": "12.6"}, "finds no GPU"),
        ({"broken": {"cuda:0 K80": "no kernel image"}}, "cannot compute: no kernel image"),
        ({"shared_gb": 0.0625}, "(/dev/shm) has 64 MiB"),
        ({"disk_gb": 0.5}, "0.5 GiB of disk space"),
    ],
)
def test_what_keeps_a_run_from_working_is_named_with_a_remedy(changed, told):
    (found,) = bad(replace(GOOD, **changed))
    assert told in found.text
    assert found.remedy


def test_this_machine_is_looked_at():
    found = this_machine()
    assert found.threads >= 1
    assert machine_findings(found)
