"""The command search."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from ..checks import counted
from ..configuration import Configuration, ConfigurationError
from ..search import (
    Results,
    Search,
    SearchSettings,
    TrialTable,
    fewer_trials,
    repeated_text,
    root_number,
    status,
    unused_test,
    without_messages,
)
from .arguments import command_parser, parsed
from .files import reported
from .program import INTERRUPTED, PROGRAM

__all__ = ["parser", "run"]

NOTHING_FOUND = 3
# Options that describe the runs, which LightningCLI's parser reads.
_OF_RUNS = re.compile(
    r"(-c|--(config|seed_everything|(trainer|model|data|optimizer|lr_scheduler)([.+].*)?))(=.*)?"
)
# Settings of a search that may be given as options too.
_SETTINGS: dict[str, tuple[type, str]] = {
    "name": (str, "Name of the study."),
    "folder": (str, "Folder of the study; studies/NAME if it is not given."),
    "storage": (str, "Address of a database, such as postgresql+psycopg://user@host/name."),
    "seed": (int, "Seed that those of samplers and trainings are derived from."),
    "trials": (int, "How many trials to run."),
    "wall_time": (str, "When to stop: seconds, or a text such as 8h or 1h 30m."),
    "trial_timeout": (str, "How long one trial may take, in the same form."),
    "patience": (int, "How many trials without improvement end the search."),
    "workers": (int, "How many trials run at the same time."),
}


def parser() -> ArgumentParser:
    """Return the parser of the command."""
    made = command_parser(
        "search",
        "Search hyperparameters of a configuration. The same command continues a search that "
        "was interrupted. All options of fit that describe a run, such as --model.lr=0.1, are "
        f"taken too. The exit code is {NOTHING_FOUND} if no trial was completed, and "
        f"{INTERRUPTED} after Ctrl-C.",
    )
    made.add_argument("--config", "-c", help="Configuration of the runs, as of fit; more than one.")
    made.add_argument(
        "--sweep",
        help="YAML file of the search: metric, mode, space, sampler, pruner, and how long. Options "
        "replace what it says.",
    )
    for name, (kind, text) in _SETTINGS.items():
        made.add_argument(f"--{name}", type=kind, help=text)
    made.add_argument(
        "--status",
        action="store_true",
        help="Only show where the search stands, from any process and machine.",
    )
    made.add_argument(
        "--launcher",
        choices=["processes", "ray", "none"],
        help="Who runs the trials: processes of this machine; a Ray cluster; or none, to create "
        "the study and print the command that each worker under another scheduler is to run.",
    )
    return made


def run(command: str, args: Sequence[str]) -> int:
    """Search, or show where a search stands."""
    of_runs, own = split(args)
    given = parsed(parser(), own)
    if given.status:
        place, name = _place(given)
        print(status(place, name))
        return 0
    settings = _settings(given)
    if not of_runs:
        raise ConfigurationError("a search needs a configuration of the runs: --config fit.yaml")
    search = Search.of(Configuration.from_args(of_runs), settings)
    for note in (unused_test(search.configuration, settings), fewer_trials(settings)):
        if note:
            print(note)
    with without_messages(), TrialTable.of(settings) as table:
        results = search.run(watch=table.update)
    if settings.launcher == "none":
        # The folder knows the database, whose address may have a password.
        print(f"study: {settings.folder}")
        print(f"worker: python -m lightning_hparams.search.worker {settings.folder}")
        return 0
    return _reported(results)


def split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into those that describe the runs, and those of the search.

    >>> split(["-c", "fit.yaml", "--trials=3", "--model.lr", "0.1", "--status"])
    (['-c', 'fit.yaml', '--model.lr', '0.1'], ['--trials=3', '--status'])
    """
    of_runs: list[str] = []
    own: list[str] = []
    left = iter(args)
    for option in left:
        if not _OF_RUNS.fullmatch(option):
            own.append(option)
            continue
        of_runs.append(option)
        if "=" not in option and (value := next(left, None)) is not None:
            of_runs.append(value)
    return of_runs, own


def _settings(given: Namespace) -> SearchSettings:
    """The settings in the file, replaced by those among the options."""
    if given.sweep is None:
        raise ConfigurationError(
            "a search needs a file with its metric and space: --sweep sweep.yaml"
        )
    names = (*_SETTINGS, "launcher")
    options = {name: given[name] for name in names if given[name] is not None}
    return SearchSettings.from_yaml(given.sweep, **options)


def _place(given: Namespace) -> tuple[str | Path, str | None]:
    """Where a study is, and its name in a database."""
    if given.storage is not None:
        return given.storage, given.name
    if given.folder is not None:
        return given.folder, None
    if given.name is not None:
        return Path("studies") / given.name, None
    if given.sweep is None:
        raise ConfigurationError("--status needs a study: --folder studies/NAME")
    settings = _settings(given)
    if settings.storage is not None:
        return settings.storage, settings.name
    return settings.folder, None


def _reported(results: Results) -> int:
    """Print what was found, and where it is."""
    folder, best = results.folder, results.best
    print(f"study: {folder}")
    if results.ended:
        print(f"ended: {results.ended}")
    if best is None:
        failed = any("failure" in trial.user_attrs for trial in results.trials)
        where = f"; the lines of errors are in {folder}/trials/*/trial.json" if failed else ""
        late = sum(trial.user_attrs.get("outcome") == "timeout" for trial in results.trials)
        where += f"; {counted(late, 'trial')} took longer than `trial_timeout`" if late else ""
        print(f"no trial was completed{where}", file=sys.stderr)
        return NOTHING_FOUND if results.finished else _interrupted()
    print(f"best trial: {best.number}, {results.study.settings.metric} {best.value:.6g}")
    for key, value in best.params.items():
        print(f"  {key}: {value}")
    if "lr" in best.user_attrs:  # from a range test, which a value above may multiply
        print(f"  learning rate that it was trained with: {best.user_attrs['lr']:.6g}")
    if results.repeated:
        print(repeated_text(results.repeated, results.study.settings.mode))
    print(f"repeat it: {PROGRAM} replay {folder / 'trials' / str(root_number(best))}")
    if not results.finished:
        return _interrupted()
    checkpoint = folder / "best.ckpt"
    return reported([("best checkpoint", checkpoint), ("report", results.report)])


def _interrupted() -> int:
    print("interrupted; the same command goes on")
    return INTERRUPTED
