"""How many samples a batch holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["batch_size"]


def batch_size(batch: object) -> int | None:
    """How many samples a batch holds, or None if nothing in it tells.

    Tensors, arrays, and mappings, sequences and dataclasses of them, however nested. A list of
    mappings, as detection has it, or of ``(channels, height, width)`` images counts its entries.
    Otherwise the tensor with the most dimensions tells, which is the image rather than a weight
    per class; of several loaders' batches in one, that is the first.

    >>> import torch
    >>> batch_size({"weights": torch.ones(21), "image": torch.ones(8, 3, 4, 4)})
    8
    >>> batch_size(([torch.ones(3, 4, 5), torch.ones(3, 6, 4)], [{"boxes": 1}, {"boxes": 2}]))
    2
    """
    if isinstance(batch, Tensor):  # the usual case, in a tenth of the time
        return batch.shape[0] if batch.ndim else None
    return max(_sizes(batch), key=lambda found: found[0], default=(0, None))[1]


_SAMPLES = 1000  # a list of samples tells more than any number of dimensions
_CHANNELS = (1, 3, 4)
_BATCH_DIMS = 4  # of a batch of images, which one sample does not have


def _sizes(value: object) -> Iterator[tuple[int, int]]:
    """Sizes found, each with how much it tells."""
    if isinstance(value, (Tensor, np.ndarray)):
        if value.ndim:
            yield value.ndim, value.shape[0]
    elif isinstance(value, (list, tuple)):
        if _are_samples(value):
            yield _SAMPLES, len(value)
        elif value and all(isinstance(one, (str, bytes, int, float)) for one in value):
            yield 0, len(value)
        else:
            for one in value:
                yield from _sizes(one)
    else:
        for one in _parts(value):
            yield from _sizes(one)


def _are_samples(values: Sequence[object]) -> bool:
    """Whether a list holds one entry a sample, rather than one an input of the model."""
    if not values:
        return False
    if all(isinstance(one, Mapping) or is_dataclass(one) for one in values):
        return all(getattr(part, "ndim", 0) < _BATCH_DIMS for one in values for part in _parts(one))
    images = [one for one in values if isinstance(one, Tensor) and one.ndim == 3]
    return (
        1 < len(values) == len(images)
        and all(one.shape[0] in _CHANNELS for one in images)
        and len({one.dtype for one in images}) == 1  # grey images and their masks are two inputs
    )


def _parts(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    return []
