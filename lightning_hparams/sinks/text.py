"""Names and tables as text: CSV, Markdown, and paths that any file system takes."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["csv_rows", "csv_text", "file_path", "markdown_table"]

_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# What begins something in Markdown or HTML; within a word, an underscore does not.
_MARKUP = re.compile(r"[\\|<>&`*\[\]!~]|(?<!\w)_|_(?!\w)")
_ESCAPED = {"|": "\\|", "<": "&lt;", ">": "&gt;", "&": "&amp;"}
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
    return csv_rows([header, *rows])


def csv_rows(rows: Iterable[Sequence[Any]]) -> str:
    r"""Rows of a table as CSV, in which no text is a formula to a spreadsheet.

    A text that one would run is given an apostrophe (OWASP, CSV injection); numbers stay.

    >>> csv_rows([("=1+1", -0.5), ("-road", "-0.5")])
    "'=1+1,-0.5\n'-road,-0.5\n"
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(map(_no_formula, row) for row in rows)
    return buffer.getvalue()


def _no_formula(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")  # which csv does not put in quotes
    if not cell.lstrip(" ").startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def markdown_table(columns: Mapping[str, Sequence[Any]]) -> str:
    r"""A table by its columns as Markdown, in which each cell reads as the text that it is.

    >>> print(markdown_table({"class": ["a|b", "<c>"], "iou": [0.5, 0.25]}))
    | class | iou |
    |---|---|
    | a\|b | 0.5 |
    | &lt;c&gt; | 0.25 |
    """
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    cells = [[_as_markdown(str(cell)) for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def _as_markdown(text: str) -> str:
    line = " ".join(text.splitlines())
    return _MARKUP.sub(lambda found: _ESCAPED.get(found[0], f"&#{ord(found[0])};"), line)
