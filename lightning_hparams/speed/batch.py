"""The number of samples in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

__all__ = ["batch_size"]

_Array: TypeAlias = "Tensor | npt.NDArray[np.generic]"


def batch_size(batch: object) -> int | None:
    """Return the number of samples in a batch, or None if it cannot be told.

    A batch may be a tensor or array, or mappings, sequences and dataclasses of them, however
    nested. In a list of mappings, as in detection, or of ``(channels, height, width)`` images,
    each entry is a sample. Graphs, packed sequences and nested tensors know their size. Where the
    entries of a list may be samples or inputs of the model, such as images of 13 channels, the
    result is None. Otherwise the size is that of the tensor with the most dimensions, which is the
    image rather than, say, a weight per class; of several of different sizes, such as those of
    combined loaders, None.

    >>> import torch
    >>> batch_size({"weights": torch.ones(21), "image": torch.ones(8, 3, 4, 4)})
    8
    >>> batch_size(([torch.ones(3, 4, 5), torch.ones(3, 6, 4)], [{"boxes": 1}, {"boxes": 2}]))
    2
    """
    if isinstance(batch, Tensor):  # the usual case, ten times as fast
        return batch.size(0) if batch.ndim else None
    found = list(_sizes(batch))
    best = max((strength for strength, _ in found), default=0)
    sizes = {size for strength, size in found if strength == best}
    return sizes.pop() if len(sizes) == 1 else None


_SAMPLES = 1000  # a list of samples is better evidence than any number of dimensions
_UNSURE = 500  # an ambiguous list makes the size unknown, whatever else the batch holds
_CHANNELS = (1, 3, 4)
_BATCH_DIMS = 4  # of a batch of images; a single sample has fewer
_SIZE_NAMES = ("num_graphs", "batch_size")  # in batches of PyTorch Geometric, DGL and TensorDict


def _sizes(value: object) -> Iterator[tuple[int, int | None]]:
    """Yield candidates as pairs: the strength of the evidence, and the size."""
    if isinstance(value, PackedSequence):
        yield _SAMPLES, int(value.batch_sizes[0])
    elif isinstance(value, (Tensor, np.ndarray)):
        if value.ndim:
            yield value.ndim, _first_size(value)
    elif isinstance(value, (list, tuple)):
        are_samples = _are_samples(value)
        if are_samples:
            yield _SAMPLES, len(value)
        elif are_samples is None:
            yield _UNSURE, None
        elif value and all(isinstance(one, (str, bytes, int, float)) for one in value):
            yield 0, len(value)
        else:
            for one in value:
                yield from _sizes(one)
    elif (declared := _declared_size(value)) is not None:
        yield _SAMPLES, declared
    else:
        for one in _parts(value):
            yield from _sizes(one)


def _first_size(value: _Array) -> int:
    """Return the first size, which nested tensors have although they lack a shape."""
    return int(value.size(0)) if isinstance(value, Tensor) else value.shape[0]


def _declared_size(value: object) -> int | None:
    """Return the size that a batch object declares as an attribute."""
    for name in _SIZE_NAMES:
        size = None if isinstance(value, Mapping) else getattr(value, name, None)
        if isinstance(size, tuple) and size:  # a torch.Size
            size = size[0]
        if isinstance(size, int) and not isinstance(size, bool):
            return size
    return None


def _are_samples(values: Sequence[object]) -> bool | None:
    """Whether the entries of a list are samples, not inputs of the model; None if unsure."""
    if not values:
        return False
    if all(isinstance(one, Mapping) or is_dataclass(one) for one in values):
        return _are_single_samples([_parts(one) for one in values])
    if all(isinstance(one, (list, tuple)) for one in values):
        parts = [list(one) for one in values if isinstance(one, (list, tuple))]
        has_label = all(any(map(_is_number, one)) for one in parts)
        return has_label and any(map(_is_array, parts[0]))
    arrays = [one for one in values if isinstance(one, (Tensor, np.ndarray)) and one.ndim]
    same = len({(str(one.dtype), one.ndim) for one in arrays}) == 1
    if not 1 < len(values) == len(arrays) or not same:
        return False
    if any(isinstance(one, Tensor) and one.is_nested for one in arrays):
        return False
    sizes = {_first_size(one) for one in arrays}
    if len(sizes) > 1 and arrays[0].ndim > 1:
        return True  # inputs of a model would have equally many samples
    if arrays[0].ndim != 3:
        return False
    if sizes <= set(_CHANNELS):
        return True
    shapes = [one.shape for one in arrays]
    differ = [len({shape[axis] for shape in shapes}) > 1 for axis in (1, 2)]
    return None if all(differ) else False  # images of many channels, or inputs


def _are_single_samples(entries: Sequence[Sequence[object]]) -> bool | None:
    """Whether each entry of a list of mappings is a sample rather than a whole batch."""
    arrays = [[one for one in parts if _is_array(one)] for parts in entries]
    highest = max((one.ndim for parts in arrays for one in parts), default=0)
    if highest < _BATCH_DIMS or all(any(map(_is_number, parts)) for parts in entries):
        return True
    if all(len(parts) > 1 and len({_first_size(one) for one in parts}) == 1 for parts in arrays):
        return False  # all parts have the same size: that of a batch
    if all(_first_size(one) == 1 for parts in arrays for one in parts if one.ndim == highest):
        return True  # volumes of one channel
    return None if len(entries) > 1 else False


def _is_array(value: object) -> TypeGuard[_Array]:
    return isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0


def _is_number(value: object) -> bool:
    is_scalar = isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0
    return is_scalar or isinstance(value, (int, float, np.generic))


def _parts(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    return []
