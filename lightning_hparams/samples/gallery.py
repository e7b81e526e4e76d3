"""The samples kept during one pass over a loader: the chosen ones and the worst."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from .batch import Batch
from .kind import Sample

__all__ = ["Gallery", "first_of_each", "spread", "worst_of"]


class Gallery:
    """Collects the samples to draw from one pass over a loader.

    Args:
        chosen: Dataset indices of the samples to keep.
        per_class: If positive, choose this many samples during the pass instead, the first ones of
            each class in turn.
        worst_k: Number of worst samples to keep.
        index_of: Returns the dataset index of the n-th sample of this process.
    """

    def __init__(
        self,
        chosen: Sequence[int] = (),
        *,
        per_class: int = 0,
        worst_k: int = 0,
        index_of: Callable[[int], int] = int,
    ) -> None:
        self.chosen = list(chosen)
        self.per_class = per_class
        self.worst_k = worst_k
        self.samples: dict[int, Sample] = {}
        self.worst: list[Sample] = []
        self.classes: dict[int, list[int]] = {}  # of the chosen, while choosing per class
        self._index_of = index_of
        self._seen = 0  # samples so far in this process

    def next_indices(self, count: int) -> list[int]:
        """The dataset indices of the next samples, by the order of the loader."""
        return [self._index_of(self._seen + offset) for offset in range(count)]

    def needs(self, indices: Iterable[int]) -> bool:
        """Whether any of these samples must be kept, or read in order to choose."""
        if self.per_class:
            return True
        missing = set(self.chosen) - set(self.samples)
        return not missing.isdisjoint(indices)

    def skip(self, count: int) -> None:
        """Skip the next samples."""
        self._seen += count

    def add(self, batch: Batch, *, rate: bool = True) -> None:
        """Keep the chosen samples of a batch.

        Args:
            batch: The next batch.
            rate: Whether to consider its samples for the worst.
        """
        indices = batch.indices()
        indices = self.next_indices(len(batch)) if indices is None else indices
        self._seen += len(batch)
        if self.per_class:
            self._choose(batch.classes(), indices)
        wanted = set(self.chosen) - set(self.samples)
        for position, index in enumerate(indices):
            if index in wanted:
                self.samples[index] = batch.sample(position, index)
        if self.worst_k and rate:
            self._keep_worst(batch, indices)

    def settle(self, classes: Iterable[Mapping[int, list[int]]]) -> None:
        """Make the final choice per class, given the classes found by each process."""
        if self.per_class:
            found = {index: labels for part in classes for index, labels in part.items()}
            self.chosen = first_of_each(found, self.per_class)
            self.per_class, self.classes = 0, {}

    def _choose(self, found: Sequence[list[int]], indices: Sequence[int]) -> None:
        """Update the choice per class; samples of a new class displace those of others."""
        known = {**self.classes, **dict(zip(indices, found, strict=True))}
        self.chosen = first_of_each(known, self.per_class)
        self.classes = {index: known[index] for index in self.chosen}
        self.samples = {i: one for i, one in self.samples.items() if i in self.classes}

    def _keep_worst(self, batch: Batch, indices: Sequence[int]) -> None:
        full = len(self.worst) == self.worst_k
        least = self.worst[-1].loss if full else 0.0
        # At most k samples of a batch can be among the worst k, so no more are copied.
        losses = batch.losses()
        order = sorted(range(len(losses)), key=lambda i: (-losses[i], indices[i]))
        candidates = [
            batch.sample(position, indices[position], losses[position])
            for position in order[: self.worst_k]
            if losses[position] > 0 and losses[position] >= least
        ]
        self.worst = worst_of([*self.worst, *candidates], self.worst_k)


def worst_of(samples: Iterable[Sample], count: int) -> list[Sample]:
    """The samples with the highest positive loss in descending order, without duplicates."""
    by_index = {sample.index: sample for sample in samples if sample.loss > 0}
    order = sorted(by_index.values(), key=lambda sample: (-sample.loss, sample.index))
    return order[:count]


def spread(count: int, size: int) -> list[int]:
    """Indices of ``count`` samples evenly spread over a dataset of the given size.

    >>> spread(3, 20)
    [3, 10, 16]
    """
    return [(2 * part + 1) * size // (2 * count) for part in range(count)]


def first_of_each(classes: Mapping[int, Sequence[int]], count: int) -> list[int]:
    """The first samples of each class in turn, without duplicates.

    Args:
        classes: Maps the index of a sample to its classes.
        count: Maximum number of samples.

    Returns:
        Indices: the first sample of each class, then the second of each, and so on.

    >>> first_of_each({0: [1], 1: [1], 2: [2, 3], 3: [3]}, 3)
    [0, 2, 3]
    """
    by_class: dict[int, list[int]] = {}
    for index in sorted(classes):
        for label in classes[index]:
            by_class.setdefault(label, []).append(index)
    waiting = [by_class[label] for label in sorted(by_class)]
    taken: dict[int, None] = {}
    while len(taken) < count and any(waiting):
        for indices in waiting:
            while indices and indices[0] in taken:
                indices.pop(0)
            if indices and len(taken) < count:
                taken[indices.pop(0)] = None
    return list(taken)
