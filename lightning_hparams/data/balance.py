"""Show rare classes as often as common ones."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

__all__ = ["BalancedSampler", "balanced_weights"]

_STEPS = 200  # of the scaling below, which takes one step where images have one class each


def balanced_weights(counts: Tensor) -> Tensor:
    """Return weights, float64 ``(N,)`` with sum 1, under which all classes are equally frequent.

    Images with several classes get, of all weights that balance the classes, those of the largest
    entropy (iterative scaling: Darroch and Ratcliff, 1972), so that as many different images as
    possible are shown; where none balance them, the classes come closer. A class in all images,
    such as a background, is left out; images with no other class are one class, if they are most.
    Images without any class keep the mean weight.

    Args:
        counts: The class of each image ``(N,)``, or how often each has each class ``(N, C)``, where
            only zero or not matters.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1])).tolist()
    [0.16666666666666666, 0.16666666666666666, 0.16666666666666666, 0.5]
    """
    if counts.ndim == 1:
        frequency = torch.bincount(counts).double()
        weights = 1 / frequency[counts]
        return weights / weights.sum()
    present = (counts > 0).double()
    frequency = present.sum(0)
    everywhere = frequency == len(counts)
    present = present[:, (frequency > 0) & ~everywhere]
    if bool(everywhere.any()) and present.numel():
        # No weights change the share of a class in all images, such as a background; but images of
        # nothing else may be too many.
        alone = ~present.any(1, keepdim=True)
        if alone.sum() > present.sum(0).max():
            present = torch.cat([present, alone.double()], 1)
    frequency = present.sum(0)
    if not present.numel():
        return torch.full((len(counts),), 1 / len(counts), dtype=torch.float64)
    most = present.sum(1).max()
    # Where no weights balance the classes, these would grow until only a few images are left.
    bound = float((frequency.max() / frequency.min()).log()) + 3
    logs = torch.zeros(present.shape[1], dtype=torch.float64)
    for _ in range(_STEPS):
        weights = (present @ logs).softmax(0)
        share = weights @ present
        gap = (share / share.mean()).log()
        if float(gap.abs().max()) < 0.01:
            break
        # Centred, so that images with many classes are not favoured for their number.
        logs = (logs - (gap - gap.mean()) / most).clamp(-bound, bound)
    return (present @ logs).softmax(0)


class BalancedSampler(DistributedSampler[int]):
    """Draw indices by weight, each epoch others; the processes of a run share one draw.

    Systematic sampling: an image with weight ``w`` is drawn ``N * w`` times, rounded up or down,
    and so are all images of the same classes together, so that the classes are balanced in every
    epoch and not only on average. It is a ``DistributedSampler``, which Lightning uses as it is and
    tells the epoch, so that a resumed run continues with the same order.

    Args:
        counts: See :func:`balanced_weights`.
        num_replicas: Number of processes.
        rank: This process.
    """

    def __init__(self, counts: Tensor, num_replicas: int = 1, rank: int = 0) -> None:
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # of seed_everything, as Lightning's own
        size: list[int] = [0] * len(counts)
        super().__init__(size, num_replicas, rank, seed=seed)  # type: ignore[arg-type]
        self.weights = balanced_weights(counts)
        self.groups = counts
        if counts.ndim == 2:
            self.groups = torch.unique(counts > 0, dim=0, return_inverse=True)[1]

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        # Sorted by class, but shuffled within each, so that its images take turns in being rounded.
        shuffled = torch.randperm(len(self.weights), generator=generator)
        order = shuffled[self.groups[shuffled].argsort(stable=True)]
        ends = self.weights[order].cumsum(0)
        start = torch.rand((), generator=generator, dtype=torch.float64)
        points = (torch.arange(self.total_size, dtype=torch.float64) + start) / self.total_size
        found = torch.searchsorted(ends, points * ends[-1], right=True).clamp(max=len(order) - 1)
        drawn = order[found][torch.randperm(self.total_size, generator=generator)]
        return iter(drawn[self.rank : self.total_size : self.num_replicas].tolist())
