"""How good the suggested bounds of a cyclic schedule are: regret against a grid of bounds.

A training is four triangular cycles, as ``Cyclic`` makes them by default. The truth of a task are
the trainings with each of 13 upper bounds and two lower ones, mean over seeds. The regret of
suggested bounds is (error there - best of the grid) / (untrained - best), and the same by loss;
below 0 if they are better than the whole grid, and 1 without a suggestion. They are trained between
as well, with the seeds of the truth, which are not those of the sweeps. The best of a grid is the
luckiest too, so that some regret is left to any bounds; ``noise`` is the regret of the bounds that
are best by one seed, judged by the others.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from _range_tasks import TASKS
from _range_training import Task, lost, our_sweep, short_training, train, train_at, untrained
from _study_tasks import STUDY
from _timing import about, verdict
from _workers import spread

from lightning_hparams.range_test import RangeTestResult, analyse, refine
from lightning_hparams.schedules import triangular

EVERY = {**TASKS, **STUDY}
NAMES = (  # the slowest first
    "brain slices, UNet, AdamW, CE + Dice",
    "gabor-cnn-bn-sgd",
    "digits-cnn-bn-adam",
    "digits-cnn-mom",
    "cancer-mlp-rms",
    "digits-mlp-adamw",
    "friedman-mlp-mom",
)
SHARES = (1 / 20, 1 / 4)  # of the upper bound that a lower one is
SWEEP, BUDGET = "Cyclic, sweep alone", "Cyclic, budget of 600"
QUARTER, EDGE = "Cyclic, a quarter of the peak to it", "Cyclic, a third of the edge to it"
ONE_CYCLE = "OneCycle, sweep alone"
METHODS = (SWEEP, BUDGET, QUARTER, EDGE, ONE_CYCLE)
Pair = tuple[float, float]  # lower and upper bound, or loss and error
Floats = npt.NDArray[np.float64]


# -- trainings -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A training between two bounds, or one that was not suggested any."""

    name: str
    method: str  # "" in the grid
    bounds: Pair | None
    seed: int  # of the start and the batches
    loss: float
    error: float


def in_grid(name: str, high: float, share: float, steps: int, seed: int) -> Run:
    """Train between an upper bound and a share of it."""
    return _run(name, "", (share * high, high), steps, seed)


def suggested(name: str, sweep: int, steps: int, seeds: int) -> list[Run]:
    """Train between the bounds that each method finds by a sweep with this seed."""
    task = EVERY[name]
    alone = analyse([our_sweep(task, 100 + sweep)])
    tried = refine(alone, lambda lr: short_training(task, lr, 100, 100 + sweep), first=1e-3)
    bounds = {method: bounds_of(tried if method == BUDGET else alone, method) for method in METHODS}
    return [
        _run(name, method, found, steps, seed)
        for method, found in bounds.items()
        for seed in range(seeds)
    ]


def bounds_of(result: RangeTestResult, method: str) -> Pair | None:
    """Lower and upper bound; None without a suggestion."""
    if result.base_lr is None or result.max_lr is None:
        return None
    if method == EDGE:
        edge = result.edge or result.lrs[-1]
        return edge / 3, edge
    return (result.max_lr / 4 if method == QUARTER else result.base_lr), result.max_lr


def _run(name: str, method: str, bounds: Pair | None, steps: int, seed: int) -> Run:
    task = EVERY[name]
    if bounds is None:
        loss, error = untrained(task, seed)
    elif method == ONE_CYCLE:
        loss, error = train(task, bounds[1], steps, seed)
    else:
        loss, error = cycles(task, bounds, steps, seed)
    return Run(name, method, bounds, seed, loss, error)


def cycles(task: Task, bounds: Pair, steps: int, seed: int) -> Pair:
    """Validation loss and error after triangular cycles between two bounds."""
    low, high = bounds
    rates = [high * triangular(number, steps, base=low / high) for number in range(steps)]
    return train_at(task, rates, seed)


# -- regret ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What the grid of a task found."""

    bounds: list[Pair]
    found: Floats  # (bounds, seeds, 2), loss and error; at most those before training
    before: Floats  # (2,)

    @classmethod
    def of(cls, name: str, runs: list[Run], seeds: int) -> Truth:
        """Gather the trainings of the grid of a task."""
        before = np.mean([untrained(EVERY[name], seed) for seed in range(seeds)], axis=0)
        by_bounds: dict[Pair, dict[int, Pair]] = defaultdict(dict)
        for run in runs:
            assert run.bounds is not None  # in the grid
            by_bounds[run.bounds][run.seed] = run.loss, run.error
        bounds = sorted(by_bounds)
        found = [[by_bounds[pair][seed] for seed in range(seeds)] for pair in bounds]
        return cls(bounds, np.minimum(found, before), before)

    def best(self, by_error: int) -> Pair:
        """The bounds with the lowest mean."""
        return self.bounds[int(self.found.mean(1)[:, by_error].argmin())]

    def regret(self, run: Run, by_error: int) -> float:
        """Share of what there was to gain that a training loses."""
        value = (run.loss, run.error)[by_error]
        means = self.found.mean(1)[:, by_error]
        return lost(value, means, float(self.before[by_error]), least=-1.0)

    def noise(self, by_error: int) -> float:
        """Regret of the bounds that are best by one seed, judged by the others."""
        found, regrets = self.found[:, :, by_error], []
        for seed in range(found.shape[1]) if found.shape[1] > 1 else ():
            others = np.delete(found, seed, axis=1).mean(1)
            chosen = float(others[found[:, seed].argmin()])
            regrets.append(lost(chosen, others, float(self.before[by_error])))
        return float(np.mean(regrets)) if regrets else float("nan")


def report(truths: Mapping[str, Truth], runs: list[Run]) -> None:
    """Print each task, then each method."""
    regrets = {
        (name, method): np.mean(
            [
                [truths[name].regret(run, by_error) for by_error in (1, 0)]
                for run in runs
                if (run.name, run.method) == (name, method)
            ],
            axis=0,
        )
        for name in truths
        for method in METHODS
    }
    for name, truth in truths.items():
        low, high = truth.best(by_error=1)
        print(f"\n{name}: best bounds {low:.2g} to {high:.2g} by error, ", end="")
        print("{:.2g} to {:.2g} by loss".format(*truth.best(by_error=0)))
        for method in METHODS:
            error, loss = regrets[name, method]
            print(f"  {method:<36} {error:7.3f} {loss:7.3f}   {_bounds(runs, name, method)}")
        print(f"  {'noise':<36} {truth.noise(1):7.3f} {truth.noise(0):7.3f}")
    print(f"\n  {f'mean of {len(truths)} tasks':<36} {'error':>7} {'loss':>7}")
    for method in METHODS:
        error, loss = np.mean([regrets[name, method] for name in truths], axis=0)
        print(f"  {method:<36} {error:7.3f} {loss:7.3f}")
        if method in (SWEEP, BUDGET):
            verdict(f"{method}, regret by error, thousandths", 1000 * error, 8, at_most=True)
            verdict(f"{method}, regret by loss, thousandths", 1000 * loss, 30, at_most=True)


def _bounds(runs: list[Run], name: str, method: str) -> str:
    """The bounds of the first sweep, and how many sweeps suggested none."""
    mine = [run for run in runs if (run.name, run.method, run.seed) == (name, method, 0)]
    found = [run.bounds for run in mine if run.bounds is not None]
    none = f", {len(mine) - len(found)} without" if len(found) < len(mine) else ""
    middle = np.exp(np.median(np.log(found), axis=0)) if found else (np.nan, np.nan)
    return f"{middle[0]:.2g} to {middle[1]:.2g}{none}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="of each training")
    parser.add_argument("--seeds", type=int, default=3, help="of the trainings, and sweeps")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", choices=EVERY, default=NAMES)
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--quick", action="store_true", help="one seed, five upper bounds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seeds = 1 if args.quick else args.seeds
    start = time.perf_counter()
    shown: list[Run] = []
    rated = [(name, sweep, args.steps, seeds) for name in args.tasks for sweep in range(seeds)]
    for some in spread(suggested, rated, args.workers):
        shown += some
    grid = [
        (name, high, share, args.steps, seed)
        for name in args.tasks
        for high in EVERY[name].grid[:: 3 if args.quick else 1]
        for share in SHARES
        for seed in range(seeds)
    ]
    runs: dict[str, list[Run]] = {name: [] for name in args.tasks}
    for run in spread(in_grid, grid, args.workers):
        runs[run.name].append(run)
    print(__doc__)
    print(f"{about('scikit-learn', 'numpy')}; {args.steps} steps, {seeds} seeds and sweeps")
    report({name: Truth.of(name, found, seeds) for name, found in runs.items()}, shown)
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
