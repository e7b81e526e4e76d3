"""Class weights by rule, from how often each class occurs in the training data."""

from __future__ import annotations

from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..presets import balanced_weights

__all__ = ["counts_if_any", "counts_of_training"]


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
            f"got {counts}; check the labels of the training data, or pass class_weights=None"
        )
    return counts


def counts_if_any(trainer: Trainer, num_classes: int) -> list[int] | None:
    """Return the counts of a data module that has uneven ones, or None."""
    if not callable(getattr(getattr(trainer, "datamodule", None), "class_counts", None)):
        return None
    try:
        counts = counts_of_training(trainer, num_classes)
    except Exception as error:  # of a method that may mean something else
        rank_zero_info(f"all classes have the same weight, since class_counts() failed: {error}")
        return None
    return None if balanced_weights(counts).value is None else counts
