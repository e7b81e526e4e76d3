"""Steps of a classification: losses, scores and predictions of batches with labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from ..losses import WeightedLoss
from ..outputs import (
    ClassificationBatch,
    ClassificationOutput,
    ClassificationPrediction,
    TrainingOutput,
)
from ..tags import Stage
from ._batches import goal_of, image_of, paths_of
from ._classification_scores import ClassificationEvaluation
from ._evaluation import Scores
from ._image_task import ImageTask
from ._labels import ImageBatch, check_labels, labels_in
from ._mixing import Mixed, Mixing

__all__ = ["ClassificationSteps"]


class ClassificationSteps(ImageTask):
    """Steps over batches with labels; ``forward`` returns logits ``(N, C)``.

    A subclass sets the attributes below, and an evaluation for each stage.
    """

    main_score = "accuracy"
    goal = "label"
    exported_names = ("probabilities",)
    task: Literal["multiclass", "multilabel"]
    ignore_index: int | None
    threshold: float
    loss: WeightedLoss
    _mixing: Mixing

    def evaluation(self, stage: Stage) -> ClassificationEvaluation:
        """Return the evaluation of a stage."""
        evaluation: ClassificationEvaluation = getattr(self, f"{stage}_evaluation")
        return evaluation

    def predicted(self, probs: Tensor) -> Tensor:
        """Convert probabilities ``(N, C)`` to class indices ``(N,)``, or 0 and 1 ``(N, C)``."""
        return probs.argmax(1) if self.task == "multiclass" else (probs >= self.threshold).long()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Convert logits to float32 probabilities ``(N, C)``."""
        return logits.float().softmax(1) if self.task == "multiclass" else logits.float().sigmoid()

    def final(self, outputs: Tensor) -> Tensor:
        """See :meth:`probabilities`."""
        return self.probabilities(outputs)

    def exported_facts(self) -> dict[str, object]:
        """Leave out the threshold where the most probable class is predicted."""
        facts = super().exported_facts()
        if self.task == "multiclass":
            facts.pop("threshold")
        return facts

    def training_step(self, batch: ImageBatch, batch_idx: int) -> TrainingOutput:
        """Compute the loss of one batch."""
        images, label = self._checked(batch)
        mixed = self._mixing(self.as_floats(images)) if self._mixing else None
        shown = images if mixed is None else mixed.images
        logits = self.pass_training(images, paths_of(batch), batch_idx, shown)
        terms = self._terms(logits, label, mixed)
        return self.training_output(self.loss.total(terms), terms, len(images))

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> ClassificationOutput:
        """Evaluate one batch; returns loss, predictions and everything that monitors draw."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: ImageBatch, batch_idx: int) -> ClassificationOutput:
        """See :meth:`validation_step`."""
        return self._evaluate(batch, "test")

    def predict_step(
        self, batch: ImageBatch | Tensor, batch_idx: int, dataloader_idx: int = 0
    ) -> ClassificationPrediction:
        """Predict the probabilities and labels of images."""
        images = image_of((batch, batch) if isinstance(batch, Tensor) else batch, self.goal)
        about = batch if isinstance(batch, dict) else ClassificationBatch()
        probs = self.probabilities(self(images))
        return {
            "probs": probs,
            "labels": self.predicted(probs),
            "paths": list(about.get("path", [""] * len(images))),
            "indices": about.get("index"),
        }

    def scores(self, stage: Stage) -> Scores:
        """Compute the scores of a stage."""
        return self.evaluation(stage).scores(self.class_names)

    def _terms(self, logits: Tensor, label: Tensor, mixed: Mixed | None) -> dict[str, Tensor]:
        if mixed is None:
            return self.loss.terms(logits, label)
        return mixed.terms(lambda target: self.loss.terms(logits, target), label)

    def _evaluate(self, batch: ImageBatch, stage: Stage) -> ClassificationOutput:
        images, label = self._checked(batch)
        logits: Tensor = self(images)
        terms = self.loss.terms(logits, label)
        preds = self.predicted(self.probabilities(logits))
        self._add(stage, logits, preds, label, terms)
        return {
            "kind": "classification",
            "loss": self.loss.total(terms),
            "terms": terms,
            "images": images,
            "logits": logits,
            "preds": preds,
            "targets": label,
            "indices": batch.get("index") if isinstance(batch, dict) else None,
        }

    def _add(
        self,
        stage: Stage,
        logits: Tensor,
        preds: Tensor,
        label: Tensor,
        terms: Mapping[str, Tensor],
    ) -> None:
        """Add a batch to a stage's evaluation."""
        evaluation = self.evaluation(stage)
        kept = evaluation.take(len(preds))
        if not kept:
            return
        if kept < len(preds):
            logits, preds, label = logits[:kept], preds[:kept], label[:kept]
            terms = self.loss.terms(logits, label)
        evaluation.add(self.probabilities(logits), preds, label)
        evaluation.add_losses({"total": self.loss.total(terms), **terms}, kept)

    def _checked(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Return the images and the checked labels of a batch."""
        images = self.checked_images(batch)
        label = labels_in(goal_of(batch, self.goal), len(images), self.num_classes, self.task)
        if self.checks_values(label):
            classes = self.num_classes if self.task == "multiclass" else 2
            check_labels(label, classes, self.ignore_index, paths_of(batch))
        return images, label.long()
