"""Private attributes of MLflow."""

from __future__ import annotations

from .internal import Internal

__all__ = ["INTERNALS", "last_steps"]

_METRICS = Internal(
    "mlflow",
    "RunData",
    "_metric_objs",
    "to know the step of each metric's last value; the public `metrics` has no steps",
)

INTERNALS = [value for value in list(vars().values()) if isinstance(value, Internal)]


def last_steps(data: object) -> dict[str, int]:
    """Return the last step of each metric in the ``data`` of a run."""
    return {metric.key: metric.step for metric in _METRICS.read(data)}
