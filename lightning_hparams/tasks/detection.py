"""Object detection with torchvision's detectors, and a light one on any encoder."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ..checks import as_plain, in_range, mapping_in, one_of, truth, whole_number
from ..metrics import BoxConfusion, DetectionScores
from ._arguments import checked_class_names, checked_class_weights, input_scale, weights_file
from ._data_classes import check_same
from ._detection_steps import DetectionSteps, loss_names
from ._evaluation import Evaluation
from ._focal import weighted_focal
from .base import Freeze
from .detectors import build_detector, compile_backbone, encoder_of
from .encoders import input_statistics
from .weights import load_weights

__all__ = ["DetectionTask"]


class DetectionTask(DetectionSteps):
    """Train, validate, test and predict object detection.

    A batch is a :class:`~lightning_hparams.outputs.DetectionBatch` or a pair of images and targets.
    Images may have any sizes: they are normalised here, padded to a multiple of 32 and never
    resized, so resize them in the data. Labels count from 0, without the background, for every
    architecture. Images without boxes train as background. All arguments are plain values, which
    YAML files, checkpoints and the HParams tab store unchanged.

    Args:
        arch: ``"fcos"``, a light detector on any encoder: FCOS with a feature pyramid at the
            strides 4, 8, 16 and 32. Or a detector of torchvision: fcos_resnet50_fpn,
            retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2, ssdlite320_mobilenet_v3_large,
            ssd300_vgg16, fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2,
            fasterrcnn_mobilenet_v3_large_fpn or fasterrcnn_mobilenet_v3_large_320_fpn.
        encoder: For ``"fcos"`` an encoder of segmentation-models-pytorch, or ``tu-`` and a timm
            model with such feature maps; None for ``"tu-mobilenetv3_small_100"``. torchvision's
            detectors have their own.
        weights: None for random initialisation, ``"imagenet"`` for the encoder, ``"coco"`` for a
            detector of torchvision, or a file with weights of the encoder or the whole model.
        arch_args: Further arguments of the architecture. For ``"fcos"``: ``level_sizes`` ([4, 8,
            16, 32] pixels: each level learns objects of about 6 to 12 times its size, the first
            one smaller ones too, the last one larger ones; three leave out stride 4, which makes a
            step faster; from your boxes by :func:`~lightning_hparams.presets.level_sizes`),
            ``fpn_channels`` (64), ``head_convs`` (2) and ``center_sampling_radius`` (1.5 sizes).
        in_channels: Channels of an image.
        num_classes: C, the number of classes without the background.
        class_names: One name per class. None for those of the data module that the task is trained
            with, or else ``class 0``, ``class 1``, ...
        category_ids: One number, or text, per class, as in the annotations of a COCO file, for
            predictions. None for those of the data module that the task is trained with, or else
            1..C.
        box_loss: ``"smooth_l1"``, ``"giou"``, ``"diou"`` or ``"ciou"`` for FCOS and RetinaNet, and
            ``"l1"`` for RetinaNet; None for the usual one. Others have a fixed one, smooth L1.
        loss: Weight of each part of the loss, 1 where it is not given: ``classification``,
            ``box``, for FCOS ``centerness``, for Faster R-CNN ``objectness`` and ``proposal_box``.
        class_weights: Weight of each class in the classification loss of FCOS and RetinaNet, at
            least 0: a class is weighed at all locations, and the loss is a weighted mean over
            classes. ``"auto"`` for the square root of the inverse frequency in the training data,
            which the data module counts (``class_counts()``). None and ``"equal"`` for none.
        score_threshold: Lowest score of a prediction, in 0..1. A higher one lowers the average
            precision, which rates all predictions by their order.
        nms_threshold: Largest overlap (IoU) of two predictions of a class, in 0..1.
        max_detections: Most predictions of an image; COCO's average precision takes 100.
        mean: Mean of each channel in units of 0..1. None for what the weights expect, otherwise
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
            normalisations. ``"none"`` trains all layers whatever the weights, also those that
            torchvision's functions freeze by default.
        unfreeze_at: First epoch in which the encoder is trained after all; None for never.
        compile: Compile the encoder and the feature pyramid with ``torch.compile``.
        grad_checkpointing: Compute activations of the encoder, a timm model, again in the backward
            pass instead of storing them.

    Logged by Lightning, with stage ``train``, ``val`` or ``test``: ``loss/{stage}`` and
    ``metric/{map,map50,map75,precision,recall,f1}/{stage}``. Available to callbacks, and written to
    loggers by :class:`~lightning_hparams.MetricMonitor` only: ``loss/{stage}/{part}`` and
    ``class/{ap,precision,recall,f1,threshold}/{class name}/{stage}``. Precision, recall and F1 are
    those at the threshold with the highest F1, chosen for each class, with boxes matched at an IoU
    of 0.5. Classes without true boxes score NaN and are left out of means.

    Raises:
        ValueError: For an unknown name (suggesting similar ones) or a value out of range; from
            ``fit``, ``validate`` and ``test`` for a data module with other classes, and for boxes
            outside of their image.
        TypeError: For an argument that the architecture or optimizer does not take, or a value of
            the wrong type.
    """

    may_rename = False  # category ids go with the names, in predictions too

    def __init__(
        self,
        arch: str = "fcos",
        encoder: str | None = None,
        weights: str | None = None,
        *,
        arch_args: dict[str, object] | None = None,
        in_channels: int = 3,
        num_classes: int = 1,
        class_names: list[str] | None = None,
        category_ids: list[int | float | str] | None = None,
        box_loss: str | None = None,
        loss: dict[str, float] | None = None,
        class_weights: list[float] | Literal["auto", "equal"] | None = None,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.6,
        max_detections: int = 100,
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
        num_classes = whole_number("num_classes", num_classes, 1)
        in_channels = whole_number("in_channels", in_channels, 1)
        max_detections = whole_number("max_detections", max_detections, 1)
        in_range("score_threshold", score_threshold, 0, 1)
        in_range("nms_threshold", nms_threshold, 0, 1)
        names = checked_class_names(class_names, num_classes)
        given_weights = checked_class_weights(class_weights, num_classes)
        weighted = given_weights is not None or class_weights == "auto"
        focal = weighted_focal(given_weights) if weighted else None
        file = weights_file(weights)
        built = build_detector(
            arch,
            encoder,
            weights if file is None else None,
            in_channels=in_channels,
            num_classes=num_classes,
            box_loss=box_loss,
            focal=focal,
            args=mapping_in("arch_args", arch_args),
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            max_detections=max_detections,
        )
        expected = built.statistics
        if file is not None:
            part, expected = load_weights(
                built.model, file, parts={"encoder": encoder_of(built.model)}
            )
            if part == "encoder" and encoder is not None:
                expected = input_statistics(encoder, None)
        mean, std = input_scale(mean, std, expected, in_channels)
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
            grad_checkpointing=grad_checkpointing,
        )
        self.save_hyperparameters()
        if truth("compile", compile):  # the rest depends on the values of boxes
            compile_backbone(built.model)
        self.first_label = built.first_label
        self.num_classes, self.class_names = num_classes, names
        self.category_ids = _category_ids(category_ids, num_classes)
        self.class_facts = {
            "class_names": None if class_names is None else names,
            "category_ids": None if category_ids is None else self.category_ids,
        }
        terms = loss_names(built.terms)
        self.loss_weights = _loss_weights(loss, terms)
        if focal is not None:
            self.loss = focal  # part of the head, where class weights are set
        for stage in ("val", "test"):
            boxes = DetectionScores(num_classes, max_detections=min(max_detections, 100))
            setattr(self, f"{stage}_evaluation", Evaluation(terms, boxes=boxes))
            setattr(self, f"{stage}_counts", BoxConfusion(boxes))  # where monitors look for them

    @property
    def backbone(self) -> nn.Module:
        """The encoder, where Lightning's callbacks look for it."""
        return encoder_of(self.model)

    def match_targets(self, data: object) -> None:
        """Check that a data module has as many classes as this task."""
        check_same("num_classes", self.num_classes, getattr(data, "num_classes", None))


def _category_ids(ids: list[int | float | str] | None, num_classes: int) -> list[int | float | str]:
    if ids is None:
        return list(range(1, num_classes + 1))
    plain = as_plain(ids)
    if not isinstance(plain, (list, tuple)):  # a set has no order
        raise TypeError(f"`category_ids` must be a list of numbers or texts, got {ids!r}")
    # Whatever the annotations of a COCO file may have, or a checkpoint could not be loaded.
    found = [
        each if isinstance(each, (float, str)) else whole_number("category_ids", each)
        for each in map(as_plain, plain)
    ]
    if len(found) != num_classes or len(set(found)) != num_classes:
        raise ValueError(
            f"`category_ids` needs {num_classes} different numbers (num_classes), got {found}"
        )
    return found


def _loss_weights(given: dict[str, float] | None, terms: tuple[str, ...]) -> dict[str, float]:
    weights = dict.fromkeys(terms, 1.0)
    for name, value in mapping_in("loss", given).items():
        one_of("loss", name, terms)
        in_range(f"loss[{name!r}]", value, 0.0)
        weights[name] = float(value)
    if not any(weights.values()):
        raise ValueError(f"`loss` needs a weight above 0, got {given}")
    return weights
