"""Folders for the files of a command, and what was written to them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..checks import counted

__all__ = ["free_folder", "reported"]


def free_folder(folder: Path, variable: str) -> Path:
    """Return a folder that holds nothing yet: the given one, or one with a number.

    Args:
        folder: The wanted one.
        variable: Environment variable by which the first process of a run passes its choice on to
            those that it starts.
    """
    if variable in os.environ and "LOCAL_RANK" in os.environ:
        return Path(os.environ[variable])
    number, free = 0, folder
    while free.exists() and (not free.is_dir() or any(free.iterdir())):
        number += 1
        free = folder.with_name(f"{folder.name}_{number}")
    os.environ[variable] = str(free)
    return free


def reported(files: Sequence[tuple[str, Path | None]]) -> int:
    """Print the path of each file; return the exit code, 1 if a file is missing or a folder empty.

    Args:
        files: Name and path of files and folders; those without a path are skipped.
    """
    code = 0
    for name, path in files:
        if path is None:
            continue
        count = sum(each.is_file() for each in path.rglob("*")) if path.is_dir() else None
        if not path.exists() or count == 0:
            print(f"{name}: nothing was written to {path}", file=sys.stderr)
            code = 1
        else:
            print(f"{name}: {path}" + (f" ({counted(count, 'file')})" if count is not None else ""))
    return code
