"""How trials appear in TensorBoard and MLflow: one run each, with the parameters as columns."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from ..callbacks import RunRecorder
from ..configuration import class_name
from ..json_text import Json
from ..notices import warn_user
from ..provenance import take
from ..record import Row
from ..sinks import Domain, Scalar, mlflow_logger
from .names import short_names
from .params import Choice
from .space import Space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from ..configuration import Configuration
    from .settings import SearchSettings
    from .study import SearchStudy

__all__ = [
    "MLflowStudy",
    "Tracking",
    "TrialIdentity",
    "TrialRecorder",
    "domains_of",
    "known_mlflow_study",
    "mlflow_study",
    "track",
    "tracked",
    "trial_callbacks",
    "trial_loggers",
]

_FIRST = ("study", "trial", "retry")  # columns beside the parameters
_RATE = "lr"
_PARENT = "mlflow.parentRunId"
_RUN = "mlflow"  # attribute of the study: ID of its run
_MLFLOW = ("MLFlowLogger", "mlflow_logger")


@dataclass(frozen=True)
class TrialIdentity:
    """What a run of a trial is called.

    Attributes:
        study: Name of the study.
        number: Number of the trial, which its retries share.
        retry: How often it has been run again.
        seed: Seed of the training.
        params: Its parameters by key.
        lr: The learning rate that it is trained with, if a range test decides about it.
    """

    study: str
    number: int
    retry: int
    seed: int
    params: Mapping[str, object] = field(default_factory=dict)
    lr: float | None = None

    def columns(self, space: Space) -> dict[str, Scalar]:
        """Return study, trial, retry and the parameters by short name, as loggers take them."""
        names = _column_names(space, self.lr is not None)
        found: dict[str, Scalar] = {
            names[key]: _scalar(value) for key, value in self.params.items() if value is not None
        }
        if self.lr is not None:
            found[_RATE] = self.lr
        return {**found, "study": self.study, "trial": self.number, "retry": self.retry}

    def tags(self) -> dict[str, str]:
        """Return what MLflow shows and searches as tags."""
        values = {
            "study": self.study,
            "trial": self.number,
            "retry": self.retry,
            "seed": self.seed,
            "state": "RUNNING",
        }
        if self.retry:
            values["retry_of"] = self.number
        return {name: str(value) for name, value in values.items()}


def _column_names(space: Space, factor: bool) -> dict[str, str]:
    """Short names, in which a learning rate that is a factor is called one."""
    renamed = {_RATE: f"{_RATE}_factor"} if factor else {}
    return {key: renamed.get(name, name) for key, name in short_names(space).items()}


def domains_of(space: Space, *, factor: bool = False) -> dict[str, Domain]:
    """Return the values that each parameter may take, by short name.

    Args:
        space: The space.
        factor: Whether the learning rate in it is a factor on that of a range test.

    >>> from .space import Float
    >>> domains_of(Space({"model.init_args.lr": Float(0.1, 1), "data.init_args.kind": Choice([1])}))
    {'lr': (0.1, 1.0), 'kind': [1]}
    """
    names = _column_names(space, factor)
    found: dict[str, Domain] = {}
    for key, param in space.items():
        if isinstance(param, Choice):
            values = [_scalar(value) for value in param.values if value is not None]
            if values:
                found[names[key]] = values
        else:
            found[names[key]] = (param.low, param.high)
    return found


class _TrialRow(Row):
    """A condition may leave a parameter out of a trial, but not out of the table."""

    def check_domains(self) -> None:
        """All domains are of the space."""


class TrialRecorder(RunRecorder):
    """The :class:`~lightning_hparams.RunRecorder` of a trial.

    The row has a column for each parameter of the space, with its range or choices, also where a
    condition leaves it out of this trial, and one each for study, trial and retry; and the last and
    the best value of the metric. Other hyperparameters are the same in all trials, and in the
    manifest.

    Args:
        identity: The trial.
        space: What the search varies.
        metric: Name of the metric.
        mode: Whether lower or higher values are better.
        git: What ``provenance.code()`` returned when the worker began.
        options: Further arguments of the RunRecorder.
    """

    def __init__(
        self,
        identity: TrialIdentity,
        space: Space,
        metric: str,
        mode: Literal["min", "max"],
        git: Json | EllipsisType = ...,
        **options: Any,
    ) -> None:
        metrics = options.pop("metrics", "auto")
        more = {} if metrics == "auto" else metrics
        if not isinstance(more, Mapping):
            more = dict.fromkeys(more)
        super().__init__(
            metrics={**{name: way for name, way in more.items() if way}, metric: mode},
            domains=domains_of(space, factor=identity.lr is not None),
            **options,
        )
        self.identity = identity
        self._facts = partial(take, git=git)
        self._row = _TrialRow(self.domains)
        more_columns = {name: _scalar(value) for name, value in self.hparams.items()}
        self._columns = {**identity.columns(space), **more_columns}

    def _hyperparameters(
        self, trainer: Trainer, module: LightningModule, *, hidden: bool = True
    ) -> dict[str, Scalar]:
        return dict(self._columns)

    @property
    def state_key(self) -> str:
        """That of the RunRecorder, for which a checkpoint may be continued by either."""
        return "RunRecorder"


def trial_callbacks(
    configured: Mapping[str, Any] | None,
    identity: TrialIdentity,
    space: Space,
    metric: str,
    mode: Literal["min", "max"],
    git: Json | EllipsisType = ...,
) -> list[Callback]:
    """Return the callbacks that record a trial.

    Args:
        configured: Arguments of a RunRecorder in the configuration, which this one replaces; None
            if it has none.
        identity: The trial.
        space: What the search varies.
        metric: Name of the metric.
        mode: Whether lower or higher values are better.
        git: What ``provenance.code()`` returned when the worker began.
    """
    options = {
        name: value
        for name, value in (configured or {}).items()
        if name in ("metrics", "hparams") and value is not None
    }
    return [TrialRecorder(identity, space, metric, mode, git, **options)]


class Tracking(NamedTuple):
    """Loggers and callbacks that record a trial."""

    loggers: list[Logger]
    callbacks: list[Callback]


def tracked(
    configuration: Configuration,
    folder: Path,
    identity: TrialIdentity,
    settings: SearchSettings,
    mlflow: MLflowStudy | None = None,
    git: Json | EllipsisType = ...,
) -> tuple[Configuration, Tracking]:
    """Return a configuration without the recorder and loggers of its own, and those of the trial.

    Args:
        configuration: That of the trial.
        folder: Folder of the trial.
        identity: The trial.
        settings: What the search does.
        mlflow: The study in MLflow, if the configuration logs there.
        git: What ``provenance.code()`` returned when the worker began.
    """
    trainer = configuration.given.get("trainer") or {}
    callbacks = trainer.get("callbacks") or []
    recorders = [one for one in callbacks if _class_name(one) == "RunRecorder"]
    loggers = trial_loggers(trainer.get("logger"), folder, identity, mlflow)
    recording: list[Callback] = []
    if loggers or recorders:
        options = recorders[0].get("init_args") if recorders else None
        recording = trial_callbacks(
            options, identity, settings.space, settings.metric, settings.mode, git
        )
    if recorders:
        kept = [one for one in callbacks if one not in recorders]
        configuration = configuration.with_values({"trainer.callbacks": kept})
    return configuration, Tracking(loggers, recording)


def trial_loggers(
    configured: object,
    folder: Path,
    identity: TrialIdentity,
    mlflow: MLflowStudy | None = None,
) -> list[Logger]:
    """Return the loggers of a trial: its folder is its run, in TensorBoard and elsewhere.

    Args:
        configured: ``trainer.logger`` of the configuration: True, False, None, or one or several
            mappings with ``class_path`` and ``init_args``.
        folder: Folder of the trial.
        identity: The trial.
        mlflow: The study in MLflow, if the configuration logs there.
    """
    if configured is False:
        return []
    found: list[Logger] = [_tensorboard(folder)]
    for name in (_class_name(each) for each in _listed(configured)):
        if name == "CSVLogger":
            # A folder for each part of a trial that was interrupted: it would delete earlier rows.
            found.append(CSVLogger(folder, name="csv"))
        elif name in _MLFLOW:
            if mlflow is not None:
                found += _without_fail(mlflow, identity)
        elif name not in ("", "TensorBoardLogger"):
            warn_user(
                f"a search writes its trials to TensorBoard, CSV and MLflow, not to {name}; "
                "`fit --config` of a trial's configuration does"
            )
    return found


def _without_fail(mlflow: MLflowStudy, identity: TrialIdentity) -> list[Logger]:
    """The logger of a trial, or none if the server does not answer: the trial goes on."""
    try:
        return [mlflow.logger(identity)]
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        warn_user(f"trial {identity.number} is not in MLflow ({mlflow.uri}): {reason}")
        return []


def _tensorboard(folder: Path) -> TensorBoardLogger:
    return TensorBoardLogger(folder, name="", version="", default_hp_metric=False)


@dataclass(frozen=True)
class MLflowStudy:
    """A study in MLflow: a parent run, with a child for each trial.

    Attributes:
        uri: Address of the tracking database or server.
        experiment: Name of the experiment.
        study: Name of the study.
        parent: ID of the parent run.
    """

    uri: str
    experiment: str
    study: str
    parent: str

    def logger(self, identity: TrialIdentity) -> Logger:
        """Create the logger of a trial; a retry continues the run of the trial if it can."""
        options: dict[str, Any] = {}
        if (known := self._run_of(identity.number)) is not None:
            options["run_id"] = known
        logger = mlflow_logger(
            self.uri,
            self.experiment,
            run_name=f"{self.study}, trial {identity.number}",
            tags={**identity.tags(), _PARENT: self.parent},
            **options,
        )
        if known is not None:
            for name, value in identity.tags().items():
                self._client().set_tag(known, name, value)
        return logger

    def end_trial(self, number: int, state: str, value: float | None) -> None:
        """Record how a trial has ended: ``"COMPLETE"``, ``"PRUNED"`` or ``"FAIL"``."""
        try:
            if (run := self._run_of(number)) is None:
                return
            client = self._client()
            client.set_tag(run, "state", state)
            if value is not None:
                client.set_tag(run, "value", repr(value))
            client.set_terminated(run, "FAILED" if state == "FAIL" else "FINISHED")
        except Exception as error:  # of a server that does not answer: the search goes on
            warn_user(f"the end of trial {number} is not in MLflow ({self.uri}): {error}")

    def end(self, best: FrozenTrial | None, report: Path | None = None) -> None:
        """Record the best trial and the report in the parent run."""
        client = self._client()
        if best is not None:
            client.log_metric(self.parent, "best_value", float(best.values[0]))
            client.set_tag(self.parent, "best_trial", str(best.number))
            for key, name in short_names(best.params).items():
                client.set_tag(self.parent, f"best.{name}", str(best.params[key]))
        if report is not None and report.is_file():
            client.log_artifact(self.parent, str(report))
        client.set_terminated(self.parent, "FINISHED")

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def _run_of(self, number: int) -> str | None:
        client = self._client()
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            return None
        found = client.search_runs(
            [experiment.experiment_id],
            f"tags.`{_PARENT}` = '{self.parent}' and tags.trial = '{number}'",
            max_results=1,
        )
        return str(found[0].info.run_id) if found else None


def mlflow_study(
    configured: object, study: str, folder: Path, parent: str | None = None
) -> MLflowStudy | None:
    """Open a study in MLflow, if the configuration logs there.

    The database is created and migrated here, once, before workers need it.

    Args:
        configured: ``trainer.logger`` of the configuration.
        study: Name of the study.
        folder: Folder of the study, for ``mlflow.db`` if the configuration names no other.
        parent: The parent run, where it is known; None creates one.

    Returns:
        The study, or None if no MLFlowLogger is configured.
    """
    given = next((each for each in _listed(configured) if _class_name(each) in _MLFLOW), None)
    if given is None:
        return None
    arguments = dict(given.get("init_args") or {}) if isinstance(given, Mapping) else {}
    uri = arguments.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None or str(uri).startswith("file:"):
        uri = f"sqlite:///{(folder / 'mlflow.db').absolute()}"
    experiment = arguments.get("experiment_name") or "lightning_logs"
    if experiment == "lightning_logs":  # the logger's default
        experiment = study
    if parent is None:
        logger = mlflow_logger(
            str(uri), experiment, run_name=f"study {study}", tags={"study": study}
        )
        parent = str(logger.run_id)
    return MLflowStudy(str(uri), str(experiment), study, parent)


def known_mlflow_study(study: SearchStudy, base: Configuration) -> MLflowStudy | None:
    """Return a study in MLflow as :func:`track` opened it; None if it has no run there.

    Args:
        study: The study.
        base: The configuration that it varies.
    """
    parent = study.user_attrs.get(_RUN)
    return None if parent is None else _opened(study, base, parent)


def track(study: SearchStudy, base: Configuration) -> None:
    """Open the study's run in MLflow, if the configuration logs there, before workers need it."""
    parent = study.user_attrs.get(_RUN)
    opened = _opened(study, base, parent)
    if opened is not None and parent is None:
        study.set_user_attr(_RUN, opened.parent)


def _opened(study: SearchStudy, base: Configuration, parent: str | None) -> MLflowStudy | None:
    settings = study.settings
    configured = (base.given.get("trainer") or {}).get("logger")
    return mlflow_study(configured, settings.name, Path(settings.folder), parent)


def _listed(configured: object) -> list[object]:
    if isinstance(configured, (list, tuple)):
        return list(configured)
    return [] if configured in (None, True, False) else [configured]


def _class_name(each: object) -> str:
    return class_name(each) if isinstance(each, (Mapping, str)) else type(each).__name__


def _scalar(value: object) -> Scalar:
    """A value that loggers take: numbers, text and truth values as they are, others as JSON."""
    if isinstance(value, (bool, int, float, str)):
        return value
    return json.dumps(value, sort_keys=True)
