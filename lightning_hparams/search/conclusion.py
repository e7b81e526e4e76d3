"""What follows the last trial: repetitions of the best on the test split, and the report."""

from __future__ import annotations

import math
import shlex
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial

from ..configuration import Configuration, write_yaml
from .folders import trial_record, write_text
from .process_state import as_in_a_new_process
from .range_tests import with_rate
from .report import write_report
from .seeds import root_number
from .stopping import Stop
from .table import trials_of
from .tracking import known_mlflow_study
from .training import exact, train
from .winner import (
    Repeated,
    best_trials,
    keep_best_checkpoints,
    metric_in_test,
    repeat_best,
    repeat_seeds,
)

if TYPE_CHECKING:
    from .study import SearchStudy

__all__ = ["conclude", "repeat"]

_BEST = "best.yaml"
_QUIET = {"enable_progress_bar": False, "enable_model_summary": False}


def repeat(study: SearchStudy, base: Configuration) -> tuple[list[Repeated], bool]:
    """Train the best trials with other seeds, and test them, if the settings ask for it.

    Returns:
        The trials, best mean first, and whether that was not interrupted.
    """
    settings = study.settings
    if settings.repeat_best is None:
        return [], True
    stop = Stop()
    with stop.signals():
        try:
            found = repeat_best(
                Path(settings.folder),
                study.get_trials(deepcopy=False),
                settings.mode,
                count=settings.repeat_best["trials"],
                seeds=repeat_seeds(settings.seed, settings.repeat_best["seeds"]),
                run=lambda trial, seed: _score(study, base, trial, seed, stop),
            )
        except SystemExit:
            return [], False
    return found, True


def _score(
    study: SearchStudy, base: Configuration, trial: FrozenTrial, seed: int, stop: Stop
) -> float:
    """Train a trial with a seed, and return the metric of its best checkpoint on the test split."""
    settings = study.settings
    params = settings.space.suggest(trial)
    configuration = exact(with_rate(base, params, settings)[0], seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        train(
            configuration,
            folder,
            metric=settings.metric,
            mode=settings.mode,
            report=lambda step, value: False,
            stop=stop,
            threads=trial.user_attrs.get("threads"),
        )
        best = folder / "best.ckpt"
        if not best.is_file():  # it diverged
            return math.nan
        with as_in_a_new_process(trial.user_attrs.get("threads")):
            # The checkpoint has states of the trial's callbacks, which a test does not need.
            warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
            built = configuration.build(root=folder, logger=False, trainer=_QUIET, stage="test")
            built.trainer.test(built.module, datamodule=built.data, ckpt_path=best, verbose=False)
            logged = built.trainer.callback_metrics
    name = metric_in_test(settings.metric, logged)
    return math.nan if name is None else float(logged[name])


def conclude(
    study: SearchStudy, base: Configuration, repeated: Sequence[Repeated] = ()
) -> Path | None:
    """Write the best configuration and the report, and end the study's run in MLflow.

    What the folder of the best trial has lost is left out.

    Returns:
        The report; None if plotly, which draws it, is not installed.
    """
    settings = study.settings
    folder, trials = Path(settings.folder), study.get_trials(deepcopy=False)
    best = best_trials(trials, settings.mode, 1)
    if best:
        with suppress(FileNotFoundError, ValueError):  # removed or damaged
            record = trial_record(folder, root_number(best[0]))
            write_text(folder / _BEST, write_yaml(record["configuration"]))
    with study.database.transaction():  # as after each trial, if its link was removed since
        keep_best_checkpoints(folder, trials, settings.mode, settings.keep)
    report = None
    if find_spec("plotly") is not None:
        report = write_report(
            folder / "report.html",
            trials,
            metric=settings.metric,
            mode=settings.mode,
            name=settings.name,
            total=trials_of(settings),
            commands=_commands(folder, best),
            repeated=repeated,
        )
    if (mlflow := known_mlflow_study(study, base)) is not None:
        mlflow.end(best[0] if best else None, report)
    return report


def _commands(folder: Path, best: Sequence[FrozenTrial]) -> list[tuple[str, str]]:
    if not best:
        return []
    number = root_number(best[0])
    replay = shlex.join(["lightning-hparams", "replay", str(folder / "trials" / str(number))])
    fit = shlex.join(["lightning-hparams", "fit", "--config", str(folder / _BEST)])
    return [
        (f"Repeat trial {number}, the best one, and compare:", replay),
        ("Train with its configuration:", fit),
    ]
