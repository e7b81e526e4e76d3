"""Tell a user's mistake, which a sentence explains, from a fault in code, which needs its lines."""

from __future__ import annotations

import linecache
import re
import sqlite3
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["explained"]

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
# What checks raise; MisconfigurationException is Lightning's.
_KINDS = {"ValueError", "TypeError", "OSError", "RuntimeError", "MisconfigurationException"}
_KINDS |= {"ModuleNotFoundError", "AttributeError"}
# Of a damaged file, and of one that cannot be written; others are faults in a query.
_OF_FILE = (sqlite3.DatabaseError, sqlite3.OperationalError)


def explained(error: BaseException) -> str | None:
    """Return the sentence that explains an error to a user, or None for a fault in code.

    An error is a user's mistake if a check of this package or of Lightning raised it, or if a file
    cannot be opened, and no code of the user's was running.
    """
    files = _files(error.__traceback__)
    if any(not _is_library(file) for file, _ in files):
        return None
    if (worker := _of_worker(str(error))) is not None:
        return worker
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, OSError) and error.filename is not None:
        return _one_line(f"{error.filename2 or error.filename}: {error.strerror}")
    if not names & _KINDS or not files:
        return _of_database(error)
    file, line = files[-1]
    ours = file.is_relative_to(_PACKAGE)
    checked = _raises(file, line) or isinstance(error, ModuleNotFoundError)
    if checked and ours:
        return _without_gaps(str(error))
    if checked and "lightning" in file.parts:
        return _one_line(str(error))
    if str(error).startswith("Error(s) in loading state_dict"):
        return f"the checkpoint does not fit the module: {_one_line(str(error))[:500]}"
    return _of_database(error)


def _of_database(error: BaseException | None) -> str | None:
    """What SQLite said of its file, in the error or one that led to it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:  # an error may lead to itself
        if type(error) in _OF_FILE:
            return (
                f"the database of the study cannot be used ({_one_line(str(error))}); check "
                "whether the disk is full or read-only, or restore the database from a copy"
            )
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def _files(trace: TracebackType | None) -> list[tuple[Path, int]]:
    """Files and lines that were running, from the outermost to where the error was raised."""
    return [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(trace)]


def _is_library(file: Path) -> bool:
    inside = any(file.is_relative_to(folder) for folder in (_PACKAGE, *_LIBRARIES))
    return inside or file.name.startswith("<")


def _raises(file: Path, line: int) -> bool:
    """Whether the statement of a line, which may have begun some lines before, is a ``raise``."""
    lines: Sequence[str] = linecache.getlines(str(file))[max(line - 8, 0) : line]
    last = lines[-1] if lines else ""
    indent = len(last) - len(last.lstrip())
    if last.lstrip().startswith("raise"):
        return True
    starts = [text for text in lines if len(text) - len(text.lstrip()) < indent and text.strip()]
    return bool(starts) and starts[-1].lstrip().startswith("raise")


def _of_worker(message: str) -> str | None:
    """The sentence of an error that a worker process of a loader raised, with its lines as text."""
    if not re.match(r"Caught \w+ in DataLoader worker process", message):
        return None
    files = re.findall(r'^\s*File "(.+?)", line (\d+)', message, re.M)
    paths = [Path(file) for file, _ in files]
    if not paths or not all(map(_is_library, paths)) or not paths[-1].is_relative_to(_PACKAGE):
        return None
    kind, _, sentence = message.strip().splitlines()[-1].partition(": ")
    return sentence if kind.rpartition(".")[2] in _KINDS else None


def _without_gaps(text: str) -> str:
    """A sentence and the lines that may follow it, such as those of a log."""
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def _one_line(text: str) -> str:
    return " ".join(text.split())
