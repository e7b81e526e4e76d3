"""Files of a study: one folder for each trial, and what the workers need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..json_text import read, write

__all__ = [
    "link_or_copy",
    "read_json",
    "reading",
    "trial_folder",
    "trial_numbers",
    "trial_record",
    "write_json",
    "write_text",
]


def trial_folder(study_folder: Path, root: int) -> Path:
    """Return the folder of a trial and its retries.

    >>> trial_folder(Path("studies/digits"), 3).as_posix()
    'studies/digits/trials/3'
    """
    return study_folder / "trials" / str(root)


def trial_numbers(study_folder: Path) -> list[int]:
    """Return the numbers of the trials that have a folder with files."""
    found = (one for one in study_folder.glob("trials/*") if one.name.isdigit() and one.is_dir())
    return sorted(int(one.name) for one in found if any(one.iterdir()))


def trial_record(study_folder: Path, number: int) -> dict[str, Any]:
    """Return the manifest ``trial.json`` of a trial.

    Args:
        study_folder: Folder of the study.
        number: Number of the trial, or of a retry.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = trial_folder(study_folder, number) / "trial.json"
    if path.is_file():
        return read_json(path)
    for other in sorted(study_folder.glob("trials/*/trial.json")):
        record = read_json(other)
        if record.get("number") == number:
            return record
    raise FileNotFoundError(
        f"{study_folder} has no manifest of a trial {number}; its trials are "
        f"{trial_numbers(study_folder)}"
    )


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Read a file written by :func:`write_json`.

    Args:
        path: The file.
        keys: What it must have.

    Raises:
        ValueError: If it is damaged, such as after a full disk.
    """
    try:
        found = read(path.read_text("utf-8"), exact=True)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); restore it from a copy") from error
    missing = [key for key in keys if key not in found] if isinstance(found, dict) else ["{...}"]
    if not isinstance(found, dict) or missing:
        raise ValueError(f"{path} is damaged (it has no {missing[0]}); restore it from a copy")
    return found


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Report a file as damaged if its entries turn out to be of another kind than expected.

    Raises:
        ValueError: If reading them leads to an error.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is damaged ({reason}); restore it from a copy") from error


def write_json(path: Path, value: Mapping[str, object], *, private: bool = False) -> None:
    """Write a value as JSON; see :func:`write_text`."""
    write_text(path, write(value, indent=2, exact=True) + "\n", private=private)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file as a whole or not at all.

    Args:
        path: The file.
        text: Its content.
        private: Whether only the user may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, as a copy where hard links do not work."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
