"""How good the suggested learning rates are: regret against a full grid, ours beside other tools.

Truth of a task is its validation loss after a one-cycle training to each of 13 peaks, 1e-5 to 10,
mean over seeds; between them it is interpolated over the logarithm of the rate. The regret of a
suggestion is (loss there - best loss) / (untrained loss - best loss), in 0..1, and `error` is the
same of the error (wrong classes, 1 - Dice, RMSE); no suggestion has
1, and `given` is the mean without those. `decades` is the distance to the best peak of the grid,
`spread` the range of the suggestions over the seeds of a task, both in powers of ten.

The rules were made on the first table's tasks; the others were kept apart, and one thing was
changed after a look at them: a fall needs 4.8 standard errors and not 5.8, and the start is read
from 30 % of the points and not 20 %, so that fewer of their sweeps are refused. Small tables (124
to 398 samples) overfit in 300 steps, so that the lowest validation loss is that of a rate too low
to finish training, which no sweep can know. Tasks marked * are beyond a sweep and are not in the
means: their targets are unscaled, so that a rate kills only after some fifty steps, or the
network is trained already. For them see the last table, where two or more short trainings check
the suggestion.

`ours, budget of 600` follows the sweep with short trainings of 100 steps, judged by held-out
training samples. Its rules were made on 32 other tasks, see `docs/concepts/learning_rate.md`.
`--tasks` runs any of these too, with a grid of their own; those that need a package or a folder
that is not there are skipped.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from _range_peers import PEERS
from _range_tasks import TASKS, trained
from _range_training import (
    OURS,
    UNTUNED,
    Task,
    lost,
    our_sweep,
    probe_loss,
    short_training,
    sweep,
    train,
    untrained,
    untuned,
)
from _study_data import use_folders
from _study_tasks import STUDY
from _timing import about, verdict
from _workers import spread

from lightning_hparams.range_test import RangeTestResult, Sweep, analyse, probe, refine

EVERY = {**TASKS, **STUDY}
BUDGET = "ours, budget of 600"
RULES = ("edge", "min", "steep", "valley", "slide")
LIMITS = {"regret": 0.013, "spread": 0.20, "within": 0.80}


@dataclass
class Measured:
    """A task with its truth and what was suggested for it: by method, one rate for each seed."""

    name: str
    truth: npt.NDArray[np.float64]  # (13,), loss at each rate of the grid
    untrained: float
    errors: npt.NDArray[np.float64]  # (13,), error at each rate of the grid
    chance: float  # error before training
    without: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # loss, error
    suggested: dict[str, list[float | None]] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=list)
    probed: list[RangeTestResult] = field(default_factory=list)
    at_edge: list[float | None] = field(default_factory=list)

    @property
    def task(self) -> Task:
        """The task, which cannot be sent from one process to another."""
        return EVERY[self.name]

    @property
    def best(self) -> float:
        """The peak of the grid with the lowest loss."""
        return self.task.grid[int(self.truth.argmin())]

    @property
    def of_images(self) -> bool:
        """Whether the data are pictures, and not a table."""
        return self.task.data()[0].ndim == 4

    def regret(self, lr: float | None, by_error: bool = False) -> float:
        """Share of what there was to gain that this rate loses."""
        truth, worst = (self.errors, self.chance) if by_error else (self.truth, self.untrained)
        if lr is None:
            return 1.0
        return lost(float(np.interp(math.log(lr), np.log(self.task.grid), truth)), truth, worst)

    def regrets_without(self, name: str, by_error: bool) -> list[float]:
        """The same of what needs no rate; below 0 if it is better than the whole grid."""
        truth, worst = (self.errors, self.chance) if by_error else (self.truth, self.untrained)
        return [lost(pair[by_error], truth, worst, least=-1.0) for pair in self.without[name]]


def measure(task: Task, steps: int, truth_seeds: int, seeds: int, probe_steps: int) -> Measured:
    """Train the grid, run the sweeps, and ask every method."""
    before = np.mean([untrained(task, seed) for seed in range(truth_seeds)], axis=0)
    found = [[train(task, lr, steps, seed) for lr in task.grid] for seed in range(truth_seeds)]
    # A training that blew up is as good as none.
    means = np.minimum(found, before).mean(0)
    measured = Measured(task.name, means[:, 0], float(before[0]), means[:, 1], float(before[1]))
    for name in UNTUNED:
        measured.without[name] = [untuned(task, name, steps, seed) for seed in range(truth_seeds)]
    # The seeds of the sweeps are not those of the truth, and three sweeps make one repeated test.
    ours = [our_sweep(task, 100 + seed) for seed in range(3 * seeds)]
    for rule in RULES:
        results = [analyse([each], rule) for each in ours[:seeds]]
        measured.suggested[f"ours, {rule}"] = [result.suggestion for result in results]
    thrice = [analyse(ours[3 * seed : 3 * seed + 3]) for seed in range(seeds)]
    measured.suggested["ours, edge, repeats=3"] = [result.suggestion for result in thrice]
    measured.suggested[BUDGET] = [
        refine(
            analyse([ours[seed]]),
            lambda lr, seed=seed: short_training(task, lr, 100, 100 + seed),
            first=1e-3,
        ).suggestion
        for seed in range(seeds)
    ]
    _ask_peers(measured, seeds)
    for seed in range(seeds):
        result = analyse([ours[seed]])
        measured.statuses.append(result.status)
        measured.at_edge.append(result.suggestion or (result.edge and result.edge / 3))
        measured.probed.append(probe(result, _probes(task, probe_steps, 100 + seed)))
    return measured


def measure_named(name: str, device: str, *settings: int) -> Measured:
    """The same for the task of a name, its trainings on this device."""
    return measure(replace(EVERY[name], device=device), *settings)


def _ask_peers(measured: Measured, seeds: int) -> None:
    grids: dict[tuple[float, ...], list[list[float]]] = {}
    for peer in PEERS:
        runs = grids.setdefault(
            tuple(peer.lrs),
            grids.get(tuple(peer.lrs))
            or [sweep(measured.task, peer.lrs, 100 + seed) for seed in range(seeds)],
        )
        rates = np.array(peer.lrs)
        measured.suggested[peer.name] = [peer.suggest(rates, losses) for losses in runs]


def _probes(task: Task, steps: int, seed: int) -> Callable[[float], float]:
    return lambda lr: probe_loss(task, lr, steps, seed)


# -- tables ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A method on some tasks."""

    regret: float  # by loss; a seed without a suggestion has 1
    error: float  # the same by error
    given: float  # over the suggestions alone
    much: float  # share of suggestions with a regret above 0.1
    decades: float  # median distance from the best
    within: float  # share within half a decade of it
    spread: float  # over the seeds, mean over tasks
    none: int  # seeds without a suggestion


def row(tasks: Sequence[Measured], method: str) -> Row:
    """Means over tasks and seeds."""
    regrets, given, decades, spreads = [], [], [], []
    for each in tasks:
        rates = each.suggested[method]
        logs = np.log10([rate for rate in rates if rate is not None])
        regrets += [each.regret(rate) for rate in rates]
        given += [each.regret(rate) for rate in rates if rate is not None]
        decades += [*np.abs(logs - math.log10(each.best)), *[math.inf] * (len(rates) - len(logs))]
        spreads.append(float(np.ptp(logs)) if len(logs) > 1 else math.nan)
    return Row(
        regret=float(np.mean(regrets)),
        error=float(
            np.mean([each.regret(rate, True) for each in tasks for rate in each.suggested[method]])
        ),
        given=float(np.mean(given)),
        much=float(np.mean(np.array(regrets) > 0.1)),
        decades=float(np.median(decades)),
        within=float(np.mean(np.array(decades) <= 0.5)),
        spread=float(np.nanmean(spreads)),
        none=sum(rate is None for each in tasks for rate in each.suggested[method]),
    )


def print_summary(name: str, tasks: Sequence[Measured]) -> None:
    """Each task with the median suggestion of some methods, then each method over the tasks."""
    print(f"\n{name}: {sum(not each.task.hard for each in tasks)} tasks")
    print(
        f"  {'median suggestion, mean regret':<42} {'best':>8} {'ours, budget':>16} "
        f"{'ours, edge':>16} {'fastai minimum':>16} {'Lightning':>16}  status"
    )
    for each in tasks:
        print(task_line(each))
    easy = [each for each in tasks if not each.task.hard]
    if not easy:
        return
    print(
        f"\n  {'method':<26} {'regret':>7} {'error':>6} {'given':>6} {'> 0.1':>6} {'decades':>8} "
        f"{'within .5':>10} {'spread':>7} {'none':>5} {'with *':>7}"
    )
    for method in easy[0].suggested:
        found, whole = row(easy, method), row(tasks, method)
        print(
            f"  {method:<26} {found.regret:7.3f} {found.error:6.3f} {found.given:6.3f} "
            f"{found.much:6.0%} "
            f"{found.decades:8.2f} {found.within:10.0%} {found.spread:7.2f} "
            f"{found.none:5d} {whole.regret:7.3f}"
        )
    for name in UNTUNED:
        means = [
            np.mean([each.regrets_without(name, by_error) for each in easy])
            for by_error in (False, True)
        ]
        print(f"  {f'{name}, no test':<26} {means[0]:7.3f} {means[1]:6.3f}")
    for method in (BUDGET, "ours, edge", "ours, edge, repeats=3"):
        print(f"  {method}:")
        found = row(easy, method)
        verdict("mean regret, thousandths", 1000 * found.regret, 13, at_most=True)
        verdict("spread over seeds in decades", found.spread, LIMITS["spread"], at_most=True)
        verdict("share within half a decade", found.within, LIMITS["within"], at_most=False)


def task_line(measured: Measured) -> str:
    """The best rate of a task, and the median suggestion and mean regret of some methods."""
    cells = []
    for method in (BUDGET, "ours, edge", "fastai minimum", "Lightning 2.6.6"):
        rates = measured.suggested[method]
        there = [rate for rate in rates if rate is not None]
        middle = f"{np.median(there):.2g}" if there else "none"
        regret = np.mean([measured.regret(rate) for rate in rates])
        cells.append(f"{middle:>9} {regret:6.3f}")
    found = measured.statuses
    statuses = ", ".join(f"{found.count(status)} {status}" for status in dict.fromkeys(found))
    label = ("*" if measured.task.hard else " ") + measured.name
    return f"  {label:<42} {measured.best:>8.2g} " + " ".join(cells) + f"  {statuses}"


def print_probes(tasks: Sequence[Measured], steps: int) -> None:
    """Regret before and after short trainings, and that of a third of the edge."""
    print(
        f"\nProbes: one-cycles of {steps} steps at the suggestion and below. `edge` is a third of\n"
        "the edge where there is no suggestion; * as above."
    )
    print(f"  {'regret':<42} {'without':>8} {'edge':>8} {'probed':>8} {'probes':>7} {'none':>5}")
    for hard in (False, True):
        kept = [each for each in tasks if each.task.hard == hard]
        for each in kept:
            print_probe_line(("*" if hard else " ") + each.task.name, [each])
        if kept:
            print_probe_line(" mean of these", kept)


def print_probe_line(label: str, tasks: Sequence[Measured]) -> None:
    """A task, or the mean over several."""
    before = np.mean([each.regret(lr) for each in tasks for lr in each.suggested["ours, edge"]])
    edge = np.mean([each.regret(lr) for each in tasks for lr in each.at_edge])
    after = np.mean([each.regret(result.suggestion) for each in tasks for result in each.probed])
    count = np.mean([len(result.probes) for each in tasks for result in each.probed])
    none = sum(result.suggestion is None for each in tasks for result in each.probed)
    print(f"  {label:<42} {before:8.3f} {edge:8.3f} {after:8.3f} {count:7.1f} {none:5d}")


def print_refusals(seeds: int) -> None:
    """What is said of curves that hold no answer."""
    rng = np.random.default_rng(0)
    noise = {
        "normal": lambda: rng.normal(size=100),
        "Student's t, 3 degrees": lambda: rng.standard_t(3, size=100),
        "exponential": lambda: rng.exponential(size=100),
        "lognormal": lambda: rng.lognormal(size=100),
    }
    print("\nCurves without an answer: share that is given none")
    print(f"  {'constant':<42} {_refused([np.full(100, 2.3)]):8.2%}")
    print(f"  {'not a number from the first step':<42} {_refused([np.full(100, np.nan)]):8.2%}")
    for name, draw in noise.items():
        curves = [2 + 0.1 * draw() for _ in range(1000)]
        print(f"  {f'noise, {name}, 1000 curves':<42} {_refused(curves):8.2%}")
    for task in (TASKS["MLP, SGD"], TASKS["CNN + BatchNorm, AdamW"]):
        done = trained(task)
        curves = [np.array(our_sweep(done, 100 + seed).losses) for seed in range(seeds)]
        print(f"  {f'{task.name}, trained to the end':<42} {_refused(curves):8.2%}")


def _refused(curves: Sequence[npt.NDArray[np.float64]]) -> float:
    results = [analyse([Sweep(OURS, curve.tolist())]) for curve in curves]
    return float(np.mean([not result.applies for result in results]))


def runs(task: Task) -> bool:
    """Whether the packages and files of a task are there."""
    try:
        task.data()
        task.model()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        print(f"{task.name}: skipped, {error}")
        return False
    return True


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="of each training of the truth")
    parser.add_argument("--truth-seeds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5, help="sweeps of each method")
    parser.add_argument("--probe-steps", type=int, default=50)
    parser.add_argument("--only", default="", help="tasks whose name holds this")
    parser.add_argument(
        "--tasks", nargs="+", metavar="NAME", choices=[*TASKS, *STUDY], default=list(TASKS),
        help=f"of these, or of the 32 of the study: {', '.join(STUDY)}",
    )  # fmt: skip
    parser.add_argument("--photos", type=Path, help="photographs, if not scikit-image's folder")
    parser.add_argument("--cells", type=Path, help="blood cells: Annotations/ and JPEGImages/")
    parser.add_argument("--quick", action="store_true", help="one truth seed, two sweeps")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with one task")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of trainings")
    args = parser.parse_args()
    torch.set_num_threads(1)
    truth_seeds, seeds = (1, 2) if args.quick else (args.truth_seeds, args.seeds)
    start = time.perf_counter()
    prepare = functools.partial(use_folders, args.photos, args.cells)
    prepare()
    names = [name for name in args.tasks if args.only in name and runs(EVERY[name])]
    jobs = [(name, args.device, args.steps, truth_seeds, seeds, args.probe_steps) for name in names]
    done: dict[str, Measured] = {}
    for measured in spread(measure_named, jobs, args.workers, prepare):
        done[measured.name] = measured
        print(f"{task_line(measured)}, {(time.perf_counter() - start) / 60:.1f} min", flush=True)
    tasks = [done[name] for name in names]
    print(__doc__)
    print(f"{about('scikit-learn', 'numpy')}")
    print(f"truth: {args.steps} steps, {truth_seeds} seeds; {seeds} sweeps of each method")
    study = [each for each in tasks if each.task.name in STUDY]
    others = [each for each in tasks if each.task.name in TASKS]
    apart = [each for each in others if each.task.held_out]
    for title, some in {
        "Tasks the rules were made on": [each for each in others if not each.task.held_out],
        "Tasks kept apart, images": [each for each in apart if each.of_images],
        "Tasks kept apart, small tables": [each for each in apart if not each.of_images],
        "Tasks kept apart, all": apart,
        "Tasks of the study, looked at": [each for each in study if not each.task.held_out],
        "Tasks of the study, unseen at first": [each for each in study if each.task.held_out],
    }.items():
        if some:
            print_summary(title, some)
    print_probes(tasks, args.probe_steps)
    print_refusals(seeds)
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
