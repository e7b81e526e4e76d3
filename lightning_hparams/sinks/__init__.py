"""Where monitors write: one small interface over Lightning's loggers."""

from __future__ import annotations

from collections.abc import Mapping

from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from ..render import Encoded
from .base import Sink
from .files import FilesSink
from .tensorboard import TensorBoardSink

__all__ = ["FilesSink", "Sink", "TensorBoardSink", "is_rehearsal", "open_sinks"]


def open_sinks(trainer: Trainer, monitor: str) -> list[Sink]:
    """A sink for each of the trainer's loggers; none on other ranks than zero.

    Args:
        trainer: With any number of loggers.
        monitor: Name of the callback that asks, for the messages.
    """
    if not trainer.is_global_zero or is_rehearsal(trainer):
        return []
    if not trainer.loggers:
        rank_zero_info(f"{monitor} has nowhere to write: the Trainer has no logger")
    return [_open(logger, monitor) for logger in trainer.loggers]


def is_rehearsal(trainer: Trainer) -> bool:
    """Whether this is a ``fast_dev_run``, which writes nothing."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # set on construction


def _open(logger: Logger, monitor: str) -> Sink:
    match logger:
        case TensorBoardLogger():
            return TensorBoardSink(logger)
        case CSVLogger():
            return FilesSink(logger.log_dir)
        case _:
            rank_zero_warn(
                f"{monitor} writes numbers but no pictures to {type(logger).__name__}; "
                "add a TensorBoardLogger or a CSVLogger for pictures"
            )
            return _ScalarsOnly(logger)


class _ScalarsOnly:
    """A logger of which only Lightning's own interface is known."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._logger.log_metrics(dict(values), step)

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        pass

    def flush(self) -> None:
        self._logger.save()
