"""The confusion matrix of a validation, taken when it is complete and drawn when it is due."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from lightning import LightningModule
from torch import Tensor
from torchmetrics import Metric

from ..render import confusion_picture, encode
from ..sinks import Sinks
from ..tags import Stage, tag

__all__ = ["Confusion", "confusion_counts"]


class Confusion:
    """Keeps the latest counts, because a run may end before the next picture is due."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Discard all counts."""
        self._taken: Tensor | None = None
        self._pending: tuple[Tensor, Stage, int] | None = None

    def take(self, module: LightningModule, stage: Stage) -> None:
        """Take the counts before the module may reset them. Call on every rank."""
        self._taken = None
        self._taken = confusion_counts(module, stage)

    def hold(self, stage: Stage, step: int) -> None:
        """Keep the counts just taken for ``step``, replacing the earlier ones."""
        self._pending = None if self._taken is None else (self._taken, stage, step)
        self._taken = None

    def draw(self, names: Sequence[str] | None, sinks: Sinks) -> None:
        """Draw the kept counts, once."""
        pending, self._pending = self._pending, None
        if pending is None or not sinks:
            return
        counts, stage, step = pending
        if names is not None and len(names) + 1 == len(counts):
            names = [*names, "background"]  # detectors count what is missed, or nothing
        if names is None or len(names) != len(counts):
            names = [f"class {index}" for index in range(len(counts))]
        encoded = encode(confusion_picture(counts, names))
        sinks.image(tag("confusion", stage=stage), encoded, step)


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
