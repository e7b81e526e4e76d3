"""A network and data so small that a trial takes a few milliseconds a step."""

import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning import LightningDataModule, LightningModule
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hparams.search import Float, SearchSettings, Space


class Net(LightningModule):
    """64-16-10, with dropout, so that random numbers matter.

    Args:
        lr: Learning rate.
        width: Hidden units.
        dropout: Share of hidden units left out.
        pause: Seconds added to each step.
        fail: Name of an error to raise in the first step.
        log: Epochs that were trained are added to this file, a line each.
    """

    def __init__(
        self,
        lr: float = 0.1,
        width: int = 16,
        dropout: float = 0.1,
        pause: float = 0.0,
        fail: str | None = None,
        log: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10)
        )

    def training_step(self, batch, batch_idx):
        time.sleep(self.hparams.pause)
        if self.hparams.fail == "nan":
            return self.layers(batch[0]).sum() * float("nan")
        if self.hparams.fail == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if self.hparams.fail:
            raise RuntimeError(self.hparams.fail)
        return F.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.layers(batch[0]), batch[1])
        self.log("val_loss", loss, sync_dist=True)

    def test_step(self, batch, batch_idx):
        self.log("test_loss", F.cross_entropy(self.layers(batch[0]), batch[1]))

    def on_train_epoch_end(self):
        if self.hparams.log:
            with open(self.hparams.log, "a") as file:
                folder = Path(self.trainer.default_root_dir).name
                file.write(f"{folder} {self.current_epoch} {os.getpid()}\n")

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), self.hparams.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.8)]


class Digits(LightningDataModule):
    """A part of scikit-learn's digits.

    Args:
        rows: Images for training.
        batch_size: Images in a batch.
    """

    def __init__(self, rows: int = 192, batch_size: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage):
        digits = load_digits()
        images = torch.tensor(digits.data, dtype=torch.float32) / 16
        self.parts = TensorDataset(images, torch.tensor(digits.target))

    def train_dataloader(self):
        part = torch.utils.data.Subset(self.parts, range(self.hparams.rows))
        return DataLoader(part, self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        part = torch.utils.data.Subset(self.parts, range(1000, 1200))
        return DataLoader(part, 100)

    test_dataloader = val_dataloader


def configuration(epochs=3, trainer=None, data=None, **model):
    """The configuration as plain data."""
    return {
        "model": {"class_path": "tests.search.tiny.Net", "init_args": model},
        "data": {"class_path": "tests.search.tiny.Digits", "init_args": data or {}},
        "trainer": {
            "accelerator": "cpu", "max_epochs": epochs, "logger": False,
            "num_sanity_val_steps": 0, **(trainer or {}),
        },
    }  # fmt: skip


def settings(folder, **changes):
    """Settings of a study that varies rate and dropout."""
    space = {
        "model.init_args.lr": Float(0.01, 0.5, log=True),
        "model.init_args.dropout": Float(0.0, 0.5),
    }
    values = {
        "metric": "val_loss", "mode": "min", "folder": folder, "trials": 3,
        "sampler": {"name": "random"}, "space": Space(space), **changes,
    }  # fmt: skip
    return SearchSettings(**values)
