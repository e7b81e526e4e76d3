"""How many samples a batch holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeGuard

import numpy as np
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

__all__ = ["batch_size"]


def batch_size(batch: object) -> int | None:
    """How many samples a batch holds, or None if nothing in it tells.

    Tensors, arrays, and mappings, sequences and dataclasses of them, however nested. A list of
    mappings, as detection has it, or of ``(channels, height, width)`` images counts its entries.
    Graphs, packed sequences and nested tensors say it themselves. Where a list may hold samples as
    well as inputs of the model, as of images of 13 channels, the answer is None.
    Otherwise the tensor with the most dimensions tells, which is the image rather than a weight
    per class; of several loaders' batches in one, that is the first.

    >>> import torch
    >>> batch_size({"weights": torch.ones(21), "image": torch.ones(8, 3, 4, 4)})
    8
    >>> batch_size(([torch.ones(3, 4, 5), torch.ones(3, 6, 4)], [{"boxes": 1}, {"boxes": 2}]))
    2
    """
    if isinstance(batch, Tensor):  # the usual case, in a tenth of the time
        return batch.size(0) if batch.ndim else None
    return max(_sizes(batch), key=lambda found: found[0], default=(0, None))[1]


_SAMPLES = 1000  # a list of samples tells more than any number of dimensions
_UNSURE = 500  # what may be samples or inputs tells nothing, and nothing else in the batch does
_CHANNELS = (1, 3, 4)
_BATCH_DIMS = 4  # of a batch of images, which one sample does not have
_NAMES = ("num_graphs", "batch_size")  # of batches that say it: PyTorch Geometric, DGL, TensorDict


def _sizes(value: object) -> Iterator[tuple[int, int | None]]:
    """Sizes found, each with how much it tells."""
    if isinstance(value, PackedSequence):
        yield _SAMPLES, int(value.batch_sizes[0])
    elif isinstance(value, (Tensor, np.ndarray)):
        if value.ndim:
            yield value.ndim, _first(value)
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
    elif (said := _said(value)) is not None:
        yield _SAMPLES, said
    else:
        for one in _parts(value):
            yield from _sizes(one)


def _first(value: Tensor | np.ndarray[Any, Any]) -> int:
    """Nested tensors have no shape, but a first size."""
    return int(value.size(0)) if isinstance(value, Tensor) else value.shape[0]


def _said(value: object) -> int | None:
    """What a batch says of itself."""
    for name in _NAMES:
        said = None if isinstance(value, Mapping) else getattr(value, name, None)
        if isinstance(said, tuple) and said:  # a torch.Size
            said = said[0]
        if isinstance(said, int) and not isinstance(said, bool):
            return said
    return None


def _are_samples(values: Sequence[object]) -> bool | None:
    """Whether a list holds one entry a sample, not one an input of the model; None if unsure."""
    if not values:
        return False
    if all(isinstance(one, Mapping) or is_dataclass(one) for one in values):
        return _are_wholes([_parts(one) for one in values])
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
    sizes = {_first(one) for one in arrays}
    if len(sizes) > 1 and arrays[0].ndim > 1:
        return True  # inputs of a model have as many samples each
    if arrays[0].ndim != 3:
        return False
    if sizes <= set(_CHANNELS):
        return True
    shapes = [one.shape for one in arrays]
    differ = [len({shape[axis] for shape in shapes}) > 1 for axis in (1, 2)]
    return None if all(differ) else False  # images of many channels, or inputs


def _are_wholes(entries: Sequence[Sequence[object]]) -> bool | None:
    """Whether each entry of a list of mappings is a sample; it may be a loader's batch."""
    arrays = [[one for one in parts if _is_array(one)] for parts in entries]
    highest = max((one.ndim for parts in arrays for one in parts), default=0)
    if highest < _BATCH_DIMS or all(any(map(_is_number, parts)) for parts in entries):
        return True
    if all(len(parts) > 1 and len({_first(one) for one in parts}) == 1 for parts in arrays):
        return False  # its parts have a size in common
    if all(_first(one) == 1 for parts in arrays for one in parts if one.ndim == highest):
        return True  # volumes of one channel
    return None if len(entries) > 1 else False


def _is_array(value: object) -> TypeGuard[Tensor | np.ndarray[Any, Any]]:
    return isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0


def _is_number(value: object) -> bool:
    is_scalar = isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0
    return is_scalar or isinstance(value, (int, float, np.generic))


def _parts(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    return []
