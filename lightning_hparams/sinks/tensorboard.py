"""TensorBoard's event file, through the writer of Lightning's logger."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import google_crc32c
import numpy as np
from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import ArrayLike, NDArray
from tensorboard.compat import tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.plugins.custom_scalar import layout_pb2, metadata as custom_scalar
from tensorboard.plugins.hparams import api_pb2, metadata as hparams_plugin, summary_v2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.pr_curve import metadata as pr_curve
from tensorboard.plugins.text import metadata as text_plugin
from tensorboard.util.tensor_util import make_tensor_proto
from torch.utils.tensorboard import FileWriter

from ..internals import event_file, file_writer, omit_hp_metric
from ..render import Encoded
from .base import Domain, Layout, PRCounts, RunStatus, Scalar, Sink
from .lightning_loggers import hide_secrets, logged_hparams, with_prefix
from .new_values import NewValues
from .text import markdown_table

__all__ = ["TensorBoardSink"]

_RGB = 3  # Summary.Image.colorspace


class TensorBoardSink(Sink):
    """Writes one ``Summary`` per event, and pictures as the bytes they are already encoded to.

    ``SummaryWriter.add_image`` would scale, resize and re-encode the picture as PNG, which takes
    350 to 420 ms for 1034 x 1034 pixels. Six calls of ``add_scalar`` take twelve times as long as
    appending one ``Summary`` of six values to the file.

    The HParams records are kept in a small separate event file, which replaces the earlier one.
    TensorBoard uses the first record of each kind in a run, so with appended records a run that
    crashed, was resumed and finished would remain failed. For the same reason a TensorBoard that
    is already open shows the old row until it is restarted.

    They also hide the records that Lightning writes when a project itself calls
    ``logger.log_hyperparams``, and repeat its hyperparameters.
    """

    def __init__(self, logger: TensorBoardLogger) -> None:
        self._logger = logger
        self._new = NewValues()
        self._user_hparams: dict[str, Scalar] = {}  # passed to the logger, not by us
        self._records = b""  # content of the file
        self._records_path = ""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        event = Event(step=step)
        prefix = with_prefix(self._logger, "")
        for tag, value in self._new(values, step).items():
            event.summary.value.add(tag=prefix + tag, simple_value=value)
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

    def table(self, tag: str, columns: Mapping[str, Sequence[object]], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self.text(tag, markdown_table(columns), step)

    def tags(self) -> set[str]:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        return self._new.tags()

    def layout(self, layout: Layout) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        # The plugin matches patterns at the start of a tag, not against the whole tag.
        prefix = re.escape(with_prefix(self._logger, ""))
        categories = [
            layout_pb2.Category(
                title=category,
                chart=[
                    layout_pb2.Chart(
                        title=title,
                        multiline=layout_pb2.MultilineChartContent(
                            tag=[f"{prefix}(?:{pattern})$" for pattern in patterns]
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
        """Disable Lightning's ``hp_metric``, and keep secrets out of its ``hparams.yaml``.

        Lightning's record would list ``hp_metric`` of -1 as the only metric, and TensorBoard uses
        the first record that it finds (Lightning #1111, #8175).
        """
        omit_hp_metric(self._logger)
        hide_secrets(self._logger)

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._begin_records()
        folder = self._logger.log_dir
        whole = folder if "://" in folder else os.path.abspath(folder)
        # Runs of different models may both be `lightning_logs/version_0`; TensorBoard averages runs
        # with equal ids.
        digest = hashlib.sha256(whole.encode()).hexdigest()[:6]
        run = f"{'/'.join(Path(folder).parts[-2:])} ({digest})"
        self._user_hparams = logged_hparams(self._logger)
        self._record(summary_v2.hparams_pb({**self._user_hparams, **values}, trial_id=group or run))

    def columns(
        self,
        domains: Mapping[str, Domain | None],
        metrics: Mapping[str, str],
        *,
        first: Sequence[str] = (),
    ) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        if not domains and not metrics:
            self._record(_hidden(hparams_plugin.EXPERIMENT_TAG))
            return
        infos = []
        for name, domain in (dict.fromkeys(self._user_hparams) | {**domains}).items():
            # The page shows columns marked as differing first.
            differs = domain is not None or name in first
            info = api_pb2.HParamInfo(name=name, differs=differs)
            if domain is not None and (known := _domain(domain)) is not None:
                known.update_hparam_info(info)
            infos.append(info)
        shown = [
            api_pb2.MetricInfo(
                name=api_pb2.MetricName(tag=with_prefix(self._logger, tag)), display_name=name
            )
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
        files, folder = url_to_fs(self._logger.log_dir)
        target = f"{folder}/{path.name}"
        if Path(target).resolve() != path.resolve():
            files.makedirs(folder, exist_ok=True)
            files.put_file(str(path), target)

    def flush(self, *, wait: bool = False) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._logger.experiment.flush()

    def finish(self, status: RunStatus) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        # TensorBoard has no state for killed runs.
        code = api_pb2.STATUS_SUCCESS if status == "finished" else api_pb2.STATUS_FAILURE
        end = SessionEndInfo(status=code, end_time_secs=time.time())
        self._record(
            _hparams(hparams_plugin.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))
        )
        self.flush()

    def _forget(self, step: int) -> None:
        """Record the step at which the run resumes.

        In TensorBoard's default reader later points replace earlier ones by themselves. The Python
        reader drops all points from the restart's step on: also those of a test at that step, and
        the end of a range test whose own steps extend beyond it.
        """
        start = SessionLog(status=SessionLog.START)
        self._write(Event(step=step + 1, session_log=start))

    def _writer(self) -> FileWriter:
        return file_writer(self._logger.experiment)

    def _write(self, event: Event) -> None:
        writer = self._writer()
        event.wall_time = time.time()
        if path := _local_file(writer):
            _append(path, event)
        else:
            writer.event_writer.add_event(event)

    def _tensor(
        self,
        tag: str,
        value: str | bytes | NDArray[np.float32],
        metadata: SummaryMetadata,
        step: int,
    ) -> None:
        tensor = make_tensor_proto(value)
        summary = Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])
        self._write(Event(step=step, summary=summary))

    def _begin_records(self) -> None:
        """Start a new record file, replacing those of earlier processes on any machine."""
        files, folder = url_to_fs(self._logger.log_dir)
        for path in files.find(folder, maxdepth=1):
            if fnmatch(path, "*/events.out.tfevents.0.*.hparams"):
                files.rm_file(path)
        files.makedirs(folder, exist_ok=True)
        # TensorBoard reads files in order of name, so this one comes before the logger's. It
        # identifies open files by name, so a new file under the same name would not be noticed.
        name = f"events.out.tfevents.0.{time.time_ns()}.{socket.gethostname()}.hparams"
        self._records_path = f"{folder}/{name}"
        self._records = _framed(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def _record(self, summary: Summary) -> None:
        if not self._records:
            self._begin_records()
        self._records += _framed(Event(wall_time=time.time(), summary=summary))
        files, _ = url_to_fs(self._logger.log_dir)
        files.pipe_file(self._records_path, self._records)


def _hparams(tag: str, data: HParamsPluginData) -> Summary:
    """Build a plugin record as its ``summary.py`` does, which would import TensorFlow."""
    metadata = hparams_plugin.create_summary_metadata(data)
    value = Summary.Value(tag=tag, metadata=metadata, tensor=hparams_plugin.NULL_TENSOR)
    return Summary(value=[value])


def _hidden(tag: str) -> Summary:
    """Build a record that belongs to no dashboard; TensorBoard ignores later ones with the tag."""
    plugin = SummaryMetadata.PluginData(plugin_name="lightning_hparams")
    metadata = SummaryMetadata(plugin_data=plugin)
    value = Summary.Value(tag=tag, metadata=metadata, tensor=hparams_plugin.NULL_TENSOR)
    return Summary(value=[value])


def _domain(domain: Domain) -> summary_v2.Domain | None:
    values = [value for value in domain if value is not None]
    if not values:
        return None
    if not all(isinstance(value, (bool, int, float)) for value in values):
        return summary_v2.Discrete([str(value) for value in values], dtype=str)
    if isinstance(domain, tuple) and len(values) == 2:
        return summary_v2.RealInterval(float(values[0]), float(values[1]))
    if all(isinstance(value, bool) for value in values):
        return summary_v2.Discrete(values, dtype=bool)
    return summary_v2.Discrete([float(value) for value in values], dtype=float)


def _append(path: str, event: Event) -> None:
    """Append a record to an event file, a third faster than with ``open``."""
    record = memoryview(_framed(event))
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:  # removed, possibly with its folder
        file = _begin_file(path)
    before, size = os.lseek(file, 0, os.SEEK_END), len(record)
    try:
        while record:
            record = record[os.write(file, record) :]
    except OSError:
        # Readers stop at an incomplete record. Others may have appended to the file since.
        if os.lseek(file, 0, os.SEEK_END) == before + size - len(record):
            os.ftruncate(file, before)
        raise
    finally:
        os.close(file)


def _begin_file(path: str) -> int:
    """Open a new event file for appending."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(file, _framed(Event(wall_time=time.time(), file_version="brain.Event:2")))
    return file


def _local_file(writer: FileWriter) -> str:
    """Return the event file if records may be appended to it along with its writer, else "".

    The writer computes checksums in pure Python, holding the GIL: 74 ms for a picture of 0.4 MB.
    It reopens a local file in append mode for each record, so complete records of others may come
    in between. With TensorFlow installed it keeps the file open instead, and remote file systems
    differ, so there the writer itself is used.
    """
    if getattr(tf, "__version__", None) != "stub":
        return ""
    path = event_file(writer)
    return "" if "://" in path else path


def _framed(event: Event) -> bytes:
    """Frame an event as a TFRecord: length, checksum of it, data, checksum of it."""
    data: bytes = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """Return the masked CRC-32C of the TFRecord format."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
