"""One trial, from its parameters to its result in the database and in its folder."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from ..configuration import Configuration
from ..json_text import Json
from ..provenance import plain, redact, take
from .claims import current, finish, hand_back, owned
from .failures import Failure, failure_of
from .folders import trial_folder, write_json
from .owners import Owner
from .range_tests import with_rate
from .seeds import root_number, training_seed
from .stopping import Stop
from .study import load_study
from .tracking import MLflowStudy, TrialIdentity, tracked
from .training import exact, train
from .winner import keep_best_checkpoints

if TYPE_CHECKING:
    from .study import Asked, SearchStudy

__all__ = ["TrialRun", "run_trial"]

_LEARN_FROM_COMPLETE = ("gp", "cmaes")  # samplers that pay no attention to pruned trials


# Entries of a manifest that are of a run, or that the record has itself.
_OF_RUN = ("config", "created", "status", "seeds", "format")


class Report:
    """Stores values of the metric in the database, and asks the pruner.

    It can be sent to another process, where it opens the study anew.

    Args:
        study: The study.
        trial: The trial as this worker has claimed it.
        reported: Steps with a value, of a trial that goes on.
        me: The worker that runs it.
    """

    def __init__(
        self, study: SearchStudy, trial: optuna.Trial, reported: Iterable[int], me: Owner
    ) -> None:
        self._address = study.settings.storage_url, study.study_name
        self._number, self._reported, self._me = trial.number, set(reported), me
        self._opened: tuple[int, SearchStudy, optuna.Trial] | None = os.getpid(), study, trial

    def __call__(self, step: int, value: float) -> bool:
        """Store a value, and return whether to stop."""
        study, trial = self._live()
        with study.database.transaction():
            if owned(study, self._number, self._me) is None:
                return True
            if step not in self._reported:
                trial.report(value, step)
        self._reported.add(step)
        return bool(trial.should_prune())

    def _live(self) -> tuple[SearchStudy, optuna.Trial]:
        if self._opened is None or self._opened[0] != os.getpid():
            study = load_study(*self._address)
            trial = optuna.Trial(study, study.database_id(current(study, self._number)))
            self._opened = os.getpid(), study, trial
        return self._opened[1:]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}


@dataclass
class TrialRun:
    """A trial that a worker runs.

    Args:
        study: The study.
        asked: The trial with its parameters.
        me: The worker.
        base: The configuration that the search varies.
        stop: Whether the worker is asked to stop.
        mlflow: The study in MLflow, if the configuration logs there.
        git: What ``provenance.code()`` returned when the worker began.
    """

    study: SearchStudy
    asked: Asked
    me: Owner
    base: Configuration
    stop: Stop
    mlflow: MLflowStudy | None = None
    git: Json | EllipsisType = ...
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        trial, settings = current(self.study, self.asked.trial.number), self.study.settings
        root, self.reported = root_number(trial), tuple(trial.intermediate_values)
        self.folder = trial_folder(Path(settings.folder), root)
        self.threads = int(trial.user_attrs.get("threads") or torch.get_num_threads())
        self.record = {
            "study": settings.name,
            "number": trial.number,
            "root": root,
            "params": dict(self.asked.params),
            "origin": trial.user_attrs.get("origin"),
            "seed": training_seed(settings.seed, root),
            "metric": settings.metric,
            "mode": settings.mode,
            "state": "RUNNING",
            "value": None,
            "reports": {},
            "kills": trial.user_attrs.get("kills", 0),
            "threads": self.threads,
            "started": time.time(),
            "worker": self.me.to_mapping(),
            "versions": _environment(self.git),
        }

    def configuration(self) -> Configuration:
        """Return the configuration with the values of the trial, and keep it in the record."""
        made, rate = with_rate(self.base, self.asked.params, self.study.settings)
        made = exact(made, self.record["seed"])
        self.record |= {"configuration": redact(made.data, os.environ), "lr": vars(rate)}
        self.write()
        return made

    def identity(self) -> TrialIdentity:
        """Return what the trial is called in loggers."""
        record = self.record
        rate = record.get("lr") or {}
        return TrialIdentity(
            study=record["study"],
            number=record["root"],
            retry=record["kills"],
            seed=record["seed"],
            params=record["params"],
            lr=None if rate.get("suggestion") is None else rate["lr"],
        )

    def last_report(self) -> float | None:
        """Return the last value of the metric; None without any."""
        reports: dict[str, float] = self.record["reports"]
        return reports[max(reports, key=int)] if reports else None

    def write(self, **changes: object) -> None:
        """Write ``trial.json``."""
        self.record |= changes
        write_json(
            self.folder / "trial.json", {key: plain(one) for key, one in self.record.items()}
        )

    def finish(self, state: TrialState, value: float | None, **attributes: object) -> str:
        """Store the result, first in the folder and then in the database."""
        with self.study.database.transaction():
            if owned(self.study, self.record["number"], self.me) is None:
                return "lost"
        kept = {name: one for name, one in attributes.items() if one not in (None, "")}
        if (rate := self.record.get("lr") or {}).get("suggestion") is not None:
            # The rate that the trial was trained with, which is not the sampled value.
            kept["lr"] = rate["lr"]
        try:
            self.write(state=state.name, value=value, finished=time.time(), **attributes)
        except OSError:
            if "failure" not in kept:  # or the database would not learn why it failed
                raise
        value = value if state == TrialState.COMPLETE else None
        if not finish(self.study, self.record["number"], self.me, state, value, kept):
            return "lost"
        settings = self.study.settings
        if self.mlflow is not None:
            self.mlflow.end_trial(self.record["root"], state.name, value)
        with self.study.database.transaction():  # one worker at a time
            trials = self.study.get_trials(deepcopy=False)
            keep_best_checkpoints(Path(settings.folder), trials, settings.mode, settings.keep)
        return state.name.lower()


def run_trial(run: TrialRun) -> str:
    """Run a trial; whatever happens in it, the worker goes on.

    Args:
        run: The trial.

    Returns:
        ``complete``, ``pruned``, ``fail``, ``waiting`` (it goes on later), or ``lost`` (another
        worker has it).
    """
    settings, number = run.study.settings, run.record["number"]
    try:
        configuration, tracking = tracked(
            run.configuration(), run.folder, run.identity(), settings, run.mlflow, run.git
        )
        result = train(
            configuration,
            run.folder,
            metric=settings.metric,
            mode=settings.mode,
            report=Report(run.study, run.asked.trial, run.reported, run.me),
            stop=run.stop,
            timeout=settings.trial_timeout,
            threads=run.threads,
            loggers=tracking.loggers,
            callbacks=tracking.callbacks,
        )
    except (SystemExit, KeyboardInterrupt):
        run.write(state="WAITING")
        return "waiting" if hand_back(run.study, number, run.me) else "lost"
    except Exception as error:
        return _failed(run, failure_of(error))
    return _ended(run, result)


def _ended(run: TrialRun, result: Mapping[str, Any]) -> str:
    settings = run.study.settings
    outcome, reports = str(result["outcome"]), dict(result["reports"])
    kept = {name: result[name] for name in ("best_step", "weights", "seconds")}
    kept["outcome"] = outcome
    files = {"reports": reports, "best": result["best"], "global_step": result["global_step"]}
    run.record |= {**files, "timed_out_at": result["timed_out_at"]}
    if outcome == "diverged":
        return _teach(run, kept)
    if outcome:
        return run.finish(TrialState.PRUNED, run.last_report(), **kept)
    if result["best"] is None:
        message = f"`{settings.metric}` was never logged; see the metrics that the module logs"
        return _failed(run, Failure("MetricNotLogged", [message]))
    return run.finish(TrialState.COMPLETE, float(result["best"]), **kept)


def _failed(run: TrialRun, failure: Failure) -> str:
    attributes = {"failure": failure.to_mapping(), "outcome": "failed"}
    if run.study.settings.on_error == "prune":
        return _teach(run, attributes)
    return run.finish(TrialState.FAIL, None, **attributes)


def _teach(run: TrialRun, attributes: Mapping[str, object]) -> str:
    """Finish a trial without a value so that the sampler keeps away from its parameters.

    TPE takes a pruned trial for worse than all complete ones; GP and CMA-ES only see complete ones,
    so for them the value is the worst one so far.
    """
    if run.study.settings.sampler["name"] in _LEARN_FROM_COMPLETE:
        worst = _worst(run.study.get_trials(deepcopy=False), run.study.settings.mode)
        if worst is not None:
            return run.finish(TrialState.COMPLETE, worst, **attributes)
    return run.finish(TrialState.PRUNED, run.last_report(), **attributes)


def _worst(trials: Sequence[FrozenTrial], mode: str) -> float | None:
    values = [
        one.value for one in trials if one.state == TrialState.COMPLETE and one.value is not None
    ]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    return max(finite) if mode == "min" else min(finite)


def _environment(git: Json | EllipsisType) -> dict[str, object]:
    """Code, packages and hardware."""
    return {name: value for name, value in take({}, git=git).items() if name not in _OF_RUN}
