"""Plain files: a CSV table and picture files, for those without TensorBoard and for tests."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..checks import writable_folder
from ..render import Encoded
from .base import Once, PRCounts, Scalar, Sink, Status

__all__ = ["FilesSink"]

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

    The table has a row for each value, so a tag may appear at any time: ``step,tag,value``. What a
    folder holds already is kept; a resumed run goes on below it. Curves of precision and recall,
    histograms and tables are CSV files, texts Markdown, laid out as the pictures are, and
    ``hparams.json`` holds the hyperparameters and how the run ended.

    Raises:
        PermissionError: If the folder cannot be written to.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = writable_folder("log folder", folder)
        self._once = Once()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        path = self._folder / "scalars.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(("step", "tag", "value"))
            writer.writerows((step, tag, value) for tag, value in self._once(values, step).items())

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._path("images", tag, step, picture.suffix).write_bytes(picture.data)

    def histogram(self, tag: str, counts: ArrayLike, edges: ArrayLike, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        bounds = np.asarray(edges).tolist()
        rows = zip(bounds[:-1], bounds[1:], np.asarray(counts).tolist(), strict=True)
        path = self._path("histograms", tag, step, ".csv")
        _write_rows(path, ("from", "to", "count"), rows)

    def pr_curve(self, tag: str, counts: PRCounts, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        rows = np.vstack([counts.thresholds, counts.rows()]).T.tolist()
        _write_rows(self._path("pr_curves", tag, step, ".csv"), _PR_COLUMNS, rows)

    def text(self, tag: str, text: str, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._path("texts", tag, step, ".md").write_text(text, encoding="utf-8")

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        rows = zip(*columns.values(), strict=True)
        _write_rows(self._path("tables", tag, step, ".csv"), tuple(columns), rows)

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        self._write_hparams({"hparams": dict(values), "group": group, "status": "running"})

    def artifact(self, path: Path) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        target = self._folder / path.name
        if target.resolve() != path.resolve():
            shutil.copyfile(path, target)

    def resume(self, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        path = self._folder / "scalars.csv"
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                header, *rows = csv.reader(file)
            _write_rows(path, header, (row for row in rows if int(row[0]) <= step))
        for kind in ("images", "histograms", "pr_curves", "texts", "tables"):
            for file_path in (self._folder / kind).rglob("step_*"):
                if int(file_path.stem.removeprefix("step_")) > step:
                    file_path.unlink()

    def finish(self, status: Status) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        path = self._folder / "hparams.json"
        if path.exists():
            self._write_hparams({**json.loads(path.read_text("utf-8")), "status": status})

    def _write_hparams(self, record: Mapping[str, Any]) -> None:
        text = json.dumps(record, indent=2, sort_keys=True)
        (self._folder / "hparams.json").write_text(text + "\n", encoding="utf-8")

    def _path(self, kind: str, tag: str, step: int, suffix: str) -> Path:
        parts = [re.sub(r"[^\w\- ]", "_", part) for part in tag.split("/")]
        path = self._folder.joinpath(kind, *parts, f"step_{step:08d}{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
