"""Rows that several processes write as they come, put together in the order of the dataset."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

from ..checks import counted

__all__ = ["Key", "RankParts", "replaced"]

Key: TypeAlias = tuple[int, int]  # index of the dataloader, index in its dataset


class RankParts:
    """Rows of all processes: each writes a part of its own, and the first one reads them all.

    Args:
        target: The file that will hold all rows; parts are hidden files next to it.
        rank: Of this process.
    """

    def __init__(self, target: Path, rank: int) -> None:
        self.target = target
        self._rank = rank
        self._count = 0
        self._file: IO[str] | None = None

    def add(self, key: Key, row: object) -> None:
        """Write a row, of JSON's types, to this process's part."""
        if self._file is None:
            self._file = self._path(self._rank).open("w", encoding="utf-8")
        self._file.write(json.dumps([*key, row]) + "\n")
        self._count += 1

    def close(self) -> int:
        """Finish this process's part, and return its number of rows."""
        if self._file is not None:
            self._file.close()
        return self._count

    def rows(self, counts: Iterable[int]) -> Iterator[Any]:
        """Read the rows of all processes in the order of their keys, each key once.

        Args:
            counts: Number of rows of each process.

        Raises:
            RuntimeError: If a part is missing, or shorter than that.
        """
        parts = [self._part(rank, count) for rank, count in enumerate(counts) if count]
        seen: set[Key] = set()
        for loader, index, row in heapq.merge(*parts, key=lambda line: line[:2]):
            if (loader, index) not in seen:
                seen.add((loader, index))
                yield row

    def discard(self) -> None:
        """Remove this process's part."""
        self.close()
        with suppress(OSError):  # must not hide an error of writing
            self._path(self._rank).unlink(missing_ok=True)

    def _path(self, rank: int) -> Path:
        return self.target.with_name(f".{self.target.name}.{rank}.partial")

    def _part(self, rank: int, count: int) -> Iterator[list[Any]]:
        path, found = self._path(rank), 0
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                for line in file:
                    found += 1
                    yield json.loads(line)
        if found < count:
            raise RuntimeError(
                f"process {rank} predicted {counted(count, 'image')}, but {path} has {found} of "
                "them; write to a folder that all machines share"
            )


def replaced(target: Path, save: Callable[[BinaryIO], object]) -> None:
    """Write a file that appears only when it is complete, in place of an existing one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with unfinished.open("wb") as file:
            save(file)
        unfinished.replace(target)
    finally:
        with suppress(OSError):  # must not hide an error of writing
            unfinished.unlink(missing_ok=True)
