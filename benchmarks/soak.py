"""A long run with every callback: is its memory flat, and a step as fast at its end as at first?

Then a run that is killed with -9 fourteen times and resumed: is a value lost, or there twice? Times
are CPU seconds of the process, the median of blocks of 100 steps.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from _timing import about, verdict
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_hparams import (
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RunRecorder,
    SpeedMonitor,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.kills import faults, killed, written

BLOCK = 100
AN_EPOCH = 500


class Small(LightningModule):
    """Classifies images so small that callbacks are most of a step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3 * 8 * 8, 2)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The loss."""
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """What is drawn and counted."""
        images, labels = batch
        logits = self.layer(images.flatten(1))
        self.log("loss/val", torch.nn.functional.cross_entropy(logits, labels))
        outputs = {"kind": "classification", "images": images, "targets": labels}
        return {**outputs, "preds": logits.argmax(1), "probs": logits.softmax(1)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), 0.1)


class Gauge(Callback):
    """CPU seconds and resident memory, every 100 steps."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.mib: list[float] = []
        self._start = 0.0

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Look, every 100 steps."""
        if trainer.global_step % BLOCK == 0:
            now = time.process_time()
            self.seconds.append(now - self._start)
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.mib.append(pages * 4096 / 2**20)
            self._start = time.process_time()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = time.process_time()


def soak(steps: int) -> Gauge:
    """Train for so many steps with every callback."""
    gauge = Gauge()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(AN_EPOCH * 2, 3, 8, 8, generator=generator)
    data = list(zip(images, (images[:, 0].mean((1, 2)) > 0.5).long(), strict=True))
    with tempfile.TemporaryDirectory() as root:
        trainer = Trainer(
            accelerator="cpu",
            logger=[TensorBoardLogger(root, default_hp_metric=False), CSVLogger(root, "csv")],
            max_epochs=-1,
            max_steps=steps,
            log_every_n_steps=10,
            callbacks=[
                OneCycle(0.1),
                MetricMonitor(pr_curves=True, calibration=True, histograms=True),
                SpeedMonitor(),
                PredictionMonitor(4),
                RunRecorder(),
                gauge,
            ],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Small(), DataLoader(data, batch_size=2), DataLoader(data[:8], batch_size=4))
    return gauge


def main() -> None:
    """Both runs, and what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=14)
    options = parser.parse_args()
    if options.steps < 2 * BLOCK:
        parser.error(f"--steps must be at least {2 * BLOCK}, which make a first and a last block")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    print(about())
    gauge = soak(options.steps)
    tenth = max(len(gauge.seconds) // 10, 1)
    first = statistics.median(gauge.seconds[:tenth]) / BLOCK * 1e6
    last = statistics.median(gauge.seconds[-tenth:]) / BLOCK * 1e6
    low, high = gauge.mib[tenth], gauge.mib[-1]
    print(f"a step: first tenth {first:.0f} us, last tenth {last:.0f} us ({last / first - 1:+.1%})")
    print(f"memory: {low:.1f} MiB after a tenth, {high:.1f} MiB at the end ({high - low:+.1f})")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        uri = f"sqlite:///{root}/mlflow.db"
        killed(root, uri, kills=options.kills)
        found = faults(written(root, uri))
    print(f"{options.kills} kills with -9: lost and twice: {found or 'nothing'}")
    verdict("change of a step's time in %", abs(last / first - 1) * 100, 5, at_most=True)
    verdict("growth of memory in MiB", high - low, 10, at_most=True)
    verdict("loggers with lost or double values", len(found), 0, at_most=True)


if __name__ == "__main__":
    main()
