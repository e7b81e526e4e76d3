"""Private attributes of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .internal import Internal

if TYPE_CHECKING:
    from torch.utils.tensorboard import FileWriter, SummaryWriter

__all__ = ["INTERNALS", "LAST_RATES", "LOADER_ITERATOR", "PARTS", "file_writer"]

_FILE_WRITER = Internal(
    "torch",
    "SummaryWriter",
    "_get_file_writer",
    "to write several values as one record; the public methods write one value each",
)
LOADER_ITERATOR = Internal(
    "torch", "DataLoader", "_iterator", "to copy a loader without its worker processes"
)
LAST_RATES = Internal(
    "torch", "LRScheduler", "_last_lr", "to scale the rates that a scheduler continues from"
)
PARTS = Internal(
    "torch", "SequentialLR", "_schedulers", "to scale the rates of schedulers within another"
)

INTERNALS = [value for value in list(vars().values()) if isinstance(value, Internal)]


def file_writer(writer: SummaryWriter) -> FileWriter:
    """Return the writer of records behind a SummaryWriter; a closed one opens a new file."""
    opened: FileWriter = _FILE_WRITER.read(writer)()
    return opened
