"""Where monitors write: one small interface over Lightning's loggers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import ReferenceType, WeakKeyDictionary, ref

from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from PIL import Image

from ..render import Encoded
from .base import Domain, Layout, Once, PRCounts, Scalar, Sink, Status
from .files import FilesSink
from .mlflow import MLflowSink, mlflow_logger, register_model
from .tensorboard import TensorBoardSink

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Domain",
    "FilesSink",
    "Layout",
    "MLflowSink",
    "PRCounts",
    "Scalar",
    "Sink",
    "Status",
    "TensorBoardSink",
    "encode_figure",
    "is_rehearsal",
    "mlflow_logger",
    "open_sinks",
    "register_model",
]

# One for each logger, whoever asks: monitors that write the same value write it once, and what is
# to be said about a logger is said once. It lives as long as a monitor holds it.
_opened: WeakKeyDictionary[Logger, ReferenceType[Sink]] = WeakKeyDictionary()


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
    sinks = [_shared(logger, monitor) for logger in trainer.loggers]
    for sink in sinks:
        sink.begin_fit()
    return sinks


def is_rehearsal(trainer: Trainer) -> bool:
    """Whether this is a ``fast_dev_run``, which writes nothing."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # set on construction


def encode_figure(figure: Figure) -> Encoded:
    """A figure of matplotlib as a PNG, for :meth:`Sink.image`; it is drawn here, once."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    width, height = Image.open(buffer).size
    return Encoded(buffer.getvalue(), height, width, ".png")


def _shared(logger: Logger, monitor: str) -> Sink:
    sink = _opened[logger]() if logger in _opened else None
    if sink is None:
        sink = _open(logger, monitor)
        _opened[logger] = ref(sink)
    return sink


def _open(logger: Logger, monitor: str) -> Sink:
    match logger:
        case TensorBoardLogger():
            return TensorBoardSink(logger)
        case MLFlowLogger():
            return MLflowSink(logger)
        case CSVLogger() if "://" not in logger.log_dir:
            return FilesSink(logger.log_dir, logger)
        case _:
            rank_zero_warn(
                f"{monitor} writes numbers but no pictures to {type(logger).__name__}; "
                "add a TensorBoardLogger, an MLFlowLogger or a CSVLogger with a folder on this "
                "machine for pictures"
            )
            return _ScalarsOnly(logger)


class _ScalarsOnly(Sink):
    """A logger of which only Lightning's own interface is known; it has no room for the rest."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._once = Once()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if new := self._once(values, step):
            self._logger.log_metrics(new, step)

    def flush(self, *, wait: bool = False) -> None:
        self._logger.save()
