"""Fingerprints of datasets, taken without reading samples: that would advance random generators."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import math
import os
import types
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["fingerprint"]

_Array: TypeAlias = Tensor | np.ndarray[Any, Any]

_END_BYTES = 64 * 1024  # hashed at each end of a file
_END_VALUES = 8 * 1024  # hashed at each end of an array
_READ_FILES = 256  # whose contents are hashed, evenly spaced; names and sizes of all files are
_ITEMS = 10_000  # of a nested list or the like, evenly spaced
_STEPS = 200_000  # objects visited in total: about a second
_FEW = 16  # items always searched for files, whatever the first one is
_DEPTH = 6  # of nesting
_MISSED = 20  # names reported under `not_looked_at`, at most
_LABELS = ("targets", "labels", "ys")
_SCALARS = (bool, int, float, complex, str, bytes, PurePath, np.generic, type(None))


def fingerprint(dataset: object) -> dict[str, Any]:
    """Fingerprint of a dataset, computed from its attributes.

    The digest covers the names (sorted, relative to their common folder) and sizes of all listed
    files and the first and last 64 KB of at most 256 of them; numbers, strings and the ends of
    arrays and tensors, also inside lists, dicts, tables and dataclasses; and nested datasets.
    Objects of unknown types are reported by name; computing a fingerprint never raises.

    Returns:
        ``class``, ``sha256`` and, if available, ``length``, ``files``, ``bytes``, the ``classes``
        with their counts, the ``parts`` that are datasets themselves, and the attributes that were
        ``not_looked_at``.
    """
    return _Reader(dataset, {}, iter(range(_STEPS))).found


class _Reader:
    """Visits one dataset and, through further readers, the datasets nested in it.

    Args:
        dataset: Any object.
        seen: Objects by ``id``; keeping them here keeps their ids unique.
        steps: Remaining budget of visited objects, shared by all readers.
    """

    def __init__(self, dataset: object, seen: dict[int, object], steps: Iterator[int]) -> None:
        self._seen = seen
        self._steps = steps
        self._digest = hashlib.sha256()
        self._files: set[str] = set()
        self._parts: list[dict[str, Any]] = []
        self._missed: dict[str, None] = {}  # a set in the order of insertion
        self.found: dict[str, Any] = {"class": _class_name(dataset)}
        seen[id(dataset)] = dataset
        if isinstance(dataset, Sized):
            with suppress(Exception):  # `__len__` may raise, for example before setup
                self.found["length"] = len(dataset)
        attributes: dict[str, object] = getattr(dataset, "__dict__", {})
        for name in sorted(attributes):
            self._try(name, attributes[name])
        if not attributes or isinstance(dataset, (Mapping, list, tuple)):
            self._try("", dataset)  # a list is a dataset too
        self._add_files()
        self.found |= {
            name: value
            for name, value in {
                "classes": _classes(attributes),
                "parts": self._parts,
                "not_looked_at": [*self._missed][:_MISSED],
            }.items()
            if value
        }
        self.found["sha256"] = self._digest.hexdigest()

    def _try(self, name: str, value: object) -> None:
        if name and id(value) in self._seen and not isinstance(value, _SCALARS):
            return  # an alias, such as `imgs` for `samples` in ImageFolder
        try:
            self._files |= set(_files(value))
            self._add(name, value)
        except Exception as error:  # a class may raise anything on access
            self._miss(name, type(error).__name__)
        if name and not isinstance(value, _SCALARS):
            self._seen[id(value)] = value

    def _add(self, name: str, value: object, depth: int = 0) -> None:
        if next(self._steps, None) is None or depth > _DEPTH:
            self._miss(name, "too many objects")
        elif isinstance(value, _SCALARS):
            if not self._is_path(value, depth):
                self._note(f"{name}={_text(value)};")
        elif isinstance(value, Dataset):
            self._add_part(value)
        elif isinstance(value, Tensor | np.ndarray) and _is_array(value):
            self._add_array(name, value)
        elif (contents := _contents(value)) is not None:
            self._add_contents(name, contents, depth)
        else:
            self._miss(name, _class_name(value))

    def _add_contents(
        self, name: str, contents: Mapping[Any, object] | Sequence[object], depth: int
    ) -> None:
        values = [*contents.values()] if isinstance(contents, Mapping) else contents
        keys = [*map(_text, contents)] if isinstance(contents, Mapping) else [""] * len(values)
        self._note(f"{name}:{len(values)};")
        if all(isinstance(value, _SCALARS) for value in values):
            kept = (i for i, v in enumerate(values) if not self._is_listed(v))
            texts = [keys[i] + _text(values[i]) for i in kept]
            self._note(f"{texts};")
            return
        if len(values) > _ITEMS:
            self._miss(name, f"{len(values) - _ITEMS} of {len(values)}")
        for index in _evenly(len(values), _ITEMS):
            self._note(keys[index])
            self._add(name, values[index], depth + 1)

    def _add_part(self, dataset: object) -> None:
        if id(dataset) not in self._seen:
            part = _Reader(dataset, self._seen, self._steps).found
            self._parts.append(part)
            self._note(part["sha256"])

    def _add_array(self, name: str, value: _Array) -> None:
        self._note(f"{name}:{tuple(value.shape)}:{value.dtype};")
        if isinstance(value, Tensor) and not _is_dense(value):
            self._miss(name, f"{value.layout} on {value.device}")
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            self._miss(name, str(value.dtype))  # its bytes are addresses
        elif math.prod(value.shape):
            for end in (_end(value, first=True), _end(value, first=False)):
                self._digest.update(_bytes(end))

    def _add_files(self) -> None:
        paths = sorted(self._files)
        if not paths:
            return
        try:
            folder = os.path.commonpath([str(Path(path).parent.absolute()) for path in paths])
            sizes = [os.path.getsize(path) for path in paths]
            for path, size in zip(paths, sizes, strict=True):
                relative = os.path.relpath(os.path.abspath(path), folder)
                self._note(f"{Path(relative).as_posix()}:{size};")
            for index in _evenly(len(paths), _READ_FILES):
                self._add_ends(paths[index], sizes[index])
        except (OSError, ValueError) as error:
            self.found["unreadable"] = str(error)  # a missing file is for the training to report
        else:
            self.found |= {"files": len(paths), "bytes": sum(sizes)}

    def _add_ends(self, path: str, size: int) -> None:
        with open(path, "rb") as file:
            self._digest.update(file.read(_END_BYTES))
            if size > _END_BYTES:
                file.seek(max(_END_BYTES, size - _END_BYTES))
                self._digest.update(file.read())

    def _is_listed(self, value: object) -> bool:
        return isinstance(value, (str, PurePath)) and str(value) in self._files

    def _is_path(self, value: object, depth: int) -> bool:
        """Whether it is a file or folder, which is not hashed: the same data may be moved."""
        if self._is_listed(value) or not isinstance(value, (str, PurePath)):
            return self._is_listed(value)
        return (depth == 0 or os.sep in str(value)) and os.path.exists(str(value).replace("\0", ""))

    def _note(self, text: str) -> None:
        self._digest.update(text.encode("utf-8", "surrogatepass"))

    def _miss(self, name: str, what: str) -> None:
        self._missed[f"{name}: {what}" if name else what] = None


def _classes(values: Mapping[str, object]) -> dict[str, int]:
    """Number of samples per class, if the dataset lists its labels."""
    for name in _LABELS:
        labels = values.get(name)
        if isinstance(labels, (Tensor, np.ndarray)):
            labels = labels.tolist() if labels.ndim == 1 and _is_dense(labels) else None
        if isinstance(labels, (list, tuple)) and all(isinstance(k, (int, str)) for k in labels):
            counts = Counter(labels)
            return {str(label): counts[label] for label in sorted(counts, key=str)}
    return {}


def _contents(value: object) -> Mapping[Any, object] | Sequence[object] | None:
    """Items of a list, dict, table or similar container; None for any other type."""
    if isinstance(value, (dict, types.MappingProxyType, list, tuple, range)):
        return value
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=_text)
    if isinstance(value, np.ndarray) and not _is_array(value):
        return list(value.ravel().tolist())
    if isinstance(value, (argparse.Namespace, types.SimpleNamespace)):
        return vars(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    if hasattr(value, "to_numpy") and not isinstance(value, type):  # pandas or polars
        if hasattr(value, "columns"):
            return _columns(value)
        return [value.to_numpy()]
    return None


def _columns(table: Any) -> dict[Any, object]:
    return {column: table[column].to_numpy() for column in table.columns}


def _is_array(value: _Array) -> bool:
    """Whether it holds numbers, which its bytes identify, and not objects or strings."""
    return isinstance(value, Tensor) or value.dtype.kind not in "OUST"


def _files(value: object, depth: int = 0) -> Iterator[str]:
    """Files in nested containers; a long list is skipped if its first item has none."""
    if isinstance(value, (str, PurePath)):
        if _is_file(value):
            yield str(value)
        return
    if isinstance(value, (*_SCALARS, Dataset)) or depth > _DEPTH:
        return
    contents = _contents(value)
    if contents is None:
        return
    if isinstance(contents, Mapping):
        for item in contents.values():
            yield from _files(item, depth + 1)
    elif len(contents) <= _FEW or any(_files(next(iter(contents), None), depth + 1)):
        for item in contents:
            yield from _files(item, depth + 1)


def _is_file(value: str | PurePath) -> bool:
    try:
        return os.path.isfile(value)
    except ValueError:
        return False  # not a valid path, such as one with a null byte


def _is_dense(value: _Array) -> bool:
    """Whether its values are in memory, in a strided layout."""
    return not isinstance(value, Tensor) or (value.layout == torch.strided and not value.is_meta)


def _end(value: _Array, *, first: bool) -> _Array:
    """The first or last values of an array, without copying all of it."""
    while value.ndim > 1:
        rows = -(-_END_VALUES // max(math.prod(value.shape[1:]), 1))
        if rows > 1:
            value = value[:rows] if first else value[-rows:]
            break
        value = value[0] if first else value[-1]
    flat = value.reshape(-1)
    return flat[:_END_VALUES] if first else flat[-_END_VALUES:]


def _bytes(values: _Array) -> bytes:
    if isinstance(values, Tensor):
        values = values.detach().cpu().resolve_conj().resolve_neg().contiguous()
        values = values.view(torch.uint8).numpy()
    return bytes(np.ascontiguousarray(values).tobytes())


def _evenly(length: int, most: int) -> list[int]:
    return [int(i) for i in np.linspace(0, length - 1, min(length, most)).astype(int)]


def _text(value: object) -> str:
    """Text that does not depend on the version of numpy or on the system's path separator."""
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, PurePath):
        return repr(value.as_posix())
    if isinstance(value, (tuple, frozenset)):
        texts = map(_text, value)
        return f"({', '.join(texts if isinstance(value, tuple) else sorted(texts))})"
    return repr(value) if isinstance(value, _SCALARS) else _class_name(value)


def _class_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
