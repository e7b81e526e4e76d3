"""What a search costs beside its trainings, and what a second worker saves.

Overhead: trials of about two seconds (80 steps that wait, as for a GPU) with everything on, that is
checkpoints, pruning, TensorBoard, manifest and exact resume, beside plain Optuna with SQLite around
a bare Trainer, in turns. Workers: trials that keep a core busy, by one and by two workers. Ray Tune
runs the trials of two seconds too, if it is installed.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import statistics
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from _search_net import STEPS, Net
from _timing import QUIET, about, record, verdict
from lightning import Trainer

from lightning_hparams import Float, Search
from lightning_hparams.search import Results

EPOCHS = 8
RANGES = {"lr": (1e-3, 0.5), "momentum": (0.0, 0.95), "dropout": (0.0, 0.5)}
SPACE = {f"model.init_args.{name}": Float(*ends) for name, ends in RANGES.items()}


def configuration(**arguments: object) -> dict[str, object]:
    """A configuration of the network."""
    return {
        "model": {"class_path": "_search_net.Net", "init_args": arguments},
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": EPOCHS,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": STEPS,
            "enable_model_summary": False,
        },
    }


def ours(folder: Path, trials: int, pause: float) -> list[float]:
    """Seconds of each trial with everything on, from its creation to the next one."""
    search = Search(
        configuration(pause=pause), SPACE, "val_loss", "min", trials=trials, folder=folder,
        sampler="random", pruner={"name": "median", "startup_trials": 10**6},
    )  # fmt: skip
    return _seconds(search.run(in_this_process=True).study)


def plain(folder: Path, trials: int, pause: float) -> list[float]:
    """Seconds of each trial of plain Optuna around a bare Trainer."""
    study = optuna.create_study(
        storage=f"sqlite:///{folder}.db", sampler=optuna.samplers.RandomSampler(0)
    )
    study.optimize(lambda trial: _bare(trial, pause), n_trials=trials)
    return _seconds(study)


def _bare(trial: optuna.Trial, pause: float) -> float:
    values = {name: trial.suggest_float(name, *ends) for name, ends in RANGES.items()}
    return _fit({**values, "pause": pause})


def _fit(values: dict[str, Any]) -> float:
    trainer = Trainer(**{**QUIET, "max_epochs": EPOCHS, "num_sanity_val_steps": 0})
    trainer.fit(Net(**values))
    return float(trainer.callback_metrics["val_loss"])


def _seconds(study: optuna.Study) -> list[float]:
    """Seconds from the creation of each trial to that of the next, or its end."""
    trials = study.trials
    starts = [trial.datetime_start for trial in trials] + [trials[-1].datetime_complete]
    return [
        (end - start).total_seconds()
        for start, end in itertools.pairwise(starts)
        if start is not None and end is not None
    ]


def overhead(folder: Path, rounds: int, trials: int, pause: float) -> None:
    """Print the ratio of both, in turns."""
    times: dict[str, list[float]] = {"plain Optuna, bare Trainer": [], "ours, all on": []}
    for turn in range(rounds):
        times["plain Optuna, bare Trainer"] += plain(folder / f"plain{turn}", trials, pause)
        times["ours, all on"] += ours(folder / f"ours{turn}", trials, pause)[1:]  # warm
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, median in medians.items():
        print(f"  {name:<40} {median:6.2f} s a trial")
    ratio = medians["ours, all on"] / medians["plain Optuna, bare Trainer"]
    verdict("overhead of everything, trials of 2 s", ratio, 1.2, at_most=True)


def workers(folder: Path, trials: int, repeats: int) -> None:
    """Print how much faster two workers are than one."""
    seconds = {}
    for count in (1, 2):
        search = Search(
            configuration(repeats=repeats), SPACE, "val_loss", "min", trials=trials,
            folder=folder / f"workers{count}", sampler="random", workers=count,
        )  # fmt: skip
        results: Results = search.run(watch=lambda trials: None)
        begun = min(trial.datetime_start for trial in results.trials)
        ended = max(trial.datetime_complete for trial in results.trials)
        seconds[count] = (ended - begun).total_seconds()
        print(f"  {count} worker{'s' if count > 1 else ''}: {seconds[count]:.1f} s")
    verdict("two workers beside one", seconds[1] / seconds[2], 1.6, at_most=False)


def ray_tune(folder: Path, trials: int, pause: float) -> None:
    """Print the seconds a trial of Ray Tune, one at a time."""
    if find_spec("ray") is None:
        print("  Ray Tune is not installed")
        return
    import ray
    from ray import tune

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=40)
    space = {name: tune.uniform(*ends) for name, ends in RANGES.items()}

    def objective(config: dict[str, float]) -> None:
        tune.report({"val_loss": _fit({**config, "pause": pause})})

    start = time.perf_counter()
    tune.Tuner(
        objective,
        param_space=space,
        tune_config=tune.TuneConfig(metric="val_loss", mode="min", num_samples=trials),
        run_config=tune.RunConfig(storage_path=str(folder.absolute()), verbose=0),
    ).fit()
    each = (time.perf_counter() - start) / trials
    ray.shutdown()
    print(f"  {'Ray Tune, bare Trainer':<40} {each:6.2f} s a trial")
    record("Ray Tune, bare Trainer, trials of 2 s", each, "s a trial")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter trials")
    parser.add_argument("--no-ray", action="store_true")
    options = parser.parse_args()
    rounds, trials = (1, 4) if options.quick else (5, 6)
    pause = 2.0 / (EPOCHS * STEPS)
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("lightning").setLevel(logging.ERROR)
    print(__doc__)
    print(f"  {about('optuna', 'lightning')}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        overhead(folder, rounds, trials, pause)
        workers(folder, 4 if options.quick else 12, 50 if options.quick else 200)
        if not options.no_ray:
            ray_tune(folder / "ray", trials, pause)


if __name__ == "__main__":
    main()
