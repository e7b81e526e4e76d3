"""What there is to write about a whole set, and about all weights at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from lightning import LightningModule
from numpy.typing import NDArray
from torch import Tensor

from ..tags import Stage, Tag

__all__ = ["class_scores", "extremes", "histogram", "histograms", "set_scores"]

_BINS = 64
_EXTREMES = 10


def set_scores(
    metrics: Mapping[str, float], stage: Stage, max_classes: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Choose what is written of all that was logged in a validation or test.

    Args:
        metrics: Logged values by their tags.
        stage: Of which values are wanted.
        max_classes: So many classes of a score are written.

    Returns:
        Losses, metrics and scores of classes; and of each score with more classes than that, the
        scores of all of them by name, after the tag of their table.
    """
    parsed = {tag: Tag.parse(tag) for tag in metrics}
    own = [t for t, p in parsed.items() if p.stage == stage and not (p.ending or p.best)]
    values = {tag: metrics[tag] for tag in own if parsed[tag].kind in ("loss", "metric")}
    tables: dict[str, dict[str, float]] = {}
    for table, scores in class_scores(own).items():
        values |= {tag: metrics[tag] for tag in list(scores.values())[:max_classes]}
        if len(scores) > max_classes:
            tables[table] = {label: metrics[tag] for label, tag in scores.items()}
    return values, tables


def class_scores(tags: Iterable[str]) -> dict[str, dict[str, str]]:
    """For each score of classes, the tag of its table, and the tags of classes by their names."""
    found: dict[str, dict[str, str]] = {}
    for text in tags:
        tag = Tag.parse(text)
        if tag.kind == "class":
            table = Tag("class_extremes", tag.name, stage=tag.stage, loader=tag.loader)
            found.setdefault(str(table), {})[tag.label] = text
    return found


def extremes(scores: Mapping[str, float]) -> dict[str, list[str]]:
    """A table of the ten best and the ten worst classes, from the best on; NaN is left out."""
    known = [(value, label) for label, value in scores.items() if not math.isnan(value)]
    order = sorted(known, reverse=True)
    if len(order) > 2 * _EXTREMES:
        order = [*order[:_EXTREMES], *order[-_EXTREMES:]]
    return {
        "class": [label for _, label in order],
        "score": [f"{value:.4f}" for value, _ in order],
    }


def histogram(values: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """Counts ``(64,)`` and edges ``(65,)``; None if a value is not finite or there is none."""
    if not values.numel() or not bool(values.isfinite().all()):
        return None
    low, high = (float(edge) for edge in torch.aminmax(values.float()))
    if low == high:
        low, high = low - 0.5, high + 0.5
    # torch.histc does the same, but not on CUDA with Trainer(deterministic=True).
    bins = (values.float().flatten() - low) * (_BINS / (high - low))
    bins = bins.long().clamp_(0, _BINS - 1)
    counts = torch.bincount(bins, minlength=_BINS).cpu().numpy()
    return counts, torch.linspace(low, high, _BINS + 1).numpy()


def histograms(
    module: LightningModule,
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
    """Tag, counts and edges of each parameter and of its gradient, where they are finite."""
    for name, parameter in module.named_parameters():
        for tag, values in (
            (Tag("weights", label=name), parameter.detach()),
            (Tag("grads", label=name), parameter.grad),
        ):
            if values is not None and (made := histogram(values)) is not None:
                yield str(tag), *made
