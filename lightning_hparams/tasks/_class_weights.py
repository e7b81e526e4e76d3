"""Class weights by rule, from how often each class occurs in the training data."""

from __future__ import annotations

from collections.abc import Sequence

from lightning import Trainer

__all__ = ["counts_of_training", "weights_by_counts"]

_LARGEST = 10.0  # times the smallest: a few samples should not decide what is learned


def weights_by_counts(counts: Sequence[int]) -> list[float]:
    """Return a weight for each class: the square root of its inverse frequency.

    The inverse frequency itself lets a few pixels of a rare class outweigh the rest; its square
    root is a compromise (as for the sampling in Mahajan et al., arXiv:1805.00932, section 2.2).
    The mean weight of a sample is 1, so that the loss keeps its scale. A class that does not occur
    has the weight of the rarest one that does.

    Args:
        counts: Pixels, labels or boxes of each class, not all 0.

    >>> weights_by_counts([100, 100])
    [1.0, 1.0]
    >>> [round(weight, 3) for weight in weights_by_counts([400, 100, 0])]
    [0.833, 1.667, 1.667]
    """
    present = [count for count in counts if count > 0]
    most, fewest = max(present), min(present)
    raw = [min((most / (count or fewest)) ** 0.5, _LARGEST) for count in counts]
    mean = sum(count * weight for count, weight in zip(counts, raw, strict=True)) / sum(counts)
    return [weight / mean for weight in raw]


def counts_of_training(trainer: Trainer, num_classes: int) -> list[int]:
    """Return how often each class occurs, as the data module's ``class_counts()`` says.

    Raises:
        ValueError: If it has no such method, or returns anything but a count for each class.
    """
    data = getattr(trainer, "datamodule", None)
    count = getattr(data, "class_counts", None)
    if not callable(count):
        raise ValueError(
            "`class_weights='auto'` needs a data module with a method class_counts() that returns "
            "how often each class occurs in the training data, got "
            f"{'no data module' if data is None else type(data).__name__}; "
            "pass a list of weights, or fit(task, datamodule=...)"
        )
    counts = [int(each) for each in count()]
    if len(counts) != num_classes or min(counts) < 0 or not any(counts):
        raise ValueError(
            f"`class_counts()` must return {num_classes} counts (num_classes), not all 0, "
            f"got {counts}; check the data"
        )
    return counts
