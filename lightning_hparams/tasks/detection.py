"""Object detection with torchvision's detectors, and a light one on any encoder."""

from __future__ import annotations

from torch import nn

from ..checks import in_range, one_of, whole_number
from ..metrics import BoxConfusion, DetectionScores
from ._arguments import checked_class_names, input_scale, weights_file
from ._detection_steps import DetectionSteps, loss_names
from ._evaluation import Evaluation
from .base import two_parts
from .detectors import build_detector
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
            strides 8, 16 and 32. Or a detector of torchvision: fcos_resnet50_fpn,
            retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2, ssdlite320_mobilenet_v3_large,
            ssd300_vgg16, fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2,
            fasterrcnn_mobilenet_v3_large_fpn or fasterrcnn_mobilenet_v3_large_320_fpn.
        encoder: For ``"fcos"`` an encoder of segmentation-models-pytorch, or ``tu-`` and a timm
            model with such feature maps; None for ``"tu-mobilenetv3_small_100"``. torchvision's
            detectors have their own.
        weights: None for random initialisation, ``"imagenet"`` for the encoder, ``"coco"`` for a
            detector of torchvision, or a file with weights of the encoder or the whole model.
        arch_args: Further arguments of the architecture. For ``"fcos"``: ``level_sizes`` ([8, 16,
            32] pixels; half of it for small objects), ``fpn_channels`` (64), ``head_convs`` (2)
            and ``center_sampling_radius`` (1.5).
        in_channels: Channels of an image.
        num_classes: C, the number of classes without the background.
        class_names: One name per class; ``class 0``, ``class 1``, ... if None.
        class_ids: One number per class, as in the annotations of a COCO file, for predictions;
            1..C if None.
        box_loss: ``"smooth_l1"``, ``"giou"``, ``"diou"`` or ``"ciou"`` for FCOS and RetinaNet, and
            ``"l1"`` for RetinaNet; None for the usual one. Others have a fixed one, smooth L1.
        loss: Weight of each part of the loss, 1 where it is not given: ``classification``,
            ``box``, for FCOS ``centerness``, for Faster R-CNN ``objectness`` and ``proposal_box``.
        score_threshold: Lowest score of a prediction, in 0..1. A higher one lowers the average
            precision, which rates all predictions by their order.
        nms_threshold: Largest overlap (IoU) of two predictions of a class, in 0..1.
        max_detections: Most predictions of an image; COCO's average precision takes 100.
        mean: Mean of each channel in units of 0..1. None for what the weights expect, otherwise
            ImageNet's for three channels and 0.5 for any other number.
        std: Standard deviation of each channel, with defaults like ``mean``, but 0.25 for 0.5.
        optimizer: A class in ``torch.optim``: SGD, Adam, AdamW, RMSprop, Rprop, NAdam, ...
        optimizer_args: Further arguments of the optimizer.
        lr: Learning rate, above 0.
        weight_decay: At least 0; None for the optimizer's default. Does not apply to biases and
            the scales of normalisation layers.
        encoder_lr_mult: The encoder's learning rate as a multiple of ``lr``.

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
        class_ids: list[int] | None = None,
        box_loss: str | None = None,
        loss: dict[str, float] | None = None,
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
    ) -> None:
        whole_number("num_classes", num_classes, 1)
        whole_number("in_channels", in_channels, 1)
        whole_number("max_detections", max_detections, 1)
        in_range("score_threshold", score_threshold, 0, 1)
        in_range("nms_threshold", nms_threshold, 0, 1)
        names = checked_class_names(class_names, num_classes)
        file = weights_file(weights)
        built = build_detector(
            arch,
            encoder,
            weights if file is None else None,
            in_channels=in_channels,
            num_classes=num_classes,
            box_loss=box_loss,
            args=arch_args or {},
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            max_detections=max_detections,
        )
        expected = built.statistics
        if file is not None:
            part, expected = load_weights(built.model, file, parts={"encoder": built.encoder})
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
        )
        self.save_hyperparameters()
        self._encoder = (built.encoder,)  # a tuple keeps it from becoming a second submodule
        self.first_label = built.first_label
        self.num_classes, self.class_names = num_classes, names
        self.class_ids = _class_ids(class_ids, num_classes)
        terms = loss_names(built.terms)
        self.loss_weights = _loss_weights(loss, terms)
        for stage in ("val", "test"):
            boxes = DetectionScores(num_classes, max_detections=min(max_detections, 100))
            setattr(self, f"{stage}_evaluation", Evaluation(terms, boxes=boxes))
            setattr(self, f"{stage}_counts", BoxConfusion(boxes))  # where monitors look for them

    @property
    def backbone(self) -> nn.Module:
        """The encoder, where Lightning's callbacks look for it."""
        return nn.ModuleList(self._encoder)

    def model_parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of the encoder, and of the feature pyramid and heads."""
        return two_parts(self.model, self._encoder)

    def setup(self, stage: str) -> None:
        """Check that the data module has the classes of this task."""
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if data is None or stage == "predict":
            return
        for name, ours, given in (
            ("num_classes", self.num_classes, True),
            ("class_names", self.class_names, self.hparams["class_names"] is not None),
            ("class_ids", self.class_ids, self.hparams["class_ids"] is not None),
        ):
            theirs = getattr(data, name, None)
            theirs = list(theirs) if isinstance(theirs, (list, tuple)) else theirs
            if given and theirs is not None and theirs != ours:
                raise ValueError(
                    f"`{name}` of the data must be those of the task, {ours}, got {theirs}; pass "
                    f"{name}=data.{name} to a new task, or order the classes of the data alike"
                )


def _class_ids(ids: list[int] | None, num_classes: int) -> list[int]:
    if ids is None:
        return list(range(1, num_classes + 1))
    found = [whole_number("class_ids", each, 0) for each in ids]
    if len(found) != num_classes or len(set(found)) != num_classes:
        raise ValueError(
            f"`class_ids` needs {num_classes} different numbers (num_classes), got {found}"
        )
    return found


def _loss_weights(given: dict[str, float] | None, terms: tuple[str, ...]) -> dict[str, float]:
    weights = dict.fromkeys(terms, 1.0)
    for name, value in (given or {}).items():
        one_of("loss", name, terms)
        in_range(f"loss[{name!r}]", value, 0.0)
        weights[name] = float(value)
    if not any(weights.values()):
        raise ValueError(f"`loss` needs a weight above 0, got {given}")
    return weights
