"""What a validation or a test of a segmentation adds up to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from torch import Tensor, nn

from ..losses import WeightedLoss
from ..metrics import BatchMean, ConfusionCounts
from ._loaders import counted_samples

__all__ = ["Evaluation"]


class Evaluation(nn.Module):
    """Confusion counts and mean losses of one stage, with each sample counted once.

    Args:
        counts: Empty.
        terms: Names of the losses.
    """

    def __init__(self, counts: ConfusionCounts, terms: Mapping[str, float]) -> None:
        super().__init__()
        self.counts = counts
        self.means = nn.ModuleDict({name: BatchMean() for name in ("total", *terms)})
        self._left: int | None = None  # samples that are still to count; None for all

    def start(self, loader: object) -> None:
        """Count from zero what a loader gives."""
        self._left = counted_samples(loader)
        # At the start, not at the end: Trainer.validate runs in inference mode, and states made
        # there cannot be added to in a later fit.
        self.counts.reset()
        for _, mean in self._means():
            mean.reset()

    def add(
        self,
        loss: WeightedLoss,
        logits: Tensor,
        preds: Tensor,
        target: Tensor,
        terms: Mapping[str, Tensor],
    ) -> None:
        """Add a batch, but for the samples at its end that were repeated for another process."""
        left = self._left
        if left is not None and left < len(preds):
            if not left:
                return
            logits, preds, target = logits[:left], preds[:left], target[:left]
            terms = loss.terms(logits, target)
        if left is not None:
            self._left = left - len(preds)
        self.counts.update(preds, target)
        for name, mean in self._means():
            mean.update(loss.total(terms) if name == "total" else terms[name], len(preds))

    def losses(self) -> dict[str, Tensor]:
        """Means over the samples: ``total``, and each term by name."""
        return {name: mean.compute() for name, mean in self._means()}

    def _means(self) -> Iterator[tuple[str, BatchMean]]:
        for name, mean in self.means.items():
            yield name, cast(BatchMean, mean)
