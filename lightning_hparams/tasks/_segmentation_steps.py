"""Steps of a segmentation task: losses, scores and predictions of batches with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import WeightedLoss
from ..metrics import ConfusionCounts, segmentation_scores
from ..outputs import (
    SegmentationBatch,
    SegmentationKind,
    SegmentationOutput,
    SegmentationPrediction,
    TrainingOutput,
)
from ..tags import Stage
from ._batches import Batch, check_mask, image_of, mask_of, paths_of
from ._evaluation import EvaluatedTask, Scores
from ._tiles import flipped_mean, tiled

__all__ = ["SegmentationSteps", "TestTime"]

TestTime = Literal["none", "flips"]


class SegmentationSteps(EvaluatedTask):
    """Steps over batches with masks; ``forward`` returns logits ``(N, C, H, W)``, C = 1 if binary.

    A subclass sets the attributes below, ``val_counts`` and ``test_counts``.
    """

    main_score = "miou"
    task: SegmentationKind
    num_classes: int
    class_names: list[str]
    ignore_index: int | None
    threshold: float
    loss: WeightedLoss
    tile: int | None
    tile_overlap: float
    tta: TestTime
    exported_names = ("probabilities",)

    def predicted(self, probs: Tensor) -> Tensor:
        """Convert probabilities ``(N, C, H, W)`` to uint8 masks as ``SegmentationOutput.preds``."""
        if self.task == "multiclass":
            # On CPU, max over a dimension that is not the last is 5 to 10 times as fast as argmax.
            return probs.max(1).indices.to(torch.uint8)
        masks = (probs >= self.threshold).to(torch.uint8)
        return masks[:, 0] if self.task == "binary" else masks

    def probabilities(self, logits: Tensor) -> Tensor:
        """Convert logits to float32 probabilities ``(N, C, H, W)``."""
        return logits.float().softmax(1) if self.task == "multiclass" else logits.float().sigmoid()

    def infer(self, images: Tensor) -> Tensor:
        """Compute logits as in validation and prediction: in tiles, and of flipped images."""
        return (
            flipped_mean(self._in_tiles, images) if self.tta == "flips" else self._in_tiles(images)
        )

    def exported_output(self, images: Tensor) -> Tensor:
        """Compute probabilities ``(N, C, H, W)``."""
        return self.probabilities(self(images))

    def training_step(self, batch: Batch, batch_idx: int) -> TrainingOutput:
        """Compute the loss of one batch."""
        images, target = self._checked(batch)
        logits = self.pass_training(images, paths_of(batch), batch_idx, images)
        terms = self.loss.terms(logits, target)
        return self.training_output(self.loss.total(terms), terms, len(images))

    def validation_step(self, batch: Batch, batch_idx: int) -> SegmentationOutput:
        """Evaluate one batch; returns loss, predictions and everything that monitors draw."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> SegmentationOutput:
        """See :meth:`validation_step`."""
        return self._evaluate(batch, "test")

    def predict_step(
        self, batch: Batch | Tensor, batch_idx: int, dataloader_idx: int = 0
    ) -> SegmentationPrediction:
        """Predict probabilities and masks of each image, at its size before it was resized."""
        images = image_of((batch, batch) if isinstance(batch, Tensor) else batch)
        about = batch if isinstance(batch, dict) else SegmentationBatch()
        probs = self.probabilities(self.infer(images))
        sizes = about.get("size")
        wanted = [tuple(probs.shape[-2:])] * len(probs) if sizes is None else sizes.tolist()
        fitted = [_fitted(one[None], size) for one, size in zip(probs, wanted, strict=True)]
        return {
            "probs": [one[0] for one in fitted],
            "masks": [self.predicted(one)[0] for one in fitted],
            "paths": list(about.get("path", [""] * len(images))),
            "indices": about.get("index"),
        }

    def scores(self, stage: Stage) -> Scores:
        """Compute IoU, Dice and accuracy of a stage from its confusion counts."""
        counts: ConfusionCounts = getattr(self, f"{stage}_counts")
        names, ignored = self.class_names, self.ignore_index
        return Scores(*segmentation_scores(counts.compute(), names, ignore_index=ignored))

    def _in_tiles(self, images: Tensor) -> Tensor:
        if self.tile is None:
            logits: Tensor = self(images)
            return logits
        return tiled(self, images, self.tile, self.tile_overlap)

    def _add(
        self,
        stage: Stage,
        logits: Tensor,
        preds: Tensor,
        target: Tensor,
        terms: Mapping[str, Tensor],
    ) -> None:
        """Add a batch to a stage's evaluation."""
        evaluation = self.evaluation(stage)
        kept = evaluation.take(len(preds))
        if not kept:
            return
        if kept < len(preds):
            terms = self.loss.terms(logits[:kept], target[:kept])
        counts: ConfusionCounts = getattr(self, f"{stage}_counts")
        counts.update(preds[:kept], target[:kept])
        evaluation.add_losses({"total": self.loss.total(terms), **terms}, kept)

    def _evaluate(self, batch: Batch, stage: Stage) -> SegmentationOutput:
        images, target = self._checked(batch)
        logits = self.infer(images)
        terms = self.loss.terms(logits, target)
        loss = self.loss.total(terms)
        preds = self.predicted(logits if self.task == "multiclass" else self.probabilities(logits))
        target = target.view_as(preds)  # a binary mask may come as (N, 1, H, W)
        self._add(stage, logits, preds, target, terms)
        return {
            "kind": self.task,
            "loss": loss,
            "terms": terms,
            "images": images,
            "logits": logits,
            "preds": preds,
            "targets": target,
            "indices": batch.get("index") if isinstance(batch, dict) else None,
        }

    def _checked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the images and the checked masks of a batch."""
        images, mask = image_of(batch), mask_of(batch)
        if self.checks_values(mask):
            classes = self.num_classes if self.task == "multiclass" else 2
            check_mask(mask, classes, self.ignore_index, paths_of(batch))
        return images, mask


def _fitted(probs: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(size) == tuple(probs.shape[-2:]):
        return probs
    return F.interpolate(probs, size=tuple(size), mode="bilinear", antialias=True)
