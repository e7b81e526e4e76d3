"""What only a GPU shows: cost of range test and monitors, synchronisations, memory, MFU, fp16.

Sides take turns in one process; times are medians of the rounds, of whole fits, with the device
synchronised at both ends and the batches on it from the start. A step's time is what fits of two
lengths differ by; the rest of the shorter one is the time that a side takes once, at the start and
at the end. Synchronisations are counted by torch, as warnings, in steps at
which nothing is logged. On a machine without a GPU it says so; ``--device cpu`` runs the same code
there, for a look at it, and measures nothing that counts.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable

import torch
from _timing import QUIET, about, record, verdict
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_hparams import (
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RunRecorder,
    SpeedMonitor,
    lr_range_test,
)
from lightning_hparams.schedules import one_cycle

STEPS = 100
LONG = 4  # as many steps in the longer fits


class Net(LightningModule):
    """A residual network of timm's size 18, or a small convolution on a CPU."""

    def __init__(self, large: bool) -> None:
        super().__init__()
        import timm

        self.net = timm.create_model("resnet18" if large else "test_byobnet", num_classes=10)
        self.lr = 1e-3

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Cross entropy."""
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def trainer(device: str, **options: object) -> Trainer:
    """Does nothing but train on the device."""
    return Trainer(**{**QUIET, "accelerator": device, "devices": 1, "max_steps": STEPS, **options})


def seconds(device: str, run: Callable[[], object]) -> float:
    """Time of a run, with everything that the device still has to do."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def monitors() -> list[Callback]:
    """All of them."""
    return [MetricMonitor(), PredictionMonitor(), SpeedMonitor(), RunRecorder()]


def costs(device: str, data: DataLoader[tuple[Tensor, ...]], rounds: int) -> None:
    """Range test and monitors beside a bare fit."""
    module = Net(device == "cuda")

    def range_test() -> None:
        lr_range_test(
            module, data, trainer(device), min_lr=1e-7, max_lr=1e-4, num_steps=STEPS, apply=False
        )

    def fit(callbacks: list[Callback], times: int = 1) -> None:
        with tempfile.TemporaryDirectory() as folder:
            logger = TensorBoardLogger(folder, default_hp_metric=False)
            options = {"logger": logger, "callbacks": callbacks, "max_steps": times * STEPS}
            trainer(device, **options, log_every_n_steps=50).fit(module, data)

    sides: dict[str, Callable[[], None]] = {
        "bare": lambda: fit([]),
        "bare, longer": lambda: fit([], LONG),
        "monitors": lambda: fit(monitors()),
        "monitors, longer": lambda: fit(monitors(), LONG),
        "range test": range_test,
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, run in sides.items():
            taken = seconds(device, run)
            if turn:
                times[name].append(taken)
    medians = {name: statistics.median(values) for name, values in times.items()}
    steps = {
        name: (medians[f"{name}, longer"] - medians[name]) / (LONG - 1) / STEPS
        for name in ("bare", "monitors")
    }
    once = {name: medians[name] - STEPS * step for name, step in steps.items()}
    for name, step in steps.items():
        print(f"  {name:<12}{1e3 * step:8.2f} ms a step and {1e3 * once[name]:.0f} ms once")
    print(f"  {'range test':<12}{1e3 * medians['range test'] / STEPS:8.2f} ms a step")
    record("monitors: seconds more, once", once["monitors"] - once["bare"], "s")
    more = 100 * (medians["range test"] / medians["bare"] - 1)
    verdict("range test, % more than a fit of as many steps", more, 5, at_most=True)
    more = 100 * (steps["monitors"] / steps["bare"] - 1)
    verdict("a step with monitors, % more than without", more, 2, at_most=True)


def synchronisations(data: DataLoader[tuple[Tensor, ...]]) -> None:
    """How often monitors make the host wait for the device in steps that log nothing."""
    counts = {}
    for name, callbacks in (("bare", []), ("monitors", monitors())):

        class Watched(Net):
            def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
                torch.cuda.set_sync_debug_mode("warn" if 10 < batch_idx < 40 else "default")

        with warnings.catch_warnings(record=True) as found, tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("always")
            logger = TensorBoardLogger(folder, default_hp_metric=False)
            options = {"logger": logger, "callbacks": callbacks, "log_every_n_steps": 50}
            trainer("cuda", **options).fit(Watched(True), data)
            torch.cuda.set_sync_debug_mode("default")
        counts[name] = sum("synchroniz" in str(one.message) for one in found)
    verdict(
        "synchronisations added in 29 steps", counts["monitors"] - counts["bare"], 0, at_most=True
    )


def memory(data: DataLoader[tuple[Tensor, ...]]) -> None:
    """Memory of the device that a range test needs beyond a fit, in MB."""
    module, peaks = Net(True), {}
    for name, run in {
        "fit": lambda: trainer("cuda").fit(module, data),
        "range test": lambda: lr_range_test(module, data, trainer("cuda"), apply=False),
    }.items():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        run()
        peaks[name] = torch.cuda.max_memory_allocated() / 2**20
    weights = sum(value.nbytes for value in module.state_dict().values()) / 2**20
    more = peaks["range test"] - peaks["fit"]
    verdict("range test, MB more than a fit", more, 2 * weights, at_most=True)


def utilisation(data: DataLoader[tuple[Tensor, ...]]) -> None:
    """Share of the card's peak that a fit reaches, by SpeedMonitor, if the card is known."""
    with tempfile.TemporaryDirectory() as folder:
        logger = TensorBoardLogger(folder, default_hp_metric=False)
        speed = SpeedMonitor(flops=True)
        fit = trainer(
            "cuda", logger=logger, callbacks=[speed], precision="bf16-mixed", log_every_n_steps=20
        )
        fit.fit(Net(True), data)
        logger.experiment.flush()
        events = EventAccumulator(logger.log_dir)
        events.Reload()
        for tag in ("perf/flops_per_sec/train", "perf/mfu/train"):
            if tag in events.Tags()["scalars"]:
                value = events.Scalars(tag)[-1].value
                print(f"  {tag} {value:.4g}")
                record(tag, value, "FLOP/s" if "flops" in tag else "share")


class Rates(Callback):
    """The learning rate at each step that the optimizer takes."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to the optimizer, which a gradient scaler calls only if it doesn't skip."""
        trainer.optimizers[0].register_step_pre_hook(
            lambda optimizer, *_: self.found.append(optimizer.param_groups[0]["lr"])
        )


def half_precision(device: str, data: DataLoader[tuple[Tensor, ...]]) -> None:
    """Steps that a gradient scaler skips do not move the schedule."""

    class Overflowing(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss * (float("inf") if batch_idx % 10 == 5 else 1)

    module, cycle = Overflowing(device == "cuda"), OneCycle(max_lr=0.01, total_steps=STEPS)
    rates = Rates()
    fit = trainer(device, precision="16-mixed", callbacks=[cycle, rates])
    fit.fit(module, data)
    due = [0.01 * one_cycle(step, STEPS) for step in range(len(rates.found))]
    print(f"  fp16: {len(rates.found)} steps taken of {STEPS} batches")
    record("fp16: share of steps taken", len(rates.found) / STEPS, "share")
    apart = max(100 * abs(rate / goal - 1) for rate, goal in zip(rates.found, due, strict=True))
    verdict("fp16: % between rates and those of the steps taken", apart, 1e-3, at_most=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here: nothing was measured")
        return
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU: a look, no measurement"
    size, batch = (128, 64) if args.device == "cuda" else (32, 4)
    count = batch * STEPS
    images, labels = torch.randn(count, 3, size, size), torch.randint(0, 10, (count,))
    pairs = images.to(args.device).split(batch), labels.to(args.device).split(batch)
    batches = zip(*pairs, strict=True)
    data = DataLoader([*batches], batch_size=None)
    print(__doc__)
    print(f"  {name}; {about('lightning', 'timm')}; median of {args.rounds} rounds")
    costs(args.device, data, args.rounds)
    if args.device == "cuda":
        synchronisations(data)
        memory(data)
        utilisation(data)
        half_precision(args.device, data)


if __name__ == "__main__":
    main()
