"""Names and tables as text: CSV, Markdown and portable paths."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["csv_rows", "csv_text", "file_path", "markdown_table"]

_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Markdown and HTML markup; an underscore within a word is not markup.
_MARKUP = re.compile(r"[\\|<>&`*\[\]!~]|(?<!\w)_|_(?!\w)")
_ESCAPED = {"|": "\\|", "<": "&lt;", ">": "&gt;", "&": "&amp;"}
_PART_BYTES = 120  # of the 255 that file systems allow: some backends add to a name


def file_path(tag: str) -> str:
    """Convert a tag to a path that is valid on any file system.

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


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    r"""Format a table as CSV.

    >>> csv_text(("class", "iou"), [("a,b", 0.5)])
    'class,iou\n"a,b",0.5\n'
    """
    return csv_rows([header, *rows])


def csv_rows(rows: Iterable[Sequence[object]]) -> str:
    r"""Format rows as CSV in which a spreadsheet finds no formulas.

    Text that it would execute gets a leading apostrophe (OWASP, CSV injection); numbers do not.

    >>> csv_rows([("=1+1", -0.5), ("-road", "-0.5")])
    "'=1+1,-0.5\n'-road,-0.5\n"
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(map(_no_formula, row) for row in rows)
    return buffer.getvalue()


def _no_formula(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")  # csv does not quote a bare \r
    if not cell.lstrip(" ").startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def markdown_table(columns: Mapping[str, Sequence[object]]) -> str:
    r"""Format a table, given its columns, as Markdown; markup in cells is escaped.

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
