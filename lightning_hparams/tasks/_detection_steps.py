"""Steps of a detection task: losses, scores and predictions of batches with boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor

from ..metrics import DetectionScores
from ..outputs import Boxes, DetectionBatch, DetectionOutput, DetectionPrediction, TrainingOutput
from ..tags import Stage
from ._evaluation import EvaluatedTask, Scores
from ._targets import Batch, Images, checked_targets, images_of, targets_of, without_crowds
from .detectors import losses_and_detections

__all__ = ["DetectionSteps", "loss_names"]

_WHOLE = ("map", "map50", "map75")
_BY_CLASS = ("ap", "precision", "recall", "f1", "threshold")
_MEANS = ("precision", "recall", "f1")
_NAMES = {  # of torchvision's losses
    "bbox_regression": "box",
    "bbox_ctrness": "centerness",
    "loss_classifier": "classification",
    "loss_box_reg": "box",
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "proposal_box",
}


def loss_names(terms: Iterable[str]) -> tuple[str, ...]:
    """Return our names of torchvision's losses."""
    return tuple(_NAMES.get(name, name) for name in terms)


class DetectionSteps(EvaluatedTask):
    """Steps over batches with boxes.

    A subclass sets the attributes below, and ``val_evaluation`` and ``test_evaluation`` with the
    metric ``boxes``.
    """

    main_score = "map50"
    exported_names = ("boxes", "scores", "labels")
    exports_objects = True
    num_classes: int
    class_names: list[str]
    category_ids: list[int | float | str]
    first_label: int  # of the model
    loss_weights: Mapping[str, float]

    def forward(
        self, images: Images, targets: list[Boxes] | None = None
    ) -> list[Boxes] | dict[str, Tensor]:
        """Detect objects, in evaluation mode, or compute the losses by name, in training mode.

        Args:
            images: ``(N, I, H, W)``, or one ``(I, H, W)`` for each image.
            targets: True boxes of each image, for the losses.

        Returns:
            Boxes in pixels of the images, with labels from 0 and scores; or scalars.
        """
        if targets is None:
            return [self._own_labels(each) for each in self.model(self._normalised(images))]
        learnt = [without_crowds(each, self.first_label) for each in targets]
        try:
            return _named(self.model(self._normalised(images), learnt))
        except ValueError as error:  # from torch's batch normalisation
            if "more than 1 value per channel" in str(error):
                raise self.one_image_error() from error
            raise

    def exported_output(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect objects in one image ``(1, I, H, W)``: boxes ``(K, 4)``, scores and labels."""
        (found,) = cast(list[Boxes], self(images))
        return found["boxes"], found["scores"], found["labels"]

    def exported_facts(self) -> dict[str, object]:
        """Return the numbers of the categories and the thresholds too."""
        given = ("score_threshold", "nms_threshold", "max_detections")
        return {
            "task": "detection",
            **super().exported_facts(),
            "category_ids": self.category_ids,
            **{name: self.hparams[name] for name in given},
        }

    def training_step(self, batch: Batch, batch_idx: int) -> TrainingOutput:
        """Compute the loss of one batch."""
        images, targets, paths = self._checked(batch)
        terms: dict[str, Tensor] = self.pass_training(images, paths, batch_idx, images, targets)
        return self.training_output(self._total(terms), terms, len(images))

    def validation_step(self, batch: Batch, batch_idx: int) -> DetectionOutput:
        """Evaluate one batch; returns loss, predictions and everything that monitors draw."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> DetectionOutput:
        """See :meth:`validation_step`."""
        return self._evaluate(batch, "test")

    def predict_step(
        self, batch: Batch | Tensor, batch_idx: int, dataloader_idx: int = 0
    ) -> DetectionPrediction:
        """Predict the boxes of each image, in pixels of the image before it was resized."""
        images = images_of(batch)
        about = batch if isinstance(batch, dict) else DetectionBatch()
        found = cast(list[Boxes], self(images))
        shown = torch.tensor([each.shape[-2:] for each in images])
        sizes = about.get("size", shown).cpu()
        scales = (sizes / shown).flip(1).repeat(1, 2)  # height, width -> x, y, x, y
        for boxes, scale in zip(found, scales, strict=True):
            boxes["boxes"] = boxes["boxes"] * scale.to(boxes["boxes"])
        return {
            "boxes": found,
            "sizes": sizes,
            "paths": list(about.get("path", [""] * len(images))),
            "indices": about.get("index"),
        }

    def scores(self, stage: Stage) -> Scores:
        """Compute average precision and F1 of a stage from its boxes."""
        found = self._boxes(stage).compute()
        whole = {name: found[name] for name in _WHOLE}
        whole |= {name: found[name].nanmean() for name in _MEANS}
        # torchmetrics makes a scalar of the values of one class.
        by_class = {
            name: dict(zip(self.class_names, found[name].reshape(-1), strict=True))
            for name in _BY_CLASS
        }
        return Scores(whole, by_class)

    def _boxes(self, stage: Stage) -> DetectionScores:
        return cast(DetectionScores, self.evaluation(stage).boxes)

    def _evaluate(self, batch: Batch, stage: Stage) -> DetectionOutput:
        images, targets, _ = self._checked(batch)
        terms, preds = self._losses_and_boxes(images, targets)
        evaluation = self.evaluation(stage)
        kept = evaluation.take(len(images))
        if kept:
            counted = terms
            if kept < len(images):
                counted, _ = self._losses_and_boxes(images[:kept], targets[:kept])
            self._boxes(stage).update(preds[:kept], targets[:kept])
            evaluation.add_losses({"total": self._total(counted), **counted}, kept)
        return {
            "kind": "detection",
            "loss": self._total(terms),
            "terms": terms,
            "images": images,
            "preds": preds,
            "targets": targets,
            "indices": batch.get("index") if isinstance(batch, dict) else None,
        }

    def _losses_and_boxes(
        self, images: Images, targets: list[Boxes]
    ) -> tuple[dict[str, Tensor], list[Boxes]]:
        learnt = [without_crowds(each, self.first_label) for each in targets]
        losses, found = losses_and_detections(self.model, self._normalised(images), learnt)
        return _named(losses), [self._own_labels(each) for each in found]

    def _checked(self, batch: Batch) -> tuple[Images, list[Boxes], list[str]]:
        """Return the images, the checked targets and the paths of a batch."""
        images, targets = images_of(batch), targets_of(batch)
        paths = batch.get("path", []) if isinstance(batch, dict) else []
        if self.checks_values(images[0]):
            checked_targets(images, targets, self.num_classes, paths)
        return images, targets, paths

    def _normalised(self, images: Images) -> Images:
        return self.normalise(images) if isinstance(images, Tensor) else self.normalise_each(images)

    def _own_labels(self, found: Mapping[str, Tensor]) -> Boxes:
        return {
            "boxes": found["boxes"].detach().float(),
            "labels": found["labels"] - self.first_label,
            "scores": found["scores"].detach().float(),
        }

    def _total(self, terms: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.loss_weights[name] * each for name, each in terms.items()]).sum()


def _named(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_NAMES.get(name, name): each for name, each in losses.items()}
