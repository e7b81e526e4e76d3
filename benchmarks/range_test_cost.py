"""A range test of 100 optimizer steps beside 100 steps of training, on a small and a large model.

Time: each side runs in turn in one process, from making its Trainer to its end, since that is what
a user waits for. Memory: a peak is one of a process, so each side runs once in a process of its
own; it is what the run added to what the process held with the model and the data.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _timing import QUIET, about, interleaved_ms, peak_mb, verdict
from lightning import LightningModule, Trainer
from lightning.pytorch.tuner import Tuner
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch_lr_finder import LRFinder

from lightning_hparams import lr_range_test

STEPS = 100
RANGE = (1e-7, 1e-3)  # nothing diverges, so that every side takes all steps
OURS, LIGHTNING, BARE = "lr_range_test", "Lightning Tuner.lr_find", "Trainer.fit, 100 steps"
PEER = "pytorch-lr-finder (no Lightning)"
LIMITS = {"small": 15, "large": 2}  # percent more than Trainer.fit


class Net(LightningModule):
    """Convolution, BatchNorm and dropout, or a wide perceptron of 9 million parameters."""

    def __init__(self, size: str) -> None:
        super().__init__()
        if size == "small":
            body = [nn.Conv2d(1, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.2)]
            self.net = nn.Sequential(*body, nn.Flatten(), nn.Linear(16 * 49, 10))
        else:
            self.net = nn.Sequential(
                nn.Flatten(), nn.Linear(256, 2900), nn.ReLU(), nn.Linear(2900, 2900), nn.ReLU(),
                nn.Linear(2900, 10),
            )  # fmt: skip
        self.lr = 1e-3

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.net(x)
        return logits

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Cross entropy."""
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def sides(size: str) -> dict[str, Callable[[], None]]:
    """What is compared; each starts from the same module and data."""
    torch.manual_seed(0)
    module = Net(size)
    batch = 32 if size == "small" else 64
    images, labels = torch.randn(20 * batch, 1, 16, 16), torch.randint(0, 10, (20 * batch,))
    data = DataLoader(TensorDataset(images, labels), batch_size=batch, shuffle=True)
    start = copy.deepcopy(module.state_dict())

    def reset() -> None:
        # After some rounds of training, the loss of a sweep would rise from the first step on.
        module.load_state_dict(start)

    def bare() -> None:
        reset()
        Trainer(**{**QUIET, "max_steps": STEPS}).fit(module, data)

    def ours() -> None:
        reset()
        low, high = RANGE
        result = lr_range_test(
            module, data, Trainer(**QUIET), min_lr=low, max_lr=high, num_steps=STEPS, apply=False
        )
        assert result.steps_run == STEPS

    def lightning() -> None:
        reset()
        finder = Tuner(Trainer(**QUIET)).lr_find(
            module, data, min_lr=RANGE[0], max_lr=RANGE[1], num_training=STEPS,
            early_stop_threshold=None, update_attr=False,
        )  # fmt: skip
        assert finder is not None
        assert len(finder.results["loss"]) >= STEPS - 1

    def peer() -> None:
        reset()
        optimizer = torch.optim.AdamW(module.parameters(), lr=RANGE[0])
        finder = LRFinder(module, optimizer, nn.CrossEntropyLoss(), device="cpu")
        finder.range_test(data, end_lr=RANGE[1], num_iter=STEPS, diverge_th=1e9)
        finder.reset()

    return {
        name: silenced(run)
        for name, run in {BARE: bare, OURS: ours, LIGHTNING: lightning, PEER: peer}.items()
    }


def silenced(run: Callable[[], None]) -> Callable[[], None]:
    """Without the progress bars and tables that the peers print."""

    def quiet() -> None:
        with contextlib.ExitStack() as stack:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
            run()

    return quiet


def added_mb(size: str, name: str) -> float:
    """Peak memory that a side adds, in a process of its own."""
    command = [sys.executable, __file__, "--side", name, "--size", size]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(output.stdout.splitlines()[-1]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", choices=list(LIMITS))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    if args.side:
        run, before = sides(args.size)[args.side], peak_mb()
        with tempfile.TemporaryDirectory() as folder:
            Trainer(**{**QUIET, "default_root_dir": folder, "max_steps": 1})
            run()
        print(json.dumps(peak_mb() - before))
        return
    print(__doc__)
    print(f"{about('lightning', 'torch-lr-finder')}; median of {args.rounds} rounds\n")
    for size in [args.size] if args.size else LIMITS:
        module = Net(size)
        parameters_mb = sum(p.nbytes for p in module.parameters()) / 2**20
        rounds = args.rounds if size == "small" else max(5, args.rounds // 2)
        medians = interleaved_ms(sides(size), rounds)
        memory = {name: added_mb(size, name) for name in medians}
        print(f"{size}: {parameters_mb:.2f} MB of parameters")
        for name, ms in medians.items():
            more = 100 * (ms / medians[BARE] - 1)
            print(f"  {name:<36}{ms:9.1f} ms{more:+8.1f} %{memory[name]:9.1f} MB added")
        more = 100 * (medians[OURS] / medians[BARE] - 1)
        what = f"lr_range_test of a {size} net, % more than Trainer.fit"
        verdict(what, more, LIMITS[size], at_most=True)
        if size == "large":  # the other is all interpreter
            extra = memory[OURS] - memory[BARE]
            verdict("lr_range_test, MB more than it", extra, parameters_mb, at_most=True)
        print()


if __name__ == "__main__":
    main()
