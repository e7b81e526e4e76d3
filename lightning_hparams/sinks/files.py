"""Plain files: a CSV table and picture files, for use without TensorBoard and in tests."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..checks import writable_folder
from ..provenance import to_json
from ..render import Encoded
from ..tags import Tag
from .base import PRCounts, RunStatus, Scalar, Sink
from .lightning_loggers import hide_secrets, with_prefix
from .new_values import NewValues
from .text import csv_rows, csv_text, file_path

if TYPE_CHECKING:
    from lightning.pytorch.loggers import CSVLogger

__all__ = ["FilesSink"]

_COLUMNS = ("step", "tag", "value")
_PR_COLUMNS = (
    "threshold",
    "true_positives",
    "false_positives",
    "true_negatives",
    "false_negatives",
    "precision",
    "recall",
)


class FilesSink(Sink):
    """Writes ``scalars.csv`` and ``images/<tag>/step_<step>.<png or jpg>`` into a folder.

    The table has one row per value, ``step,tag,value``, so a tag may appear at any time. Existing
    files are kept, and a resumed run appends to them. Precision-recall curves, histograms and
    tables are CSV files and texts are Markdown files, in folders like those of the pictures.
    ``hparams.json`` holds the hyperparameters and the final status.

    Args:
        folder: A local folder.
        logger: Lightning's logger that writes to the same folder, if any.

    Raises:
        PermissionError: If the folder is not writable.
    """

    def __init__(self, folder: str | Path, logger: CSVLogger | None = None) -> None:
        self._folder = writable_folder("log folder", folder)
        self._logger = logger
        self._new = NewValues()
        self._record: dict[str, object] = {}  # the content of hparams.json

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        rows = [(step, self._name(tag), v) for tag, v in self._new(values, step).items()]
        path = self._table()
        path.parent.mkdir(parents=True, exist_ok=True)  # it may have been removed
        before = path.stat().st_size if path.exists() else 0
        text = csv_rows(rows) if before else csv_text(_COLUMNS, rows)
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            with suppress(OSError):
                os.truncate(path, before)  # half a row would spoil the next one
            raise

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._path("images", tag, step, picture.suffix).write_bytes(picture.data)

    def histogram(self, tag: str, counts: ArrayLike, edges: ArrayLike, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        bounds = np.asarray(edges).tolist()
        rows = zip(bounds[:-1], bounds[1:], np.asarray(counts).tolist(), strict=True)
        self._write("histograms", tag, step, ".csv", csv_text(("from", "to", "count"), rows))

    def pr_curve(self, tag: str, counts: PRCounts, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        rows = np.vstack([counts.thresholds, counts.rows()]).T.tolist()
        self._write("pr_curves", tag, step, ".csv", csv_text(_PR_COLUMNS, rows))

    def text(self, tag: str, text: str, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._write("texts", tag, step, ".md", text)

    def table(self, tag: str, columns: Mapping[str, Sequence[object]], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        text = csv_text(tuple(columns), zip(*columns.values(), strict=True))
        self._write("tables", tag, step, ".csv", text)

    def own_hparams(self) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        if self._logger is not None:
            hide_secrets(self._logger)

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._record = {"hparams": dict(values), "group": group, "status": "running"}
        self._write_hparams()

    def artifact(self, path: Path) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / path.name
        if target.resolve() != path.resolve():
            shutil.copyfile(path, target)

    def finish(self, status: RunStatus) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        if self._record:
            self._record["status"] = status
            self._write_hparams()

    def _forget(self, step: int) -> None:
        if self._table().exists():
            text = self._table().read_bytes().decode("utf-8", "replace")
            whole = text[: text.rfind("\n") + 1].split("\n")  # a crash may leave half a line
            rows = [row for row in csv.reader(whole) if len(row) == 3 and row[0].isdigit()]
            prefix = self._name("")
            last = {tag: _last_step(tag.removeprefix(prefix), step) for _, tag, _ in rows}
            kept = [row for row in rows if int(row[0]) <= last[row[1]]]
            _replace(self._table(), csv_text(_COLUMNS, kept))
            for at, tag, value in kept:
                self._new.remember(tag.removeprefix(prefix), float(value), int(at))
        for kind in ("images", "histograms", "pr_curves", "texts", "tables"):
            for path in (self._folder / kind).rglob("step_*"):
                tag = path.parent.relative_to(self._folder / kind).as_posix()
                written = re.fullmatch(r"step_(\d{8,})\.\w+", path.name)
                if written and int(written[1]) > _last_step(tag, step):
                    path.unlink()

    def _table(self) -> Path:
        return self._folder / "scalars.csv"

    def _name(self, tag: str) -> str:
        return tag if self._logger is None else with_prefix(self._logger, tag)

    def _write_hparams(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        _replace(self._folder / "hparams.json", to_json(self._record) + "\n")

    def _write(self, kind: str, tag: str, step: int, suffix: str, text: str) -> None:
        path = self._path(kind, tag, step, suffix)
        path.write_text(text, encoding="utf-8", newline="")

    def _path(self, kind: str, tag: str, step: int, suffix: str) -> Path:
        path = self._folder / kind / file_path(tag) / f"step_{step:08d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _last_step(tag: str, step: int) -> int:
    """Return the last step of a tag to keep when a run resumes after ``step``.

    A test after that step is logged at the next step, and the resumed run does not repeat it.
    """
    return step + (Tag.parse(tag).stage == "test")


def _replace(path: Path, text: str) -> None:
    """Write a file atomically."""
    beside = path.with_suffix(path.suffix + ".part")
    beside.write_text(text, encoding="utf-8", newline="")
    os.replace(beside, path)
