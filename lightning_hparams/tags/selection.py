"""Which scores of a validation or test set are written, and as curve or table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from .grammar import Stage, Tag

__all__ = ["extremes", "set_scores"]

_EXTREMES = 10


def set_scores(
    metrics: Mapping[str, float], stage: Stage, max_classes: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Select the values to write from everything logged in a validation or test.

    Args:
        metrics: Logged values by tag.
        stage: Stage whose values are wanted.
        max_classes: Maximum number of classes written per score.

    Returns:
        Losses, metrics and class scores; and, for each score with more than ``max_classes``
        classes, the scores of all classes by name, keyed by the tag of their table.
    """
    parsed = {tag: Tag.parse(tag) for tag in metrics}
    own = [t for t, p in parsed.items() if p.stage == stage and not (p.ending or p.best)]
    values = {tag: metrics[tag] for tag in own if parsed[tag].kind in ("loss", "metric")}
    tables: dict[str, dict[str, float]] = {}
    for table, scores in _class_scores(own).items():
        values |= {tag: metrics[tag] for tag in list(scores.values())[:max_classes]}
        if len(scores) > max_classes:
            tables[table] = {label: metrics[tag] for label, tag in scores.items()}
    return values, tables


def _class_scores(tags: Iterable[str]) -> dict[str, dict[str, str]]:
    """For each class score, the tag of its table and the tags of its classes by name."""
    found: dict[str, dict[str, str]] = {}
    for text in tags:
        tag = Tag.parse(text)
        if tag.kind == "class":
            table = Tag("class_extremes", tag.name, stage=tag.stage, loader=tag.loader)
            found.setdefault(str(table), {})[tag.label] = text
    return found


def extremes(scores: Mapping[str, float]) -> dict[str, list[str]]:
    """Table of the ten best and the ten worst classes, best first, without NaN."""
    known = [(value, label) for label, value in scores.items() if not math.isnan(value)]
    order = sorted(known, reverse=True)
    if len(order) > 2 * _EXTREMES:
        order = [*order[:_EXTREMES], *order[-_EXTREMES:]]
    return {
        "class": [label for _, label in order],
        "score": [f"{value:.4f}" for value, _ in order],
    }
