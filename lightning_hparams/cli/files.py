"""Where the files of a command are."""

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
        variable: Environment variable that tells the processes of a run, which start after the
            first one, what that has chosen.
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
    """Print where each of some files is, and return the exit code.

    It is 1 if one of them is not there, or a folder is empty; those that are None are left out.
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
