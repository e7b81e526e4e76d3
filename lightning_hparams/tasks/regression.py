"""Regression of values of images with any model of timm and torchvision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..checks import names_in, whole_number
from ..isolation import random_state_kept
from ..losses import RegressionLoss
from ..metrics import RegressionErrors, ValueCounts
from ..outputs import RegressionBatch, RegressionOutput, RegressionPrediction, TrainingOutput
from ..tags import Stage
from ._batches import goal_of, image_of, paths_of
from ._data_classes import check_same
from ._evaluation import Evaluation, Scores
from ._image_task import ImageTask, assembled
from ._labels import ImageBatch, check_values, values_in
from ._target_scaling import TargetScaling, training_values
from .base import Freeze

__all__ = ["RegressionTask"]

_ERRORS = ("mae", "rmse", "r2")


class RegressionEvaluation(Evaluation):
    """Errors, pairs of values and mean losses of one stage."""

    def __init__(self, terms: Mapping[str, float], num_values: int) -> None:
        super().__init__(terms)
        self.errors = RegressionErrors(num_values)
        self.pairs = ValueCounts(num_values)


class RegressionTask(ImageTask):
    """Train, validate, test and predict one or several numbers per image.

    A batch is a :class:`~lightning_hparams.outputs.RegressionBatch` or a pair ``(image, value)``; a
    value of NaN is unknown. Values may have any unit: their mean and deviation are computed from up
    to 2048 training images before the first step, and kept in checkpoints. The model predicts, and
    the losses compare, deviations from the mean; predictions and errors have the unit of the
    values.

    Args:
        model: A model of timm, such as ``"resnet18"``, or ``"torchvision/resnet18"``.
        weights: None for random initialisation, ``"imagenet"``, or a file with weights; see
            :class:`~lightning_hparams.ClassificationTask`.
        model_args: Further arguments of the model, such as ``{"drop_rate": 0.1}``.
        in_channels: Channels of an image.
        num_values: Number of values per image, at least 1.
        class_names: A name for each value. None for those of the data module that the task is
            trained with, or else ``value``, or ``value 0``, ``value 1``, ...
        image_size: The task resizes images so that their shorter side has this many pixels; see
            :class:`~lightning_hparams.ClassificationTask`.
        loss: ``"mse"``, ``"l1"`` or ``"huber"``, or a dict of names and weights.
        loss_args: Further arguments of each loss, by its name: ``{"huber": {"delta": 1.0}}``, in
            deviations.
        mean: Mean of each channel in units of 0..1. None for what the weights expect, otherwise
            ImageNet's for three channels and 0.5 for any other number.
        std: Standard deviation of each channel, with defaults like ``mean``, but 0.25 for 0.5.
        optimizer: A class in ``torch.optim``; or AdamWScheduleFree, RAdamScheduleFree,
            SGDScheduleFree or Prodigy, see :class:`~lightning_hparams.tasks.VisionTask`.
        optimizer_args: Further arguments of the optimizer.
        lr: Learning rate, above 0.
        weight_decay: At least 0; None for the optimizer's default.
        encoder_lr_mult: The learning rate of all but the last layer as a multiple of ``lr``.
        layer_decay: The learning rate of each layer of the encoder as a multiple of that of the
            next one, above 0; 1 for one rate.
        freeze: ``"encoder"`` does not train the encoder, and keeps the statistics of its batch
            normalisations.
        unfreeze_at: First epoch in which the encoder is trained after all; None for never.
        compile: Compile the model with ``torch.compile``; checkpoints stay the same.
        grad_checkpointing: Compute activations again in the backward pass instead of storing them.
            For models of timm.

    Logged by Lightning, with stage ``train``, ``val`` or ``test``: ``loss/{stage}`` and
    ``metric/{mae,rmse,r2}/{stage}``, means over the values. Available to callbacks, and written to
    loggers by :class:`~lightning_hparams.MetricMonitor` only: ``loss/{stage}/{term}`` and, with
    several values, ``class/{mae,rmse,r2}/{name}/{stage}``.

    Raises:
        ValueError: For an unknown name (suggesting similar ones) or a value out of range.
        TypeError: For an argument that the model, optimizer or loss does not take, or a value of
            the wrong type.
    """

    main_score = "mae"
    goal = "value"
    exported_names = ("values",)
    loss: RegressionLoss

    def __init__(
        self,
        model: str = "mobilenetv3_small_100",
        weights: str | None = None,
        *,
        model_args: dict[str, object] | None = None,
        in_channels: int = 3,
        num_values: int = 1,
        class_names: list[str] | None = None,
        image_size: int | None = None,
        loss: str | dict[str, float] = "mse",
        loss_args: dict[str, dict[str, object]] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        optimizer: str = "AdamW",
        optimizer_args: dict[str, object] | None = None,
        lr: float = 1e-3,
        weight_decay: float | None = None,
        encoder_lr_mult: float = 1.0,
        layer_decay: float = 1.0,
        freeze: Freeze = "none",
        unfreeze_at: int | None = None,
        compile: bool = False,
        grad_checkpointing: bool = False,
    ) -> None:
        num_values = whole_number("num_values", num_values, 1)
        in_channels = whole_number("in_channels", in_channels, 1)
        if image_size is not None:
            image_size = whole_number("image_size", image_size, 1)
        names = _names(class_names, num_values)
        criterion = RegressionLoss(loss, loss_args=loss_args)
        built, (mean, std) = assembled(
            model,
            weights,
            in_channels=in_channels,
            outputs=num_values,
            args=model_args,
            mean=mean,
            std=std,
        )
        super().__init__(
            built.model,
            mean=mean,
            std=std,
            optimizer=optimizer,
            optimizer_args=optimizer_args,
            lr=lr,
            weight_decay=weight_decay,
            encoder_lr_mult=encoder_lr_mult,
            layer_decay=layer_decay,
            freeze=freeze,
            unfreeze_at=unfreeze_at,
            compile=compile,
            grad_checkpointing=grad_checkpointing,
        )
        self.save_hyperparameters()
        self.use(built, image_size)
        self.num_values, self.class_names = num_values, names
        self.class_facts = {"class_names": None if class_names is None else names}
        self.loss, self.scaling = criterion, TargetScaling(num_values)
        for stage in ("val", "test"):
            evaluation = RegressionEvaluation(criterion.weights, num_values)
            setattr(self, f"{stage}_evaluation", evaluation)
            setattr(self, f"{stage}_pairs", evaluation.pairs)  # where monitors look for them

    def evaluation(self, stage: Stage) -> RegressionEvaluation:
        """Return the evaluation of a stage."""
        evaluation: RegressionEvaluation = getattr(self, f"{stage}_evaluation")
        return evaluation

    def _match_classes(self, stage: str) -> None:
        data = getattr(self.attached_trainer(), "datamodule", None)
        if getattr(data, "num_values", None) is not None:  # its names are not those of classes
            super()._match_classes(stage)

    def match_targets(self, data: object) -> None:
        """Check that a data module has as many values per image as this task."""
        check_same("num_values", self.num_values, getattr(data, "num_values", None))

    def on_fit_start(self) -> None:
        """Compute the scale of the training values, unless a checkpoint has brought it."""
        if self.scaling.is_known:
            return
        self.trainer.fit_loop.setup_data()
        with random_state_kept(self):
            values = training_values(self.trainer.train_dataloader, self._values)
        self.scaling.fit(self.trainer.strategy.broadcast(values))

    def forward(self, images: Tensor) -> Tensor:
        """Predict values ``(N, D)`` of images ``(N, I, H, W)``, in float32 at least."""
        return self.scaling.unscaled(super().forward(images))

    def final(self, outputs: Tensor) -> Tensor:
        """Convert outputs of the model to values."""
        return self.scaling.unscaled(outputs)

    def exported_facts(self) -> dict[str, object]:
        """Return the names of the values too."""
        return {"task": "regression", **super().exported_facts()}

    def training_step(self, batch: ImageBatch, batch_idx: int) -> TrainingOutput:
        """Compute the loss of one batch."""
        images, value = self._checked(batch)
        preds = self.pass_training(images, paths_of(batch), batch_idx, images)
        terms = self._terms(preds, value)
        return self.training_output(self.loss.total(terms), terms, len(images))

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> RegressionOutput:
        """Evaluate one batch; returns loss, predictions and everything that monitors draw."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: ImageBatch, batch_idx: int) -> RegressionOutput:
        """See :meth:`validation_step`."""
        return self._evaluate(batch, "test")

    def predict_step(
        self, batch: ImageBatch | Tensor, batch_idx: int, dataloader_idx: int = 0
    ) -> RegressionPrediction:
        """Predict the values of images."""
        images = image_of((batch, batch) if isinstance(batch, Tensor) else batch, self.goal)
        about = batch if isinstance(batch, dict) else RegressionBatch()
        return {
            "values": self(images).float(),
            "paths": list(about.get("path", [""] * len(images))),
            "indices": about.get("index"),
        }

    def scores(self, stage: Stage) -> Scores:
        """Compute the errors of a stage."""
        errors = dict(zip(_ERRORS, self.evaluation(stage).errors.compute(), strict=True))
        whole = {name: each.nanmean() for name, each in errors.items()}
        if self.num_values == 1:
            return Scores(whole, {})
        names = self.class_names
        return Scores(whole, {k: dict(zip(names, v, strict=True)) for k, v in errors.items()})

    def _terms(self, preds: Tensor, value: Tensor) -> dict[str, Tensor]:
        return self.loss.terms(self.scaling.scaled(preds), self.scaling.scaled(value))

    def _evaluate(self, batch: ImageBatch, stage: Stage) -> RegressionOutput:
        images, value = self._checked(batch)
        preds: Tensor = self(images)
        terms = self._terms(preds, value)
        evaluation = self.evaluation(stage)
        kept = evaluation.take(len(preds))
        if kept:
            evaluation.pairs.edges = torch.stack([self.scaling.low, self.scaling.high], 1)
            evaluation.errors.update(preds[:kept], value[:kept])
            evaluation.pairs.update(preds[:kept], value[:kept])
            mine = terms if kept == len(preds) else self._terms(preds[:kept], value[:kept])
            evaluation.add_losses({"total": self.loss.total(mine), **mine}, kept)
        return {
            "kind": "regression",
            "loss": self.loss.total(terms),
            "terms": terms,
            "images": images,
            "preds": preds,
            "targets": value,
            "indices": batch.get("index") if isinstance(batch, dict) else None,
        }

    def _values(self, batch: ImageBatch) -> Tensor:
        images = self.checked_images(batch)
        value = values_in(goal_of(batch, self.goal), len(images), self.num_values)
        if self.checks_values(value):
            check_values(value, paths_of(batch))
        return value

    def _checked(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Return the images and the checked values of a batch."""
        return self.checked_images(batch), self._values(batch)


def _names(names: list[str] | None, num_values: int) -> list[str]:
    if names is None:
        return ["value"] if num_values == 1 else [f"value {index}" for index in range(num_values)]
    names = names_in("class_names", names)
    if len(names) != num_values or len(set(names)) != num_values:
        raise ValueError(f"`class_names` needs {num_values} different names, got {names}")
    return names
