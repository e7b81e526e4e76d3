import json

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from lightning_hparams import DigitsData, SyntheticShapesData
from lightning_hparams.doctor import diagnose
from lightning_hparams.doctor.data import data_findings, folder_findings
from tests.data.files import save

NOISE = np.random.default_rng(0)


def noise(*shape):
    return NOISE.integers(0, 256, shape, dtype=np.uint8)


def told(findings, level):
    return [finding.text for finding in findings if finding.level == level]


def test_good_data_raise_no_error():
    for data in (DigitsData(size=8), SyntheticShapesData(num_train=8, num_val=4, size=32)):
        found = data_findings(data)
        assert told(found, "error") == []
        assert any(text.startswith("train: ") for text in told(found, "ok"))


def test_a_folder_is_judged_by_counts_sizes_duplicates_and_balance(tmp_path):
    for kind, count in {"cat": 40, "dog": 3}.items():
        for split in ("train", "val"):
            for index in range(count):
                save(tmp_path / split / kind / f"{index}.png", noise(20, 20 + index % 2, 3))
    twice = noise(20, 20, 3)
    for name in ("train/cat/x.png", "val/cat/y.png", "train/cat/z.png"):
        save(tmp_path / name, twice)
    save(tmp_path / "train" / "cat" / "black.png", np.zeros((20, 20, 3), np.uint8))
    found = folder_findings(tmp_path)
    assert any("1 image in two splits" in text for text in told(found, "error"))
    warned = told(found, "warning")
    assert any("'cat' occurs 14 times as often as 'dog'" in text for text in warned)
    assert any("1 image repeated within a split" in text for text in warned)
    assert any("one value everywhere in 1 image" in text for text in warned)
    counts = next(text for text in told(found, "ok") if text.startswith("train: 46 samples"))
    assert "2 sizes from 20 x 20 to 20 x 21 pixels (H x W), most often 20 x 20" in counts


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    for kind in ("cat", "dog"):
        for index in range(4):
            save(tmp_path / kind / f"{index}.png", noise(20, 20, 3))
    (tmp_path / "dog" / "9.png").write_bytes(b"not a picture")
    (error,) = told(folder_findings(tmp_path), "error")
    assert "9.png" in error


def test_boxes_that_do_not_fit_are_an_error_and_the_rest_is_still_looked_at(tmp_path):
    names = [f"{index}.png" for index in range(6)]
    for name in names:
        save(tmp_path / name, noise(32, 32, 3))
    boxes = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [3, 4, 90 if n == 2 else 9, 9]}
        for n in range(6)
    ]
    sizes = {"width": 32, "height": 32}
    images = [{"id": n, "file_name": name, **sizes} for n, name in enumerate(names)]
    found = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "train.json").write_text(json.dumps(found))
    findings = folder_findings(tmp_path)
    assert len(told(findings, "error")) == 1
    assert any(text.startswith("train: ") for text in told(findings, "ok"))


class Own(LightningDataModule):
    def __init__(self, samples):
        super().__init__()
        self.samples = samples

    def train_dataloader(self):
        return DataLoader(self.samples)


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        ([(torch.full((1, 4, 4), float("inf")), 0)], "NaN or infinity in 1 image: sample 0"),
        (
            [{"label": 1}, {"image": torch.rand(1, 4, 4)}],
            "1 image cannot be read: sample 0: it has no tensor of an image",
        ),
        ([], "train: no samples"),
    ],
)
def test_bad_samples_of_a_data_module_are_errors(samples, error):
    assert any(error in text for text in told(data_findings(Own(samples)), "error"))


def test_samples_without_images_are_not_errors():
    found = data_findings(Own([(torch.rand(16), 1)] * 3))
    assert not told(found, "error")
    assert any("samples without images" in text for text in told(found, "note"))


def test_a_data_module_that_fails_is_an_error_and_not_a_crash():
    class Failing(Own):
        def setup(self, stage):
            raise RuntimeError("no such table")

    assert told(data_findings(Failing([])), "error") == ["RuntimeError: no such table"]


def test_a_diagnosis_is_text_and_strict_json(tmp_path):
    for kind in ("cat", "dog"):
        for index in range(4):
            save(tmp_path / kind / f"{index}.png", noise(20, 20, 3))
    found = diagnose(tmp_path)
    read = json.loads(found.to_json())
    assert read["ok"] == found.ok
    assert [each["text"] for each in read["findings"]] == [each.text for each in found.findings]
    assert all(each.text in found.to_text() for each in found.findings)
    with pytest.raises(FileNotFoundError, match="does not exist; pass a folder"):
        diagnose(tmp_path / "elsewhere")
