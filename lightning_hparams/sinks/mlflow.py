"""MLflow, through the client of Lightning's logger, without blocking training."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import ArrayLike
from PIL import Image

from ..checks import require
from ..internals import (
    current_run,
    forget_finished,
    has_run,
    mlflow_client,
)
from ..notices import Notices
from ..provenance import without_secrets
from ..render import Encoded
from .base import PRCounts, RunStatus, Scalar, Sink
from .delivery import Delivery
from .lightning_loggers import ReplacedMethod, with_prefix
from .mlflow_metrics import VALUES, WaitingMetrics
from .mlflow_names import Names, image_name, metric_name
from .mlflow_requests import answered_within, is_refusal, send_params
from .mlflow_runs import TIMEOUT, continue_run
from .new_values import NewValues
from .text import csv_text, file_path

__all__ = ["MLflowSink"]

_WAITING = 64  # pending calls before training blocks
_TIMEOUT = 30.0
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class MLflowSink(Sink):
    """Delivers everything through one background thread, metrics in batches.

    With SQLite a call of ``log_metrics`` takes 23 ms and one of ``log_image`` 160 ms, which would
    block training. Rejected values raise a warning once MLflow has answered. A server that is
    unreachable for a while does not end the run: values are held for it. Metrics are sent within a
    second, before a checkpoint is saved, and when the process exits. After ``timeout`` seconds
    without an answer the values are saved to a file, and delivered when the run is resumed.

    Values that Lightning logs through the logger take the same path, so that they get the same
    names and an unresponsive server does not block them either.

    Args:
        logger: Any ``MLFlowLogger``; see :func:`mlflow_logger`.
        folder: Folder for values that could not be delivered; None for the current folder.
        timeout: Seconds to wait for an answer; None for the value given to
            :func:`mlflow_logger`.
    """

    def __init__(
        self,
        logger: MLFlowLogger,
        folder: str | Path | None = None,
        timeout: float | None = None,
    ) -> None:
        self._mlflow = require("mlflow", extra="mlflow")
        self._logger = logger
        self._folder = Path(folder or ".").absolute()
        self._new = NewValues()
        self.timeout: float = getattr(logger, TIMEOUT, _TIMEOUT) if timeout is None else timeout
        self._delivery = Delivery(
            "mlflow",
            timeout=self.timeout,
            most=_WAITING,
            failed=self._tell_error,
            gave_up=self._tell_silence,
        )
        self._metrics = WaitingMetrics(self._delivery, self._client, self._run_id, self._folder)
        self._notices = Notices("MLflow")
        self._names = Names(self._notices)
        ReplacedMethod(logger, "log_metrics", rank_zero_only(self._log_metrics))
        ReplacedMethod(logger, "log_hyperparams", rank_zero_only(self._log_hyperparams))
        ReplacedMethod(logger, "finalize", rank_zero_only(self._finalize))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        now = int(time.time() * 1000)
        self._delivery.tell_errors()
        for tag, value in self._new(values, step).items():
            key = self._names.of(with_prefix(self._logger, tag), metric_name)
            self._metrics.add((key, value, now, step))
        self._metrics.send_soon()

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        run, client, key = self._run_id(), self._client(), self._names.of(tag, image_name)

        def send() -> None:
            client.log_image(run, Image.open(io.BytesIO(picture.data)), key=key, step=step)

        self._later("a picture", send)

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
        self._text(f"texts/{self._names.of(tag, file_path)}/step_{step:08d}.md", text)

    def table(self, tag: str, columns: Mapping[str, Sequence[object]], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        Written as CSV, which MLflow's UI shows as a table too. ``log_table`` lists all tables in
        one tag, which is full after 120 of them.
        """
        text = csv_text(tuple(columns), zip(*columns.values(), strict=True))
        self._text(f"tables/{self._names.of(tag, file_path)}/step_{step:08d}.csv", text)

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        MLflow's params cannot change; a new value is set as the tag ``param_drift.<name>``.
        """
        self._params(values, tell_drift=True)
        if group is not None:
            self._later("a tag", self._client().set_tag, self._run_id(), "group", group)
        self._later("the status", self._client().update_run, self._run_id(), "RUNNING")

    def artifact(self, path: Path) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        run, client = self._run_id(), self._client()
        kept = _copied(path, self._folder)

        def send() -> None:
            try:
                client.log_artifact(run, str(kept))
            finally:
                shutil.rmtree(kept.parent, ignore_errors=True)  # must not hide an error of sending

        self._later("a file", send)

    def identity(self) -> str:
        """Return the run ID."""
        return self._run_id()

    def adopt(self, identity: str) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        The new run that Lightning has started by then is deleted, but only if it is empty and the
        user neither created nor named it, which only loggers of :func:`mlflow_logger` record.
        """
        begun = self._run_id()
        if identity == begun:
            return
        try:
            with answered_within(self.timeout):
                if continue_run(self._logger, identity):
                    return
        except self._mlflow.exceptions.MlflowException:
            return  # the run is in another store
        self._notices.info(
            "another run",
            f"continuing in run {begun}, not in the checkpoint's run {identity}; pass "
            f"run_id={identity!r} to the logger to resume that one",
        )

    def begin_fit(self) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        super().begin_fit()
        self._notices.clear()

    def flush(self, *, wait: bool = False) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._metrics.send_soon()
        self._metrics.hurry()
        if wait and (not self._delivery.join() or self._metrics):
            self._metrics.put_aside()

    def finish(self, status: RunStatus) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._metrics.send_soon()
        run, client, logger = self._run_id(), self._client(), self._logger
        if status == "killed":
            # Lightning would call this later and set FAILED instead of KILLED. It does nothing if
            # the logger has not been used since.
            self._later("the status", type(logger).finalize, logger, "failed")
        self._later("the status", client.set_terminated, run, _STATUS[status])
        self.flush(wait=True)
        if status == "killed":
            forget_finished(logger)

    @property
    def logger(self) -> MLFlowLogger:
        """The logger that this sink writes along with."""
        return self._logger

    def answers(self) -> bool:
        """Deliver everything so far, and return whether the server answers before the deadline."""
        self._later("the status", self._client().get_run, self._run_id())
        return self._delivery.join()

    def _log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log as Lightning's logger does, through the background thread."""
        values = {}
        for name, value in metrics.items():
            try:
                values[name] = float(value)
            except (TypeError, ValueError):
                self._notices.warn_of_name(
                    "value", name, f"{name!r} is not a number and is left out: {value!r}"
                )
        self.scalars(values, step or 0)

    def _log_hyperparams(
        self, params: Mapping[str, object] | Namespace, *_: object, **__: object
    ) -> None:
        """Allow changed parameters, with which Lightning's call ends the run (Lightning #17830).

        Parameters that were set by :meth:`hparams` keep their value.
        """
        values = dict(params) if isinstance(params, Mapping) else vars(params)
        self._params(without_secrets(values, os.environ), tell_drift=False)

    def _finalize(self, status: str = "success") -> None:
        """Finalize as Lightning's logger does, if the server answers."""
        self.flush(wait=True)
        if has_run(self._logger) and self.answers():
            with answered_within(self.timeout):
                type(self._logger).finalize(self._logger, status)

    def _forget(self, step: int) -> None:
        """Skip values already written: MLflow cannot delete them, and would plot them twice."""
        self._later("the steps already written", self._metrics.take_up, self._run_id(), step)
        self.flush(wait=True)

    def _client(self) -> Any:
        return mlflow_client(self._logger)

    def _run_id(self) -> str:
        if has_run(self._logger):
            return current_run(self._logger)
        with answered_within(self.timeout):  # starts one
            return current_run(self._logger)

    def _params(self, values: Mapping[str, Scalar], *, tell_drift: bool) -> None:
        texts = {self._names.of(name, metric_name): str(value) for name, value in values.items()}
        send = partial(send_params, tell_drift=tell_drift)
        self._later("parameters", send, self._client(), self._run_id(), texts)

    def _text(self, path: str, text: str) -> None:
        self._later("a text", self._client().log_text, self._run_id(), text, path)

    def _later(self, what: str, call: Callable[..., object], *args: object) -> None:
        self._metrics.hurry()  # metrics queued before it need not wait
        self._delivery.submit(what, partial(call, *args))

    def _tell_error(self, error: Exception) -> None:
        text = f"did not accept what was written: {error}; training continues"
        if is_refusal(error):
            self._notices.warn("refused", text)
        else:
            path = self._metrics.path()
            kept = f"values not delivered by the end are kept in {path}"
            self._notices.warn("away", f"{text}, and {kept}")

    def _tell_silence(self) -> None:
        """Warn about what was not delivered, and where it is kept."""
        path = self._metrics.put_aside()
        others = Counter(what for what in self._delivery.waiting() if what != VALUES)
        parts = [
            f"{len(self._metrics.rows())} values",
            *(f"{what} ({n})" for what, n in others.items()),
        ]
        kept = f"the values are kept in {path}" if path else "the values could not be kept"
        self._notices.warn(
            "silence",
            f"no answer for {self.timeout:g} s, so these are not delivered yet: "
            f"{', '.join(parts)}; {kept}, and are delivered if the run is resumed or the server "
            "answers before the run ends",
        )


def _copied(path: Path, folder: Path) -> Path:
    """Copy a file, which may change before it is sent, to a new folder for temporary files."""
    try:
        return Path(shutil.copy(path, tempfile.mkdtemp()))
    except OSError:  # the disk of temporary files is full
        return Path(shutil.copy(path, tempfile.mkdtemp(dir=folder)))
