"""Scores of a classification, from confusion counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .confusion import class_recall, dice_score, mean_present, pixel_accuracy

__all__ = ["classification_scores"]


def classification_scores(
    counts: Tensor, class_names: Sequence[str], *, ignore_index: int | None = None
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Compute the scores of a classification.

    The keys do not depend on the classes that occur, so they are the same on every rank.

    Args:
        counts: ``(C, C)`` with true classes as rows, or ``(C, 2, 2)`` for multilabel.
        class_names: C names.
        ignore_index: If it is one of the classes, that class scores NaN.

    Returns:
        Overall scores, ``accuracy`` (for multilabel, of all labels) and ``macro_f1``, and scores
        (``recall``, ``f1``) by class name. A class without samples has no recall, and one that is
        never predicted either has no F1: both are NaN, and left out of the mean.

    >>> counts = torch.tensor([[2, 1, 0], [0, 3, 0], [0, 0, 0]])
    >>> whole, by_class = classification_scores(counts, ["cat", "dog", "owl"])
    >>> {name: round(float(score), 3) for name, score in whole.items()}
    {'accuracy': 0.833, 'macro_f1': 0.829}
    >>> by_class["recall"]["owl"]
    tensor(nan)
    """
    recall, f1 = class_recall(counts), dice_score(counts)
    if counts.ndim == 2 and ignore_index is not None and 0 <= ignore_index < len(class_names):
        recall[ignore_index] = f1[ignore_index] = torch.nan
    whole = {"accuracy": pixel_accuracy(counts), "macro_f1": mean_present(f1)}
    by_class = {
        "recall": dict(zip(class_names, recall, strict=True)),
        "f1": dict(zip(class_names, f1, strict=True)),
    }
    return whole, by_class
