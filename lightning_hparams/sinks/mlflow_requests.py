"""Requests to MLflow that hold many values, of which some may be invalid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..checks import require
from .mlflow_names import NAME_LENGTH
from .mlflow_undelivered import Row

__all__ = ["MOST_METRICS", "is_refusal", "send_metrics", "send_params"]

MOST_METRICS = 1000  # per request, as of params
_MOST_PARAMS = 100
_PARAM_LENGTH = 6000
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # error codes of invalid requests


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
