"""A network whose training takes a chosen time, for the workers of benchmarks/search.py."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

STEPS = 10  # of an epoch


class Net(LightningModule):
    """A small network on random numbers.

    Args:
        lr: Learning rate.
        momentum: Momentum.
        dropout: Share of hidden units left out.
        pause: Seconds that each step waits, as for a GPU.
        repeats: How often each step computes, for one that keeps a core busy.
    """

    def __init__(
        self,
        lr: float = 0.1,
        momentum: float = 0.9,
        dropout: float = 0.0,
        pause: float = 0.0,
        repeats: int = 1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 10)
        )

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Wait and compute."""
        time.sleep(self.hparams["pause"])
        for _ in range(self.hparams["repeats"]):
            loss = F.cross_entropy(self.layers(batch[0]), batch[1])
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        """Log the metric of the search."""
        self.log("val_loss", F.cross_entropy(self.layers(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        momentum = self.hparams["momentum"]
        return torch.optim.SGD(self.parameters(), self.hparams["lr"], momentum)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Random numbers."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(32 * STEPS, 64, generator=generator)
        labels = torch.randint(10, (32 * STEPS,), generator=generator)
        return DataLoader(TensorDataset(images, labels), 32, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """A batch of them."""
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(64, 64, generator=generator)
        labels = torch.randint(10, (64,), generator=generator)
        return DataLoader(TensorDataset(images, labels), 64)
