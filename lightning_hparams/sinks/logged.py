"""Scalars through the `log_metrics` of any Lightning logger."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch.loggers import Logger

from .base import Sink
from .new_values import NewValues

__all__ = ["LoggedScalars"]


class LoggedScalars(Sink):
    """Writes scalars through a logger of any type, and nothing else.

    Args:
        logger: Lightning's logger.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._new = NewValues()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        if new := self._new(values, step):
            self._logger.log_metrics(new, step)

    def flush(self, *, wait: bool = False) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._logger.save()
