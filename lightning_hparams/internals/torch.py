"""Private parts of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .internal import Internal

if TYPE_CHECKING:
    from torch.utils.tensorboard import FileWriter, SummaryWriter

__all__ = ["INTERNALS", "LAST_RATES", "LOADER_ITERATOR", "PARTS", "file_writer"]

_FILE_WRITER = Internal(
    "torch",
    "SummaryWriter",
    "_get_file_writer",
    "to write several values as one record; all public methods, of one value each, go through it",
)
LOADER_ITERATOR = Internal(
    "torch", "DataLoader", "_iterator", "to copy a loader without its worker processes"
)
LAST_RATES = Internal(
    "torch", "LRScheduler", "_last_lr", "to scale the rates that a scheduler goes on from"
)
PARTS = Internal(
    "torch", "SequentialLR", "_schedulers", "to scale the rates of schedulers within another"
)

INTERNALS = [value for value in list(vars().values()) if isinstance(value, Internal)]


def file_writer(writer: SummaryWriter) -> FileWriter:
    """What a writer appends its records with; where it was closed, a new file is opened."""
    opened: Any = _FILE_WRITER.read(writer)()
    found: FileWriter = opened
    return found
