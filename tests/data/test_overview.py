import json
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from lightning_hparams import CocoData, ImageFolderData, MaskFolderData, VocData
from lightning_hparams.data import data_in, survey
from tests.data.files import save

NOISE = np.random.default_rng(0)


def noise(*shape):
    return NOISE.integers(0, 256, shape, dtype=np.uint8)


class Own(LightningDataModule):
    """A data module of someone else's, whose samples are tuples."""

    def __init__(self, train, val):
        super().__init__()
        self.train, self.val = train, val

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=2)

    def val_dataloader(self):
        return [DataLoader(self.val, batch_size=2)]


class Failing(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            raise KeyError("label")
        image = torch.full((3, 5, 7), float(index))
        image[0, 0, 0] = float("nan") if index == 1 else -1
        return image, 0


def test_samples_of_any_data_module_are_looked_at():
    train = [(torch.rand(1, 4, 6), 0) for _ in range(3)]
    found = survey(Own([*train, train[0]], Failing()))
    assert [*found.splits] == ["train", "validation"]
    first, second = found.splits.values()
    assert first.samples == 4
    assert dict(first.sizes) == {(4, 6): 4}
    assert first.classes is None
    assert found.repeated == [("train: sample 0", "train: sample 3")]
    assert second.unreadable == {"sample 2": "KeyError: 'label'"}
    assert [name for name, facts in second.images.items() if not facts.finite] == ["sample 1"]


def test_images_of_one_value_are_named_and_not_called_repetitions():
    black = torch.zeros(1, 4, 4)
    found = survey(Own([(black, 0), (black, 1)], [(black, 0)]))
    assert found.repeated == []
    assert all(facts.constant for facts in found.splits["train"].images.values())


def test_files_are_read_as_they_are_on_disk(tmp_path):
    """Training images are augmented, so that their samples are never equal."""
    same = noise(40, 30)
    for kind in ("cat", "dog"):
        for index in range(5):
            save(tmp_path / kind / f"{index}.png", noise(40, 30 + index))
    save(tmp_path / "cat" / "again.png", same)
    save(tmp_path / "dog" / "again.png", same)
    data = ImageFolderData(tmp_path, augment="strong", seed=1)
    with _quiet():
        data.setup("fit")
    found = survey(data, limit=100)
    assert sum(split.samples for split in found.splits.values()) == 12
    assert sum(sum(split.sizes.values()) for split in found.splits.values()) == 12
    assert found.shared == [("validation", "test")]
    names = {name.split(": ")[1] for pair in found.repeated for name in pair}
    assert names == {str(tmp_path / kind / "again.png") for kind in ("cat", "dog")}
    assert found.splits["train"].classes.keys() == {"cat", "dog"}


@contextmanager
def _quiet():
    """Whether data are good is said by warnings, which are errors in tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("kind", [CocoData, VocData, MaskFolderData, ImageFolderData])
def test_a_folder_is_recognised_by_its_layout(tmp_path, kind):
    for split in ("train", "val"):
        for index in range(2):
            folder = {"CocoData": split, "VocData": "JPEGImages"}.get(kind.__name__)
            folder = folder or {"MaskFolderData": f"{split}/images"}.get(kind.__name__)
            folder = folder or f"{split}/{'ab'[index]}"
            save(tmp_path / folder / f"{split}{index}.png", noise(32, 32, 3))
            save_target(tmp_path, kind, split, f"{split}{index}")
    data = data_in(tmp_path, batch_size=1, num_workers=0)
    assert type(data) is kind
    with _quiet():
        data.setup("fit")
    assert survey(data).splits["train"].classes


def save_target(root, kind, split, name):
    if kind is MaskFolderData:
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16] = 255
        save(root / split / "masks" / f"{name}.png", mask)
    elif kind is VocData:
        (root / "Annotations").mkdir(exist_ok=True)
        corners = "".join(
            f"<{corner}>{value}</{corner}>"
            for corner, value in {"xmin": 3, "ymin": 4, "xmax": 20, "ymax": 22}.items()
        )
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.png</filename><size><width>32</width>"
            "<height>32</height><depth>3</depth></size><object><name>cell</name>"
            f"<bndbox>{corners}</bndbox></object></annotation>"
        )
    elif kind is CocoData:
        names = [f"{split}{index}.png" for index in range(2)]
        images = [
            {"id": number, "file_name": each, "width": 32, "height": 32}
            for number, each in enumerate(names)
        ]
        boxes = [
            {"id": number, "image_id": number, "category_id": 7, "bbox": [3, 4, 10, 12]}
            for number in range(2)
        ]
        found = {
            "images": images,
            "annotations": boxes,
            "categories": [{"id": 7, "name": "cell"}],
        }
        (root / split / "_annotations.coco.json").write_text(json.dumps(found))


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no images"):
        data_in(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        data_in(tmp_path / "elsewhere")
