"""Which curves share a chart: training with validation, and the classes of a score."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from .grammar import Tag

__all__ = ["charts"]

_LOSS = re.compile(r"(?<![^\W_])loss(?![^\W_])", re.IGNORECASE)
_LEARNING_RATE = re.compile("(lr|momentum)[/-]")  # from Lightning's LearningRateMonitor
_PERCENTILE = re.compile(r"step_ms_p\d+")
_CATEGORIES = {
    "loss": "Loss",
    "class": "Per class",
    "lr": "Learning rate and momentum",
    "momentum": "Learning rate and momentum",
    "weight_decay": "Learning rate and momentum",
    "norm": "Norms",
    "perf": "Throughput",
}
_ORDER = ("Loss", "Metrics", "Per class", "Learning rate and momentum", "Norms", "Throughput")
_LEFT_OUT = re.compile(r"(epoch$|step$|hp_metric$|hp/)")


def charts(tags: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Layout for TensorBoard's custom scalars dashboard.

    Args:
        tags: Scalar tags of a run, from any module: ``loss/val``, ``val_loss``, ``acc_val``.

    Returns:
        For each category, its charts by title; for each chart, regular expressions that match
        whole tags.

    >>> charts(["val_loss", "train_loss"])
    {'Loss': {'loss': ['(train|training|val|valid|validation|test)_loss']}}
    """
    found: dict[str, dict[str, list[str]]] = {}
    for text in sorted(tags):
        tag = Tag.parse(text)
        if tag.best or _LEFT_OUT.match(text):
            continue
        title, pattern = _chart(tag)
        patterns = found.setdefault(_category(tag), {}).setdefault(title, [])
        if pattern not in patterns:
            patterns.append(pattern)
    return {category: found[category] for category in _ORDER if category in found}


def _chart(tag: Tag) -> tuple[str, str]:
    """Title and pattern of the chart that a tag belongs to."""
    match tag.kind:
        case "class":
            where = [] if tag.stage == "val" else [str(tag.stage)]
            where += [] if tag.loader is None else [f"dataloader {tag.loader}"]
            return f"class/{tag.name}" + (f" ({', '.join(where)})" if where else ""), tag.any_label
        case "lr" | "momentum" | "weight_decay" | "norm":
            return f"{tag.kind}/{tag.name}".rstrip("/"), tag.any_label
        case "perf" if tag.name.startswith("memory_mib/"):
            return "perf/memory_mib", "perf/memory_mib/.+"
        case "perf" if _PERCENTILE.fullmatch(tag.name):
            title = str(replace(tag, name="step_ms"))
            return title, title.replace("step_ms", r"step_ms_p\d+")
        case _:
            return tag.title, tag.any_stage


def _category(tag: Tag) -> str:
    head = tag.name.partition("/")[0] if tag.kind == "own" else tag.kind
    if head in _CATEGORIES:
        return _CATEGORIES[head]
    if tag.kind == "own" and _LOSS.search(tag.name):
        return "Loss"
    if tag.kind == "own" and _LEARNING_RATE.match(tag.name):
        return _CATEGORIES["lr"]
    return "Metrics"
