import os

import pytest

from lightning_hparams.speed import Cores, cpu_quota, usable_cores


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_smallest_quota_of_a_group_and_those_above_it_counts(tmp_path):
    write(tmp_path, cpu__max="max 100000\n")
    write(tmp_path / "pods", cpu__max="350000 100000\n")
    write(tmp_path / "pods" / "one", cpu__max="max 100000\n")
    write(tmp_path / "pods" / "two", cpu__max="150000 100000\n")
    assert cpu_quota("0::/pods/one\n", tmp_path) == 3.5
    assert cpu_quota("0::/pods/two\n", tmp_path) == 1.5
    assert cpu_quota("0::/\n", tmp_path) is None


def test_a_container_sees_its_own_quota_under_the_path_of_the_machine(tmp_path):
    """Without a namespace of its own, /proc names a path that is not mounted there."""
    write(tmp_path, cpu__max="200000 100000\n")
    assert cpu_quota("0::/docker/0123abc\n", tmp_path) == 2


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_quotas_of_the_first_version_are_read_too(tmp_path, mount):
    names = {"cpu__cfs_quota_us": "250000\n", "cpu__cfs_period_us": "100000\n"}
    write(tmp_path / mount / "job", **names)
    write(tmp_path / mount, **{**names, "cpu__cfs_quota_us": "-1\n"})
    assert cpu_quota("4:memory:/job\n3:cpu,cpuacct:/job\n", tmp_path) == 2.5
    assert cpu_quota("3:cpu,cpuacct:/other\n", tmp_path) is None


@pytest.mark.parametrize("text", ["", "max", "a b", "100000 0", "-5 100000"])
def test_an_unreadable_quota_is_no_limit(tmp_path, text):
    write(tmp_path, cpu__max=text)
    assert cpu_quota("0::/\n", tmp_path) is None
    assert cpu_quota("nonsense\n\n1:name\n", tmp_path) is None


def test_the_smallest_count_is_usable_and_never_none_at_all():
    assert Cores(64, 16, None).usable == 16
    assert Cores(64, 16, 3.5).usable == 3
    assert Cores(64, 16, 0.2).usable == 1
    assert 1 <= usable_cores().usable <= os.cpu_count()
