"""The evaluation of a classification: confusion counts, calibration and the best five classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from ..metrics import (
    CalibrationCounts,
    ConfusionCounts,
    calibration_error,
    classification_scores,
    confidences,
)
from ._evaluation import Evaluation, Scores

__all__ = ["ClassificationEvaluation"]

_TOP = 5


class ClassificationEvaluation(Evaluation):
    """Metrics and mean losses of one stage of a classification.

    Args:
        terms: Names of the losses, besides ``total``.
        num_classes: C.
        task: ``"multiclass"`` or ``"multilabel"``.
        ignore_index: As in the task.
    """

    def __init__(
        self, terms: Iterable[str], num_classes: int, task: str, ignore_index: int | None
    ) -> None:
        super().__init__(terms)
        self.ignore_index = ignore_index
        self.counts = ConfusionCounts(num_classes, task=task, ignore_index=ignore_index)
        self.calibration = CalibrationCounts()
        self.top: MulticlassAccuracy | None = None
        if task == "multiclass" and num_classes > _TOP:
            self.top = MulticlassAccuracy(
                num_classes,
                top_k=_TOP,
                average="micro",
                ignore_index=ignore_index,
                validate_args=False,
            )

    def add(self, probs: Tensor, preds: Tensor, label: Tensor) -> None:
        """Add samples.

        Args:
            probs: ``(N, C)``.
            preds: ``(N,)`` class indices, or ``(N, C)`` of 0 and 1.
            label: Shaped like ``preds``.
        """
        self.counts.update(preds, label)
        self.calibration.update(*confidences(probs, label, ignore_index=self.ignore_index))
        if self.top is not None:
            self.top.update(probs, label)

    def scores(self, class_names: Sequence[str]) -> Scores:
        """Compute the scores of all samples so far, on all ranks."""
        counts = self.counts.compute()
        whole, by_class = classification_scores(counts, class_names, ignore_index=self.ignore_index)
        if self.top is not None:
            whole[f"accuracy_top{_TOP}"] = self.top.compute()
        whole["calibration_error"] = calibration_error(self.calibration.compute()).float()
        return Scores(whole, by_class)
