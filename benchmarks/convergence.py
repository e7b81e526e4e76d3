"""Optimizer steps to a target: one cycle at the rate of a range test, beside constant rates.

Constant: each rate of a grid, half a decade apart, trained for the longest budget, with a look at
the score every ten steps. The target is the best median over the seeds that any of them ever
reaches, the best rate the one that reaches it first, so its tuning comes for free. One cycle: the
shortest of the budgets in which the median over the seeds reaches the target, since a cycle does
its best at its end; the steps of the range test are counted on top. Torch's OneCycleLR stands at
the rate that Lightning's finder suggests, ours is LRRangeTest and OneCycle as they come.

Real data: accuracy on scikit-learn's digits (a convolutional net with BatchNorm, batch 32, AdamW
and SGD with momentum), and mean IoU in held-out slices of the MNI152 template at 64 x 64 pixels (a
Unet on MobileNetV3 from scratch, batch 8, cross entropy and Dice, AdamW).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from _timing import QUIET, about, verdict
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.tuner import Tuner
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hparams import LRRangeTest, OneCycle
from lightning_hparams.data import brain_slices, brain_split
from lightning_hparams.losses import WeightedLoss
from lightning_hparams.metrics import confusion_counts, iou_score, mean_present

START = 1e-3  # what the module is configured with before a finder
EVERY = 10  # steps between two looks at the score of a constant rate


@dataclass(frozen=True)
class Problem:
    """A task, and the budgets and rates that are tried on it."""

    budgets: Sequence[int]
    grid: Sequence[float]  # constant rates
    optimizer: Callable[..., torch.optim.Optimizer]
    batch_size: int
    net: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]
    train: TensorDataset
    val: tuple[Tensor, Tensor]


def digits(sgd: bool = False) -> Problem:
    """8 x 8 pixels, ten classes."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, val = order[:1200], order[1200:]

    def net() -> nn.Module:
        def block(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

        return nn.Sequential(
            *block(1, 16), nn.MaxPool2d(2), *block(16, 32), nn.Flatten(), nn.Linear(32 * 16, 10)
        )

    budgets = (50, 100, 200, 400, 800, 1600)
    if sgd:
        grid, optimizer = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3), partial(torch.optim.SGD, momentum=0.9)
    else:
        grid, optimizer = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), torch.optim.AdamW
    return Problem(
        budgets, grid, optimizer, 32, net, F.cross_entropy,
        lambda logits, target: (logits.argmax(1) == target).float().mean().item(),
        TensorDataset(x[train], y[train]), (x[val], y[val]),
    )  # fmt: skip


def brain() -> Problem:
    """64 x 64 pixels, three classes."""
    images, masks = brain_slices(64)
    x = (images.float() / 255 - 0.24) / 0.34
    train, val = brain_split(len(x), 2)

    def net() -> nn.Module:
        return smp.Unet("tu-mobilenetv3_small_100", encoder_weights=None, in_channels=1, classes=3)

    def score(logits: Tensor, target: Tensor) -> float:
        counts = confusion_counts(logits.argmax(1), target, 3)[:9].view(3, 3)
        return mean_present(iou_score(counts)).item()

    return Problem(
        (50, 100, 200, 400), (1e-3, 3e-3, 1e-2), torch.optim.AdamW, 8, net,
        WeightedLoss({"ce": 1.0, "dice": 1.0}), score,
        TensorDataset(x[train], masks[train].long()), (x[val], masks[val].long()),
    )  # fmt: skip


class Net(LightningModule):
    """Trains at ``lr``, with torch's schedule if asked for."""

    def __init__(self, problem: Problem, lr: float, one_cycle: bool = False) -> None:
        super().__init__()
        self.lr, self.one_cycle = lr, one_cycle
        self.net, self.loss, self.make = problem.net(), problem.loss, problem.optimizer

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch."""
        return self.loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        """The problem's optimizer."""
        optimizer = self.make(self.parameters(), lr=self.lr)
        if not self.one_cycle:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=int(steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Scores(Callback):
    """The score by step."""

    def __init__(self, problem: Problem, every: int) -> None:
        self.problem, self.every = problem, every
        self.by_step: dict[int, float] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Look, if it is time."""
        step = trainer.global_step
        if step % self.every and step != trainer.max_steps:
            return
        pl_module.eval()
        images, target = self.problem.val
        with torch.no_grad():
            self.by_step[step] = self.problem.score(pl_module.net(images), target)
        pl_module.train()


def trained(
    problem: Problem, module: Net, steps: int, every: int, callbacks: Sequence[Callback] = ()
) -> dict[int, float]:
    """Scores by step of one run."""
    scores = Scores(problem, every)
    trainer = Trainer(**{**QUIET, "max_steps": steps, "callbacks": [*callbacks, scores]})
    trainer.fit(module, loader(problem))
    return scores.by_step


def loader(problem: Problem) -> DataLoader[Any]:
    """Shuffled batches of the training set."""
    return DataLoader(problem.train, problem.batch_size, shuffle=True, drop_last=True)


def constant(problem: Problem, lr: float, seed: int) -> dict[int, float]:
    """A constant rate, for the longest budget."""
    torch.manual_seed(seed)
    return trained(problem, Net(problem, lr), problem.budgets[-1], EVERY)


def theirs(problem: Problem, steps: int, seed: int) -> tuple[float, int, float]:
    """Score at the end, steps in all, and rate: OneCycleLR at Lightning's suggestion."""
    torch.manual_seed(seed)
    module = Net(problem, START)
    finder = Tuner(Trainer(**QUIET)).lr_find(module, loader(problem))
    assert finder is not None
    module.lr = finder.suggestion() or START
    module.one_cycle = True
    scores = trained(problem, module, steps, steps)
    return scores[steps], steps + len(finder.results["loss"]), module.lr


def ours(problem: Problem, steps: int, seed: int) -> tuple[float, int, float]:
    """The same for LRRangeTest and OneCycle."""
    torch.manual_seed(seed)
    module, test = Net(problem, START), LRRangeTest()
    scores = trained(problem, module, steps, steps, [test, OneCycle()])
    assert test.result is not None
    return scores[steps], steps + test.result.steps_run, module.lr


def best_constant(problem: Problem, seeds: int) -> tuple[float, int]:
    """Print the grid; the target, and the steps of the best rate to it."""
    medians = {}
    for lr in problem.grid:
        runs = [constant(problem, lr, seed) for seed in range(seeds)]
        medians[lr] = {step: statistics.median(run[step] for run in runs) for step in runs[0]}
    target = max(max(by_step.values()) for by_step in medians.values())
    hits = {
        lr: min((step for step, median in by_step.items() if median >= target), default=math.inf)
        for lr, by_step in medians.items()
    }
    print(f"  target {target:.4f}\n  constant rate   steps to target   best median   at the end")
    for lr, by_step in medians.items():
        last = by_step[problem.budgets[-1]]
        print(f"  {lr:<13g} {hits[lr]:>17g} {max(by_step.values()):>13.4f} {last:>12.4f}")
    return target, int(min(hits.values()))


def best_cycle(
    problem: Problem,
    target: float,
    seeds: int,
    run: Callable[[Problem, int, int], tuple[float, int, float]],
) -> tuple[float, float]:
    """Print the budgets; steps of the shortest one to the target, with and without the finder."""
    print("  one cycle of   with finder   median score   least    rates")
    found = math.inf, math.inf
    for steps in problem.budgets:
        results = [run(problem, steps, seed) for seed in range(seeds)]
        scores = [score for score, _, _ in results]
        spent = statistics.median(total for _, total, _ in results)
        rates = " ".join(f"{rate:.1e}" for _, _, rate in results)
        median = statistics.median(scores)
        print(f"  {steps:<12d} {spent:>13g} {median:>14.4f} {min(scores):>7.4f}    {rates}")
        if median >= target and found[0] == math.inf:
            found = spent, steps
    return found


def main() -> None:
    """Print the tables."""
    problems = {"digits": digits, "digits-sgd": partial(digits, sgd=True), "brain": brain}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(problems), default=list(problems))
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(__doc__)
    print(f"{about('lightning', 'scikit-learn', 'nilearn')}; {args.seeds} seeds\n")
    for name in args.tasks:
        problem = problems[name]()
        print(f"{name}: {len(problem.val[0])} held-out images")
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            target, best = best_constant(problem, args.seeds)
            print("  -- torch OneCycleLR at Lightning's suggestion", flush=True)
            peer, _ = best_cycle(problem, target, args.seeds, theirs)
            print("  -- LRRangeTest and OneCycle", flush=True)
            total, alone = best_cycle(problem, target, args.seeds, ours)
        print(f"  best constant rate {best:g} steps, Lightning's {peer:g}, ours {total:g}")
        verdict("share of the best constant rate's steps", total / best, 0.5, at_most=True)
        verdict("the same without the range test's steps", alone / best, 0.5, at_most=True)
        print(flush=True)


if __name__ == "__main__":
    main()
