"""The files that predictions are made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

__all__ = ["InputFiles", "common_folder", "input_files", "resolved"]

InputFiles: TypeAlias = tuple[Path, ...]  # of a sample, the image first


def input_files(loaders: object) -> list[list[InputFiles]] | None:
    """The files of each loader's dataset, or None if one does not list them."""
    each = loaders if isinstance(loaders, Sequence) else [loaders]
    found = [_of_dataset(getattr(loader, "dataset", None)) for loader in each]
    known = [files for files in found if files is not None]
    return known if len(known) == len(found) else None


def common_folder(listed: Sequence[Sequence[InputFiles]] | None) -> Path | None:
    """The folder below which all images are, or None if there are none."""
    folders = {str(image.parent) for files in listed or [] for image, *_ in files}
    try:
        return Path(os.path.commonpath(folders)) if folders else None
    except ValueError:  # absolute and relative paths, or two drives
        return None


def resolved(listed: Sequence[Sequence[InputFiles]] | None) -> frozenset[Path]:
    """All files without symbolic links."""
    folder_of = cache(Path.resolve)
    paths = {path for files in listed or [] for sample in files for path in sample}
    whole = (folder_of(path.parent) / path.name for path in paths)
    return frozenset(path.resolve() if path.is_symlink() else path for path in whole)


def _of_dataset(dataset: object) -> list[InputFiles] | None:
    """The files of a dataset, or of those that it is made of."""
    for name in ("files", "paths"):
        listed = getattr(dataset, name, None)
        if isinstance(listed, Sequence) and not isinstance(listed, str):
            return [some for each in listed if (some := _of_sample(each))]
    parts = getattr(dataset, "datasets", None)  # ConcatDataset
    if isinstance(parts, Sequence):
        found = [_of_dataset(part) for part in parts]
        known = [file for files in found if files is not None for file in files]
        return None if None in found else known
    inner = getattr(dataset, "dataset", None)  # Subset
    return None if inner is None or inner is dataset else _of_dataset(inner)


def _of_sample(sample: object) -> InputFiles:
    each = sample if isinstance(sample, tuple) else (sample,)
    return tuple(Path(path) for path in each if isinstance(path, (str, Path)))
