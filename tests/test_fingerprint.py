import os
import random

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from lightning_hparams.fingerprint import fingerprint


class Files(Dataset):
    """Paths and labels, as torchvision's ImageFolder has them."""

    def __init__(self, root):
        self.root = root
        names = sorted(os.listdir(root))
        self.samples = [(os.path.join(root, name), index % 2) for index, name in enumerate(names)]
        self.targets = [label for _, label in self.samples]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        raise AssertionError("a fingerprint reads no sample")


@pytest.fixture
def folder(tmp_path):
    for index in range(5):
        (tmp_path / "a" / f"{index}.bin").parent.mkdir(exist_ok=True)
        (tmp_path / "a" / f"{index}.bin").write_bytes(bytes([index]) * 200_000)
    return tmp_path / "a"


def test_files_are_known_by_names_sizes_and_ends(folder):
    before = fingerprint(Files(folder))
    assert (before["length"], before["files"], before["bytes"]) == (5, 5, 1_000_000)
    assert before["classes"] == {"0": 3, "1": 2}
    data = bytearray((folder / "3.bin").read_bytes())
    data[-1] ^= 1
    (folder / "3.bin").write_bytes(data)
    assert fingerprint(Files(folder))["sha256"] != before["sha256"]


def test_the_same_files_elsewhere_are_the_same_data(folder, tmp_path):
    before = fingerprint(Files(folder))
    (tmp_path / "moved").mkdir()
    os.rename(folder, tmp_path / "moved" / "b")
    assert fingerprint(Files(tmp_path / "moved" / "b")) == before


def test_a_renamed_or_missing_file_is_another_dataset(folder):
    before = fingerprint(Files(folder))
    os.rename(folder / "4.bin", folder / "5.bin")
    assert fingerprint(Files(folder))["sha256"] != before["sha256"]
    os.remove(folder / "5.bin")
    assert fingerprint(Files(folder))["files"] == 4


def test_tensors_subsets_and_concatenations_are_told_apart():
    one, two = TensorDataset(torch.zeros(9, 2)), TensorDataset(torch.ones(9, 2))
    variants = [
        one,
        two,
        Subset(one, [0, 1]),
        Subset(one, [1, 0]),
        Subset(two, [0, 1]),
        ConcatDataset([one, two]),
        ConcatDataset([two, one]),
        TensorDataset(torch.zeros(9, 2, dtype=torch.float64)),
    ]
    digests = [fingerprint(variant)["sha256"] for variant in variants]
    assert len(set(digests)) == len(variants)
    assert fingerprint(TensorDataset(torch.zeros(9, 2))) == fingerprint(one)


def test_random_generators_are_left_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    fingerprint(TensorDataset(torch.zeros(3)))
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()


def test_anything_has_a_fingerprint():
    assert fingerprint(iter([1]))["class"] == "builtins.list_iterator"
    assert "length" not in fingerprint(object())


def test_a_file_that_goes_away_does_not_end_the_run(folder, monkeypatch):
    dataset = Files(folder)

    def gone(path):
        raise FileNotFoundError(2, "No such file", path)

    monkeypatch.setattr(os.path, "getsize", gone)
    assert "No such file" in fingerprint(dataset)["unreadable"]


def test_objects_in_an_array_are_not_known_by_their_addresses():
    class Objects(Dataset):
        def __init__(self):
            self.names = np.array([object(), object()], dtype=object)

    assert fingerprint(Objects()) == fingerprint(Objects())
