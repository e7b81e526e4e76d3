"""TensorBoard's event file, through the writer of Lightning's logger."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping

import google_crc32c
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat import tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import FileWriter

from ..render import Encoded

__all__ = ["TensorBoardSink"]

_RGB = 3  # Summary.Image.colorspace


class TensorBoardSink:
    """Writes one ``Summary`` an event, and pictures as the bytes they are already encoded to.

    ``SummaryWriter.add_image`` would scale, resize and encode the picture again as PNG, which
    takes 350 to 420 ms for 1034 x 1034 pixels, and six calls of ``add_scalar`` take five times as
    long as one ``Summary`` of six values.
    """

    def __init__(self, logger: TensorBoardLogger) -> None:
        self._logger = logger

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        summary = Summary(
            value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        )
        self._writer().add_summary(summary, step)

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        image = Summary.Image(
            height=picture.height,
            width=picture.width,
            colorspace=_RGB,
            encoded_image_string=picture.data,
        )
        summary = Summary(value=[Summary.Value(tag=tag, image=image)])
        path = _local_file(self._writer())
        if path is None:
            self._writer().add_summary(summary, step)
        else:
            event = Event(wall_time=time.time(), step=step, summary=summary)
            with open(path, "ab") as file:
                file.write(_record(event.SerializeToString()))

    def flush(self) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._logger.experiment.flush()

    def _writer(self) -> FileWriter:
        # The public methods of SummaryWriter take one value each. This is the accessor that all of
        # them go through: it opens a new file where the logger has closed the old one.
        writer: FileWriter = self._logger.experiment._get_file_writer()
        return writer


def _local_file(writer: FileWriter) -> str | None:
    """The event file, if a record may be appended to it beside its own writer.

    That writer checksums in pure Python while it holds the interpreter: 74 ms for a picture of
    0.4 MB. It opens a local file anew for each record, in append mode, so whole records of others
    may stand between its own. With TensorFlow installed it keeps the file open instead, and remote
    folders have their own rules: there the writer is used as it is.
    """
    path = getattr(writer.event_writer, "_file_name", None)
    if getattr(tf, "__version__", None) != "stub" or not isinstance(path, str):
        return None
    return path if os.path.isfile(path) else None


def _record(data: bytes) -> bytes:
    """Frame an event as a TFRecord: length, its checksum, data, its checksum."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as the TFRecord format asks for."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
