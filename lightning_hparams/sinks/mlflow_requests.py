"""Requests to MLflow that hold many values, of which some may be invalid."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..checks import require
from ..provenance import redact
from .mlflow_names import NAME_LENGTH
from .mlflow_undelivered import Row

__all__ = [
    "MOST_METRICS",
    "answered_within",
    "check_answers",
    "is_refusal",
    "send_metrics",
    "send_params",
]

MOST_METRICS = 1000  # per request, as of params
_MOST_PARAMS = 100
_PARAM_LENGTH = 6000
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # error codes of invalid requests


@contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """Limit how long MLflow waits for its server: per read or write, without retries.

    By default it waits 120 s and retries seven times. A large upload may take longer than
    ``seconds`` while the server accepts it.
    """
    limits = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(math.ceil(seconds)),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def check_answers(client: Any, seconds: float) -> None:
    """Check that a client's server can be reached; a database needs no check.

    Raises:
        TimeoutError: If it does not answer in time.
    """
    uri = str(client.tracking_uri)
    if not uri.startswith(("http:", "https:")):
        return
    with answered_within(seconds):
        try:
            client.search_experiments(max_results=1)
        except Exception as error:
            text = (
                f"the MLflow server at {uri} has not answered within {seconds:g} s; start it, or "
                f"pass a longer mlflow_logger(timeout=...): {error}"
            )
            raise TimeoutError(redact(text, os.environ)) from error


def is_refusal(error: Exception) -> bool:
    """Whether MLflow rejected a request as invalid."""
    exceptions = require("mlflow.exceptions", extra="mlflow")
    return isinstance(error, exceptions.MlflowException) and error.error_code in _REFUSED


def send_metrics(client: Any, run: str, rows: Sequence[Row]) -> None:
    """Log metrics to a run, all but invalid ones.

    Raises:
        Exception: The client's error if a row was rejected or the server does not answer.
    """
    metric = require("mlflow.entities", extra="mlflow").Metric
    _send(client, run, "metrics", [metric(*row) for row in rows], MOST_METRICS)


def send_params(client: Any, run: str, values: Mapping[str, str], *, tell_drift: bool) -> None:
    """Log the params that a run does not have yet: MLflow's params cannot change.

    Args:
        client: The client.
        run: The run's ID.
        values: By valid name.
        tell_drift: Whether to set a value that differs from the run's as ``param_drift.<name>``, a
            tag.

    Raises:
        Exception: As for :func:`send_metrics`.
    """
    param = require("mlflow.entities", extra="mlflow").Param
    texts = {key: text[:_PARAM_LENGTH] for key, text in values.items()}
    known = client.get_run(run).data.params
    new = [param(key, text) for key, text in texts.items() if key not in known]
    if new:
        _send(client, run, "params", new, _MOST_PARAMS)
    for key, text in texts.items() if tell_drift else ():
        # Lightning truncates values to 250 characters.
        if known.get(key, text) not in (text, text[:250]):
            client.set_tag(run, f"param_drift.{key}"[:NAME_LENGTH], text)


def _send(client: Any, run: str, kind: str, rows: Sequence[object], most: int) -> None:
    """Send rows in batches; of a rejected batch, all but the invalid rows."""
    half = len(rows) // 2
    if len(rows) <= most:
        try:
            client.log_batch(run, **{kind: rows})
            return
        except Exception as error:
            if not is_refusal(error) or not half:
                raise
    try:
        _send(client, run, kind, rows[:half], most)
    finally:
        _send(client, run, kind, rows[half:], most)
