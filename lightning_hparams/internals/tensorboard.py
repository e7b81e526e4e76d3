"""Private attributes of TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .internal import Internal

if TYPE_CHECKING:
    from torch.utils.tensorboard import FileWriter

__all__ = ["INTERNALS", "event_file"]

_FILE_NAME = Internal(
    "tensorboard",
    "FileWriter",
    "event_writer._file_name",
    "to append whole records to an event file; TensorBoard's writer computes checksums in Python",
)

INTERNALS = [value for value in list(vars().values()) if isinstance(value, Internal)]


def event_file(writer: FileWriter) -> str:
    """Return the path of the file that a writer appends to."""
    return str(_FILE_NAME.read(writer))
