"""Trials until a good one is found: this package's search against random and grid search.

Two problems: a small network on scikit-learn's digits, and one on brain slices. The score to reach
is fixed beforehand, by a random search of its own with other seeds, on the validation split. All
methods vary the same space, and train with the same seeds; "ours" begins with a preset of the
literature and the prior that a range test suggests, samples with TPE and prunes. The best trial of
each search is also scored on a test split that no search sees.
"""

from __future__ import annotations

import argparse
import random
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import optuna
import torch
import torch.nn.functional as F
from _timing import about, record, verdict
from torch import Tensor, nn

from lightning_hparams.data import brain_slices, brain_split, digit_images
from lightning_hparams.range_test import Sweep, analyse
from lightning_hparams.search import (
    Choice,
    Float,
    SearchSettings,
    Space,
    make_pruner,
    make_sampler,
)
from lightning_hparams.search.first_trials import first_trials

_SHARED = 10_000  # seed of what is fixed before the searches
Report = Callable[[int, float], bool]


@dataclass
class Problem:
    """Data on which a small network is trained for a few epochs.

    Args:
        name: Its name.
        parts: Images and targets of ``train``, ``val`` and ``test``.
        network: Makes the network, for a width.
        score: Score of logits and targets; higher is better.
        epochs: How long to train.
    """

    name: str
    parts: dict[str, tuple[Tensor, Tensor]]
    network: Callable[[int], nn.Module]
    score: Callable[[Tensor, Tensor], float]
    epochs: int
    batch_size: int = 64
    rates: dict[str, float] = field(default_factory=dict)

    def train(
        self, values: Mapping[str, object], seed: int, report: Report | None = None
    ) -> tuple[float, float, int]:
        """Train; return the best score in validation, that of the test, and the epochs."""
        torch.manual_seed(seed)
        network = self.network(int(str(values["width"])))
        optimizer = _optimizer(network, values)
        images, targets = self.parts["train"]
        best, tested = -1.0, 0.0
        for epoch in range(self.epochs):
            network.train()
            for index in torch.randperm(len(images)).split(self.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(network(images[index]), targets[index]).backward()
                optimizer.step()
            value = self.scored(network, "val")
            if value > best:
                best, tested = value, self.scored(network, "test")
            if report is not None and report(epoch, value):
                return best, tested, epoch + 1
        return best, tested, self.epochs

    def scored(self, network: nn.Module, part: str) -> float:
        """Score of a network on a split."""
        network.eval()
        images, targets = self.parts[part]
        with torch.no_grad():
            return self.score(network(images), targets)

    def suggested_rate(self, optimizer: str) -> float:
        """The learning rate that a range test suggests, kept for all searches."""
        if optimizer not in self.rates:
            self.rates[optimizer] = _range_test(self, optimizer)
        return self.rates[optimizer]


def _optimizer(network: nn.Module, values: Mapping[str, object]) -> torch.optim.Optimizer:
    lr, decay = float(str(values["lr"])), float(str(values["weight_decay"]))
    if values["optimizer"] == "SGD":
        momentum = float(str(values["momentum"]))
        return torch.optim.SGD(network.parameters(), lr, momentum, weight_decay=decay)
    return torch.optim.AdamW(network.parameters(), lr, weight_decay=decay)


def space(lr: object = None) -> Space:
    """What is varied; with a prior for the learning rate, if one is known."""
    prior = {} if lr is None else {"prior": lr}
    when = {"optimizer": "SGD"}
    return Space(
        {
            "optimizer": Choice(["SGD", "AdamW"]),
            "lr": Float(1e-4, 3.0, log=True, **prior),  # type: ignore[arg-type]
            "momentum": Float(0.0, 0.95, when=when),
            "weight_decay": Float(1e-6, 1e-1, log=True),
            "width": Choice([4, 8, 16]),
        }
    )


GRID = Space(
    {
        "optimizer": Choice(["SGD", "AdamW"]),
        "lr": Choice([1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        "momentum": Choice([0.9], when={"optimizer": "SGD"}),
        "weight_decay": Choice([1e-4]),
        "width": Choice([4, 8, 16]),
    }
)
# Momentum and weight decay of most published recipes of SGD on images.
PRESET = {"optimizer": "SGD", "momentum": 0.9, "weight_decay": 5e-4, "width": 16}


@dataclass
class Outcome:
    """What one search came to."""

    reached: int | None  # number of the first trial that is good enough
    test: float  # score of its best trial
    epochs: int
    epochs_to_target: int | None


def search(problem: Problem, method: str, seed: int, trials: int, target: float) -> Outcome:
    """Search with a method."""
    grid = GRID.grid()
    random.Random(seed).shuffle(grid)
    points = iter(grid)
    ours = method.startswith("ours")
    rate = problem.suggested_rate("SGD") if ours else None
    settings = SearchSettings(
        metric="score",
        mode="max",
        space=space(rate),
        seed=seed,
        trials=trials,
        sampler="tpe" if ours else "random",
        pruner={"name": "median", "startup_trials": 5} if method == "ours" else None,
        presets=[{**PRESET, "lr": rate}] if ours else (),
    )
    study = optuna.create_study(
        direction="maximize",
        sampler=make_sampler(settings.sampler, settings.space, seed=seed),
        pruner=make_pruner(settings.pruner),
    )
    if ours:
        for values in first_trials(settings).values():
            study.enqueue_trial(dict(values))
    found = Outcome(None, 0.0, 0, None)
    best = -1.0
    for number in range(trials):
        trial = study.ask()
        values = next(points, None) if method == "grid" else settings.space.suggest(trial)
        if values is None:
            break
        value, tested, epochs = problem.train(values, 1000 * seed + number, _reporter(trial))
        found.epochs += epochs
        pruned = epochs < problem.epochs
        study.tell(
            trial,
            None if pruned else value,
            state=optuna.trial.TrialState.PRUNED if pruned else None,
        )
        if value > best:
            best, found.test = value, tested
        if found.reached is None and value >= target:
            found.reached, found.epochs_to_target = number + 1, found.epochs
    return found


def _reporter(trial: optuna.Trial) -> Report:
    def report(epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return trial.should_prune()

    return report


def target_of(problem: Problem, trials: int) -> float:
    """The score to reach: the best of a random search with seeds of its own, less a hundredth."""
    sampler = random.Random(_SHARED)
    values = space()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(sampler.randrange(2**31)))
    scores = [
        problem.train(values.suggest(study.ask()), _SHARED + number)[0] for number in range(trials)
    ]
    return max(scores) - 0.01


def _range_test(problem: Problem, optimizer: str) -> float:
    """A range test of 60 steps from 1e-5 to 3, as LRRangeTest runs it, on the default network."""
    torch.manual_seed(_SHARED)
    network = problem.network(8)
    values = {"optimizer": optimizer, "lr": 1e-5, "momentum": 0.9, "weight_decay": 5e-4}
    sweep = _optimizer(network, values)
    images, targets = problem.parts["train"]
    lrs = torch.logspace(-5, 0.5, 60).tolist()
    losses = []
    for lr in lrs:
        for group in sweep.param_groups:
            group["lr"] = lr
        index = torch.randint(len(images), (problem.batch_size,))
        sweep.zero_grad()
        loss = F.cross_entropy(network(images[index]), targets[index])
        losses.append(float(loss.detach()))
        loss.backward()
        sweep.step()
    found = analyse([Sweep(lrs, losses)]).suggestion
    return 0.1 if found is None else min(found, 3.0)


def digits() -> Problem:
    """Digits of 8 x 8 pixels, three fifths of them for training."""
    images, labels = digit_images(8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    scaled = images[order].float() / 255
    labels = labels[order]
    cuts = {"train": slice(0, 1078), "val": slice(1078, 1437), "test": slice(1437, None)}
    return Problem(
        "digits",
        {name: (scaled[cut], labels[cut]) for name, cut in cuts.items()},
        lambda width: nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * width, 10),
        ),
        lambda logits, target: float((logits.argmax(1) == target).float().mean()),
        epochs=6,
    )


def brain() -> Problem:
    """Slices of 32 x 32 pixels; half of each held-out block validates, the other half tests."""
    images, masks = brain_slices(32)
    train, held = brain_split(len(images), 2)
    blocks = [held[start : start + 10] for start in range(0, 30, 10)]
    cuts = {
        "train": train,
        "val": [index for block in blocks for index in block[:5]],
        "test": [index for block in blocks for index in block[5:]],
    }
    scaled = images.float() / 255
    return Problem(
        "brain slices",
        {name: (scaled[cut], masks[cut].long()) for name, cut in cuts.items()},
        lambda width: nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 3, 1),
        ),
        _mean_iou,
        epochs=8,
        batch_size=8,
    )


def _mean_iou(logits: Tensor, target: Tensor) -> float:
    found = logits.argmax(1)
    scores = []
    for index in range(logits.shape[1]):
        one, other = found == index, target == index
        scores.append(float((one & other).sum() / (one | other).sum().clamp(min=1)))
    return statistics.fmean(scores)


def median_trials(found: Sequence[Outcome], trials: int) -> float:
    """Median of the trials to the target; one more than all for a search that never arrives."""
    return statistics.median(each.reached or trials + 1 for each in found)


def compare(problem: Problem, seeds: int, trials: int) -> None:
    """Print a table for a problem."""
    target = target_of(problem, trials)
    print(f"\n{problem.name}: score to reach {target:.3f}, {seeds} seeds, {trials} trials each")
    print(f"  {'method':<22} {'median trials':>13} {'never':>6} {'epochs':>7} {'test score':>11}")
    outcomes: dict[str, list[Outcome]] = {}
    for method in ("random", "grid", "ours, not pruned", "ours"):
        run = partial(search, problem, method, trials=trials, target=target)
        found = outcomes[method] = [run(seed=seed) for seed in range(seeds)]
        median = median_trials(found, trials)
        never = sum(each.reached is None for each in found)
        epochs = statistics.median(each.epochs for each in found)
        test = statistics.median(each.test for each in found)
        shown = f"> {trials}" if median > trials else f"{median:g}"
        print(f"  {method:<22} {shown:>13} {never:>6} {epochs:>7g} {test:>11.4f}", flush=True)
        record(f"{problem.name}, {method}: median trials to the target", median, "trials")
        record(f"{problem.name}, {method}: searches that never arrive", never, f"of {seeds}")
    whole, pruned = outcomes["ours, not pruned"], outcomes["ours"]
    saved = 1 - sum(each.epochs for each in pruned) / sum(each.epochs for each in whole)
    lost = statistics.fmean(each.test for each in whole) - statistics.fmean(
        each.test for each in pruned
    )
    verdict(f"{problem.name}: share of epochs that pruning saves", saved, 0.3, at_most=False)
    verdict(f"{problem.name}: test score that it costs", lost, 0.01, at_most=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="5 seeds of 15 trials")
    parser.add_argument("--problem", choices=["digits", "brain"], help="one of the two only")
    options = parser.parse_args()
    seeds, trials = (5, 15) if options.quick else (options.seeds, options.trials)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore")
    print(__doc__)
    print(f"  {about('optuna')}")
    for name, make in {"digits": digits, "brain": brain}.items():
        if options.problem in (None, name):
            compare(make(), seeds, trials)


if __name__ == "__main__":
    main()
