"""The confusion matrix, or the predicted values, of a validation, drawn when it is due."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TypeAlias

from lightning import LightningModule
from torch import Tensor
from torchmetrics import Metric

from ..metrics import ValueCounts
from ..render import confusion_picture, encode, values_picture
from ..sinks import Sinks
from ..tags import Stage, tag

__all__ = ["Confusion", "confusion_counts", "value_counts"]

_Counts: TypeAlias = "tuple[Tensor | None, tuple[Tensor, Tensor] | None]"  # of classes, of values


class Confusion:
    """Keeps the latest counts, because a run may end before the next picture is due."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Discard all counts."""
        self._taken: _Counts | None = None
        self._pending: tuple[_Counts, Stage, int] | None = None

    def take(self, module: LightningModule, stage: Stage) -> None:
        """Take the counts before the module may reset them. Call on every rank."""
        self._taken = None
        counts, pairs = confusion_counts(module, stage), value_counts(module, stage)
        if counts is not None or pairs is not None:
            self._taken = counts, pairs

    def hold(self, stage: Stage, step: int) -> None:
        """Keep the counts just taken for ``step``, replacing the earlier ones."""
        self._pending = None if self._taken is None else (self._taken, stage, step)
        self._taken = None

    def draw(self, names: Sequence[str] | None, sinks: Sinks) -> None:
        """Draw the kept counts, once."""
        pending, self._pending = self._pending, None
        if pending is None or not sinks:
            return
        (counts, pairs), stage, step = pending
        if counts is not None:
            encoded = encode(confusion_picture(counts, _names(names, len(counts), "class")))
            sinks.image(tag("confusion", stage=stage), encoded, step)
        if pairs is not None:
            cells, edges = pairs
            encoded = encode(values_picture(cells, edges, _names(names, len(cells), "value")))
            sinks.image(tag("predicted", stage=stage), encoded, step)


def _names(names: Sequence[str] | None, count: int, each: str) -> Sequence[str]:
    if names is not None and each == "class" and len(names) + 1 == count:
        return [*names, "background"]  # detectors count what is missed, or nothing
    if names is None or len(names) != count:
        return [f"{each} {index}" for index in range(count)]
    return names


def value_counts(module: LightningModule, stage: Stage) -> tuple[Tensor, Tensor] | None:
    """Counts of true and predicted values over all ranks, and their range. Call on every rank."""
    metric = getattr(module, f"{stage}_pairs", None)
    if not isinstance(metric, ValueCounts):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        counts: Tensor = metric.compute().cpu()
    return (counts, metric.edges.cpu()) if bool(counts.sum() > 0) else None


def confusion_counts(module: LightningModule, stage: Stage) -> Tensor | None:
    """Counts ``(C, C)`` of the module's own metric over all ranks. Call on every rank."""
    metric = getattr(module, f"{stage}_counts", None)
    if not isinstance(metric, Metric):
        return None
    with warnings.catch_warnings():
        # The metric may be unused this time, but computing it is collective.
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        counts = metric.compute()
    if not isinstance(counts, Tensor) or counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        return None
    counts = counts.cpu()
    return counts if bool(counts.sum() > 0) else None
