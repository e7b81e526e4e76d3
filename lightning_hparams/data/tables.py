"""Labels and values of images from a CSV file."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import counted, nearest
from ..notices import warn_user
from .layout import SPLIT_WORDS
from .pairs import first_names
from .pictures import SUFFIXES
from .splits import found_in, in_another_folder, names_of, others_called

__all__ = ["Table", "labels_of", "read_table", "values_of"]

_SPLIT_COLUMNS = {"split", "set", "subset", "partition", "phase"}
_TRUE = {"1": 1, "1.0": 1, "true": 1, "yes": 1, "0": 0, "0.0": 0, "false": 0, "no": 0, "": 0}


class Table(NamedTuple):
    """Rows of a CSV file for images that exist."""

    path: Path
    columns: list[str]  # names of the columns with labels or values
    named: bool  # whether the file names its columns
    rows: dict[str, list[str]]  # by the key of the image
    lines: dict[str, int]  # of each row in the file, for errors
    split: dict[str, str] | None  # of each key, if there is a column for it

    def where(self, key: str) -> str:
        """Return file and line of a row."""
        return f"{self.path}, line {self.lines[key]}"


def read_table(
    path: Path, files: Mapping[str, Path], columns: Sequence[str] | None = None
) -> Table:
    """Read a CSV file whose rows hold the name of an image, and its labels or values.

    The separator is a comma, a semicolon or a tab. The first row may name the columns. Names of
    images may lack suffix and folder; a column without a name, which pandas writes, is ignored.

    Args:
        path: The file.
        files: Images by key.
        columns: Columns with labels or values; None for all others than the one with the images.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such table, or names images that do not exist.
    """
    cells = _cells(path)
    names = names_of(files)
    first = cells[0][1]
    position = _image_column(path, cells, names, files)
    # A file that does not exist is no name of a column, but an error below.
    is_file = Path(first[position]).suffix.lower() in SUFFIXES
    named = not is_file and found_in(first[position], names) is None
    header = first if named else [f"column {index}" for index in range(len(first))]
    if len(set(header)) < len(header) and columns is not None:
        raise ValueError(f"{path} has several columns of one name: {header}; rename them")
    chosen = _chosen(path, header, position, columns)
    rows: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    splits: dict[str, str] = {}
    several = ""
    unknown, elsewhere = [], []
    for line, row in cells[1:] if named else cells:
        if len(row) != len(first):
            raise ValueError(
                f"{path}, line {line} has {len(row)} cells and the first line {len(first)}; each "
                "row must have as many, and cells with a separator must be in quotes"
            )
        key = found_in(row[position], names)
        if key is None:
            unknown.append(f"{row[position]} (line {line})")
            several = several or others_called(row[position], files)
            continue
        if in_another_folder(row[position], key):
            elsewhere.append(f"{row[position]} (line {line}) as {key}")
        values = [row[index] for index in chosen]
        split = _split_in(path, line, header, row, chosen)
        if key in rows and (rows[key], splits.get(key)) != (values, split):
            raise ValueError(
                f"{path} has different rows for {row[position]}, in lines {lines[key]} and {line} "
                f"of column {header[position]!r}; keep one of them, and the names of images in one "
                "column"
            )
        rows[key], lines[key] = values, line
        if split is not None:
            splits[key] = split
    if unknown:
        raise ValueError(
            f"{path} names {first_names(unknown)}, which is not among the "
            f"{counted(len(files), 'image')}; a row must hold the name of a file"
            f"{several or ': add the image, or remove the row'}"
        )
    if elsewhere:
        warn_user(
            f"{path}: read {first_names(elsewhere)}, the only image of that name, although the "
            "folder differs; check the names and images="
        )
    return Table(path, [header[index] for index in chosen], named, rows, lines, splits or None)


def labels_of(
    table: Table, class_names: Sequence[str] | None, *, several: bool
) -> tuple[list[str], Tensor]:
    """Return the class names, and the class of each row ``(N,)`` or its labels ``(N, C)``.

    One column holds names of classes, or their indices if ``class_names`` are given; several
    labels in a cell are separated by ``;``, ``|`` or spaces. Several columns hold 0 and 1, one for
    each class.

    Args:
        table: The table.
        class_names: Names of the classes; None for those in the table, sorted.
        several: Whether an image has any number of labels instead of one class.

    Raises:
        ValueError: For a label that is not among the classes, and cells of any other kind.
    """
    if len(table.columns) > 1:
        names, labels = _indicators(table, class_names)
        counts = labels.sum(1)
        if several:
            return names, labels
        for key, count in zip(table.rows, counts.tolist(), strict=True):
            if count != 1:
                raise ValueError(
                    f"{table.where(key)}: one of the columns {table.columns} must be 1, but "
                    f"{count} are; pass task='multilabel' for any number of labels"
                )
        return names, labels.argmax(1)
    found = _texts(table, several, class_names)
    names = _names_in(table, found, class_names)
    if not names:
        raise ValueError(
            f"{table.path}: column {table.columns[0]!r} has no label in any row; add some, or "
            "name the classes in class_names"
        )
    index_of = {name: index for index, name in enumerate(names)}
    if not {each for some in found.values() for each in some} <= set(names):
        index_of |= {str(index): index for index in range(len(names))}
    indices = {}
    for key, some in found.items():
        for text in some:
            if text not in index_of:
                raise ValueError(
                    f"{table.where(key)}: {text!r} is not among the classes {names[:10]}"
                    f"{nearest(text, names)}; name all of them in class_names"
                )
        indices[key] = [index_of[text] for text in some]
    if not several:
        return names, torch.tensor([some[0] for some in indices.values()])
    labels = torch.zeros(len(indices), len(names), dtype=torch.int64)
    for row, chosen in zip(labels, indices.values(), strict=True):
        row[chosen] = 1
    return names, labels


def values_of(table: Table) -> Tensor:
    """Return the numbers of each row, float32 ``(N,)`` or ``(N, D)``; an empty cell is NaN.

    Raises:
        ValueError: If a cell is not a finite number, or a column has none.
    """
    exact = torch.tensor(
        [[_number(table, key, cell) for cell in row] for key, row in table.rows.items()],
        dtype=torch.float64,
    )
    values = exact.float()
    for index, name in enumerate(table.columns):
        known = exact[:, index][~exact[:, index].isnan()]
        if not len(known):
            raise ValueError(f"{table.path}: column {name!r} has no numbers; leave it out")
        if float((known.float() - known).abs().max()) > 0.01 * float(known.std(correction=0)) > 0:
            raise ValueError(
                f"{table.path}: the numbers in column {name!r}, {float(known.min()):.15g} to "
                f"{float(known.max()):.15g}, differ by too little for float32; subtract "
                f"{float(known.min()):.15g} from all of them"
            )
    return values[:, 0] if len(table.columns) == 1 else values


def _number(table: Table, key: str, cell: str) -> float:
    try:
        value = float(cell) if cell else math.nan
    except ValueError as error:
        raise ValueError(
            f"{table.where(key)}: {cell!r} is not a number, such as 1.5; leave the cell empty if "
            "unknown, pass columns= with those that hold numbers, or task='multiclass' for names"
        ) from error
    if math.isinf(value) or abs(value) > torch.finfo(torch.float32).max:
        raise ValueError(
            f"{table.where(key)}: {cell} is too large; leave the cell empty if unknown"
        )
    return value


def _cells(path: Path) -> list[tuple[int, list[str]]]:
    """Read rows with their line numbers, without empty ones."""
    if not path.is_file():
        raise FileNotFoundError(f"`labels`: {path} is not a file; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    lines = io.StringIO(text, newline="")  # not splitlines(), which knows further characters
    start, skipped = lines.readline().strip("\r\n"), 0
    if excel := re.fullmatch(r"sep=([,;\t])", start):  # written by and for Excel
        separator, skipped = excel[1], 1
    else:
        separator = max(",;\t", key=start.count)
        lines.seek(0)
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    rows = []
    try:
        for row in reader:
            cells = [re.sub(r"\s*[\r\n]\s*", " ", cell.strip()) for cell in row]
            if any(cells):
                rows.append((reader.line_num + skipped, cells))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; correct the quotes") from error
    if not rows or len(rows[0][1]) < 2:
        raise ValueError(
            f"{path} must have a column with names of images and one with labels or values, "
            f"separated by commas, semicolons or tabs; its first line is {start[:80]!r}"
        )
    return rows


def _image_column(
    path: Path,
    cells: list[tuple[int, list[str]]],
    names: Mapping[str, str],
    files: Mapping[str, Path],
) -> int:
    """Return the column in which the first rows name most images."""
    some = [row for _, row in cells[:50]]
    # Different ones, since labels such as 0 and 1 may be names of images, too.
    hits = [
        len({found_in(row[index], names) for row in some if index < len(row)} - {None})
        for index in range(len(some[0]))
    ]
    if not max(hits):
        if len(some) == 1:
            raise ValueError(f"{path} has only the line {some[0]}; add a row for each image")
        several = next(filter(None, (others_called(cell, files) for cell in some[1])), "")
        raise ValueError(
            f"{path}: no column names any of the {counted(len(files), 'image')}; its second line "
            f"is {some[1]}, the images are {first_names([*files])}{several}"
        )
    # An index column may be found too, where images are numbered: names with a suffix first.
    dotted = [
        sum("." in row[index] for row in some if index < len(row)) for index in range(len(hits))
    ]
    return max(range(len(hits)), key=lambda index: (hits[index], dotted[index]))


def _chosen(
    path: Path, header: Sequence[str], position: int, columns: Sequence[str] | None
) -> list[int]:
    if columns is not None:
        for name in columns:
            if name not in header:
                raise ValueError(
                    f"`columns`: {path} has no column {name!r}, only {list(header)}"
                    f"{nearest(name, header)}"
                )
        return [header.index(name) for name in columns]
    return [
        index
        for index, name in enumerate(header)
        if index != position and name and not name.startswith("Unnamed:")
        if name.lower() not in _SPLIT_COLUMNS
    ]


def _split_in(
    path: Path, line: int, header: Sequence[str], row: Sequence[str], chosen: Sequence[int]
) -> str | None:
    """Return the split of a row; None without a column for it."""
    split = None
    for index, name in enumerate(header):
        if name.lower() in _SPLIT_COLUMNS and index not in chosen:
            split = SPLIT_WORDS.get(row[index].lower())
            if split is None:
                raise ValueError(
                    f"{path}, line {line}: {row[index]!r} in column {name!r} must be one of "
                    f"{sorted(SPLIT_WORDS)}; rename the column if it is not the split"
                )
    return split


def _indicators(table: Table, class_names: Sequence[str] | None) -> tuple[list[str], Tensor]:
    names = list(class_names or table.columns)
    if len(names) != len(table.columns) or (class_names is None and not table.named):
        raise ValueError(
            f"{table.path} has {len(table.columns)} columns of labels, {table.columns}, which need "
            f"as many class_names, got {class_names}; or choose some with columns="
        )
    if class_names is not None and table.named and set(names) == set(table.columns):
        order = [table.columns.index(name) for name in names]
    else:
        order = [*range(len(names))]
    rows = []
    for key, row in table.rows.items():
        for name, cell in zip(table.columns, row, strict=True):
            if cell.lower() not in _TRUE:
                raise ValueError(
                    f"{table.where(key)}: {cell!r} in column {name!r} must be 0 or 1; pass "
                    "columns= with the labels, or task='regression' for numbers"
                )
        rows.append([_TRUE[row[index].lower()] for index in order])
    return names, torch.tensor(rows, dtype=torch.int64)


def _texts(table: Table, several: bool, class_names: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the labels in the only column, whole numbers without a point."""
    cells = {key: row[0] for key, row in table.rows.items()}
    if several and all(re.fullmatch(r"\[.*\]", cell) for cell in cells.values() if cell):
        # A list of Python, of JSON or of NumPy, as pandas writes them.
        cells = {key: re.sub(r"[][\"']", "", cell) for key, cell in cells.items()}
    pattern = None
    if several:
        marks = [mark for mark in ";|," if any(mark in cell for cell in cells.values())]
        known = {*(class_names or ()), ""}
        if marks:
            pattern = re.compile(f"[{re.escape(''.join(marks))}]")
        elif not known.issuperset(cells.values()):
            pattern = re.compile(r"\s+")
    found = {
        key: [part.strip() for part in (pattern.split(cell) if pattern else [cell]) if part.strip()]
        for key, cell in cells.items()
    }
    for key, some in found.items():
        if not some and not several:
            raise ValueError(f"{table.where(key)} has no label; remove the row")
    texts = {text for some in found.values() for text in some}
    # Names such as 007 stay as they are, but are indices of classes with other names.
    whole = r"[+-]?(0|[1-9]\d*)([.]0+)?" if class_names is None else r"[+-]?\d+([.]0+)?"
    if all(re.fullmatch(whole, text) for text in texts) and not texts <= {*(class_names or ())}:
        return {key: [str(int(float(text))) for text in some] for key, some in found.items()}
    fractions = [text for text in texts if re.fullmatch(r"[+-]?\d*[.]\d+(e[+-]?\d+)?", text)]
    if class_names is None and fractions and not several:
        raise ValueError(
            f"{table.path} has numbers such as {min(fractions)} in column {table.columns[0]!r}; "
            "pass task='regression', or class_names= if they name classes"
        )
    return found


def _names_in(
    table: Table, found: Mapping[str, list[str]], class_names: Sequence[str] | None
) -> list[str]:
    if class_names is not None:
        return list(class_names)
    texts = {text for some in found.values() for text in some}
    if all(re.fullmatch(r"-?\d+", text) for text in texts):
        names = sorted(texts, key=int)
    else:
        names = sorted(texts)
    if len(names) > 20 and len(names) > len(found) / 2:
        raise ValueError(
            f"{table.path} has {len(names)} different labels in {len(found)} rows of column "
            f"{table.columns[0]!r}; pass columns= with the labels, task='regression' for numbers, "
            "or class_names= if all are classes"
        )
    return names
