"""Open a sink for each of a Trainer's loggers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from weakref import ReferenceType, WeakKeyDictionary, ref

from lightning import Trainer
from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image

from ..notices import warn_user
from ..render import Encoded
from .base import Sink, SinkLogger
from .files import FilesSink
from .logged import LoggedScalars
from .many import Sinks
from .mlflow import MLflowSink
from .tensorboard import TensorBoardSink
from .wandb import WandbSink

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["encode_figure", "is_rehearsal", "open_sinks"]

# One per logger, shared by all monitors, so that a value is written once and a message about a
# logger is shown once. It lives as long as a monitor holds it.
_opened: WeakKeyDictionary[Logger, ReferenceType[Sink]] = WeakKeyDictionary()


def open_sinks(trainer: Trainer, monitor: str) -> Sinks:
    """Return the sinks of all of the Trainer's loggers as one; empty on ranks other than zero.

    A logger with a method ``lightning_hparams_sink`` provides its own, see :class:`SinkLogger`.

    Args:
        trainer: A Trainer with any number of loggers.
        monitor: Name of the calling callback, for messages.
    """
    if not trainer.is_global_zero or is_rehearsal(trainer):
        return Sinks()
    if not trainer.loggers:
        rank_zero_info(f"{monitor} has nowhere to write: the Trainer has no logger")
    sinks = Sinks(_shared(logger, monitor, trainer.default_root_dir) for logger in trainer.loggers)
    sinks.begin_fit()
    return sinks


def is_rehearsal(trainer: Trainer) -> bool:
    """Whether this is a ``fast_dev_run``, in which nothing is written."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # set on construction


def encode_figure(figure: Figure) -> Encoded:
    """Encode a matplotlib figure as a PNG, for :meth:`Sink.image`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    width, height = Image.open(buffer).size
    return Encoded(buffer.getvalue(), height, width, ".png")


def _shared(logger: Logger, monitor: str, root: str) -> Sink:
    sink = _opened[logger]() if logger in _opened else None
    if sink is None:
        sink = _open(logger, monitor, root)
        _opened[logger] = ref(sink)
    return sink


def _open(logger: Logger, monitor: str, root: str) -> Sink:
    match logger:
        case SinkLogger():
            return logger.lightning_hparams_sink()
        case TensorBoardLogger():
            return TensorBoardSink(logger)
        case MLFlowLogger():
            return MLflowSink(logger, None if "://" in root else root)
        case WandbLogger():
            return WandbSink(logger)
        case CSVLogger() if "://" not in logger.log_dir:
            return FilesSink(logger.log_dir, logger)
        case _:
            warn_user(
                f"{monitor} writes numbers but no pictures to {type(logger).__name__}; "
                "add a TensorBoardLogger, an MLFlowLogger or a CSVLogger with a folder on this "
                "machine for pictures"
            )
            return LoggedScalars(logger)
