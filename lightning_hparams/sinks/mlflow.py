"""MLflow, through the client of Lightning's logger, without waiting for it."""

from __future__ import annotations

import inspect
import io
import os
import re
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
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from ..checks import require
from ..manifest import flatten, without_secrets
from ..render import Encoded
from .base import Once, PRCounts, Scalar, Sink, Status

__all__ = ["MLflowSink", "mlflow_logger", "register_model"]

_SQLITE = "sqlite:///mlflow.db"
_METRICS = 1000  # most metrics, and most params, that MLflow takes at once
_PARAMS = 100
_PARAM_LENGTH = 6000
_EVERY_S = 1.0  # metrics wait for each other that long
_WAITING = 64  # calls that may wait for the server before training does
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


def mlflow_logger(
    tracking_uri: str | None = None, experiment_name: str = "lightning_logs", **options: Any
) -> MLFlowLogger:
    """Lightning's logger with an address that MLflow accepts.

    ``MLFlowLogger()`` itself asks for a store of plain files, which MLflow refuses since 3.14.

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
    return MLFlowLogger(experiment_name, tracking_uri=uri, **options)


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
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            output = module(batch.to(module.device))
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
    finally:
        for part, mode in modes.items():
            part.training = mode
    return str(info.model_uri)


class MLflowSink(Sink):
    """Hands everything to one thread that talks to MLflow, metrics in batches.

    A call of ``log_metrics`` takes 23 ms with SQLite, and ``log_image`` 160 ms; training would
    wait for each. What MLflow refuses is told in a warning when it is known: a server that is
    away for a while does not end the run.

    Args:
        logger: Any ``MLFlowLogger``; see :func:`mlflow_logger`.
    """

    def __init__(self, logger: MLFlowLogger) -> None:
        self._mlflow = require("mlflow", extra="mlflow")
        self._logger = logger
        self._once = Once()
        self._metrics: list[tuple[str, float, int, int]] = []
        self._sent_s = time.monotonic()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._waiting: deque[Future[Any]] = deque()
        self._keys: dict[str, str] = {}
        self._told: set[str] = set()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        now = int(time.time() * 1000)
        for tag, value in self._once(values, step).items():
            self._metrics.append((self._key(tag), value, now, step))
        if len(self._metrics) >= _METRICS or time.monotonic() - self._sent_s > _EVERY_S:
            self._send_metrics()

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        run, client, key = self._run_id(), self._client(), self._key(tag)

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
        path = f"texts/{self._key(tag)}/step_{step:08d}.md"
        self._later(self._client().log_text, self._run_id(), text, path)

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        path = f"tables/{self._key(tag)}/step_{step:08d}.json"
        data = {name: list(column) for name, column in columns.items()}
        self._later(self._client().log_table, self._run_id(), data, path)

    def own_hparams(self) -> None:
        """Let a parameter change: Lightning's call would end the run (Lightning #17830).

        Names that are known by then keep the value that :meth:`hparams` gave them.
        """

        @rank_zero_only
        def log_hyperparams(params: Any, *args: Any, **kwargs: Any) -> None:
            values = dict(params) if isinstance(params, Mapping) else vars(params)
            self._params(without_secrets(flatten(values), os.environ), tell_drift=False)

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
        self._later(self._client().log_artifact, self._run_id(), str(path))

    def identity(self) -> str:
        """The run's id."""
        return self._run_id()

    def adopt(self, identity: str) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        Lightning has begun a run by now; it is deleted if nothing was written to it.
        """
        client, begun = self._client(), self._run_id()
        try:
            client.get_run(identity)
        except self._mlflow.exceptions.MlflowException:
            return  # of another store
        data = client.get_run(begun).data
        if identity != begun and not data.metrics and not data.params:
            client.delete_run(begun)
            self._logger._run_id = identity

    def flush(self) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._send_metrics()
        while self._waiting:
            self._wait()

    def finish(self, status: Status) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self.flush()
        run, client = self._run_id(), self._client()
        if status == "killed":
            # Lightning is about to call this itself and to leave FAILED behind, which is not what
            # happened. It does nothing in a logger that was not used since.
            self._logger.finalize("failed")
            self._logger._initialized = False
        self._later(self._mlflow.flush_async_logging)  # of Lightning's own values
        self._later(client.set_terminated, run, _STATUS[status])
        self.flush()

    def _client(self) -> Any:
        return self._logger._mlflow_client

    def _run_id(self) -> str:
        if self._logger._run_id is None:
            _ = self._logger.experiment  # begins a run
        return str(self._logger._run_id)

    def _params(self, values: Mapping[str, Scalar], *, tell_drift: bool) -> None:
        entities = require("mlflow.entities", extra="mlflow")
        run, client = self._run_id(), self._client()
        texts = {self._key(name): str(value)[:_PARAM_LENGTH] for name, value in values.items()}

        def send() -> None:
            known = client.get_run(run).data.params
            new = [entities.Param(key, text) for key, text in texts.items() if key not in known]
            for start in range(0, len(new), _PARAMS):
                client.log_batch(run, params=new[start : start + _PARAMS])
            for key, text in texts.items() if tell_drift else ():
                # Lightning cuts a value at 250 characters.
                if known.get(key, text) not in (text, text[:250]):
                    client.set_tag(run, f"param_drift.{key}", text)

        self._later(send)

    def _send_metrics(self) -> None:
        self._sent_s = time.monotonic()
        if not self._metrics:
            return
        rows, self._metrics = self._metrics, []
        run, client = self._run_id(), self._client()
        metric = self._mlflow.entities.Metric

        def send() -> None:
            for start in range(0, len(rows), _METRICS):
                batch = [metric(*row) for row in rows[start : start + _METRICS]]
                client.log_batch(run, metrics=batch)

        self._later(send)

    def _later(self, call: Callable[..., Any], *args: Any) -> None:
        self._waiting.append(self._worker.submit(call, *args))
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > _WAITING):
            self._wait()

    def _wait(self) -> None:
        """Wait for the oldest call, and tell what went wrong with it."""
        error = self._waiting.popleft().exception()
        if error is not None and str(error) not in self._told:
            self._told.add(str(error))
            rank_zero_warn(f"MLflow did not take what was written: {error}; training goes on")

    def _key(self, tag: str) -> str:
        """A tag as MLflow's names may be."""
        if tag not in self._keys:
            parts = [re.sub(r"[^a-zA-Z0-9_\-. ]", "_", part) for part in tag.split("/")]
            key = "/".join(part for part in parts if part.strip(".")) or "_"
            if key != tag and "name" not in self._told:
                self._told.add("name")
                rank_zero_warn(
                    "MLflow's names have letters of ASCII, digits and _-./ only; "
                    f"{tag!r} is written as {key!r}, and others likewise"
                )
            self._keys[tag] = key
        return self._keys[tag]
