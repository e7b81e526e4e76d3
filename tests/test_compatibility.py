"""What older versions wrote can still be read: ``compatibility/`` holds it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hparams import (
    LRRangeTest,
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RunRecorder,
    SpeedMonitor,
)
from lightning_hparams.provenance import compare
from tests.runs import quiet_trainer

OLD = Path(__file__).parent / "compatibility"


class Net(LightningModule):
    """The module that the checkpoint is of; 2 epochs of 4 steps."""

    def __init__(self, lr=0.02):
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.layer = nn.Linear(4, 2)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch[0]).square().mean())
        labels = torch.zeros(4, dtype=torch.long)
        pictures = {"images": torch.zeros(4, 3, 8, 8), "preds": labels, "targets": labels}
        return {"kind": "classification", **pictures}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copy(OLD / "0.1.0.dev0.ckpt", tmp_path / "old.ckpt")


@pytest.mark.filterwarnings(
    "ignore:Experiment logs directory",
    "ignore:The loaded checkpoint was produced with Lightning",  # newer than the oldest admitted
)
def test_a_run_goes_on_from_an_old_checkpoint(tmp_path, checkpoint):
    (tmp_path / "run").mkdir()
    shutil.copy(OLD / "manifest-0.1.0.dev0.json", tmp_path / "run" / "manifest.json")
    test, cycle, pictures = LRRangeTest(num_steps=20), OneCycle(), PredictionMonitor(2)
    trainer = quiet_trainer(
        max_epochs=3,
        logger=CSVLogger(tmp_path / "run", name="", version=""),
        log_every_n_steps=1,
        callbacks=[test, cycle, MetricMonitor(), SpeedMonitor(), pictures, RunRecorder()],
    )
    loader = DataLoader(TensorDataset(torch.randn(16, 4)), batch_size=4)
    trainer.fit(Net(), loader, loader, ckpt_path=checkpoint)
    assert trainer.global_step == 12
    saved = torch.load(checkpoint, weights_only=True)["callbacks"]
    assert test.result.steps_run == 19  # it diverged
    assert cycle.state_dict()["steps"] == [12]
    assert pictures.state_dict()["indices"] == saved["PredictionMonitor"]["indices"]
    written = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [part["created"] for part in written["earlier"]] == ["2026-11-25T23:21:22+00:00"]


def test_an_old_manifest_can_be_compared():
    old = json.loads((OLD / "manifest-0.1.0.dev0.json").read_text())
    new = {**old, "config": {**old["config"], "hparams": {"lr": 0.5}}}
    assert any("0.02" in str(line) and "0.5" in str(line) for line in compare(old, new))
