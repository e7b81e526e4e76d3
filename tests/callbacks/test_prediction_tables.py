"""Predicted labels and values are written to one table, in the order of the dataset."""

import csv
import re
from pathlib import Path

import pytest
import torch
from lightning import LightningModule
from torch.utils.data import DataLoader

from lightning_hparams import PredictionWriter
from lightning_hparams.callbacks._rank_parts import RankParts
from tests.runs import quiet_trainer


class Fixed(LightningModule):
    """Predicts from numbers: 3 has the probabilities 0.3, 0.7, 0.0."""

    class_names = ("cat", "dog, big", "pr|ob")

    def __init__(self, kind="labels", fails_at=None):
        super().__init__()
        self.kind = kind
        self.fails_at = fails_at

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        if batch_idx == self.fails_at:
            raise RuntimeError("interrupted")
        numbers = batch["x"] / 10
        probs = torch.stack([numbers, 1 - numbers, 0 * numbers], 1)
        forms = {
            "labels": {"probs": probs, "labels": probs.argmax(1)},
            "multilabel": {"probs": probs, "labels": (probs > 0.25).long()},
            "values": {"values": 1e6 * numbers[:, None] + torch.tensor([[1 / 3, 0.0, -1.0]])},
            "one": {"values": numbers},
            "text": {"probs": probs, "labels": ["a"] * len(probs)},
            "flat": {"probs": probs[:, 0], "labels": probs.argmax(1)},
            "none": {"logits": probs},
        }
        return {"paths": batch.get("path"), **forms[self.kind]}


def loader(count=5, batch_size=2, paths=True):
    samples = [{"x": torch.tensor(float(n))} for n in range(count)]
    for n, sample in enumerate(samples if paths else ()):
        sample["path"] = f"folder, {n}/{n}.png"
    return DataLoader(samples, batch_size=batch_size)


def table(folder):
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def predict(folder, *args, data=None, **options):
    trainer = quiet_trainer(callbacks=[PredictionWriter(folder)], **options)
    assert trainer.predict(Fixed(*args), data or loader()) is None
    return table(folder)


def test_labels_and_probabilities_fill_one_table(tmp_path):
    header, *rows = predict(tmp_path)
    assert header == ["path", "label", "prob_cat", "prob_dog, big", "prob_pr|ob"]
    assert rows[3] == ["folder, 3/3.png", "dog, big", "0.3", "0.7", "0"]
    assert [row[0] for row in rows] == [f"folder, {n}/{n}.png" for n in range(5)]
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_several_labels_of_an_image_share_a_cell(tmp_path):
    rows = predict(tmp_path, "multilabel")
    assert [row[1] for row in rows[1:]] == ["dog, big"] * 3 + ["cat|dog, big"] * 2


def test_values_are_written_with_all_digits_of_float32(tmp_path):
    header, *rows = predict(tmp_path, "values")
    assert header == ["path", "cat", "dog, big", "pr|ob"]
    expected = torch.tensor(0.1) * 3 * 1e6 + 1 / 3
    assert torch.tensor(float(rows[3][1])) == pytest.approx(float(expected), rel=1e-7)


def test_a_single_value_has_a_column_of_its_own(tmp_path):
    assert predict(tmp_path, "one")[:2] == [["path", "value"], ["folder, 0/0.png", "0"]]


def test_images_without_a_path_are_numbered(tmp_path):
    rows = predict(tmp_path, data=loader(paths=False))
    assert [row[0] for row in rows[1:]] == ["0", "1", "2", "3", "4"]


def test_the_rows_of_several_loaders_follow_each_other(tmp_path):
    rows = predict(tmp_path, data=[loader(3), loader(2)])
    assert [row[0][-5] for row in rows[1:]] == ["0", "1", "2", "0", "1"]


def test_an_interrupted_run_keeps_the_table_of_the_last_one(tmp_path):
    before = predict(tmp_path)
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path)])
    with pytest.raises(RuntimeError, match="interrupted"):
        trainer.predict(Fixed(fails_at=1), loader(4))
    assert table(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", r"that returns masks, or a dict .*got \['labels', 'paths', 'probs'\]"),
        ("flat", r"needs 'probs' as a tensor \(N, C\), got \(2,\)"),
        ("none", r"got \['logits', 'paths'\]"),
    ],
)
def test_other_predictions_are_refused(tmp_path, kind, message):
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path)])
    with pytest.raises(TypeError, match=f"PredictionWriter needs .*{message}|{message}"):
        trainer.predict(Fixed(kind), loader())
    assert list(tmp_path.iterdir()) == []


def test_rows_of_several_processes_are_merged_in_order_and_once(tmp_path):
    parts = [RankParts(tmp_path / "t.csv", rank) for rank in range(3)]
    for index, rank in [(0, 0), (1, 1), (2, 0), (3, 1), (3, 0)]:
        parts[rank].add((0, index), [index])
    counts = [part.close() for part in parts]
    assert counts == [3, 2, 0]
    assert list(parts[0].rows(counts)) == [[0], [1], [2], [3]]
    for part in parts:
        part.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_part_on_another_machine_is_an_error(tmp_path):
    part = RankParts(tmp_path / "t.csv", 0)
    part.add((0, 0), [0])
    part.close()
    with pytest.raises(RuntimeError, match=re.escape("folder that all machines share")):
        list(part.rows([1, 4]))


@pytest.mark.slow
def test_two_processes_write_the_table_of_one(tmp_path):
    one = predict(tmp_path / "1", data=loader(5, 1))
    two = predict(tmp_path / "2", data=loader(5, 1), devices=2, strategy="ddp_fork")
    assert one == two
    assert [path.name for path in Path(tmp_path / "2").iterdir()] == ["predictions.csv"]


def test_names_are_no_formulas_in_a_spreadsheet(tmp_path):
    class Hostile(Fixed):
        class_names = ("=1+1", "@SUM(A1)", "-2+3")

    samples = [{"x": torch.tensor(3.0), "path": "=HYPERLINK(0).png"}]
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path)])
    trainer.predict(Hostile(), DataLoader(samples))
    header, row = table(tmp_path)
    assert header == ["path", "label", "prob_=1+1", "prob_@SUM(A1)", "prob_-2+3"]
    assert row[:2] == ["'=HYPERLINK(0).png", "'@SUM(A1)"]
    trainer.predict(Hostile("values"), DataLoader(samples))
    header, row = table(tmp_path)
    assert header == ["path", "'=1+1", "'@SUM(A1)", "'-2+3"]
    assert float(row[3]) == 299999


def test_paths_that_are_not_utf_8_are_written_as_they_are(tmp_path):
    samples = [{"x": torch.tensor(3.0), "path": "a\udcff.png"}]
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path)])
    trainer.predict(Fixed(), DataLoader(samples))
    assert b"\na\xff.png," in (tmp_path / "predictions.csv").read_bytes()
