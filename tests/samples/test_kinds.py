"""Kinds of task are looked up in one file, and custom kinds need no registration."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

import lightning_hparams
from lightning_hparams import MetricMonitor, PredictionMonitor
from lightning_hparams.metrics import ScoreCounts
from lightning_hparams.samples import Batch, DrawOptions, Gallery, Kind, Scores
from tests.runs import quiet_trainer, read_events


class Keypoint(Kind):
    """One point per image, (N, 2): a kind unknown to the package."""

    name = "keypoint"

    def check(self, output, step, options):
        if output["preds"].shape[1:] != (2,):
            raise ValueError(f"{step}: points must be (N, 2), got {tuple(output['preds'].shape)}")

    def losses(self, output, options):
        return (output["preds"] - output["targets"]).norm(dim=1)

    def classes(self, output, options):
        return [[int(x > 8)] for x, _ in output["targets"]]

    def draw(self, sample, options, caption):
        picture = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        for (x, y), color in ((sample.target, (0, 255, 0)), (sample.pred, (255, 0, 0))):
            picture[int(y), int(x)] = color
        return picture

    def scores(self, output, options, device):
        near = (output["preds"] - output["targets"]).norm(dim=1) < 4
        sure = torch.full((len(near), 1), 0.75)

        def updates():
            yield sure, near[:, None].long()

        def confidences():
            yield sure[:, 0], near

        return Scores(lambda: ScoreCounts(1), updates, confidences)


class Points(LightningModule):
    def __init__(self, size=2):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.size = size

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0].mean((2, 3))).square().mean()

    def validation_step(self, batch, batch_idx):
        preds = torch.full((len(batch[0]), self.size), 3.0)
        return {"kind": Keypoint(), "images": batch[0], "preds": preds, "targets": batch[1]}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def points():
    samples = [(torch.full((3, 16, 16), 0.5), torch.tensor([float(n), 3.0])) for n in range(12)]
    return DataLoader(samples, batch_size=4)


def test_a_custom_kind_is_drawn_and_rated_and_has_curves():
    logger = TensorBoardLogger(".", default_hp_metric=False)
    pictures = PredictionMonitor(2, "per_class", worst_k=1)
    curves = MetricMonitor(pr_curves=True, calibration=True)
    trainer = quiet_trainer(logger=logger, callbacks=[pictures, curves])
    trainer.fit(Points(), points(), points())
    events = read_events(logger.log_dir)
    assert {tag for tag in events.Tags()["images"] if "_pred/" in tag} == {
        "val_pred/00_idx00000",  # the first sample of either class
        "val_pred/01_idx00009",
    }
    for picture, x in zip(pictures.pictures, (0, 9), strict=True):
        assert picture[3, 3].tolist() == [255, 0, 0]
        assert picture[3, x].tolist() == [0, 255, 0]
    assert "val_worst/00" in events.Tags()["images"]
    assert any(tag.startswith("pr/") for tag in events.Tags()["tensors"])
    assert "metric/calibration_error/val" in events.Tags()["scalars"]


def test_a_custom_kind_rates_its_samples_without_a_trainer():
    gallery = Gallery(worst_k=2)
    for batch in points():
        gallery.add(Batch.of(Points().validation_step(batch, 0), DrawOptions()))
    assert [(sample.index, sample.loss) for sample in gallery.worst] == [(11, 8), (10, 7)]


def test_a_custom_kind_checks_outputs_before_training():
    trainer = quiet_trainer(callbacks=[PredictionMonitor(1)])
    with pytest.raises(ValueError, match=r"validation_step: points must be \(N, 2\), got \(4, 3\)"):
        trainer.fit(Points(size=3), points(), points())
    assert trainer.global_step == 0


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"`kind` must be one of .* or an instance of .*Kind, got"):
        Batch.of({"kind": "keypoints"}, DrawOptions())


def test_no_file_of_the_package_compares_kinds():
    package = Path(lightning_hparams.__file__).parent
    names = {"multiclass", "binary", "multilabel", "classification", "detection", "regression"}
    for path in [*package.glob("callbacks/*.py"), *package.glob("samples/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                values = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
                assert not values & names, f"{path}:{node.lineno}"
