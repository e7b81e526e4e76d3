"""TensorBoard's event file, through the writer of Lightning's logger."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import ArrayLike
from tensorboard.compat import tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.hparams import api_pb2, summary_v2
from tensorboard.plugins.hparams import metadata as hparams_plugin
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.pr_curve import metadata as pr_curve
from tensorboard.plugins.text import metadata as text_plugin
from tensorboard.util.tensor_util import make_tensor_proto
from torch.utils.tensorboard import FileWriter

from ..render import Encoded
from .base import Domain, Layout, Once, PRCounts, Scalar, Sink, Status, markdown_table

__all__ = ["TensorBoardSink"]

_RGB = 3  # Summary.Image.colorspace


class TensorBoardSink(Sink):
    """Writes one ``Summary`` an event, and pictures as the bytes they are already encoded to.

    ``SummaryWriter.add_image`` would scale, resize and encode the picture again as PNG, which
    takes 350 to 420 ms for 1034 x 1034 pixels, and six calls of ``add_scalar`` take twelve times as
    long as one ``Summary`` of six values that is appended to the file at once.

    The HParams records stand in a small event file of their own. TensorBoard believes the first
    record of a kind that it finds in a run, so a run that crashed, was resumed and then finished
    would stay a failure if they were appended to what is there.
    """

    def __init__(self, logger: TensorBoardLogger) -> None:
        self._logger = logger
        self._once = Once()
        self._resumed_at = -1

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        event = Event(step=step)
        for tag, value in self._once(values, step).items():
            event.summary.value.add(tag=tag, simple_value=value)
        if event.summary.value:
            self._write(event)

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        image = Summary.Image(
            height=picture.height,
            width=picture.width,
            colorspace=_RGB,
            encoded_image_string=picture.data,
        )
        summary = Summary(value=[Summary.Value(tag=tag, image=image)])
        self._write(Event(step=step, summary=summary))

    def histogram(self, tag: str, counts: ArrayLike, edges: ArrayLike, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        heights, bounds = np.asarray(counts, np.float64), np.asarray(edges, np.float64)
        middles = (bounds[1:] + bounds[:-1]) / 2
        histo = HistogramProto(
            min=bounds[0],
            max=bounds[-1],
            num=heights.sum(),
            sum=heights @ middles,
            sum_squares=heights @ middles**2,
            bucket_limit=bounds[1:].tolist(),
            bucket=heights.tolist(),
        )
        summary = Summary(value=[Summary.Value(tag=tag, histo=histo)])
        self._write(Event(step=step, summary=summary))

    def pr_curve(self, tag: str, counts: PRCounts, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        rows = counts.rows()
        metadata = pr_curve.create_summary_metadata(tag, "", rows.shape[1])
        self._tensor(tag, rows.astype(np.float32), metadata, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._tensor(tag, text, text_plugin.create_summary_metadata(tag, ""), step)

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self.text(tag, markdown_table(columns), step)

    def layout(self, layout: Layout) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        # The plugin matches from the start of a tag on, not the whole of it.
        categories = [
            layout_pb2.Category(
                title=category,
                chart=[
                    layout_pb2.Chart(
                        title=title,
                        multiline=layout_pb2.MultilineChartContent(
                            tag=[f"(?:{pattern})$" for pattern in patterns]
                        ),
                    )
                    for title, patterns in charts.items()
                ],
            )
            for category, charts in layout.items()
        ]
        self._tensor(
            custom_scalar.CONFIG_SUMMARY_TAG,
            layout_pb2.Layout(category=categories).SerializeToString(),
            custom_scalar.create_summary_metadata(),
            0,
        )

    def own_hparams(self) -> None:
        """Keep Lightning from its ``hp_metric``.

        Its record would name a metric of -1 as the only one, and TensorBoard takes the first
        record that it finds (Lightning #1111, #8175).
        """
        self._logger._default_hp_metric = False

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        if path := self._records_file():
            path.unlink(missing_ok=True)
            _append(path, Event(wall_time=time.time(), file_version="brain.Event:2"))
        run = "/".join(Path(self._logger.log_dir).parts[-2:])
        self._record(summary_v2.hparams_pb(dict(values), trial_id=group or run))

    def columns(self, domains: Mapping[str, Domain | None], metrics: Mapping[str, str]) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        infos = []
        for name, domain in domains.items():
            # The page shows those first that are said to differ.
            info = api_pb2.HParamInfo(name=name, differs=domain is not None)
            if domain is not None:
                _domain(domain).update_hparam_info(info)
            infos.append(info)
        shown = [
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=name)
            for tag, name in metrics.items()
        ]
        experiment = api_pb2.Experiment(
            hparam_infos=infos, metric_infos=shown, time_created_secs=time.time()
        )
        self._record(
            _hparams(hparams_plugin.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))
        )

    def artifact(self, path: Path) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        target = Path(self._logger.log_dir) / path.name
        if _is_local(self._logger.log_dir) and target.resolve() != path.resolve():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def resume(self, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`.

        TensorBoard's default reader lets later points replace earlier ones by itself. The one in
        Python drops all that came after a restart's step; that is why a range test whose own
        steps go beyond it loses its end there.
        """
        if self._resumed_at != step:
            self._resumed_at = step
            start = SessionLog(status=SessionLog.START)
            self._write(Event(step=step + 1, session_log=start))

    def flush(self) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._logger.experiment.flush()

    def finish(self, status: Status) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        # TensorBoard knows no third state.
        code = api_pb2.STATUS_SUCCESS if status == "finished" else api_pb2.STATUS_FAILURE
        end = SessionEndInfo(status=code, end_time_secs=time.time())
        self._record(
            _hparams(hparams_plugin.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))
        )
        self.flush()

    def _writer(self) -> FileWriter:
        # The public methods of SummaryWriter take one value each. This is the accessor that all of
        # them go through: it opens a new file where the logger has closed the old one.
        writer: FileWriter = self._logger.experiment._get_file_writer()
        return writer

    def _write(self, event: Event) -> None:
        writer = self._writer()
        event.wall_time = time.time()
        if path := _local_file(writer):
            _append(path, event)
        else:
            writer.event_writer.add_event(event)

    def _tensor(self, tag: str, value: Any, metadata: SummaryMetadata, step: int) -> None:
        tensor = make_tensor_proto(value)
        summary = Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])
        self._write(Event(step=step, summary=summary))

    def _records_file(self) -> Path | None:
        folder = self._logger.log_dir
        if not _is_local(folder):
            return None
        Path(folder).mkdir(parents=True, exist_ok=True)
        return Path(folder) / f"events.out.tfevents.0.{socket.gethostname()}.hparams"

    def _record(self, summary: Summary) -> None:
        path = self._records_file()
        event = Event(wall_time=time.time(), summary=summary)
        if path is None:
            self._write(event)
        else:
            _append(path, event)


def _hparams(tag: str, data: HParamsPluginData) -> Summary:
    """A record of the plugin, as its own ``summary.py`` makes it, which imports TensorFlow."""
    metadata = hparams_plugin.create_summary_metadata(data)
    value = Summary.Value(tag=tag, metadata=metadata, tensor=hparams_plugin.NULL_TENSOR)
    return Summary(value=[value])


def _domain(domain: Domain) -> summary_v2.Domain:
    if isinstance(domain, tuple) and len(domain) == 2:
        return summary_v2.RealInterval(float(domain[0]), float(domain[1]))
    if any(isinstance(value, str) for value in domain):
        return summary_v2.Discrete([str(value) for value in domain], dtype=str)
    if all(isinstance(value, bool) for value in domain):
        return summary_v2.Discrete(list(domain), dtype=bool)
    return summary_v2.Discrete([float(value) for value in domain], dtype=float)


def _is_local(folder: str) -> bool:
    return "://" not in folder


def _append(path: str | Path, event: Event) -> None:
    """Write a whole record at the end of an event file; by a third of the time of ``open``."""
    record = memoryview(_record(event.SerializeToString()))
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        while record:
            record = record[os.write(file, record) :]
    finally:
        os.close(file)


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
