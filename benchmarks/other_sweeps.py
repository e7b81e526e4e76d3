"""How good the weight decay, momentum and batch size of a range test are, beside the defaults.

Each value is trained in full, one-cycles to six rates, mean over seeds; its score is the best of
these. The regret of a value is (score - best of all values) / (untrained - best), by error and by
loss, 0..1; where a test chooses none, the default stays. ``at the rate suggested`` is the same for
what the test gives together: the value, and the rate that its sweep suggests there (1 if it
suggests none), beside the default value at the rate of its own sweep. Values that the test does not
try by default are part of the grid too. ``noise`` is the regret of the value that is best by one
seed, judged by the others.

All batch sizes are trained for as many samples, as in a run of so many epochs: a batch of twice the
size has half of the steps; or for as many steps, with ``--same-steps``. The sweeps have 100 steps
at any size, as they have by default.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from _range_tasks import TASKS
from _range_training import Group, Optimizer, Task, lost, our_sweep, train, untrained
from _study_tasks import STUDY
from _timing import about, verdict
from _workers import spread

from lightning_hparams.optim import set_param
from lightning_hparams.range_test import ParamTestResult, compare_values

EVERY = {**TASKS, **STUDY}
# The values of the grid. The first of each pair are tried by the test too, as by default.
VALUES = {
    "weight_decay": ((0.0, 1e-5, 1e-4, 1e-3, 1e-2), (0.1, 1.0)),
    "momentum": ((0.8, 0.85, 0.9, 0.95, 0.99), (0.5,)),
    "batch_size": ((1, 2, 4), (1 / 4, 1 / 2)),
}
NAMES = {  # the slowest first
    "weight_decay": (
        "gabor-cnn-bn-sgd", "digits-cnn-noise-adamw", "digits-cnn-mom", "diabetes-mlp-adamw",
    ),
    "momentum": (
        "gabor-cnn-gn-drop-mom", "digits-cnn-noise-adamw", "digits-cnn-mom", "friedman-mlp-mom",
    ),
    "batch_size": (
        "gabor-cnn-bn-sgd", "digits-cnn-mom", "digits-mlp-adamw", "friedman-mlp-mom",
    ),
}  # fmt: skip
RATES = slice(1, None, 2)  # of the 13 of a task
STAGES = ("train", "val")
VALIDATED = 8  # batches of the validation before each step, as by default
Floats = npt.NDArray[np.float64]


# -- trainings -------------------------------------------------------------------------------------


def holding(task: Task, param: str, value: float) -> Task:
    """The same task at a value of a hyperparameter; batch sizes are relative to the task's."""
    if param == "batch_size":
        return replace(task, batch_size=round(task.batch_size * value))
    return replace(task, optimizer=functools.partial(_held, task.optimizer, param, value))


def _held(
    optimizer: Optimizer, param: str, value: float, groups: list[Group]
) -> torch.optim.Optimizer:
    made = optimizer(groups)
    for group in made.param_groups:
        set_param(group, param, value)
    return made


def default_of(task: Task, param: str) -> float:
    """The value of a user who does not ask; Adam's first beta is its momentum."""
    if param == "batch_size":
        return 1.0
    if param == "momentum":
        return 0.9
    made = task.optimizer([torch.nn.Parameter(torch.zeros(1))])
    return float(made.param_groups[0]["weight_decay"])


@dataclass(frozen=True)
class Run:
    """A full training at a value and to a rate."""

    name: str
    value: float
    rate: float
    seed: int
    loss: float
    error: float


def in_grid(name: str, param: str, value: float, rate: float, steps: int, seed: int) -> Run:
    """Train in full."""
    loss, error = train(holding(EVERY[name], param, value), rate, steps, seed)
    return Run(name, value, rate, seed, loss, error)


@dataclass(frozen=True)
class Test:
    """A range test of a hyperparameter."""

    name: str
    stage: str
    result: ParamTestResult


def tested(name: str, param: str, stage: str, seed: int) -> Test:
    """Sweep the rate at each of the default values, on the same batches, and choose."""
    task = EVERY[name]
    samples = VALIDATED * task.batch_size if stage == "val" else 0
    sweeps = {
        value: [our_sweep(holding(task, param, value), 100 + seed, samples)]
        for value in VALUES[param][0]
    }
    return Test(name, stage, compare_values(param, sweeps))


# -- regret ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What the grid of a task found."""

    values: list[float]
    rates: list[float]
    found: Floats  # (values, rates, seeds, 2), loss and error; at most those before training
    before: Floats  # (2,)

    @classmethod
    def of(cls, name: str, runs: Iterable[Run], seeds: int) -> Truth:
        """Gather the trainings of a task."""
        before = np.mean([untrained(EVERY[name], seed) for seed in range(seeds)], axis=0)
        mine = {(run.value, run.rate, run.seed): (run.loss, run.error) for run in runs}
        values, rates = sorted({key[0] for key in mine}), sorted({key[1] for key in mine})
        found = [[[mine[v, r, s] for s in range(seeds)] for r in rates] for v in values]
        return cls(values, rates, np.minimum(found, before), before)

    def scores(self, by_error: int) -> Floats:
        """Of each value, at its best rate."""
        return self.found.mean(2)[..., by_error].min(1)

    def regret(self, value: float, by_error: int) -> float:
        """Share of what there was to gain that a value loses at its best rate."""
        scores = self.scores(by_error)
        return self._lost(float(scores[self.values.index(value)]), scores, by_error)

    def regret_at(self, value: float | None, rate: float | None, by_error: int) -> float:
        """The same at this rate, between those of the grid by interpolation."""
        if value is None or rate is None:
            return 1.0
        means = self.found.mean(2)[self.values.index(value), :, by_error]
        there = float(np.interp(math.log(rate), np.log(self.rates), means))
        return self._lost(there, self.scores(by_error), by_error)

    def noise(self, by_error: int) -> float:
        """Regret of the value that is best by one seed, judged by the others."""
        regrets = []
        for seed in range(self.found.shape[2]) if self.found.shape[2] > 1 else ():
            one = self.found[:, :, seed, by_error].min(1)
            others = np.delete(self.found, seed, axis=2).mean(2)[..., by_error].min(1)
            regrets.append(self._lost(float(others[one.argmin()]), others, by_error))
        return float(np.mean(regrets)) if regrets else math.nan

    def _lost(self, score: float, scores: Floats, by_error: int) -> float:
        return lost(score, scores, float(self.before[by_error]))


def report(param: str, truths: dict[str, Truth], tests: list[Test]) -> None:
    """Print each task, then the means."""
    print(f"\n{param}: values {', '.join(f'{v:g}' for v in sorted(sum(VALUES[param], ())))}")
    print(f"  {'':<28} {'value':>16} {'error':>7} {'loss':>7}   at the rate suggested")
    rows: dict[str, list[Floats]] = {}
    for name, truth in truths.items():
        best = [truth.values[int(truth.scores(by_error).argmin())] for by_error in (1, 0)]
        print(f"  {name}: best {best[0]:g} by error, {best[1]:g} by loss")
        scores = ", ".join(f"{score:.3f}" for score in truth.scores(1))
        print(f"    error of each: {scores}; noise {truth.noise(1):.3f} {truth.noise(0):.3f}")
        default = default_of(EVERY[name], param)
        for stage in STAGES:
            mine = [test.result for test in tests if (test.name, test.stage) == (name, stage)]
            chosen = [(result.chosen, result.suggestion) for result in mine]
            own = [(default, _rate_at(result, default)) for result in mine]
            for label, found in ((f"chosen, {stage}", chosen), (f"default, {stage}", own)):
                means = np.array([_regrets(truth, default, *each) for each in found]).mean(0)
                rows.setdefault(label, []).append(means)
                _print_row(label, ", ".join(_text(value) for value, _ in found), means)
    means = {label: np.mean(each, axis=0) for label, each in rows.items()}
    print(f"  mean of {len(truths)} tasks")
    for label, mean in means.items():
        _print_row(label, "", mean)
    for stage in STAGES:
        for index, what in enumerate(("error", "loss")):
            more = 1000 * float((means[f"chosen, {stage}"] - means[f"default, {stage}"])[index])
            text = f"{param}, stage {stage}: regret by {what} beyond the default's, thousandths"
            verdict(text, more, 0, at_most=True)


def _regrets(truth: Truth, default: float, value: float | None, rate: float | None) -> list[float]:
    kept = default if value is None else value
    at_best = [truth.regret(kept, by_error) for by_error in (1, 0)]
    return at_best + [truth.regret_at(value, rate, by_error) for by_error in (1, 0)]


def _rate_at(result: ParamTestResult, value: float) -> float | None:
    """Rate that was suggested at a value; the test tries all defaults."""
    return result.suggestions[result.values.index(value)]


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _print_row(label: str, values: str, means: Iterable[float]) -> None:
    print(f"    {label:<26} {values:>16} {' '.join(f'{mean:7.3f}' for mean in means)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", nargs="+", choices=VALUES, default=list(VALUES))
    parser.add_argument("--tasks", nargs="+", metavar="NAME", choices=EVERY, help="not these four")
    parser.add_argument("--steps", type=int, default=300, help="of each training")
    parser.add_argument("--same-steps", action="store_true", help="at any batch size")
    parser.add_argument("--seeds", type=int, default=3, help="of the trainings, and tests")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--quick", action="store_true", help="one seed, three rates")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seeds = 1 if args.quick else args.seeds
    start = time.perf_counter()
    print(__doc__)
    print(f"{about('scikit-learn', 'numpy')}; {args.steps} steps, {seeds} seeds and tests")
    for param in args.params:
        names = args.tasks or NAMES[param]
        shorten = param == "batch_size" and not args.same_steps
        jobs = [(name, param, stage, seed)
                for name in names for stage in STAGES for seed in range(seeds)]  # fmt: skip
        tests = list(spread(tested, jobs, args.workers))
        grid = [
            (name, param, value, rate, round(args.steps / (value if shorten else 1)), seed)
            for name in names
            for value in sorted(sum(VALUES[param], ()))
            for rate in EVERY[name].grid[RATES][:: 2 if args.quick else 1]
            for seed in range(seeds)
        ]
        runs = list(spread(in_grid, grid, args.workers))
        truths = {
            name: Truth.of(name, [run for run in runs if run.name == name], seeds) for name in names
        }
        report(param, truths, sorted(tests, key=lambda test: names.index(test.name)))
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
