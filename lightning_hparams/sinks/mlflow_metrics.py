"""Metrics on their way to MLflow: collected, sent in batches, and kept while it is away."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..internals import last_steps
from .delivery import Delivery
from .mlflow_requests import MOST_METRICS, is_refusal, send_metrics
from .mlflow_undelivered import Row, read_rows, write_rows

__all__ = ["VALUES", "WaitingMetrics"]

VALUES = "values"  # description of a delivery of metrics
_EVERY_S = 1.0  # metrics are collected for this long
_KEPT = 200_000  # pending values for an unreachable server


class WaitingMetrics:
    """Metrics of a run that MLflow does not have yet.

    Args:
        delivery: Where requests are queued.
        client: Returns the client.
        run: Returns the run's ID; called only once there are values, since it may start the run.
        folder: Folder for values that could not be delivered.
    """

    def __init__(
        self,
        delivery: Delivery,
        client: Callable[[], Any],
        run: Callable[[], str],
        folder: Path,
    ) -> None:
        self._delivery = delivery
        self._client = client
        self._run = run
        self._folder = folder
        self._rows: deque[Row] = deque(maxlen=_KEPT)
        self._being_sent: list[Row] = []
        self._about_to_send = False
        self._hurry = threading.Event()
        self._has_put_aside = False
        self._last_steps: dict[str, int] = {}  # by key, as written by an earlier process

    def __bool__(self) -> bool:
        """Whether any are waiting to be sent."""
        return bool(self._rows)

    def rows(self) -> list[Row]:
        """Return all that MLflow is not known to have."""
        return [*self._being_sent, *self._rows]

    def add(self, row: Row) -> None:
        """Queue a metric, unless an earlier process has written its step."""
        key, _, _, step = row
        if step > self._last_steps.get(key, -1):
            self._rows.append(row)

    def hurry(self) -> None:
        """Send what is queued without waiting for more."""
        self._hurry.set()

    def send_soon(self) -> None:
        """Send what is queued after a second, or as soon as :meth:`hurry` is called."""
        if len(self._rows) >= MOST_METRICS:
            self._hurry.set()
        # Checked after appending: the thread resets the flag before it takes the values.
        if self._rows and not self._about_to_send:
            self._hurry.clear()
            self._about_to_send = True
            if not self._delivery.submit(VALUES, partial(self._send, self._run())):
                self._about_to_send = False

    def put_aside(self) -> Path | None:
        """Write what MLflow does not have to a file that a resumed run reads; return its path."""
        path = self.path()
        try:
            write_rows(path, self.rows())
        except OSError:
            return None
        self._has_put_aside = True
        return path

    def path(self, run: str | None = None) -> Path:
        """Return the path of the file for undelivered values of a run; None for this one."""
        return self._folder / f"mlflow_undelivered_{run or self._run()}.csv"

    def take_up(self, run: str, step: int) -> None:
        """Send an earlier process's values up to ``step``, and skip those that it has written.

        MLflow cannot delete them, and would plot them twice. Waits for the server, so it is called
        in the thread of the delivery.
        """
        client, path = self._client(), self.path(run)
        known = last_steps(client.get_run(run).data)
        rows = [row for row in read_rows(path) if known.get(row[0], -1) < row[3] <= step]
        if rows:
            send_metrics(client, run, rows)
            known |= {key: row_step for key, _, _, row_step in rows}
        path.unlink(missing_ok=True)
        self._last_steps = known

    def _send(self, run: str) -> None:
        self._hurry.wait(_EVERY_S)
        self._about_to_send = False
        rows = self._being_sent = [self._rows.popleft() for _ in range(len(self._rows))]
        if not rows:
            return
        try:
            send_metrics(self._client(), run, rows)
        except Exception as error:
            if not is_refusal(error):
                # Retried next time; MLflow stores a row that it receives twice only once.
                self._rows.extendleft(reversed(rows))
            raise
        finally:
            self._being_sent = []
        if self._has_put_aside and not self._rows:
            self._has_put_aside = False
            self.path(run).unlink(missing_ok=True)
