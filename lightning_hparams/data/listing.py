"""List the files of a data set, without those that systems and programs add."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .pictures import SUFFIXES

__all__ = ["files_below", "folders_called", "image_paths", "is_visible", "unread_images"]

_UNREAD = frozenset(
    {".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dng", ".exr", ".hdr", ".heic", ".heif", ".j2k"}
    | {".jp2", ".jxl", ".nef", ".nii", ".npy", ".orf", ".psd", ".raf", ".rw2", ".svg", ".tga"}
)
# Folders that archives of macOS, Synology and QNAP servers, Windows, Linux and Python create.
_LITTER = frozenset(
    {"__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information"}
    | {"lost+found", "__pycache__"}
)


def is_visible(path: Path) -> bool:
    """Whether a file or folder belongs to the data by its name.

    >>> [is_visible(Path(name)) for name in ("cats", "a/.git", "__MACOSX", "a/@eaDir")]
    [True, False, False, False]
    """
    return not path.name.startswith(".") and path.name.lower() not in _LITTER


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders, including links, without hidden ones."""
    yield from _walk(folder, frozenset())


def folders_called(name: str, folder: Path) -> list[Path]:
    """Return the folders of a name below another one, sorted, without hidden ones."""
    return [
        path
        for path in sorted(folder.rglob(name))
        if path.is_dir() and all(map(is_visible, map(Path, path.relative_to(folder).parts)))
    ]


def image_paths(folder: Path, *, below: bool) -> list[Path]:
    """List files with the suffix of an image, sorted by name, without hidden ones.

    Args:
        folder: Folder to search.
        below: Whether to search its subfolders too, including links.
    """
    paths = sorted(files_below(folder) if below else folder.iterdir())
    return [path for path in paths if path.suffix.lower() in SUFFIXES and is_visible(path)]


def unread_images(folder: Path) -> str | None:
    """Return a warning about files below a folder in formats of images that are not supported."""
    found = Counter(
        path.suffix.lower() for path in files_below(folder) if path.suffix.lower() in _UNREAD
    )
    if not found:
        return None
    counts = ", ".join(f"{count} {suffix}" for suffix, count in found.most_common())
    return f"{folder}: left out files that cannot be read ({counts}); convert them to PNG or JPEG"


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a parent folder
        return
    for path in folder.iterdir():
        if not is_visible(path):
            continue
        if path.is_dir():
            yield from _walk(path, above | {real})
        else:
            yield path
