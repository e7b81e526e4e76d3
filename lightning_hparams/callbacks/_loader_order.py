"""Which samples of its dataset a loader gives, and in which order."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, cast

import numpy as np
from lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from ..internals import evaluation_loader

__all__ = ["first_loader", "keeps_order", "order_of", "reachable"]


def first_loader(trainer: Trainer) -> Any:
    """The first of the loaders in use, in whatever form they were given."""
    return evaluation_loader(trainer)


def order_of(loader: Any) -> Sequence[int] | None:
    """The dataset indices that a sampler of a part goes through, such as SubsetRandomSampler."""
    indices: Any = getattr(_sampler(loader), "indices", None)
    known = isinstance(indices, (Sequence, Tensor, np.ndarray))
    return cast("Sequence[int]", indices) if known else None


def reachable(loader: Any, num_batches: int | float, world_size: int) -> int | None:
    """How many samples of the dataset a validation sees; None if nobody knows."""
    dataset, sampler = getattr(loader, "dataset", None), _sampler(loader)
    if not isinstance(dataset, Sized):
        return None
    size = len(dataset)
    samples = len(sampler) if isinstance(sampler, Sized) else size  # on this rank
    batch_size: int | None = getattr(loader, "batch_size", None)
    if batch_size is None:
        batch_size = getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if batch_size is None and isinstance(loader, Sized):
        batch_size = -(-samples // max(len(loader), 1))
    if batch_size is not None and num_batches != float("inf"):
        samples = min(samples, int(num_batches) * batch_size)
    return min(size, samples * world_size)


def keeps_order(loader: Any) -> bool:
    """Whether a loader gives the dataset in its order; True if nobody knows."""
    if not isinstance(loader, DataLoader):
        return True  # not known
    sampler = _sampler(loader)
    if isinstance(sampler, DistributedSampler):
        return not sampler.shuffle
    return isinstance(sampler, SequentialSampler)


def _sampler(loader: Any) -> Any:
    """A batch sampler of the user's stands beside a sampler of torch's that is not used."""
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    return getattr(loader, "sampler", None) if sampler is None else sampler
