"""What it costs to keep a trial: three parameters and eight reports, in SQLite.

Plain Optuna commits every value by itself, in SQLite's default mode, where each commit waits for
the disk twice. Ours writes ahead, and creates a trial with its values in one transaction. Both run
the same sampler and pruner, in turn.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
from _timing import about, interleaved_ms, print_ratios, verdict
from sqlalchemy import event

from lightning_hparams.search import (
    Choice,
    Float,
    Int,
    SearchSettings,
    Space,
    make_pruner,
    make_sampler,
    next_trial,
    open_study,
)

SPACE = Space({"a.a": Float(1e-4, 1, log=True), "a.b": Int(1, 9), "a.c": Choice(["x", "y"])})
EPOCHS = range(1, 9)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--trials", type=int, default=10, help="trials in a round")
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore")
    print(__doc__)
    print(f"  {about('optuna', 'sqlalchemy')}, median of {arguments.rounds}, a trial each")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        settings = SearchSettings(
            metric="loss/val", mode="min", space=SPACE, trials=10**6, sampler="random",
            pruner="median", folder=Path(folder),
        )  # fmt: skip
        study, commits = ours(settings)
        sides = {
            "plain Optuna, SQLite": times(arguments.trials, plain(settings, Path(folder))),
            "ours, SQLite that writes ahead": times(arguments.trials, study),
        }
        medians = interleaved_ms(sides, arguments.rounds)
        medians = {name: median / arguments.trials for name, median in medians.items()}
        print_ratios(medians, "plain Optuna, SQLite")
        done = (arguments.rounds + 1) * arguments.trials
        plain_ms, ours_ms = medians.values()
        verdict("times as fast", plain_ms / ours_ms, 2.5, at_most=False)
        verdict("commits a trial", len(commits) / done, 12, at_most=True)


def times(count: int, run: Callable[[], object]) -> Callable[[], None]:
    """Several trials in a round."""

    def several() -> None:
        for _ in range(count):
            run()

    return several


def plain(settings: SearchSettings, folder: Path) -> Callable[[], object]:
    """A trial as Optuna's own loop runs it."""
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'plain.db'}",
        sampler=make_sampler(settings.sampler, SPACE, seed=0),
        pruner=make_pruner(settings.pruner),
    )

    def objective(trial: optuna.Trial) -> float:
        SPACE.suggest(trial)
        return reported(trial)

    return lambda: study.optimize(objective, n_trials=1)


def ours(settings: SearchSettings) -> tuple[Callable[[], object], list[int]]:
    """A trial as a worker runs it, and a list that grows by one with each writing commit."""
    study = open_study(settings)
    commits: list[int] = []
    writes: list[str] = []

    def note_write(connection: object, cursor: object, statement: str, *others: object) -> None:
        if statement.startswith(("INSERT", "UPDATE")):
            writes.append(statement)

    def note_commit(connection: object) -> None:
        if writes:
            commits.append(len(writes))
            writes.clear()

    event.listen(study.database.engine, "before_cursor_execute", note_write)
    event.listen(study.database.engine, "commit", note_commit)

    def run() -> None:
        asked = next_trial(study)
        assert asked is not None
        study.tell(asked.trial, reported(asked.trial))

    return run, commits


def reported(trial: optuna.Trial) -> float:
    """Report as after each epoch, and ask the pruner."""
    value = 1.0
    for epoch in EPOCHS:
        value = 1 / epoch + trial.number % 7 / 100
        trial.report(value, epoch)
        trial.should_prune()
    return value


if __name__ == "__main__":
    main()
