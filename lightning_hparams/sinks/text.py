"""Names and tables as text: CSV, Markdown, and paths that any file system takes."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["csv_text", "file_path", "markdown_table"]

_PART_BYTES = 120  # of 255 that file systems take: some sinks write more into a name


def file_path(tag: str) -> str:
    """A tag as a path that any file system takes.

    >>> file_path("class/iou/mAP@0.5/val")
    'class/iou/mAP_0_5/val'
    """
    return "/".join(_file_name(part) for part in tag.split("/"))


def _file_name(part: str) -> str:
    name = re.sub(r"[^\w\- ]", "_", part) or "_"
    data = name.encode()
    if len(data) <= _PART_BYTES:
        return name
    digest = hashlib.sha256(part.encode()).hexdigest()[:8]
    return f"{data[: _PART_BYTES - 9].decode(errors='ignore')}_{digest}"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""A table as CSV.

    >>> csv_text(("class", "iou"), [("a,b", 0.5)])
    'class,iou\n"a,b",0.5\n'
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def markdown_table(columns: Mapping[str, Sequence[Any]]) -> str:
    r"""A table by its columns as Markdown.

    >>> print(markdown_table({"class": ["a|b", "c"], "iou": [0.5, 0.25]}))
    | class | iou |
    |---|---|
    | a\|b | 0.5 |
    | c | 0.25 |
    """
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
