"""Confusion counts and mean losses over a whole validation or test set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from torch import Tensor, nn

from ..losses import WeightedLoss
from ..metrics import BatchMean, ConfusionCounts, segmentation_scores
from ..tags import Stage, tag
from ._loaders import counted_samples
from .base import VisionTask

__all__ = ["EvaluatedTask", "Evaluation"]


class Evaluation(nn.Module):
    """Confusion counts and mean losses of one stage, with each sample counted once.

    Args:
        counts: An empty metric.
        terms: The losses, by name.
    """

    def __init__(self, counts: ConfusionCounts, terms: Mapping[str, float]) -> None:
        super().__init__()
        self.counts = counts
        self.means = nn.ModuleDict({name: BatchMean() for name in ("total", *terms)})
        self._left: int | None = None  # number of samples still to count; None for all

    def start(self, loader: object) -> None:
        """Reset, and prepare for the samples of a loader."""
        self._left = counted_samples(loader)
        # Reset at the start, not at the end: Trainer.validate runs in inference mode, and states
        # created there cannot be updated in a later fit.
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
        """Add a batch, without samples at its end that another process evaluates too."""
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
        """Return the means over the samples: ``total``, and each term by name."""
        return {name: mean.compute() for name, mean in self._means()}

    def _means(self) -> Iterator[tuple[str, BatchMean]]:
        for name, mean in self.means.items():
            yield name, cast(BatchMean, mean)


class EvaluatedTask(VisionTask):
    """Hooks of a task that has an :class:`Evaluation` per stage."""

    class_names: list[str]
    ignore_index: int | None

    def on_validation_epoch_start(self) -> None:
        """Reset the evaluation."""
        self._evaluation("val").start(self.trainer.val_dataloaders)

    def on_test_epoch_start(self) -> None:
        """Reset the evaluation."""
        self._evaluation("test").start(self.trainer.test_dataloaders)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole validation set."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the whole test set."""
        self._log_scores("test")

    def _evaluation(self, stage: str) -> Evaluation:
        evaluation: Evaluation = getattr(self, f"{stage}_evaluation")
        return evaluation

    def _log_scores(self, stage: Stage) -> None:
        evaluation = self._evaluation(stage)
        counts = evaluation.counts.compute()
        whole, by_class = segmentation_scores(
            counts, self.class_names, ignore_index=self.ignore_index
        )
        for name, mean in evaluation.losses().items():
            total = name == "total"
            loss_tag = tag("loss", label="" if total else name, stage=stage)
            to_loggers = None if total else False  # None: if there is a logger
            self.log(loss_tag, mean, logger=to_loggers, prog_bar=total, sync_dist=True)
        for name, value in whole.items():
            metric_tag = tag("metric", name, stage=stage)
            self.log(metric_tag, value, prog_bar=name == "miou", sync_dist=True)
        for name, scores in by_class.items():
            tags = {tag("class", name, label, stage): v for label, v in scores.items()}
            self.log_dict(tags, logger=False, sync_dist=True)
