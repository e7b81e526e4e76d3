"""MLflow, through the client of Lightning's logger, without waiting for it."""

from __future__ import annotations

import inspect
import io
import os
import re
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from ..checks import require
from ..internals import (
    adopt_run,
    current_run,
    forget_finished,
    last_steps,
    mlflow_client,
    run_name,
)
from ..isolation import evaluation_mode
from ..provenance import without_secrets
from ..render import Encoded
from .base import PRCounts, RunStatus, Scalar, Sink
from .lightning_loggers import with_prefix
from .new_values import NewValues
from .text import csv_text, file_path

__all__ = ["MLflowSink", "input_for", "mlflow_logger", "register_model"]

_SQLITE = "sqlite:///mlflow.db"
_METRICS = 1000  # most metrics, and most params, that MLflow takes at once
_PARAMS = 100
_PARAM_LENGTH = 6000
_NAME_LENGTH = 250
_IMAGE_LENGTH = 150  # becomes part of a file's name
_EVERY_S = 1.0  # metrics wait for each other that long
_WAITING = 64  # calls that may wait for the server before training does
_BEGAN = "_lightning_hparams_began"  # set if the logger's run is not one that the user made
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # and not out of reach
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


def mlflow_logger(
    tracking_uri: str | None = None, experiment_name: str = "lightning_logs", **options: Any
) -> MLFlowLogger:
    """Lightning's logger with an address that MLflow accepts.

    ``MLFlowLogger()`` itself asks for a store of plain files, which MLflow refuses since 3.14.

    With a :class:`~lightning_hparams.RunRecorder`, a fit that is given a checkpoint goes on in the
    run that the checkpoint is of, if that is in the same experiment. It begins a run of its own
    where ``run_id`` or another ``run_name`` says so. Lightning has named the folder of checkpoints
    by then, after a run that is deleted: give ``ModelCheckpoint`` a ``dirpath`` to have all in one.

    Args:
        tracking_uri: A database, such as ``sqlite:///runs/mlflow.db``, or a server; None for the
            environment's ``MLFLOW_TRACKING_URI`` or else a file ``mlflow.db`` in this folder.
        experiment_name: Made if it does not exist. With SQLite, its files go beside the database.
        options: Further arguments of ``MLFlowLogger``.

    Raises:
        ValueError: If the address is a store of plain files.
        ModuleNotFoundError: If MLflow is not installed.
    """
    require("mlflow", extra="mlflow")
    uri = str(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or _SQLITE)
    if uri.startswith("file:") or not re.match(r"[\w+]{2,}:|databricks|uc$", uri):
        raise ValueError(
            "`tracking_uri` must be a database or a server, for MLflow refuses stores of plain "
            f"files since 3.14, got {uri!r}; pass tracking_uri='{_SQLITE}', and see it by: "
            f"mlflow ui --backend-store-uri {_SQLITE}"
        )
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).absolute().parent
        folder.mkdir(parents=True, exist_ok=True)
        options.setdefault("artifact_location", (folder / "mlartifacts").as_uri())
    # Else each call of `self.log` waits for the database: 23 ms with SQLite.
    options.setdefault("synchronous", False)
    logger = MLFlowLogger(experiment_name, tracking_uri=uri, **options)
    # Lightning forgets whether it was given a run or has begun one.
    setattr(logger, _BEGAN, options.get("run_id") is None)
    return logger


def input_for(module: LightningModule, batch: Tensor) -> Tensor:
    """A batch where the module is, and as it computes: in bfloat16, it may be."""
    moved = batch.to(module.device)
    return moved.to(module.dtype) if moved.is_floating_point() else moved


def register_model(
    logger: MLFlowLogger, module: LightningModule, name: str, example: Tensor | None = None
) -> str:
    """Keep the model with the logger's run, with its signature, as a new version of ``name``.

    Args:
        logger: Of a run; the model is saved as an artifact of it.
        module: Its ``forward`` is called once, in evaluation mode and without gradients.
        name: Under which it is registered; made if it does not exist.
        example: A batch; None for the module's ``example_input_array``.

    Returns:
        The address to load it by: ``mlflow.pytorch.load_model(address)``.

    Raises:
        ValueError: If there is no example of the input.
    """
    mlflow = require("mlflow", extra="mlflow")
    pytorch = require("mlflow.pytorch", extra="mlflow")
    models = require("mlflow.models", extra="mlflow")
    batch = module.example_input_array if example is None else example
    if not isinstance(batch, Tensor):
        raise ValueError(
            f"to register {type(module).__name__} a batch is needed that `forward` takes, got "
            f"{type(batch).__name__}; set `example_input_array` or pass `example`"
        )
    with evaluation_mode(module):
        with torch.no_grad():
            output = module(input_for(module, batch))
        if not isinstance(output, Tensor):
            output = None  # MLflow describes tensors
        signature = models.infer_signature(
            batch.cpu().numpy(), None if output is None else output.float().cpu().numpy()
        )
        # Newer versions would trace the model otherwise, which not every `forward` can be.
        options = {}
        if "serialization_format" in inspect.signature(pytorch.log_model).parameters:
            options["serialization_format"] = "pickle"
        client, run = logger.experiment, logger.run_id
        status = client.get_run(run).info.status
        # Else the model would belong to MLflow's default experiment, and lie among its files.
        with mlflow.start_run(run_id=run, nested=True):
            info = pytorch.log_model(
                module,
                name="model",
                signature=signature,
                registered_model_name=name,
                **options,
            )
        client.update_run(run, status)
    return str(info.model_uri)


class MLflowSink(Sink):
    """Hands everything to one thread that talks to MLflow, metrics in batches.

    A call of ``log_metrics`` takes 23 ms with SQLite, and ``log_image`` 160 ms; training would
    wait for each. What MLflow refuses is told in a warning when it is known: a server that is
    away for a while does not end the run. Metrics are sent after a second at most, and nothing is
    lost when the process ends without a word: Python waits for the thread.

    Args:
        logger: Any ``MLFlowLogger``; see :func:`mlflow_logger`.
    """

    def __init__(self, logger: MLFlowLogger) -> None:
        self._mlflow = require("mlflow", extra="mlflow")
        self._logger = logger
        self._new = NewValues()
        self._metrics: deque[tuple[str, float, int, int]] = deque()
        self._about_to_send = False
        self._hurry = threading.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._waiting: deque[Future[Any]] = deque()
        self._keys: dict[Callable[[str], str], dict[str, str]] = {}
        self._told: set[str] = set()
        self._last_steps: dict[str, int] = {}  # of what an earlier process has written

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        now = int(time.time() * 1000)
        for tag, value in self._new(values, step).items():
            key = self._key(with_prefix(self._logger, tag), _metric_name)
            if step > self._last_steps.get(key, -1):
                self._metrics.append((key, value, now, step))
        if len(self._metrics) >= _METRICS:
            self._hurry.set()
        # Asked after the values are in: the thread resets it before it takes them out.
        if self._metrics and not self._about_to_send:
            self._about_to_send = True
            self._hurry.clear()
            self._submit(self._send_metrics, self._run_id())

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        run, client, key = self._run_id(), self._client(), self._key(tag, _image_name)

        def send() -> None:
            client.log_image(run, Image.open(io.BytesIO(picture.data)), key=key, step=step)

        self._later(send)

    def histogram(self, tag: str, counts: ArrayLike, edges: ArrayLike, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        bounds = np.asarray(edges).tolist()
        columns = {"from": bounds[:-1], "to": bounds[1:], "count": np.asarray(counts).tolist()}
        self.table(tag, columns, step)

    def pr_curve(self, tag: str, counts: PRCounts, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        rows = counts.rows()
        columns = {"threshold": counts.thresholds, "precision": rows[4], "recall": rows[5]}
        self.table(tag, {name: column.tolist() for name, column in columns.items()}, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._text(f"texts/{self._key(tag, file_path)}/step_{step:08d}.md", text)

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        As CSV, which MLflow's page shows as a table too. ``log_table`` notes the names of all
        tables in one tag, which is full after 120 of them.
        """
        text = csv_text(tuple(columns), zip(*columns.values(), strict=True))
        self._text(f"tables/{self._key(tag, file_path)}/step_{step:08d}.csv", text)

    def own_hparams(self) -> None:
        """Let a parameter change: Lightning's call would end the run (Lightning #17830).

        Names that are known by then keep the value that :meth:`hparams` gave them.
        """

        @rank_zero_only
        def log_hyperparams(params: Any, *args: Any, **kwargs: Any) -> None:
            values = dict(params) if isinstance(params, Mapping) else vars(params)
            self._params(without_secrets(values, os.environ), tell_drift=False)

        self._logger.log_hyperparams = log_hyperparams  # type: ignore[method-assign]

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        MLflow's params cannot change; another value goes to the tag ``param_drift.<name>``.
        """
        self._params(values, tell_drift=True)
        if group is not None:
            self._later(self._client().set_tag, self._run_id(), "group", group)
        self._later(self._client().update_run, self._run_id(), "RUNNING")

    def artifact(self, path: Path) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        run, client = self._run_id(), self._client()
        folder = tempfile.mkdtemp()
        kept = shutil.copy(path, folder)  # as it is now: it may be gone by its turn

        def send() -> None:
            try:
                client.log_artifact(run, kept)
            finally:
                shutil.rmtree(folder)

        self._later(send)

    def identity(self) -> str:
        """The run's id."""
        return self._run_id()

    def adopt(self, identity: str) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        Lightning has begun a run by now, which is deleted: only if nothing was written to it and
        no user has made or named it, which the loggers of :func:`mlflow_logger` tell.
        """
        client, begun = self._client(), self._run_id()
        if identity == begun:
            return
        try:
            old, new = client.get_run(identity), client.get_run(begun)
            if getattr(self._logger, _BEGAN, False) and (
                run_name(self._logger) in (None, old.info.run_name)
                and old.info.experiment_id == new.info.experiment_id
                and old.info.lifecycle_stage == "active"
                and not (new.data.metrics or new.data.params or client.list_artifacts(begun))
            ):
                adopt_run(self._logger, identity)
                setattr(self._logger, _BEGAN, False)
                client.delete_run(begun)
                return
        except self._mlflow.exceptions.MlflowException:
            return  # of another store
        self._tell_once(
            rank_zero_info,
            f"MLflow: this goes on in the run {begun}, not in {identity} that the checkpoint is "
            "of; where that is not what you want, give its run_id to the logger",
        )

    def flush(self, *, wait: bool = False) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._hurry.set()
        while wait and self._waiting:
            self._wait()

    def finish(self, status: RunStatus) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        run, client = self._run_id(), self._client()
        if status == "killed":
            # Lightning is about to call this itself and to leave FAILED behind, which is not what
            # happened. It does nothing in a logger that was not used since.
            self._later(self._logger.finalize, "failed")
        self._later(self._mlflow.flush_async_logging)  # of Lightning's own values
        self._later(client.set_terminated, run, _STATUS[status])
        self.flush(wait=True)
        if status == "killed":
            forget_finished(self._logger)

    def _forget(self, step: int) -> None:
        """Pass over all that is written already: MLflow keeps it, and would draw it twice."""
        self._later(self._note_last_steps, self._run_id())
        self.flush(wait=True)
        if "log_metrics" in vars(self._logger):
            return
        log_metrics = self._logger.log_metrics

        def log_new_metrics(metrics: Mapping[str, float], step: int | None = None) -> None:
            new = {
                name: value
                for name, value in metrics.items()
                if step is None or step > self._last_steps.get(self._lightnings_name(name), -1)
            }
            if new:
                log_metrics(new, step)

        self._logger.log_metrics = log_new_metrics  # type: ignore[method-assign]

    def _note_last_steps(self, run: str) -> None:
        self._mlflow.flush_async_logging()
        self._last_steps = last_steps(self._client().get_run(run).data)

    def _lightnings_name(self, name: str) -> str:
        return re.sub(r"[^a-zA-Z0-9_/. -]+", "", with_prefix(self._logger, name))

    def _client(self) -> Any:
        return mlflow_client(self._logger)

    def _run_id(self) -> str:
        return current_run(self._logger)

    def _params(self, values: Mapping[str, Scalar], *, tell_drift: bool) -> None:
        param = self._mlflow.entities.Param
        run, client = self._run_id(), self._client()
        texts = {
            self._key(name, _metric_name): str(value)[:_PARAM_LENGTH]
            for name, value in values.items()
        }

        def send() -> None:
            known = client.get_run(run).data.params
            new = [param(key, text) for key, text in texts.items() if key not in known]
            if new:
                self._send(run, "params", new, _PARAMS)
            for key, text in texts.items() if tell_drift else ():
                # Lightning cuts a value at 250 characters.
                if known.get(key, text) not in (text, text[:250]):
                    client.set_tag(run, f"param_drift.{key}"[:_NAME_LENGTH], text)

        self._later(send)

    def _send_metrics(self, run: str) -> None:
        self._hurry.wait(_EVERY_S)
        self._about_to_send = False
        metric = self._mlflow.entities.Metric
        rows = [metric(*self._metrics.popleft()) for _ in range(len(self._metrics))]
        if rows:
            self._send(run, "metrics", rows, _METRICS)

    def _send(self, run: str, kind: str, rows: Sequence[Any], most: int) -> None:
        """In batches; of one that is refused, all but the culprit."""
        half = len(rows) // 2
        if len(rows) <= most:
            try:
                self._client().log_batch(run, **{kind: rows})
                return
            except self._mlflow.exceptions.MlflowException as error:
                if error.error_code not in _REFUSED or not half:
                    raise
        try:
            self._send(run, kind, rows[:half], most)
        finally:
            self._send(run, kind, rows[half:], most)

    def _text(self, path: str, text: str) -> None:
        self._later(self._client().log_text, self._run_id(), text, path)

    def _later(self, call: Callable[..., Any], *args: Any) -> None:
        self._hurry.set()  # whatever waits in front of it
        self._submit(call, *args)

    def _submit(self, call: Callable[..., Any], *args: Any) -> None:
        self._waiting.append(self._worker.submit(call, *args))
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > _WAITING):
            self._wait()

    def _wait(self) -> None:
        """Wait for the oldest call, and tell what went wrong with it."""
        error = self._waiting.popleft().exception()
        if error is not None:
            text = f"MLflow did not take what was written: {error}; training goes on"
            self._tell_once(rank_zero_warn, text)

    def _tell_once(self, tell: Callable[[str], Any], text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            tell(text)

    def _key(self, tag: str, clean: Callable[[str], str]) -> str:
        """A tag as MLflow's names may be; two tags never share one."""
        known = self._keys.setdefault(clean, {})
        if tag not in known:
            key = name = clean(tag)
            number = 2
            while key in known.values():
                key = f"{name[: _IMAGE_LENGTH - 4]}_{number}"
                number += 1
            known[tag] = key
            if key != tag and "name" not in self._told:
                self._told.add("name")
                rank_zero_warn(
                    f"MLflow does not take every name: {tag!r} is written as {key!r}, and others "
                    "likewise"
                )
        return known[tag]


def _metric_name(tag: str) -> str:
    """As MLflow takes it on any system: on Windows, no colon."""
    parts = [re.sub(r"[^\w\-. ]", "_", part) for part in tag.split("/")]
    return "/".join(part for part in parts if part.strip("."))[:_NAME_LENGTH] or "_"


def _image_name(tag: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", tag)[:_IMAGE_LENGTH]
