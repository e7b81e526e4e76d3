"""What monitors cost: microseconds that a callback adds to a step; and whether they are right.

Each side trains a tiny module with a Trainer and a TensorBoardLogger of its own, in a thread of its
own. They take turns of 50 steps, one at a time, in a new order in every round: sides so near in
time share what else the machine does, which between two fits comes to more than a callback costs.
Times are CPU seconds of the process; the thread that writes the event file is part of them. The
cost of a round is its own difference to the 50 steps without callbacks, and undisturbed is that
between the fastest tenths. The targets are microseconds of one machine; beside them, for another,
stand the shares of the step without callbacks and of the cost of the side called empty. That side
is a Callback that does nothing: what Lightning spends on calling one.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from _timing import QUIET, about, record, verdict
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    DeviceStatsMonitor,
    LearningRateMonitor,
    ThroughputMonitor,
)
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch.utils.data import DataLoader, Dataset

from lightning_hparams import MetricMonitor, PredictionMonitor, RunRecorder, SpeedMonitor

BLOCK = 50  # steps
WARMUP = 2  # rounds
PATIENCE = 60  # seconds for a block, which takes some 20 ms
Sides = Mapping[str, list[Callback]]


class Tiny(LightningModule):
    """A step that takes next to no time; waits for its turn after every block."""

    flops_per_batch = 1  # ThroughputMonitor warns without it

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 2)
        self.turn, self.turn_over = Event(), Event()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Wait, if a block is over."""
        if batch_idx % BLOCK == 0:
            self.logger.experiment.flush()  # what a thread has yet to write belongs to this block
            self.turn_over.set()
            if not self.turn.wait(PATIENCE):
                raise TimeoutError("another side has failed")
            self.turn.clear()
        return self.layer(batch).sum()

    def block(self) -> float:
        """CPU seconds of the next 50 steps, which the thread of the fit takes meanwhile."""
        self.turn_over.clear()
        start = time.process_time()
        self.turn.set()
        if not self.turn_over.wait(PATIENCE):
            raise TimeoutError("this side has failed")
        return time.process_time() - start

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def trainer(logger: Logger, callbacks: list[Callback], log_every: int) -> Trainer:
    """Does nothing but train, and call callbacks."""
    options = {**QUIET, "max_epochs": 1, "logger": logger, "callbacks": callbacks}
    return Trainer(**options, log_every_n_steps=log_every)


def added_us(sides: Sides, log_every: int, rounds: int) -> dict[str, float]:
    """Median over the rounds of what each side adds to a step; prints them."""
    sides = {"none": [], **sides}
    modules = {name: Tiny() for name in sides}
    batches = [torch.ones(4, 32)] * ((WARMUP + rounds) * BLOCK + 1)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    # Each thread has a number of its own of threads that it would compute with.
    alone = ThreadPoolExecutor(len(sides), initializer=torch.set_num_threads, initargs=(1,))
    with tempfile.TemporaryDirectory() as folder, alone as pool:
        fits = []
        for name, callbacks in sides.items():
            logger = TensorBoardLogger(Path(folder) / name, default_hp_metric=False)
            fit = trainer(logger, callbacks, log_every).fit
            fits.append(pool.submit(fit, modules[name], DataLoader(batches, batch_size=None)))
            modules[name].turn_over.wait(PATIENCE)  # one sets itself up at a time, too
        shuffled = random.Random(0)
        for _ in range(WARMUP + rounds):
            for name in shuffled.sample(list(sides), len(sides)):
                seconds[name].append(modules[name].block())
        for module, fit in zip(modules.values(), fits, strict=True):
            module.turn.set()
            fit.result()
    times = {name: values[WARMUP:] for name, values in seconds.items()}
    plain = times.pop("none")
    fastest = {name: _tenth(values) - _tenth(plain) for name, values in times.items()}
    bare = statistics.median(plain) / BLOCK * 1e6
    print(f"  log every {log_every} steps; {bare:.0f} us without")
    medians: dict[str, float] = {}
    for name, values in times.items():
        added = [(a - b) / BLOCK * 1e6 for a, b in zip(values, plain, strict=True)]
        low, medians[name], high = map(float, np.quantile(added, (0.25, 0.5, 0.75)))
        print(
            f"    {name:<24} {medians[name]:+8.1f} us   quartiles {low:+.1f} .. {high:+.1f}"
            f"   undisturbed {fastest[name]:+.1f}   {medians[name] / bare:+.1%} of a step"
        )
    if (empty := medians.get("empty", 0)) > 0:
        shares = (f"{name} {medians[name] / empty:.1f}" for name in medians if name != "empty")
        print(f"    times the cost of the empty one: {', '.join(shares)}")
    return medians


def _tenth(seconds: Sequence[float]) -> float:
    """What the fastest tenth of the blocks stay below, in us a step."""
    return float(np.quantile(seconds, 0.1)) / BLOCK * 1e6


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
        record(f"SpeedMonitor beside ThroughputMonitor, log every {log_every}", ratio)
        verdict(f"  us per step, log every {log_every}", added["SpeedMonitor"], limit, at_most=True)


def together(rounds: int) -> None:
    """All four monitors beside the three of Lightning that come nearest; no validation."""
    usual: list[Callback] = [
        ThroughputMonitor(batch_size_fn=len),
        LearningRateMonitor(),
        DeviceStatsMonitor(cpu_stats=True),
    ]
    sides: Sides = {
        "empty": [Callback()],
        "Lightning's three": usual,
        "our four": [SpeedMonitor(), MetricMonitor(), PredictionMonitor(), RunRecorder()],
    }
    added = added_us(sides, 50, rounds)
    ratio = added["Lightning's three"] / max(added["our four"], 1e-9)
    print(f"    four monitors: 1/{ratio:.1f} of the cost of Lightning's three")
    record("four monitors beside Lightning's three", ratio)
    verdict("  us per step, log every 50", added["our four"], 30, at_most=True)


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
        fit = trainer(logger, [SpeedMonitor()], log_every=steps).fit
        fit(module, DataLoader(data, batch_size=None))
        truth = sum(data.slept[1:]) / (module.ended[-1] - module.ended[0])
        found = logger.values["perf/data_wait_frac/train"]
        errors.append(100 * abs(found - truth))
    print(f"    {100 * found:.1f} % written, {100 * truth:.1f} % slept, in the last round")
    verdict("  points apart", statistics.median(errors), 2, at_most=True)


ROWS: dict[str, Callable[[int], Any]] = {
    "throughput": throughput,
    "together": together,
    "waiting": waiting,
}


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"any of {', '.join(ROWS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=150)
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
