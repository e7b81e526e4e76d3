"""Plain files: a CSV table and picture files, for those without TensorBoard and for tests."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from ..checks import writable_folder
from ..render import Encoded

__all__ = ["FilesSink"]


class FilesSink:
    """Writes ``scalars.csv`` and ``images/<tag>/step_<step>.<png or jpg>`` into a folder.

    The table has a row for each value, so a tag may appear at any time: ``step,tag,value``. What a
    folder holds already is kept; a resumed run goes on below it.

    Raises:
        PermissionError: If the folder cannot be written to.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = writable_folder("log folder", folder)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        path = self._folder / "scalars.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(("step", "tag", "value"))
            writer.writerows((step, tag, value) for tag, value in values.items())

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`~lightning_hparams.sinks.base.Sink`."""
        parts = [re.sub(r"[^\w\- ]", "_", part) for part in tag.split("/")]
        path = self._folder.joinpath("images", *parts, f"step_{step:08d}{picture.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.data)

    def flush(self) -> None:
        """Nothing to do: each call closes its file."""
