"""Recognise a dataset without reading samples from it, which would move its random generators."""

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
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["fingerprint"]

_END_BYTES = 64 * 1024  # of a file that go into the digest, at its start and its end
_END_VALUES = 8 * 1024  # of an array
_READ_FILES = 256  # whose contents do, evenly over all of them; names and sizes are of all
_ITEMS = 10_000  # of a list of lists or the like, evenly over all of it
_STEPS = 200_000  # things that are gone into, in all: about a second
_FEW = 16  # items that are looked at for files, whatever the first one is
_DEPTH = 6  # of lists in lists
_MISSED = 20  # most names of what was not looked at
_LABELS = ("targets", "labels", "ys")
_SCALARS = (bool, int, float, complex, str, bytes, PurePath, np.generic, type(None))


def fingerprint(dataset: Any) -> dict[str, Any]:
    """What a dataset is, as far as its attributes tell.

    The digest is over the sorted names, relative to their common folder, and the sizes of all files
    that it lists, and the first and last 64 KB of at most 256 of them; over numbers and texts, and
    the ends of arrays and tensors, in lists, dicts, tables and dataclasses, too; and over the
    datasets that it is made of. What is not known is named: a fingerprint never ends a run.

    Returns:
        ``class``, ``sha256`` and, where there are any, ``length``, ``files``, ``bytes``, the
        ``classes`` with their counts, the ``parts`` that are datasets themselves, and what was
        ``not_looked_at``.
    """
    return _Reader(dataset, {}, iter(range(_STEPS))).found


class _Reader:
    """Goes through one dataset and, by readers of their own, through those that it is made of.

    Args:
        dataset: Anything.
        seen: Objects by their ``id``, which is theirs as long as they are kept here.
        steps: How many are left, for all datasets together.
    """

    def __init__(self, dataset: Any, seen: dict[int, Any], steps: Iterator[int]) -> None:
        self._seen = seen
        self._steps = steps
        self._digest = hashlib.sha256()
        self._files: set[str] = set()
        self._parts: list[dict[str, Any]] = []
        self._missed: dict[str, None] = {}  # a set in the order of insertion
        self.found: dict[str, Any] = {"class": _class_name(dataset)}
        seen[id(dataset)] = dataset
        if isinstance(dataset, Sized):
            with suppress(Exception):  # what only seems to have a length, or has none as yet
                self.found["length"] = len(dataset)
        attributes: dict[str, Any] = getattr(dataset, "__dict__", {})
        for name in sorted(attributes):
            self._try(name, attributes[name])
        if not attributes or isinstance(dataset, (Mapping, list, tuple)):
            self._try("", dataset)  # a list is a dataset, too
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

    def _try(self, name: str, value: Any) -> None:
        if name and id(value) in self._seen and not isinstance(value, _SCALARS):
            return  # it has two names, as ImageFolder's `samples` and `imgs`
        try:
            self._files |= set(_files(value))
            self._add(name, value)
        except Exception as error:  # whatever someone's class does when it is looked at
            self._miss(name, type(error).__name__)
        if name and not isinstance(value, _SCALARS):
            self._seen[id(value)] = value

    def _add(self, name: str, value: Any, depth: int = 0) -> None:
        if next(self._steps, None) is None or depth > _DEPTH:
            self._miss(name, "there is too much")
        elif isinstance(value, _SCALARS):
            if not self._is_place(value, depth):
                self._note(f"{name}={_text(value)};")
        elif isinstance(value, Dataset):
            self._add_part(value)
        elif isinstance(value, Tensor) or _is_array(value):
            self._add_array(name, value)
        elif (contents := _contents(value)) is not None:
            self._add_contents(name, contents, depth)
        else:
            self._miss(name, _class_name(value))

    def _add_contents(
        self, name: str, contents: Mapping[Any, Any] | Sequence[Any], depth: int
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

    def _add_part(self, dataset: Any) -> None:
        if id(dataset) not in self._seen:
            part = _Reader(dataset, self._seen, self._steps).found
            self._parts.append(part)
            self._note(part["sha256"])

    def _add_array(self, name: str, value: Any) -> None:
        self._note(f"{name}:{tuple(value.shape)}:{value.dtype};")
        if not _is_dense(value):
            self._miss(name, f"{value.layout} on {value.device}")
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            self._miss(name, str(value.dtype))  # whose bytes are addresses
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
            self.found["unreadable"] = str(error)  # a file that is gone is for the training to miss
        else:
            self.found |= {"files": len(paths), "bytes": sum(sizes)}

    def _add_ends(self, path: str, size: int) -> None:
        with open(path, "rb") as file:
            self._digest.update(file.read(_END_BYTES))
            if size > _END_BYTES:
                file.seek(max(_END_BYTES, size - _END_BYTES))
                self._digest.update(file.read())

    def _is_listed(self, value: Any) -> bool:
        return isinstance(value, (str, PurePath)) and str(value) in self._files

    def _is_place(self, value: Any, depth: int) -> bool:
        """A file or a folder: the same data may lie elsewhere."""
        if self._is_listed(value) or not isinstance(value, (str, PurePath)):
            return self._is_listed(value)
        return (depth == 0 or os.sep in str(value)) and os.path.exists(str(value).replace("\0", ""))

    def _note(self, text: str) -> None:
        self._digest.update(text.encode("utf-8", "surrogatepass"))

    def _miss(self, name: str, what: str) -> None:
        self._missed[f"{name}: {what}" if name else what] = None


def _classes(values: Mapping[str, Any]) -> dict[str, int]:
    """How many samples each class has, where the dataset lists its labels."""
    for name in _LABELS:
        labels = values.get(name)
        if isinstance(labels, (Tensor, np.ndarray)):
            labels = labels.tolist() if labels.ndim == 1 and _is_dense(labels) else None
        if isinstance(labels, (list, tuple)) and all(isinstance(k, (int, str)) for k in labels):
            counts = Counter(labels)
            return {str(label): counts[label] for label in sorted(counts, key=str)}
    return {}


def _contents(value: Any) -> Mapping[Any, Any] | Sequence[Any] | None:
    """What a list, a dict, a table or the like holds; None if it is none of them."""
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
    if hasattr(value, "to_numpy") and not isinstance(value, type):  # of pandas or polars
        if hasattr(value, "columns"):
            return {column: value[column].to_numpy() for column in value.columns}
        return [value.to_numpy()]
    return None


def _is_array(value: Any) -> bool:
    """Whether its bytes, and not objects or texts, are what it holds."""
    return isinstance(value, np.ndarray) and value.dtype.kind not in "OUST"


def _files(value: Any, depth: int = 0) -> Iterator[str]:
    """Files in nested lists and the like; of a long one whose first item has none, no other."""
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
        return False  # a text that no path can be


def _is_dense(value: Tensor | np.ndarray[Any, Any]) -> bool:
    """Whether its values are there, one after the other."""
    return not isinstance(value, Tensor) or (value.layout == torch.strided and not value.is_meta)


def _end(value: Any, *, first: bool) -> Any:
    """The first or last values of an array, without a copy of all of it."""
    while value.ndim > 1:
        rows = -(-_END_VALUES // max(math.prod(value.shape[1:]), 1))
        if rows > 1:
            value = value[:rows] if first else value[-rows:]
            break
        value = value[0] if first else value[-1]
    flat = value.reshape(-1)
    return flat[:_END_VALUES] if first else flat[-_END_VALUES:]


def _bytes(values: Any) -> bytes:
    if isinstance(values, Tensor):
        values = values.detach().cpu().resolve_conj().resolve_neg().contiguous()
        values = values.view(torch.uint8).numpy()
    return bytes(np.ascontiguousarray(values).tobytes())


def _evenly(length: int, most: int) -> list[int]:
    return [int(i) for i in np.linspace(0, length - 1, min(length, most)).astype(int)]


def _text(value: Any) -> str:
    """The same with any version of numpy, and for any system's paths."""
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, PurePath):
        return repr(value.as_posix())
    if isinstance(value, (tuple, frozenset)):
        texts = map(_text, value)
        return f"({', '.join(texts if isinstance(value, tuple) else sorted(texts))})"
    return repr(value) if isinstance(value, _SCALARS) else _class_name(value)


def _class_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
