"""Which curves belong into one chart: training beside validation, classes beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["charts", "stage_free"]

_STAGE = re.compile(r"(?<![a-z0-9])(train|training|val|valid|validation|test)(?![a-z0-9])", re.I)
_STAGES = "(train|training|val|valid|validation|test)"
_GROUPED = re.compile(r"(?:lr|momentum|norm/[a-z]+|perf/memory_mib)(?=/)")
_PERCENTILE = re.compile(r"(perf/step_ms)_p\d+(/.+)")
_EACH = re.compile(r"_(?:step|epoch)(?=$|/)")  # Lightning's, of a value that is logged as both
_CLASS = re.compile(r"class/([^/]+)/.+/(val|test)")
# The first that is found in a tag decides; what fits none is a metric.
_CATEGORIES = (
    ("Per class", re.compile(r"class/")),
    ("Loss", re.compile(r"(?<![a-z0-9])loss(?![a-z0-9])", re.I)),
    ("Learning rate and momentum", re.compile(r"(lr|momentum)[/-]")),
    ("Norms", re.compile(r"norm/")),
    ("Throughput", re.compile(r"perf/")),
)
_ORDER = ("Loss", "Metrics", "Per class", "Learning rate and momentum", "Norms", "Throughput")
_LEFT_OUT = re.compile(r"(best/|epoch$|step$|hp_metric$|hp/)")


def charts(tags: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """A layout of TensorBoard's custom scalars.

    Args:
        tags: Of the scalars of a run, from any module: ``loss/val``, ``val_loss``, ``acc_val``.

    Returns:
        Category, its charts by title, and for each chart regular expressions of whole tags.

    >>> charts(["val_loss", "train_loss"])
    {'Loss': {'loss': ['(train|training|val|valid|validation|test)_loss']}}
    """
    found: dict[str, dict[str, list[str]]] = {}
    for tag in sorted(tags):
        if _LEFT_OUT.match(tag):
            continue
        title, pattern = _chart(tag)
        patterns = found.setdefault(_category(tag), {}).setdefault(title, [])
        if pattern not in patterns:
            patterns.append(pattern)
    return {category: found[category] for category in _ORDER if category in found}


def stage_free(tag: str) -> str:
    """A tag without the stage in it: what the curves of training and validation have in common.

    >>> [stage_free(tag) for tag in ("loss/val", "val_loss", "loss/val/dice", "train-acc", "lr")]
    ['loss', 'loss', 'loss/dice', 'acc', 'lr']
    """
    parts = _STAGE.sub("", tag)
    return re.sub(r"([/_\-. ])[/_\-. ]+", r"\1", parts).strip("/_-. ") or tag


def _chart(tag: str) -> tuple[str, str]:
    """Title and pattern of the chart that a tag belongs into."""
    if match := _CLASS.fullmatch(tag):
        name, stage = match.groups()
        title = f"class/{name}" if stage == "val" else f"class/{name} (test)"
        return title, f"class/{re.escape(name)}/.+/{stage}"
    if match := _GROUPED.match(tag):
        return match[0], f"{match[0]}/.+"
    if match := _PERCENTILE.fullmatch(tag):
        return match[1] + match[2], rf"{match[1]}_p\d+{match[2]}"
    escaped = re.escape(_STAGE.sub("\0", tag)).replace(re.escape("\0"), _STAGES)
    return stage_free(_EACH.sub("", tag) if _STAGE.search(tag) else tag), escaped


def _category(tag: str) -> str:
    return next((name for name, pattern in _CATEGORIES if pattern.search(tag)), "Metrics")
