"""Public data sets in the layouts of their authors, with a few images made here."""

import hashlib
import pickle
import time
import urllib.error

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from lightning_hparams import Cifar10Data, OxfordPetData, VocData
from lightning_hparams.data import public
from lightning_hparams.data.public import VOC_CLASSES
from tests.data.files import save
from tests.data.test_voc import BOX, voc

RNG = np.random.default_rng(0)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Batches of 20 images each, with the checksums that torchvision expects."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = {"train_list": [f"data_batch_{number}" for number in range(1, 6)]}
    names["test_list"] = ["test_batch"]
    for kind, files in names.items():
        sums = []
        for name in files:
            data = RNG.integers(0, 256, (20, 3072), dtype=np.uint8)
            content = pickle.dumps({"data": data, "labels": [*range(10)] * 2})
            (folder / name).write_bytes(content)
            sums.append([name, hashlib.md5(content).hexdigest()])
        monkeypatch.setattr(CIFAR10, kind, sums)
    meta = pickle.dumps({"label_names": [f"name {index}" for index in range(10)]})
    (folder / "batches.meta").write_bytes(meta)
    known = {**CIFAR10.meta, "md5": hashlib.md5(meta).hexdigest()}
    monkeypatch.setattr(CIFAR10, "meta", known)
    return tmp_path


def test_cifar_is_split_by_class_and_its_test_set_is_the_published_one(cifar):
    data = Cifar10Data(cifar, val_fraction=0.2, num_workers=0, batch_size=10)
    data.prepare_data()
    data.setup("fit")
    assert data.class_counts() == [8] * 10
    assert torch.bincount(data.val_set.labels).tolist() == [2] * 10
    assert len(data.test_set) == 20
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (10, 3, 32, 32)
    assert batch["image"].dtype == torch.uint8


def test_a_damaged_file_of_cifar_is_told(cifar):
    (cifar / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"is damaged .* pass download=True"):
        Cifar10Data(cifar).setup("fit")


@pytest.fixture
def pets(tmp_path):
    """Four photos of each of two breeds for training, two for test."""
    folder = tmp_path / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for split, count in (("trainval", 4), ("test", 2)):
        lines = []
        for breed, species, name in ((1, 1, "Abyssinian"), (2, 2, "american_bulldog")):
            for index in range(count):
                image = f"{name}_{split}{index}"
                save(
                    folder / "images" / f"{image}.jpg", RNG.integers(0, 256, (20, 30, 3), np.uint8)
                )
                lines.append(f"{image} {breed} {species} 1")
        (folder / "annotations" / f"{split}.txt").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize(
    ("target", "names"),
    [("breed", ["Abyssinian", "American Bulldog"]), ("species", ["cat", "dog"])],
)
def test_pets_are_split_by_class_and_their_test_set_is_the_published_one(pets, target, names):
    data = OxfordPetData(pets, target=target, val_fraction=0.25, size=16, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    assert data.class_names == names
    assert data.class_counts()[:2] == [3, 3]
    assert [len(one) for one in (data.val_set, data.test_set)] == [2, 4]
    batch = next(iter(data.test_dataloader()))
    assert batch["image"].shape == (4, 3, 16, 16)
    assert batch["label"].tolist() == [0, 0, 1, 1]
    data.setup("predict")
    assert len(data.predict_set) == 12


def test_a_year_of_voc_is_read_from_its_folder(tmp_path):
    for index in range(5):
        voc(tmp_path / "VOCdevkit" / "VOC2007", index, ("cat", BOX), ("dog", BOX))
    data = VocData.public(tmp_path, "2007", download=True, num_workers=0)
    data.setup("fit")
    assert data.train_set.targets[0]["boxes"][0].tolist() == [4, 5, 15, 18]  # pixels count from 1
    with pytest.raises(FileNotFoundError, match="VOC2012 is not there; pass download=True"):
        VocData.public(tmp_path)


def test_voc_is_downloaded_once_on_each_node_and_its_classes_are_known_before(
    tmp_path, monkeypatch
):
    calls = []

    def fetch(url, root, download):
        calls.append(url)
        for index in range(5):
            voc(tmp_path / "VOCdevkit" / "VOC2012", index, *((name, BOX) for name in VOC_CLASSES))

    monkeypatch.setattr(public, "_download", fetch)
    data = VocData.public(tmp_path, download=True, num_workers=0)
    assert data.num_classes == 20
    assert not calls
    data.prepare_data()
    data.prepare_data()
    assert len(calls) == 1
    data.setup("fit")
    assert VocData.public(tmp_path).class_names == data.class_names == VOC_CLASSES


@pytest.mark.parametrize("kind", [Cifar10Data, OxfordPetData])
def test_data_that_is_not_there_is_told(tmp_path, kind):
    data = kind(tmp_path)
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match="pass download=True, or the folder that holds it"):
        data.setup("fit")


def refuse(*_, **__):
    raise urllib.error.URLError("Name or service not known")


@pytest.mark.parametrize(
    "prepare",
    [
        lambda root: Cifar10Data(root, download=True).prepare_data(),
        lambda root: OxfordPetData(root, download=True).prepare_data(),
        lambda root: VocData.public(root, download=True).prepare_data(),
    ],
)
def test_a_download_without_a_network_fails_at_once(tmp_path, monkeypatch, prepare):
    monkeypatch.setattr(public.urllib.request, "urlopen", refuse)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"cannot be reached .* copy it to") as caught:
        prepare(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert time.monotonic() - start < 2


def test_an_unknown_year_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`year` must be one of"):
        VocData.public(tmp_path, "2013", download=True)
