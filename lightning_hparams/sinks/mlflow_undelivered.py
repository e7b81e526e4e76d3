"""A file of values that could not be delivered to MLflow."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

__all__ = ["Row", "read_rows", "write_rows"]

Row: TypeAlias = tuple[str, float, int, int]
"""Key, value, time in milliseconds and step: the arguments of ``mlflow.entities.Metric``."""
_COLUMNS = ("key", "value", "timestamp", "step")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows atomically, replacing those of an existing file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    with beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
    beside.replace(path)


def read_rows(path: Path) -> list[Row]:
    """Read the complete rows of a file; none if it does not exist."""
    if not path.exists():
        return []
    found: list[Row] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.reader(file):
            try:
                key, value, timestamp, step = row
                found.append((key, float(value), int(timestamp), int(step)))
            except ValueError:
                continue  # the header, or a line cut off by a crash
    return found
