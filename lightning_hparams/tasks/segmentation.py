"""Semantic segmentation with any architecture and encoder of segmentation-models-pytorch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import in_range, names_in, numbers_in, one_of, whole_number
from ..losses import WeightedLoss
from ..metrics import ConfusionCounts
from ..outputs import (
    SegmentationBatch,
    SegmentationKind,
    SegmentationOutput,
    SegmentationPrediction,
    TrainingOutput,
)
from ..tags import tag
from ._batches import Batch, check_mask, image_of, mask_of, paths_of
from ._evaluation import EvaluatedTask, Evaluation
from ._loaders import norms_of_one_pixel, smallest_batch
from .encoders import build_model, input_statistics, smallest_side
from .weights import Statistics, is_file, load_weights

__all__ = ["SegmentationTask"]

_KINDS = ("multiclass", "binary", "multilabel")
_TRAIN_LOSS = tag("loss", stage="train")
_STRIDE = 32  # the deepest feature map of the encoders is this much smaller than the image
_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class SegmentationTask(EvaluatedTask):
    """Train, validate, test and predict semantic segmentation.

    A batch is a :class:`~lightning_hparams.outputs.SegmentationBatch` or a pair ``(image, mask)``.
    Images may have any size: they are padded to the model's stride, and the logits are cropped;
    some timm transformers need an argument for it, see ``arch_args``. All arguments are plain
    values, which YAML files, checkpoints and the HParams tab store unchanged.

    Args:
        arch: Architecture: unet, unetplusplus, manet, linknet, fpn, pspnet, deeplabv3,
            deeplabv3plus, pan, upernet, segformer or dpt.
        encoder: An encoder of segmentation-models-pytorch, or ``tu-`` and a timm model.
        weights: None for random initialisation, ``"imagenet"`` for the encoder, or a file with
            weights of the encoder or the whole model: a state dict, a checkpoint that holds one, a
            classifier, or a file from timm.
        arch_args: Further arguments of the architecture and of the timm model. For encoders with a
            fixed image size (ViT, Swin, MaxViT), ``{"img_size": 128}`` changes it, and
            ``{"dynamic_img_size": True}`` allows any if the timm model supports it.
        task: ``"multiclass"`` (one class per pixel), ``"binary"`` (foreground or not) or
            ``"multilabel"`` (each class present or not).
        in_channels: Channels of an image.
        num_classes: Number of classes including the background; 2 for binary. 2..256.
        class_names: One name per class; ``class 0``, ``class 1``, ... if None.
        loss: Names of losses and their weights; see :data:`lightning_hparams.losses.LOSSES`.
        loss_args: Further arguments of each loss, by its name.
        class_weights: Weight of each class in the losses, at least 0; for binary two (background,
            foreground).
        ignore_index: Mask value of pixels that are left out of loss and metrics. It may be one of
            the classes, which then scores NaN.
        threshold: Probability from which a label is present (binary and multilabel), in 0..1.
        mean: Mean of each channel in units of 0..1. None for what the weights expect (known for
            pretrained weights, checkpoints of a task, and files for encoders from timm), otherwise
            ImageNet's for three channels and 0.5 for any other number.
        std: Standard deviation of each channel, with defaults like ``mean``, but 0.25 for 0.5.
        optimizer: A class in ``torch.optim``: SGD, Adam, AdamW, RMSprop, Rprop, NAdam, ...
        optimizer_args: Further arguments of the optimizer.
        lr: Learning rate, above 0.
        weight_decay: At least 0; None for the optimizer's default. Does not apply to biases and
            the scales of normalisation layers.
        encoder_lr_mult: The encoder's learning rate as a multiple of ``lr``.

    Logged by Lightning, with stage ``train``, ``val`` or ``test``: ``loss/{stage}`` and
    ``metric/{miou,mdice,pixel_accuracy,mean_accuracy}/{stage}``. Available to callbacks, and
    written to loggers by :class:`~lightning_hparams.MetricMonitor` only:
    ``class/{iou,dice}/{class name}/{stage}`` and ``loss/{stage}/{term}``.

    Raises:
        ValueError: For an unknown name (suggesting similar ones) or a value out of range.
        TypeError: For an argument that the architecture, optimizer or loss does not take, or a
            value of the wrong type.
    """

    def __init__(
        self,
        arch: str = "unet",
        encoder: str = "tu-mobilenetv3_small_100",
        weights: str | None = None,
        *,
        arch_args: dict[str, object] | None = None,
        task: SegmentationKind = "multiclass",
        in_channels: int = 3,
        num_classes: int = 2,
        class_names: list[str] | None = None,
        loss: str | dict[str, float] | None = None,
        loss_args: dict[str, dict[str, object]] | None = None,
        class_weights: list[float] | None = None,
        ignore_index: int | None = None,
        threshold: float = 0.5,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        optimizer: str = "AdamW",
        optimizer_args: dict[str, object] | None = None,
        lr: float = 1e-3,
        weight_decay: float | None = None,
        encoder_lr_mult: float = 1.0,
    ) -> None:
        one_of("task", task, _KINDS)
        whole_number("num_classes", num_classes, 1 if task == "multilabel" else 2, 256)
        if task == "binary" and num_classes != 2:
            raise ValueError(f"`num_classes` must be 2 for a binary task, got {num_classes}")
        whole_number("in_channels", in_channels, 1)
        if ignore_index is not None:
            whole_number("ignore_index", ignore_index)
        in_range("threshold", threshold, 0, 1)
        class_weights = _class_weights(class_weights, num_classes)
        names = _class_names(class_names, num_classes, task)
        if weights is not None and not isinstance(weights, str | os.PathLike):
            raise TypeError(f"`weights` must be None, a name or a file, got {weights!r}")
        file = Path(weights) if weights is not None and is_file(weights) else None
        model = build_model(
            arch,
            encoder,
            weights if file is None else None,
            in_channels=in_channels,
            out_channels=1 if task == "binary" else num_classes,
            args=arch_args or {},
        )
        expected = _expected_input(model, encoder, weights, file)
        mean, std = _statistics((mean, std), expected, in_channels)
        super().__init__(
            model,
            mean=mean,
            std=std,
            optimizer=optimizer,
            optimizer_args=optimizer_args,
            lr=lr,
            weight_decay=weight_decay,
            encoder_lr_mult=encoder_lr_mult,
        )
        self.save_hyperparameters()
        self._smallest_side = smallest_side(arch, model)
        self.task, self.num_classes, self.class_names = task, num_classes, names
        self.ignore_index, self.threshold = ignore_index, threshold
        self.loss = WeightedLoss(
            {"ce": 1.0, "dice": 1.0} if loss is None else loss,
            task=task,
            ignore_index=ignore_index,
            class_weights=class_weights,
            loss_args=loss_args,
            validate_target=False,  # check_mask does this, and names the file
        )
        for stage in ("val", "test"):
            counts = ConfusionCounts(num_classes, task=task, ignore_index=ignore_index)
            setattr(self, f"{stage}_counts", counts)  # where monitors look for them
            setattr(self, f"{stage}_evaluation", Evaluation(counts, self.loss.weights))

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits ``(N, C, H, W)`` of images ``(N, I, H, W)``; C = 1 if binary."""
        height, width = images.shape[-2:]
        right, below = (self._padded(side) - side for side in (width, height))
        # Replicate the border: black padding could look like an object.
        padded = F.pad(self.normalise(images), (0, right, 0, below), mode="replicate")
        try:
            logits: Tensor = self.model(padded)
        except ValueError as error:  # from torch's batch normalisation
            if "more than 1 value per channel" in str(error):
                raise _one_image(self.hparams) from error
            raise
        except AssertionError as error:  # from timm, for an encoder with a fixed image size
            raise ValueError(
                f"the encoder does not take images of {height} x {width} pixels ({error}); resize "
                "them, or pass arch_args={'img_size': ...} for their size, or "
                "{'dynamic_img_size': True} for any size if the timm model supports it"
            ) from error
        return logits[..., :height, :width]

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

    def training_step(self, batch: Batch, batch_idx: int) -> TrainingOutput:
        """Compute the loss of one batch."""
        images, target = self._checked(batch)
        if batch_idx == 0 and self.current_epoch == 0:
            self.check_images(images, paths_of(batch))
            logits = self._first_pass(images)
        else:
            # As for masks: reading values synchronises with a GPU, so there only in epoch 0.
            if images.device.type == "cpu" or self.current_epoch == 0:
                self.check_finite(images, paths_of(batch))
            logits = self(images)
        terms = self.loss.terms(logits, target)
        loss = self.loss.total(terms)
        self.log(_TRAIN_LOSS, loss.detach(), prog_bar=True, batch_size=len(images))
        return {"loss": loss, "terms": {name: term.detach() for name, term in terms.items()}}

    def validation_step(self, batch: Batch, batch_idx: int) -> SegmentationOutput:
        """Evaluate one batch; returns loss, predictions and everything that monitors draw."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> SegmentationOutput:
        """See :meth:`validation_step`."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> SegmentationPrediction:
        """Predict probabilities and masks of each image, at its size before it was resized."""
        images = image_of((batch, batch) if isinstance(batch, Tensor) else batch)
        about = batch if isinstance(batch, dict) else SegmentationBatch()
        probs = self.probabilities(self(images))
        sizes = about.get("size")
        wanted = [tuple(probs.shape[-2:])] * len(probs) if sizes is None else sizes.tolist()
        fitted = [_fitted(one[None], size) for one, size in zip(probs, wanted, strict=True)]
        return {
            "probs": [one[0] for one in fitted],
            "masks": [self.predicted(one)[0] for one in fitted],
            "paths": list(about.get("path", [""] * len(images))),
            "indices": about.get("index"),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep a checkpoint from downloading pretrained weights that it replaces when loaded."""
        if "hyper_parameters" in checkpoint:
            kept = {**checkpoint["hyper_parameters"], "weights": None}
            checkpoint["hyper_parameters"] = kept

    def _padded(self, side: int) -> int:
        """Return the padded height or width."""
        return max(side + -side % _STRIDE, self._smallest_side)

    def _first_pass(self, images: Tensor) -> Tensor:
        """Compute logits of the first batch; raise if a later batch will hold a single image."""
        with norms_of_one_pixel(self.model) as norms:
            logits: Tensor = self(images)
        try:
            trainer = self.trainer
        except RuntimeError:  # the step was called without a Trainer
            return logits
        if norms and smallest_batch(trainer.train_dataloader, trainer.num_training_batches) == 1:
            raise _one_image(self.hparams)
        return logits

    def _evaluate(self, batch: Batch, stage: str) -> SegmentationOutput:
        images, target = self._checked(batch)
        logits = self(images)
        terms = self.loss.terms(logits, target)
        loss = self.loss.total(terms)
        preds = self.predicted(logits if self.task == "multiclass" else self.probabilities(logits))
        target = target.view_as(preds)  # a binary mask may come as (N, 1, H, W)
        self._evaluation(stage).add(self.loss, logits, preds, target, terms)
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
        # Reading values synchronises with a GPU, so there only the first epoch is checked.
        if mask.device.type == "cpu" or self.current_epoch == 0:
            classes = self.num_classes if self.task == "multiclass" else 2
            check_mask(mask, classes, self.ignore_index, paths_of(batch))
        return images, mask


def _one_image(arguments: Mapping[str, Any]) -> ValueError:
    arch, encoder = arguments.get("arch"), arguments.get("encoder")
    return ValueError(
        f"a training batch must hold 2 images or more, got 1: arch {arch!r} with encoder "
        f"{encoder!r} has batch normalisation over a single pixel per image; pass drop_last=True "
        "if only the last batch of an epoch holds one image, otherwise a larger batch_size"
    )


def _statistics(
    given: tuple[Sequence[float] | None, Sequence[float] | None],
    expected: Statistics | None,
    in_channels: int,
) -> Statistics:
    """Return the mean and deviation: as given, as the weights expect, or the usual ones."""
    default = _IMAGENET if in_channels == 3 else ([0.5] * in_channels, [0.25] * in_channels)
    if expected is None or len(expected[0]) != in_channels:
        expected = default
    mean = expected[0] if given[0] is None else numbers_in("mean", given[0])
    std = expected[1] if given[1] is None else numbers_in("std", given[1])
    if not len(mean) == len(std) == in_channels:
        raise ValueError(
            f"`mean` and `std` need {in_channels} values (in_channels), "
            f"got {len(mean)} and {len(std)}"
        )
    return mean, std


def _fitted(probs: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(size) == tuple(probs.shape[-2:]):
        return probs
    return F.interpolate(probs, size=tuple(size), mode="bilinear", antialias=True)


def _class_names(names: list[str] | None, num_classes: int, task: str) -> list[str]:
    if names is None:
        if task == "binary":
            return ["background", "foreground"]
        return [f"class {index}" for index in range(num_classes)]
    names = names_in("class_names", names)
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise ValueError(
            f"`class_names` needs {num_classes} different names (num_classes), got {names}"
        )
    return names


def _class_weights(weights: Sequence[float] | None, num_classes: int) -> list[float] | None:
    if weights is None:
        return None
    listed = numbers_in(
        "class_weights", weights, remedy="give one for each class, in the order of class_names"
    )
    if len(listed) != num_classes:
        raise ValueError(
            f"`class_weights` needs {num_classes} values (num_classes), got {len(listed)}"
        )
    return listed


def _expected_input(
    model: nn.Module, encoder: str, weights: str | None, file: Path | None
) -> Statistics | None:
    """Return the mean and deviation that the weights expect; loads them if they are in a file."""
    if file is None:
        return None if weights is None else input_statistics(encoder, weights)
    part, statistics = load_weights(model, file)
    return input_statistics(encoder, None) if part == "encoder" else statistics
