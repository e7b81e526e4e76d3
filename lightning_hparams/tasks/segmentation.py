"""Semantic segmentation with any architecture and encoder of segmentation-models-pytorch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import in_range, one_of, whole_number
from ..losses import WeightedLoss
from ..metrics import ConfusionCounts
from ..outputs import SegmentationKind
from ._arguments import checked_class_names, checked_class_weights, input_scale, weights_file
from ._evaluation import Evaluation
from ._segmentation_steps import SegmentationSteps, TestTime
from .base import Freeze
from .encoders import build_model, input_statistics, smallest_side
from .weights import Statistics, load_weights

__all__ = ["SegmentationTask"]

_KINDS = ("multiclass", "binary", "multilabel")
_STRIDE = 32  # the deepest feature map of the encoders is this much smaller than the image


class SegmentationTask(SegmentationSteps):
    """Train, validate, test and predict semantic segmentation.

    A batch is a :class:`~lightning_hparams.outputs.SegmentationBatch` or a pair ``(image, mask)``.
    Images may have any size: they are padded to the model's stride, and the logits are cropped;
    some timm transformers need an argument for it, see ``arch_args``. All arguments are plain
    values, which YAML files, checkpoints and the HParams tab store unchanged.

    Args:
        arch: Architecture: unet, unetplusplus, manet, linknet, fpn, pspnet, deeplabv3,
            deeplabv3plus, pan, upernet, segformer or dpt.
        encoder: An encoder of segmentation-models-pytorch, or ``tu-`` and a timm model. The default
            learns fast from scratch; ``"tu-mobilenetv3_small_100"`` takes two thirds of its time on
            a CPU.
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
        class_names: One name per class. None for those of the data module that the task is trained
            with, or else ``class 0``, ``class 1``, ...
        loss: Names of losses and their weights; see :data:`lightning_hparams.losses.LOSSES`.
        loss_args: Further arguments of each loss, by its name.
        class_weights: Weight of each class in the losses, at least 0; for binary two (background,
            foreground). ``"auto"`` for the square root of the inverse frequency in the training
            data, which the data module counts (``class_counts()``); ``"equal"`` for none. None for
            ``"auto"`` if the task is multiclass, the data module counts, and one class is more
            than three times as frequent as another; otherwise ``"equal"``.
        ignore_index: Mask value of pixels that are left out of loss and metrics. It may be one of
            the classes, which then scores NaN.
        threshold: Probability from which a label is present (binary and multilabel), in 0..1.
        tile: Height and width of the tiles in which larger images are validated, tested and
            predicted, so that memory does not depend on their size; None for whole images.
        tile_overlap: Share of a tile that overlaps with the next one, in 0..0.9.
        tta: ``"flips"`` validates, tests and predicts with the mean logits of each image and its
            flips, which takes four times as long.
        mean: Mean of each channel in units of 0..1. None for what the weights expect (known for
            pretrained weights, checkpoints of a task, and files for encoders from timm), otherwise
            ImageNet's for three channels and 0.5 for any other number.
        std: Standard deviation of each channel, with defaults like ``mean``, but 0.25 for 0.5.
        optimizer: A class in ``torch.optim`` (SGD, Adam, AdamW, RMSprop, NAdam, ...); or
            AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree or Prodigy, see
            :class:`~lightning_hparams.tasks.VisionTask`.
        optimizer_args: Further arguments of the optimizer.
        lr: Learning rate, above 0.
        weight_decay: At least 0; None for the optimizer's default. Does not apply to biases and
            the scales of normalisation layers.
        encoder_lr_mult: The encoder's learning rate as a multiple of ``lr``.
        layer_decay: The learning rate of each layer of the encoder as a multiple of that of the
            next one, above 0; 1 for one rate.
        freeze: ``"encoder"`` does not train the encoder, and keeps the statistics of its batch
            normalisations.
        unfreeze_at: First epoch in which the encoder is trained after all; None for never.
        compile: Compile the model with ``torch.compile``; checkpoints stay the same.
        grad_checkpointing: Compute activations of the encoder, a timm model, again in the backward
            pass instead of storing them.

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
        encoder: str = "tu-resnet10t",
        weights: str | None = None,
        *,
        arch_args: dict[str, object] | None = None,
        task: SegmentationKind = "multiclass",
        in_channels: int = 3,
        num_classes: int = 2,
        class_names: list[str] | None = None,
        loss: str | dict[str, float] | None = None,
        loss_args: dict[str, dict[str, object]] | None = None,
        class_weights: list[float] | Literal["auto", "equal"] | None = None,
        ignore_index: int | None = None,
        threshold: float = 0.5,
        tile: int | None = None,
        tile_overlap: float = 0.25,
        tta: TestTime = "none",
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
        one_of("task", task, _KINDS)
        num_classes = whole_number(
            "num_classes", num_classes, 1 if task == "multilabel" else 2, 256
        )
        if task == "binary" and num_classes != 2:
            raise ValueError(f"`num_classes` must be 2 for a binary task, got {num_classes}")
        in_channels = whole_number("in_channels", in_channels, 1)
        if ignore_index is not None:
            ignore_index = whole_number("ignore_index", ignore_index)
        in_range("threshold", threshold, 0, 1)
        if tile is not None:
            whole_number("tile", tile, 32, remedy="512 is usual")
        in_range("tile_overlap", tile_overlap, 0, 0.9, remedy="0.25 is usual")
        one_of("tta", tta, ("none", "flips"))
        given_weights = checked_class_weights(class_weights, num_classes)
        if class_names is None and task == "binary":
            class_names = ["background", "foreground"]
        names = checked_class_names(class_names, num_classes)
        file = weights_file(weights)
        model = build_model(
            arch,
            encoder,
            weights if file is None else None,
            in_channels=in_channels,
            out_channels=1 if task == "binary" else num_classes,
            args=arch_args or {},
        )
        expected = _expected_input(model, encoder, weights, file)
        mean, std = input_scale(mean, std, expected, in_channels)
        super().__init__(
            model,
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
        self._smallest_side = smallest_side(arch, model)
        self.task, self.num_classes, self.class_names = task, num_classes, names
        self.class_facts = {"class_names": None if class_names is None else names}
        self.ignore_index, self.threshold = ignore_index, threshold
        self.tile, self.tile_overlap, self.tta = tile, tile_overlap, tta
        self.weighs_if_counted = task == "multiclass"
        self.loss = WeightedLoss(
            {"ce": 1.0, "dice": 1.0} if loss is None else loss,
            task=task,
            ignore_index=ignore_index,
            class_weights=given_weights,
            loss_args=loss_args,
            validate_target=False,  # check_mask does this, and names the file
        )
        for stage in ("val", "test"):
            counts = ConfusionCounts(num_classes, task=task, ignore_index=ignore_index)
            setattr(self, f"{stage}_counts", counts)  # where monitors look for them
            evaluation = Evaluation(self.loss.weights, counts=counts)
            setattr(self, f"{stage}_evaluation", evaluation)

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
                raise self.one_image_error() from error
            raise
        except AssertionError as error:  # from timm, for an encoder with a fixed image size
            raise ValueError(
                f"the encoder does not take images of {height} x {width} pixels ({error}); resize "
                "them, or pass arch_args={'img_size': ...} for their size, or "
                "{'dynamic_img_size': True} for any size if the timm model supports it"
            ) from error
        return logits[..., :height, :width]

    def _padded(self, side: int) -> int:
        """Return the padded height or width."""
        return max(side + -side % _STRIDE, self._smallest_side)


def _expected_input(
    model: nn.Module, encoder: str, weights: str | None, file: Path | None
) -> Statistics | None:
    """Return the mean and deviation that the weights expect; loads them if they are in a file."""
    if file is None:
        return None if weights is None else input_statistics(encoder, weights)
    pretrained = model.encoder
    assert isinstance(pretrained, nn.Module)
    part, statistics = load_weights(model, file, parts={"encoder": pretrained})
    return input_statistics(encoder, None) if part == "encoder" else statistics
