import copy
import dataclasses
import os
import random
import tracemalloc

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from lightning_hparams.provenance import fingerprint


class Files(Dataset):
    """Paths and labels, as in torchvision's ImageFolder."""

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


def test_files_are_identified_by_names_sizes_and_ends(folder):
    before = fingerprint(Files(folder))
    assert (before["length"], before["files"], before["bytes"]) == (5, 5, 1_000_000)
    assert before["classes"] == {"0": 3, "1": 2}
    data = bytearray((folder / "3.bin").read_bytes())
    data[-1] ^= 1
    (folder / "3.bin").write_bytes(data)
    assert fingerprint(Files(folder))["sha256"] != before["sha256"]


def test_moved_files_are_the_same_data(folder, tmp_path):
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


def test_tensors_subsets_and_concatenations_differ():
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


class Held(Dataset):
    """A user-defined dataset."""

    def __init__(self, data):
        self.data = data


@dataclasses.dataclass
class Sample:
    label: int


def variants():
    """Pairs of different data of the same size."""
    yield [{"image": "a", "label": 1}], [{"image": "a", "label": 0}]
    yield [(np.zeros(3), 0)], [(np.ones(3), 0)]
    yield [torch.zeros(3)], [torch.ones(3)]
    yield [[0, 0, 1, 1]], [[5, 5, 9, 9]]
    yield {"a": 1}, {"b": 1}
    yield {"a": [1]}, {"a": [2]}
    yield np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)
    yield [None, 1], [None, 2]
    yield {"a", "b"}, {"a", "c"}
    yield range(3), range(1, 4)
    yield [Sample(1)], [Sample(2)]
    yield torch.zeros(3, dtype=torch.complex64), torch.ones(3, dtype=torch.complex64)
    yield torch.zeros(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16)
    yield TensorDataset(torch.zeros(3)), TensorDataset(torch.ones(3))
    yield [TensorDataset(torch.zeros(3))], [TensorDataset(torch.ones(3))]


@pytest.mark.parametrize(("one", "two"), list(variants()))
def test_different_data_differ_in_any_container(one, two):
    assert fingerprint(Held(one)) == fingerprint(Held(copy.deepcopy(one)))
    assert fingerprint(Held(one))["sha256"] != fingerprint(Held(two))["sha256"]
    assert "not_looked_at" not in fingerprint(Held(one))


def test_a_table_is_identified_by_its_columns():
    pandas = pytest.importorskip("pandas")
    one, same, two = (pandas.DataFrame({"path": ["a", b], "label": [0, 1]}) for b in "bbc")
    assert fingerprint(Held(one)) == fingerprint(Held(same))
    assert fingerprint(Held(one))["sha256"] != fingerprint(Held(two))["sha256"]
    assert fingerprint(Held(one))["sha256"] != fingerprint(Held(one["path"]))["sha256"]


def test_a_list_is_a_dataset_too():
    assert fingerprint([1, 2])["length"] == 2
    assert fingerprint([1, 2])["sha256"] != fingerprint([1, 3])["sha256"]


def test_a_nested_dataset_is_a_part():
    base = TensorDataset(torch.zeros(3))
    found = fingerprint(Held({"base": base}))
    assert found["parts"] == [fingerprint(base)]
    base.itself = base
    assert fingerprint(base)["length"] == 3


def test_unexamined_attributes_are_named():
    class Hostile:
        def __getattr__(self, name):
            raise RuntimeError(name)

    class Odd(Dataset):
        def __init__(self):
            self.graph = torch.eye(3).to_sparse()
            self.nowhere = torch.zeros(3, device="meta")
            self.labels = torch.zeros(3, device="meta")
            self.transform = torch.nn.Identity()
            self.hostile = Hostile()
            self.size = 3

        def __len__(self):
            raise RuntimeError("not prepared as yet")

    assert fingerprint(Odd())["not_looked_at"] == [
        "graph: torch.sparse_coo on cpu",
        "hostile: RuntimeError",
        "labels: torch.strided on meta",
        "nowhere: torch.strided on meta",
        "transform: torch.nn.modules.linear.Identity",
    ]


def test_long_lists_are_sampled_evenly_and_reported():
    found = fingerprint(Held([(i, [i]) for i in range(25_000)]))
    assert found["not_looked_at"] == ["data: 15000 of 25000"]
    nested = [[[i]] for i in range(3)]
    for _ in range(20):
        nested = [nested]
    assert fingerprint(Held(nested))["not_looked_at"] == ["data: too many objects"]


def test_an_array_is_not_copied():
    array = np.zeros((3000, 3, 32, 32), np.uint8).transpose(0, 2, 3, 1)
    fingerprint(Held(array[:1]))
    tracemalloc.start()
    fingerprint(Held(array))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 10


def test_files_in_records_and_aliases_count_once(folder):
    dataset = Files(folder)
    dataset.records = [{"image": path, "label": label} for path, label in dataset.samples]
    dataset.imgs = dataset.samples
    assert fingerprint(dataset)["files"] == 5
    dataset.records[0]["label"] = 7
    assert fingerprint(dataset)["sha256"] != fingerprint(Files(folder))["sha256"]
    only = Held(np.array([path for path, _ in dataset.samples], dtype=object))
    assert fingerprint(only)["files"] == 5


def test_random_generators_are_left_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    fingerprint(TensorDataset(torch.zeros(3)))
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()


def test_any_object_has_a_fingerprint():
    assert fingerprint(iter([1]))["class"] == "builtins.list_iterator"
    assert "length" not in fingerprint(object())


def test_a_file_that_disappears_does_not_end_the_run(folder, monkeypatch):
    dataset = Files(folder)

    def gone(path):
        raise FileNotFoundError(2, "No such file", path)

    monkeypatch.setattr(os.path, "getsize", gone)
    assert "No such file" in fingerprint(dataset)["unreadable"]


def test_objects_in_an_array_are_not_identified_by_address():
    class Objects(Dataset):
        def __init__(self):
            self.names = np.array([object(), object()], dtype=object)

    assert fingerprint(Objects()) == fingerprint(Objects())


def test_pairs_in_a_set_or_as_keys_differ_in_any_order():
    class Graph:
        def __init__(self, *pairs):
            self.pairs, self.weights = set(pairs), dict.fromkeys(sorted(pairs), 0)

    one = fingerprint(Graph(("a", "b"), ("c", "d")))
    assert one["sha256"] == fingerprint(Graph(("c", "d"), ("a", "b")))["sha256"]
    assert one["sha256"] != fingerprint(Graph(("a", "b"), ("c", "e")))["sha256"]
