"""Recognise a dataset without reading samples from it, which would move its random generators."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

__all__ = ["fingerprint"]

_END_BYTES = 64 * 1024  # of a file or an array that go into the digest, at its start and its end
_READ_FILES = 256  # whose contents do, evenly over all of them; names and sizes are of all
_DEPTH = 4  # of lists in lists that files are looked for in
_LABELS = ("targets", "labels", "ys")


def fingerprint(dataset: Any) -> dict[str, Any]:
    """What a dataset is, as far as its attributes tell.

    The digest is over the sorted names, relative to their common folder, and the sizes of all files
    that it lists, and the first and last 64 KB of at most 256 of them; over arrays and tensors
    that it holds, over its numbers and texts, and over the indices of a subset.

    Returns:
        ``class``, ``sha256`` and, where there are any, ``length``, ``files``, ``bytes``, the
        ``classes`` with their counts, and the ``parts`` of a subset or of a concatenation.
    """
    digest = hashlib.sha256()
    found: dict[str, Any] = {"class": f"{type(dataset).__module__}.{type(dataset).__qualname__}"}
    if isinstance(dataset, Sized):
        with suppress(TypeError, NotImplementedError):  # of what only seems to have a length
            found["length"] = len(dataset)
    if isinstance(dataset, Subset):
        digest.update(np.asarray(dataset.indices, dtype=np.int64).tobytes())
        found["parts"] = [fingerprint(dataset.dataset)]
    elif isinstance(dataset, ConcatDataset):
        found["parts"] = [fingerprint(part) for part in dataset.datasets]
    else:
        try:
            found |= _attributes(dataset, digest)
        except OSError as error:
            found["unreadable"] = str(error)  # a file that is gone is for the training to miss
    for part in found.get("parts", ()):
        digest.update(part["sha256"].encode())
    found["sha256"] = digest.hexdigest()
    return found


def _attributes(dataset: Any, digest: Any) -> dict[str, Any]:
    values: Mapping[str, Any] = getattr(dataset, "__dict__", {})
    files: list[str] = []
    for name in sorted(values):
        value = values[name]
        listed = list(_files(value))
        files += listed
        if isinstance(value, (Tensor, np.ndarray)):
            _add_array(digest, name, value)
        elif isinstance(value, tuple) and all(isinstance(v, Tensor) for v in value):
            for tensor in value:  # as TensorDataset has them
                _add_array(digest, name, tensor)
        elif isinstance(value, (bool, int, float, str)):
            if not _is_file(value) and not os.path.isdir(str(value)):
                digest.update(f"{name}={value!r};".encode())
        elif not listed and isinstance(value, (list, tuple)) and _is_plain(value):
            digest.update(f"{name}={value!r};".encode())
    found: dict[str, Any] = {}
    if files:
        found |= {"files": len(files), "bytes": _add_files(digest, files)}
    classes = _classes(values)
    return found | ({"classes": classes} if classes else {})


def _files(value: Any, depth: int = 0) -> Iterator[str]:
    """Files in nested lists; a list whose first item has none is not looked through."""
    if isinstance(value, (str, PurePath)):
        if _is_file(value):
            yield str(value)
    elif isinstance(value, (list, tuple)) and depth < _DEPTH:
        if depth == 0 and not any(_files(value[:1], 1)):
            return
        for item in value:
            yield from _files(item, depth + 1)


def _is_file(value: Any) -> bool:
    try:
        return isinstance(value, (str, PurePath)) and os.path.isfile(value)
    except ValueError:
        return False  # a text that no path can be


def _is_plain(value: Sequence[Any]) -> bool:
    return all(isinstance(item, (bool, int, float, str)) for item in value)


def _add_files(digest: Any, files: Sequence[str]) -> int:
    paths = sorted(set(files))
    folder = os.path.commonpath([str(Path(path).parent.absolute()) for path in paths])
    sizes = [os.path.getsize(path) for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        relative = os.path.relpath(os.path.abspath(path), folder)
        digest.update(f"{Path(relative).as_posix()}:{size};".encode())
    for index in np.linspace(0, len(paths) - 1, min(len(paths), _READ_FILES)).astype(int):
        with open(paths[index], "rb") as file:
            digest.update(file.read(_END_BYTES))
            if sizes[index] > _END_BYTES:
                file.seek(max(_END_BYTES, sizes[index] - _END_BYTES))
                digest.update(file.read())
    return sum(sizes)


def _add_array(digest: Any, name: str, value: Tensor | np.ndarray[Any, Any]) -> None:
    digest.update(f"{name}:{tuple(value.shape)}:{value.dtype};".encode())
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return  # whose bytes are addresses
    flat = value.reshape(-1)
    for end in (flat[: _END_BYTES // 8], flat[-(_END_BYTES // 8) :]):
        if isinstance(end, Tensor):
            end = end.detach().cpu().double().numpy()
        digest.update(np.ascontiguousarray(end).tobytes())


def _classes(values: Mapping[str, Any]) -> dict[str, int]:
    """How many samples each class has, where the dataset lists its labels."""
    for name in _LABELS:
        labels = values.get(name)
        if isinstance(labels, (Tensor, np.ndarray)):
            labels = labels.tolist() if labels.ndim == 1 else None
        if isinstance(labels, (list, tuple)) and all(isinstance(k, (int, str)) for k in labels):
            counts = Counter(labels)
            return {str(label): counts[label] for label in sorted(counts, key=str)}
    return {}
