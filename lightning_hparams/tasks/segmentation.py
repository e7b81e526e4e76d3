"""Semantic segmentation with any architecture and encoder of segmentation-models-pytorch."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import in_range, names_in, one_of, whole_number
from ..losses import WeightedLoss
from ..metrics import BatchMean, ConfusionCounts, segmentation_scores
from ..outputs import (
    SegmentationBatch,
    SegmentationKind,
    SegmentationOutput,
    SegmentationPrediction,
    TrainingOutput,
)
from ..tags import Stage, Tag
from .base import VisionTask
from .encoders import build_model, input_statistics, smallest_side

__all__ = ["SegmentationTask"]

_KINDS = ("multiclass", "binary", "multilabel")
_TRAIN_LOSS = str(Tag("loss", stage="train"))
_STRIDE = 32  # the deepest feature map of the encoders is this much smaller than the image
_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

Batch: TypeAlias = "SegmentationBatch | tuple[Tensor, Tensor] | list[Tensor]"


class SegmentationTask(VisionTask):
    """Train, validate, test and predict masks.

    A batch is a dict of :class:`~lightning_hparams.outputs.SegmentationBatch`, or a pair
    ``(image, mask)``. Images may have any size: they are padded to the model's stride, and the
    logits cropped back; for some transformers of timm that takes an argument, see ``arch_args``.
    The arguments are plain values, so they stand in a YAML file, in the checkpoint and in the
    HParams tab as they are.

    Args:
        arch: Architecture: unet, unetplusplus, manet, linknet, fpn, pspnet, deeplabv3,
            deeplabv3plus, pan, upernet, segformer or dpt.
        encoder: An encoder of segmentation-models-pytorch, or ``tu-`` and a timm model.
        weights: Of the encoder: None for random values, ``"imagenet"``, or a file with weights
            of the encoder or of the whole model.
        arch_args: Further arguments of the architecture, by its own names, and of timm's model.
            Encoders that take images of one size alone (ViT, Swin, MaxViT) get another by
            ``{"img_size": 128}``, and any by ``{"dynamic_img_size": True}`` where timm knows it.
        task: ``"multiclass"`` (one class a pixel), ``"binary"`` (foreground or not) or
            ``"multilabel"`` (each class there or not).
        in_channels: Channels of an image.
        num_classes: Classes, the background included; 2 for binary. 2..256.
        class_names: A name for each; ``class 0``, ``class 1``, ... if None.
        loss: Names of losses and their weights; see :data:`lightning_hparams.losses.LOSSES`.
        loss_args: Further arguments of a loss, by its name.
        class_weights: Weight of each class in the losses, at least 0; for binary two, of background
            and foreground.
        ignore_index: Mask value of pixels that count neither in the loss nor in the metrics. It
            may be one of the classes, which then has no score.
        threshold: Probability from which a label is there (binary and multilabel), in 0..1.
        mean: Mean of each channel in units of 0..1; None for what the weights expect, else
            ImageNet's for three channels, 0.5 for others.
        std: Standard deviation likewise; 0.25 for others.
        optimizer: A class of ``torch.optim``: SGD, Adam, AdamW, RMSprop, Rprop, NAdam, ...
        optimizer_args: Its further arguments.
        lr: Learning rate, above 0.
        weight_decay: At least 0; None for the optimizer's default. Biases and the scales of
            normalisation layers are left out.
        encoder_lr_mult: The encoder's learning rate as a multiple of ``lr``.

    Logged by Lightning, with stage ``train``, ``val`` or ``test``: ``loss/{stage}``,
    ``metric/{miou,mdice,pixel_accuracy,mean_accuracy}/{stage}``. Kept for
    :class:`~lightning_hparams.MetricMonitor` and for other callbacks, but not written to the
    loggers without it: ``class/{iou,dice}/{class name}/{stage}`` and ``loss/{stage}/{term}``.

    Raises:
        ValueError: For an unknown name (with the nearest) or a value out of its range.
        TypeError: For an argument that the architecture, optimizer or loss does not take, and for
            what is no number, whole number or list where one is needed.
    """

    def __init__(
        self,
        arch: str = "unet",
        encoder: str = "tu-mobilenetv3_small_100",
        weights: str | None = None,
        *,
        arch_args: dict[str, Any] | None = None,
        task: SegmentationKind = "multiclass",
        in_channels: int = 3,
        num_classes: int = 2,
        class_names: list[str] | None = None,
        loss: str | dict[str, float] | None = None,
        loss_args: dict[str, dict[str, Any]] | None = None,
        class_weights: list[float] | None = None,
        ignore_index: int | None = None,
        threshold: float = 0.5,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        optimizer: str = "AdamW",
        optimizer_args: dict[str, Any] | None = None,
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
        _check_class_weights(class_weights, num_classes)
        names = _class_names(class_names, num_classes, task)
        model = build_model(
            arch,
            encoder,
            weights,
            in_channels=in_channels,
            out_channels=1 if task == "binary" else num_classes,
            args=arch_args or {},
        )
        expected = input_statistics(encoder, weights) if in_channels == 3 else None
        default = _IMAGENET if in_channels == 3 else ([0.5] * in_channels, [0.25] * in_channels)
        mean = (expected or default)[0] if mean is None else mean
        std = (expected or default)[1] if std is None else std
        if not len(mean) == len(std) == in_channels:
            raise ValueError(
                f"`mean` and `std` need {in_channels} values (in_channels), "
                f"got {len(mean)} and {len(std)}"
            )
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
            validate_target=False,  # _check_mask does it, and names the file
        )
        for stage in ("val", "test"):
            counts = ConfusionCounts(num_classes, task=task, ignore_index=ignore_index)
            setattr(self, f"{stage}_counts", counts)
            means = {name: BatchMean() for name in ("total", *self.loss.weights)}
            setattr(self, f"{stage}_losses", torch.nn.ModuleDict(means))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, C, H, W)`` of images ``(N, I, H, W)`` of any size; C = 1 if binary."""
        height, width = images.shape[-2:]
        right, below = (self._padded(side) - side for side in (width, height))
        # The image's own border, not black: the padding must not look like an object.
        padded = F.pad(self.normalise(images), (0, right, 0, below), mode="replicate")
        try:
            logits: Tensor = self.model(padded)
        except AssertionError as error:  # of timm, for an encoder of one size alone
            raise ValueError(
                f"the encoder takes no images of {height} x {width} pixels ({error}); resize them, "
                "or build it for their size by arch_args={'img_size': ...}, or for any by "
                "{'dynamic_img_size': True} if timm's model takes it"
            ) from error
        return logits[..., :height, :width]

    def predicted(self, probs: Tensor) -> Tensor:
        """Masks as uint8 of probabilities ``(N, C, H, W)``, as in ``SegmentationOutput.preds``."""
        if self.task == "multiclass":
            # On a CPU max is 5 to 10 times as fast as argmax over a dimension that is not last.
            return probs.max(1).indices.to(torch.uint8)
        masks = (probs >= self.threshold).to(torch.uint8)
        return masks[:, 0] if self.task == "binary" else masks

    def probabilities(self, logits: Tensor) -> Tensor:
        """Float32 probabilities ``(N, C, H, W)`` of logits."""
        return logits.float().softmax(1) if self.task == "multiclass" else logits.float().sigmoid()

    def training_step(self, batch: Batch, batch_idx: int) -> TrainingOutput:
        """Loss of one batch."""
        images, target = self._checked(batch)
        if batch_idx == 0 and self.current_epoch == 0:
            self.check_images(images, _paths(batch))
        terms = self.loss.terms(self(images), target)
        loss = self.loss.total(terms)
        self.log(_TRAIN_LOSS, loss.detach(), prog_bar=True, batch_size=len(images))
        return {"loss": loss, "terms": {name: term.detach() for name, term in terms.items()}}

    def validation_step(self, batch: Batch, batch_idx: int) -> SegmentationOutput:
        """Loss, predictions and all else that a monitor draws, of one batch."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> SegmentationOutput:
        """As :meth:`validation_step`."""
        return self._evaluate(batch, "test")

    def on_validation_epoch_start(self) -> None:
        """Count from zero."""
        self._reset("val")

    def on_test_epoch_start(self) -> None:
        """Count from zero."""
        self._reset("test")

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole validation set."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the whole test set."""
        self._log_scores("test")

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> SegmentationPrediction:
        """Probabilities and masks of each image, at the size it had before it was resized."""
        images = batch if isinstance(batch, Tensor) else _image(batch)
        about = batch if isinstance(batch, dict) else SegmentationBatch()
        probs = self.probabilities(self(images))
        sizes = about.get("size")
        wanted = [tuple(probs.shape[-2:])] * len(probs) if sizes is None else sizes.tolist()
        fitted = [
            F.interpolate(one[None], size=tuple(size), mode="bilinear", antialias=True)
            if tuple(size) != tuple(one.shape[-2:])
            else one[None]
            for one, size in zip(probs, wanted, strict=True)
        ]
        return {
            "probs": [one[0] for one in fitted],
            "masks": [self.predicted(one)[0] for one in fitted],
            "paths": list(about.get("path", [""] * len(images))),
            "indices": about.get("index"),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep a checkpoint from fetching pretrained weights that it replaces anyway."""
        if "hyper_parameters" in checkpoint:
            kept = {**checkpoint["hyper_parameters"], "weights": None}
            checkpoint["hyper_parameters"] = kept

    def _padded(self, side: int) -> int:
        """What a height or width is padded to."""
        return max(side + -side % _STRIDE, self._smallest_side)

    def _evaluate(self, batch: Batch, stage: str) -> SegmentationOutput:
        images, target = self._checked(batch)
        logits = self(images)
        terms = self.loss.terms(logits, target)
        loss = self.loss.total(terms)
        preds = self.predicted(logits if self.task == "multiclass" else self.probabilities(logits))
        target = target.view_as(preds)  # a binary mask may come as (N, 1, H, W)
        getattr(self, f"{stage}_counts").update(preds, target)
        means = getattr(self, f"{stage}_losses")
        for name, value in {"total": loss, **terms}.items():
            means[name].update(value, len(images))
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

    def _reset(self, stage: str) -> None:
        # At the start, not at the end: Trainer.validate runs in inference mode, and states made
        # there cannot be added to in a later fit.
        getattr(self, f"{stage}_counts").reset()
        for mean in getattr(self, f"{stage}_losses").values():
            mean.reset()

    def _log_scores(self, stage: Stage) -> None:
        counts: ConfusionCounts = getattr(self, f"{stage}_counts")
        whole, by_class = segmentation_scores(
            counts.compute(), self.class_names, ignore_index=self.ignore_index
        )
        for name, mean in getattr(self, f"{stage}_losses").items():
            total = name == "total"
            tag = str(Tag("loss", label="" if total else name, stage=stage))
            to_loggers = None if total else False  # None: if there is one
            self.log(tag, mean.compute(), logger=to_loggers, prog_bar=total, sync_dist=True)
        for name, value in whole.items():
            tag = str(Tag("metric", name, stage=stage))
            self.log(tag, value, prog_bar=name == "miou", sync_dist=True)
        for name, scores in by_class.items():
            tags = {str(Tag("class", name, label, stage)): v for label, v in scores.items()}
            self.log_dict(tags, logger=False, sync_dist=True)

    def _checked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Image and mask of a batch."""
        mask = _mask(batch)
        if mask is None:
            got = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
            raise ValueError(
                f"a batch must be a dict with 'image' and 'mask' or a pair (image, mask), got {got}"
            )
        # Looking at values waits for a GPU, and what the first epoch shows, the others repeat.
        if mask.device.type == "cpu" or self.current_epoch == 0:
            self._check_mask(mask, batch)
        return _image(batch), mask

    def _check_mask(self, mask: Tensor, batch: Batch) -> None:
        """Raise if a value is neither a class nor ignored: the loss would be silently wrong."""
        if mask.is_floating_point():
            raise TypeError(
                f"masks must hold whole numbers, got {mask.dtype}; convert them with .long()"
            )
        classes = self.num_classes if self.task == "multiclass" else 2
        wrong = (mask < 0) | (mask >= classes)
        if self.ignore_index is not None:
            wrong &= mask != self.ignore_index
        if not wrong.any():
            return
        sample = int(wrong.flatten(1).any(1).nonzero()[0])
        value = int(mask[sample][wrong[sample]][0])
        share = float((mask[sample] == value).float().mean())
        paths = _paths(batch)
        where = paths[sample] if paths else f"mask {sample} of the batch"
        raise ValueError(
            f"{where} has mask value {value} ({share:.1%} of pixels) but the classes are "
            f"0..{classes - 1}; pass ignore_index={value}, or map values to classes on reading"
        )


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


def _check_class_weights(weights: list[float] | None, num_classes: int) -> None:
    if weights is not None and len(weights) != num_classes:
        raise ValueError(
            f"`class_weights` needs {num_classes} values (num_classes), got {len(weights)}"
        )


def _paths(batch: Batch) -> list[str]:
    return batch.get("path", []) if isinstance(batch, dict) else []


def _image(batch: Batch) -> Tensor:
    return batch["image"] if isinstance(batch, dict) else batch[0]


def _mask(batch: Batch) -> Tensor | None:
    if isinstance(batch, dict):
        return batch.get("mask")
    return batch[1] if isinstance(batch, (tuple, list)) and len(batch) > 1 else None
