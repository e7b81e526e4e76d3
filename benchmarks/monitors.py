"""What monitors cost: microseconds that a callback adds to a step; and whether they are right.

One Trainer trains a tiny module, with a TensorBoardLogger, and its callbacks change every 50 steps:
none, then each side in turn, in an order that moves on with every round. Sides so near in time
share what else the machine does, which between two fits comes to more than a callback costs. Times
are CPU seconds of the process; the thread that writes the event file is part of them. The cost of a
round is its own difference to the 50 steps without callbacks, and undisturbed is that between the
fastest tenths. The side called empty is a Callback that does nothing: what Lightning spends on
calling one.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from _timing import about, verdict
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ThroughputMonitor
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch.utils.data import DataLoader, Dataset

from lightning_hparams import SpeedMonitor

BLOCK = 50  # steps
Sides = Mapping[str, list[Callback]]


class Tiny(LightningModule):
    """A step that takes next to no time; changes the callbacks and notes when it did."""

    flops_per_batch = 1  # ThroughputMonitor warns without it

    def __init__(self, sides: Sides) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 2)
        self.sides = {"none": [], **sides}
        self.seconds: dict[str, list[float]] = {name: [] for name in self.sides}
        self.side, self.began = "none", 0.0

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Begin a block, if it is time."""
        if batch_idx % BLOCK == 0:
            now = time.process_time()
            self.seconds[self.side].append(now - self.began)
            turn, place = divmod(batch_idx // BLOCK, len(self.sides))
            self.side = list(self.sides)[(turn + place) % len(self.sides)]
            self.trainer.callbacks = self.sides[self.side]
            self.began = time.process_time()
        return self.layer(batch).sum()

    def on_train_epoch_end(self) -> None:
        """Every callback is told that training ends."""
        self.trainer.callbacks = [one for side in self.sides.values() for one in side]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def added_us(sides: Sides, log_every: int, rounds: int) -> dict[str, float]:
    """Median over the rounds of what each side adds to a step; prints them."""
    module = Tiny(sides)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=TensorBoardLogger(folder, default_hp_metric=False),
            callbacks=[callback for side in sides.values() for callback in side],
            log_every_n_steps=log_every,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        steps = (rounds + 2) * len(module.sides) * BLOCK + 1
        trainer.fit(module, DataLoader([torch.ones(4, 32)] * steps, batch_size=None))
    times = {name: values[2 : rounds + 2] for name, values in module.seconds.items()}
    plain = times.pop("none")
    fastest = {name: _tenth(values) - _tenth(plain) for name, values in times.items()}
    print(f"  log every {log_every} steps; {statistics.median(plain) / BLOCK * 1e6:.0f} us without")
    medians = {}
    for name, values in times.items():
        added = [(a - b) / BLOCK * 1e6 for a, b in zip(values, plain, strict=True)]
        low, medians[name], high = statistics.quantiles(added, n=4)
        print(
            f"    {name:<24} {medians[name]:+8.1f} us   quartiles {low:+.1f} .. {high:+.1f}"
            f"   undisturbed {fastest[name]:+.1f}"
        )
    return medians


def _tenth(seconds: Sequence[float]) -> float:
    """What the fastest tenth of the blocks stay below, in us a step."""
    return statistics.quantiles(seconds, n=10)[0] / BLOCK * 1e6


def throughput(rounds: int) -> None:
    """SpeedMonitor beside Lightning's ThroughputMonitor."""
    for log_every, limit in ((50, 10), (10, 15)):
        sides: Sides = {
            "empty": [Callback()],
            "ThroughputMonitor": [ThroughputMonitor(batch_size_fn=len)],
            "SpeedMonitor": [SpeedMonitor()],
        }
        added = added_us(sides, log_every, rounds)
        ratio = added["ThroughputMonitor"] / max(added["SpeedMonitor"], 1e-9)
        print(f"    a throughput callback: 1/{ratio:.1f} of Lightning's cost")
        verdict(f"  us per step, log every {log_every}", added["SpeedMonitor"], limit, at_most=True)


class Slow(Dataset[torch.Tensor]):
    """Sleeps 5 ms for a sample, and notes how long that really was."""

    def __init__(self, count: int) -> None:
        self.slept = [0.0] * count

    def __len__(self) -> int:
        return len(self.slept)

    def __getitem__(self, index: int) -> torch.Tensor:
        start = time.perf_counter()
        time.sleep(0.005)
        self.slept[index] = time.perf_counter() - start
        return torch.ones(4, 32)


class Working(LightningModule):
    """A step of some milliseconds; notes when each was over."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 2)
        self.ended: list[float] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Sleep for 3 ms."""
        time.sleep(0.003)
        return self.layer(batch).sum()

    def on_train_batch_end(self, *args: Any) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())

    configure_optimizers = Tiny.configure_optimizers


class Noted(Logger):
    """Keeps the last of each value."""

    name, version = "noted", 0

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, float] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """See Lightning."""
        self.values.update(metrics)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """See Lightning."""


def waiting(rounds: int) -> None:
    """The share of waiting that SpeedMonitor writes, beside what a loader of 5 ms really slept."""
    steps, errors = 100, []
    for _ in range(max(5, rounds // 10)):
        data, module, logger = Slow(steps), Working(), Noted()
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=logger,
            callbacks=[SpeedMonitor()],
            log_every_n_steps=steps,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, DataLoader(data, batch_size=None))
        truth = sum(data.slept[1:]) / (module.ended[-1] - module.ended[0])
        found = logger.values["perf/data_wait_frac/train"]
        errors.append(100 * abs(found - truth))
    print(f"    {100 * found:.1f} % written, {100 * truth:.1f} % slept, in the last round")
    verdict("  points apart", statistics.median(errors), 2, at_most=True)


ROWS: dict[str, Callable[[int], Any]] = {"throughput": throughput, "waiting": waiting}


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"any of {', '.join(ROWS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    print(__doc__)
    print(f"  {about('lightning', 'tensorboard')}, median of {args.rounds} rounds")
    for name in args.rows or ROWS:
        print(f"  {name}: {ROWS[name].__doc__}")
        ROWS[name](args.rounds)


if __name__ == "__main__":
    main()
