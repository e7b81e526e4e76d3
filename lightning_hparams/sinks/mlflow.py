"""MLflow, through the client of Lightning's logger, without blocking training."""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import threading
import time
from argparse import Namespace
from collections import Counter, deque
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
    adopt_run,
    current_run,
    forget_finished,
    has_run,
    last_steps,
    mlflow_client,
    run_name,
)
from ..notices import Notices
from ..provenance import without_secrets
from ..render import Encoded
from .base import PRCounts, RunStatus, Scalar, Sink
from .delivery import Delivery
from .lightning_loggers import ReplacedMethod, with_prefix
from .mlflow_runs import BEGAN, TIMEOUT
from .mlflow_undelivered import Row, read_rows, write_rows
from .new_values import NewValues
from .text import csv_text, file_path

__all__ = ["MLflowSink"]

_METRICS = 1000  # most metrics and params per request
_PARAMS = 100
_PARAM_LENGTH = 6000
_NAME_LENGTH = 250
_IMAGE_LENGTH = 150  # becomes part of a file name
_EVERY_S = 1.0  # metrics are collected for this long
_WAITING = 64  # pending calls before training blocks
_KEPT = 200_000  # pending values for an unreachable server
_TIMEOUT = 30.0
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # error codes of invalid requests
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
        self._metrics: deque[Row] = deque(maxlen=_KEPT)
        self._being_sent: list[Row] = []
        self._about_to_send = False
        self._hurry = threading.Event()
        self._timeout: float = getattr(logger, TIMEOUT, _TIMEOUT) if timeout is None else timeout
        self._delivery = Delivery(
            "mlflow",
            timeout=self._timeout,
            most=_WAITING,
            failed=self._tell_error,
            gave_up=self._tell_silence,
        )
        self._keys: dict[Callable[[str], str], dict[str, str]] = {}
        self._notices = Notices("MLflow")
        self._has_put_aside = False
        self._last_steps: dict[str, int] = {}  # by key, as written by an earlier process
        ReplacedMethod(logger, "log_metrics", rank_zero_only(self._log_metrics))
        ReplacedMethod(logger, "log_hyperparams", rank_zero_only(self._log_hyperparams))
        ReplacedMethod(logger, "finalize", rank_zero_only(self._finalize))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        now = int(time.time() * 1000)
        self._delivery.tell_errors()
        for tag, value in self._new(values, step).items():
            key = self._key(with_prefix(self._logger, tag), _metric_name)
            if step > self._last_steps.get(key, -1):
                self._metrics.append((key, value, now, step))
        if len(self._metrics) >= _METRICS:
            self._hurry.set()
        self._send_soon()

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        run, client, key = self._run_id(), self._client(), self._key(tag, _image_name)

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
        self._text(f"texts/{self._key(tag, file_path)}/step_{step:08d}.md", text)

    def table(self, tag: str, columns: Mapping[str, Sequence[object]], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        Written as CSV, which MLflow's UI shows as a table too. ``log_table`` lists all tables in
        one tag, which is full after 120 of them.
        """
        text = csv_text(tuple(columns), zip(*columns.values(), strict=True))
        self._text(f"tables/{self._key(tag, file_path)}/step_{step:08d}.csv", text)

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
        try:
            folder = tempfile.mkdtemp()
            kept = shutil.copy(path, folder)  # the file may have changed or gone when it is sent
        except OSError:  # the disk of temporary files is full
            folder = tempfile.mkdtemp(dir=self._folder)
            kept = shutil.copy(path, folder)

        def send() -> None:
            try:
                client.log_artifact(run, kept)
            finally:
                shutil.rmtree(folder, ignore_errors=True)  # must not hide an error of sending

        self._later("a file", send)

    def identity(self) -> str:
        """Return the run ID."""
        return self._run_id()

    def adopt(self, identity: str) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        The new run that Lightning has started by then is deleted, but only if it is empty and the
        user neither created nor named it, which only loggers of :func:`mlflow_logger` record.
        """
        client, begun = self._client(), self._run_id()
        if identity == begun:
            return
        try:
            old, new = client.get_run(identity), client.get_run(begun)
            if getattr(self._logger, BEGAN, False) and (
                run_name(self._logger) in (None, old.info.run_name)
                and old.info.experiment_id == new.info.experiment_id
                and old.info.lifecycle_stage == "active"
                and not (new.data.metrics or new.data.params or client.list_artifacts(begun))
            ):
                adopt_run(self._logger, identity)
                setattr(self._logger, BEGAN, False)
                client.delete_run(begun)
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
        self._send_soon()
        self._hurry.set()
        if wait and (not self._delivery.join() or self._metrics):
            self._put_aside()

    def finish(self, status: RunStatus) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._send_soon()
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
                self._notices.warn(
                    ("value", name), f"{name!r} is not a number and is left out: {value!r}"
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
            type(self._logger).finalize(self._logger, status)

    def _forget(self, step: int) -> None:
        """Skip values already written: MLflow cannot delete them, and would plot them twice."""
        self._later("the steps already written", self._note_last_steps, self._run_id(), step)
        self.flush(wait=True)

    def _note_last_steps(self, run: str, step: int) -> None:
        known = last_steps(self._client().get_run(run).data)
        path = self._undelivered_path(run)
        rows = [r for r in read_rows(path) if known.get(r[0], -1) < r[3] <= step]
        if rows:
            metric = self._mlflow.entities.Metric
            self._send(run, "metrics", [metric(*row) for row in rows], _METRICS)
            known |= {key: row_step for key, _, _, row_step in rows}
        path.unlink(missing_ok=True)
        self._last_steps = known

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
                # Lightning truncates values to 250 characters.
                if known.get(key, text) not in (text, text[:250]):
                    client.set_tag(run, f"param_drift.{key}"[:_NAME_LENGTH], text)

        self._later("parameters", send)

    def _send_soon(self) -> None:
        """Send pending values after a second, or as soon as ``_hurry`` is set."""
        # Checked after appending: the thread resets the flag before it takes the values.
        if self._metrics and not self._about_to_send:
            self._hurry.clear()
            self._about_to_send = True
            if not self._submit("values", self._send_metrics, self._run_id()):
                self._about_to_send = False

    def _send_metrics(self, run: str) -> None:
        self._hurry.wait(_EVERY_S)
        self._about_to_send = False
        metric = self._mlflow.entities.Metric
        rows = self._being_sent = [self._metrics.popleft() for _ in range(len(self._metrics))]
        if not rows:
            return
        try:
            self._send(run, "metrics", [metric(*row) for row in rows], _METRICS)
        except Exception as error:
            if not self._is_refusal(error):
                # Retried next time; MLflow stores a row that it receives twice only once.
                self._metrics.extendleft(reversed(rows))
            raise
        finally:
            self._being_sent = []
        if self._has_put_aside and not self._metrics:
            self._has_put_aside = False
            self._undelivered_path(run).unlink(missing_ok=True)

    def _is_refusal(self, error: Exception) -> bool:
        """Whether MLflow rejected a request as invalid."""
        return (
            isinstance(error, self._mlflow.exceptions.MlflowException)
            and error.error_code in _REFUSED
        )

    def _send(self, run: str, kind: str, rows: Sequence[object], most: int) -> None:
        """Send rows in batches; of a rejected batch, all but the invalid rows."""
        half = len(rows) // 2
        if len(rows) <= most:
            try:
                self._client().log_batch(run, **{kind: rows})
                return
            except Exception as error:
                if not self._is_refusal(error) or not half:
                    raise
        try:
            self._send(run, kind, rows[:half], most)
        finally:
            self._send(run, kind, rows[half:], most)

    def _text(self, path: str, text: str) -> None:
        self._later("a text", self._client().log_text, self._run_id(), text, path)

    def _later(self, what: str, call: Callable[..., object], *args: object) -> None:
        self._hurry.set()  # metrics queued before it need not wait
        self._submit(what, call, *args)

    def _submit(self, what: str, call: Callable[..., object], *args: object) -> bool:
        return self._delivery.submit(what, partial(call, *args))

    def _tell_error(self, error: Exception) -> None:
        text = f"did not accept what was written: {error}; training continues"
        if self._is_refusal(error):
            self._notices.warn("refused", text)
        else:
            path = self._undelivered_path(self._run_id())
            kept = f"values not delivered by the end are kept in {path}"
            self._notices.warn("away", f"{text}, and {kept}")

    def _tell_silence(self) -> None:
        """Warn about what was not delivered, and where it is kept."""
        path = self._put_aside()
        others = Counter(what for what in self._delivery.waiting() if what != "values")
        parts = [f"{len(self._rows())} values", *(f"{what} ({n})" for what, n in others.items())]
        kept = f"the values are kept in {path}" if path else "the values could not be kept"
        self._notices.warn(
            "silence",
            f"no answer for {self._timeout:g} s, so these are not delivered yet: "
            f"{', '.join(parts)}; {kept}, and are delivered if the run is resumed or the server "
            "answers before the run ends",
        )

    def _put_aside(self) -> Path | None:
        """Write pending values to a file that a resumed run reads."""
        path = self._undelivered_path(self._run_id())
        try:
            write_rows(path, self._rows())
        except OSError:
            return None
        self._has_put_aside = True
        return path

    def _rows(self) -> list[Row]:
        return [*self._being_sent, *self._metrics]

    def _undelivered_path(self, run: str) -> Path:
        return self._folder / f"mlflow_undelivered_{run}.csv"

    def _key(self, tag: str, clean: Callable[[str], str]) -> str:
        """Convert a tag to a valid MLflow name, different from those of all other tags."""
        known = self._keys.setdefault(clean, {})
        if tag not in known:
            key = name = clean(tag)
            number = 2
            while key in known.values():
                key = f"{name[: _IMAGE_LENGTH - 4]}_{number}"
                number += 1
            known[tag] = key
            if key != tag:
                self._notices.warn(
                    "name",
                    f"some names are invalid and are changed: {tag!r} is written as {key!r}",
                )
        return known[tag]


def _metric_name(tag: str) -> str:
    """Return a name that MLflow accepts on any system; on Windows it rejects colons."""
    parts = [re.sub(r"[^\w\-. ]", "_", part) for part in tag.split("/")]
    return "/".join(part for part in parts if part.strip("."))[:_NAME_LENGTH] or "_"


def _image_name(tag: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", tag)[:_IMAGE_LENGTH]
