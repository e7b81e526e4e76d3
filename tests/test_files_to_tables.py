"""From a user's own files to a table of predictions, for classes and for numbers."""

import csv

import numpy as np
import pytest

from lightning_hparams import (
    ClassificationTask,
    ImageFolderData,
    MetricMonitor,
    PredictionWriter,
    RegressionTask,
)
from tests.data.files import save
from tests.runs import quiet_trainer

RNG = np.random.default_rng(0)


def picture(path, index):
    """A file of a size of its own; grey or in colours."""
    shape = (20 + 3 * index, 34 - index, 3)[: 2 + index % 2]
    return save(path, RNG.integers(0, 256, shape, dtype=np.uint8))


def rows_of(folder):
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def predicted(task, data, folder):
    """Train for an epoch, and return the rows of the predictions by the checkpoint."""
    quiet_trainer(callbacks=[MetricMonitor()]).fit(task, data)
    writer = PredictionWriter(folder)
    quiet_trainer(callbacks=[writer]).predict(task, data)
    return rows_of(folder)


@pytest.mark.parametrize(
    "options", [{"size": 32, "batch_size": 3}, {"size": None, "batch_size": 1}]
)
def test_a_table_of_numbers_becomes_a_table_of_predicted_numbers(tmp_path, options):
    lines = ["file,height in m,age"]
    for index in range(10):
        picture(tmp_path / "photos" / f"part {index % 2}" / f"{index}.png", index)
        age = "" if index == 4 else 1e4 + index
        lines.append(f"part {index % 2}/{index}.png,{index / 100},{age}")
    (tmp_path / "numbers.csv").write_text("\n".join(lines), encoding="utf-8")
    data = ImageFolderData(
        tmp_path / "photos",
        tmp_path / "numbers.csv",
        task="regression",
        num_workers=0,
        seed=1,
        **options,
    )
    assert (data.num_values, data.class_names) == (2, ["height in m", "age"])
    task = RegressionTask(
        "test_convnext", num_values=data.num_values, class_names=data.class_names, lr=1e-6
    )
    with pytest.warns(UserWarning, match="1 of .* training values are NaN"):
        rows = predicted(task, data, tmp_path / "out")
    images = (tmp_path / "photos").rglob("*.png")
    assert sorted(row["path"] for row in rows) == sorted(map(str, images))
    assert all(abs(float(row["age"]) - 1e4) < 100 for row in rows)
    assert all(abs(float(row["height in m"])) < 1 for row in rows)


def test_a_folder_for_each_class_becomes_a_table_of_labels(tmp_path):
    for index in range(12):
        name = ("cat", "dog, big", "naïve")[index % 3]
        picture(tmp_path / "photos" / name / f"{index}.jpg", index)
    data = ImageFolderData(tmp_path / "photos", num_workers=0, size=32, batch_size=3)
    task = ClassificationTask(
        "test_resnet", num_classes=data.num_classes, class_names=data.class_names
    )
    rows = predicted(task, data, tmp_path / "out")
    images = (tmp_path / "photos").rglob("*.jpg")
    assert sorted(row["path"] for row in rows) == sorted(map(str, images))
    for row in rows:
        probs = {name: float(row[f"prob_{name}"]) for name in data.class_names}
        assert sum(probs.values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(probs, key=probs.__getitem__)
