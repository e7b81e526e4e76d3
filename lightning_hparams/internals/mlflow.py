"""Private parts of MLflow."""

from __future__ import annotations

from typing import Any

from .internal import Internal

__all__ = ["INTERNALS", "last_steps"]

_METRICS = Internal(
    "mlflow",
    "RunData",
    "_metric_objs",
    "to know the step of each metric's last value; the public `metrics` has none",
)

INTERNALS = [value for value in list(vars().values()) if isinstance(value, Internal)]


def last_steps(data: Any) -> dict[str, int]:
    """The last step of each metric in a run's data, as the client gives it."""
    return {metric.key: metric.step for metric in _METRICS.read(data)}
