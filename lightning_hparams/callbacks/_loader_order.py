"""Which samples of its dataset a loader returns, and in which order."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import cast

import numpy as np
from lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from ..internals import evaluation_loader
from ..samples import spread

__all__ = ["LoaderOrder", "choose", "first_loader", "keeps_order", "order_of", "reachable"]


@dataclass(frozen=True)
class LoaderOrder:
    """The order in which the processes of a run get the samples of a dataset."""

    order: Sequence[int] | None = None  # dataset indices in the order of the sampler, if known
    shuffled: bool = False
    size: int | None = None  # number of samples the loader returns, if known
    dataset_size: int | None = None
    rank: int = 0
    world_size: int = 1

    @classmethod
    def of(cls, loader: object, trainer: Trainer) -> LoaderOrder:
        """Determine the order of a loader, as far as possible."""
        dataset = getattr(loader, "dataset", None)
        return cls(
            order=order_of(loader),
            shuffled=not keeps_order(loader),
            size=reachable(loader, float("inf"), trainer.world_size),
            dataset_size=len(dataset) if isinstance(dataset, Sized) else None,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )

    def index_of(self, position: int) -> int:
        """The dataset index of the sample at a position in this process.

        A distributed sampler assigns samples to processes in turn, and wraps around to fill up the
        last ones.
        """
        position = position * self.world_size + self.rank
        if self.size:
            position %= self.size
        return self.at([position])[0]

    def at(self, positions: Sequence[int]) -> list[int]:
        """The dataset indices at the given positions of the order."""
        order = self.order
        if order is None:
            return list(positions)
        return [int(order[each]) if each < len(order) else each for each in positions]


def choose(
    select: str | Sequence[int], count: int, size: int | None, order: LoaderOrder, *, strict: bool
) -> list[int]:
    """Choose the dataset indices of the samples to show.

    Args:
        select: ``"spread"``, ``"first"``, ``"per_class"`` (chosen later) or the indices themselves.
        count: Maximum number of samples, unless indices are given.
        size: Number of samples in the pass; None if unknown.
        order: Order of the loader.
        strict: Whether given indices outside the pass are an error; otherwise they are left out.

    Raises:
        ValueError: If ``strict`` and an index lies outside the pass.
    """
    if size is not None and order.order is not None:
        size = min(size, len(order.order))
    if not isinstance(select, str):
        if size is None:
            return list(select)
        seen = set(order.at(range(size)))
        outside = [index for index in select if index not in seen]
        if outside and strict:
            raise ValueError(
                f"`select` has indices outside the validation set: {outside}, "
                f"which shows {size} samples (see limit_val_batches)"
            )
        return [index for index in select if index in seen]
    if select == "per_class":
        return []
    count = count if size is None else min(count, size)
    positions = range(count) if select == "first" or size is None else spread(count, size)
    return order.at(positions)


def first_loader(trainer: Trainer) -> object:
    """The first of the loaders in use, whether given as one, a list or a dict."""
    return evaluation_loader(trainer)


def order_of(loader: object) -> Sequence[int] | None:
    """The dataset indices of a sampler that has them, such as SubsetRandomSampler."""
    indices = getattr(_sampler(loader), "indices", None)
    known = isinstance(indices, (Sequence, Tensor, np.ndarray))
    return cast("Sequence[int]", indices) if known else None


def reachable(loader: object, num_batches: int | float, world_size: int) -> int | None:
    """Number of samples of the dataset in a pass; None if unknown."""
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


def keeps_order(loader: object) -> bool:
    """Whether a loader returns the dataset in order; True if unknown."""
    if not isinstance(loader, DataLoader):
        return True  # unknown
    if isinstance(loader.dataset, IterableDataset):
        return True  # as in an epoch before, unless it shuffles by itself
    sampler = _sampler(loader)
    if isinstance(sampler, DistributedSampler):
        return not sampler.shuffle
    return isinstance(sampler, SequentialSampler)


def _sampler(loader: object) -> object:
    """The sampler in use; with a custom batch sampler, ``loader.sampler`` is an unused default."""
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    return getattr(loader, "sampler", None) if sampler is None else sampler
