"""Detectors by name: torchvision's, and an own one on the feature maps of any encoder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from ..checks import in_range, nearest, numbers_in, one_of, whole_number
from ..isolation import random_state_kept
from ..losses import WeightedLoss
from ._focal import WeightedRetinaHead
from .encoders import build_encoder, input_statistics
from .fcos import BOX_LOSSES, LEVEL_SIZES, FcosHead, build_fcos
from .weights import Statistics, load_fitting

__all__ = [
    "ARCHITECTURES",
    "Detector",
    "build_detector",
    "compile_backbone",
    "encoder_of",
    "losses_and_detections",
]

_Target = dict[str, Tensor]

_OWN = "fcos"
_TORCHVISION = tuple(
    name
    for name in torchvision.models.list_models(module=detection)
    if not name.startswith(("keypointrcnn", "maskrcnn"))  # which need more than boxes
)
ARCHITECTURES = (_OWN, *_TORCHVISION)
ENCODER = "tu-mobilenetv3_small_100"
_FOCAL = ("fcos", "retinanet")  # with one output for each class, and none for the background
_USUAL_BOX_LOSS = "giou"  # of FCOS
_STRIDE = 32
_LEVELS = 4  # at most: strides 4, 8, 16 and 32
_SET_BY_TASK = {"weights", "progress", "num_classes", "weights_backbone", "image_mean", "image_std"}
_RESIZING = {"min_size", "max_size", "size", "size_divisible", "fixed_size"}
_THRESHOLDS = {
    "score_thresh": "score_threshold",
    "nms_thresh": "nms_threshold",
    "detections_per_img": "max_detections",
}
_THRESHOLDS |= {f"box_{name}": ours for name, ours in _THRESHOLDS.items()}


class Detector(NamedTuple):
    """A detector that takes normalised images, and what a task needs to know of it."""

    model: nn.Module
    first_label: int  # 1 if label 0 is the background
    terms: tuple[str, ...]  # names of its losses, as torchvision has them
    statistics: Statistics | None  # mean and deviation that its weights expect, in 0..1


def build_detector(
    arch: str,
    encoder: str | None,
    weights: str | None,
    *,
    in_channels: int,
    num_classes: int,
    box_loss: str | None,
    focal: WeightedLoss | None,
    args: Mapping[str, Any],
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
) -> Detector:
    """Build a detector that neither normalises nor resizes images.

    Args:
        arch: One of :data:`ARCHITECTURES`.
        encoder: For ``"fcos"``; None for the default. torchvision's detectors have their own.
        weights: None for random initialisation, ``"imagenet"`` for the encoder, or ``"coco"`` for
            everything but the last layers of a detector of torchvision.
        in_channels: Channels of an image.
        num_classes: C, without the background.
        box_loss: None for the usual one of the detector.
        focal: Weighs the classes in the classification loss; None for equal weights.
        args: Further arguments of the detector.
        score_threshold: Lowest score of a detection.
        nms_threshold: Largest overlap of two detections of a class.
        max_detections: Most detections of an image.

    Raises:
        ValueError: For an unknown name (suggesting similar ones), or parts that do not fit.
        TypeError: For an argument that the detector does not take.
        ConnectionError: If pretrained weights are not cached and cannot be downloaded.
    """
    one_of("arch", arch, ARCHITECTURES)
    _check_args(arch, args)
    build = _own if arch == _OWN else _torchvision
    built = build(arch, encoder, weights, in_channels, num_classes, box_loss, focal, args)
    module: Any
    for module in built.model.modules():  # these stand in Faster R-CNN's second stage
        if hasattr(module, "detections_per_img"):
            module.score_thresh, module.nms_thresh = score_threshold, nms_threshold
            module.detections_per_img = max_detections
    built.model.transform = _Batching()
    _outputs_in_float32(built.model)
    return built


def encoder_of(model: Any) -> nn.Module:
    """Return the part of a detector that weights of classifiers are for."""
    backbone: nn.Module = model.backbone
    for name in ("encoder", "body"):  # ours, and torchvision's beside a feature pyramid
        if isinstance(inner := getattr(backbone, name, None), nn.Module):
            return inner
    return backbone


def compile_backbone(model: Any) -> None:
    """Compile the part of a detector that does not depend on the values of boxes."""
    model.backbone.compile()


def losses_of(arch: str) -> tuple[str, ...]:
    """Return the names of an architecture's losses, as torchvision has them."""
    if arch.startswith("fasterrcnn"):
        return ("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")
    centered = ("bbox_ctrness",) if arch.startswith("fcos") else ()
    return ("classification", "bbox_regression", *centered)


def losses_and_detections(
    model: nn.Module, images: Sequence[Tensor] | Tensor, targets: list[_Target]
) -> tuple[dict[str, Tensor], list[_Target]]:
    """Return the losses and the detections of a model in eval mode, with one pass of the backbone.

    torchvision computes losses in training mode only, where batch normalisation would take up the
    statistics of these images, and dropout would change the loss. Here only the modules that
    choose between the two are in training mode, not their layers.
    """
    shared = [name for name in ("backbone", "head") if hasattr(model, name)]
    switches = [getattr(model, name) for name in ("rpn", "roi_heads") if hasattr(model, name)]
    with ExitStack() as stack:
        stack.enter_context(_computed_once(model, shared))
        found: list[_Target] = model(images)
        # Faster R-CNN draws the proposals that it is trained with.
        stack.enter_context(random_state_kept())
        stack.enter_context(_choosing_losses([model, *switches]))
        losses: dict[str, Tensor] = model(images, targets)
    return losses, found


class _Batching(nn.Module):
    """Stack images of any sizes, in place of torchvision's resizing and second normalisation."""

    def forward(
        self, images: Sequence[Tensor] | Tensor, targets: list[_Target] | None = None
    ) -> tuple[ImageList, list[_Target] | None]:
        sizes = [(each.shape[-2], each.shape[-1]) for each in images]
        height, width = (max(each) for each in zip(*sizes, strict=True))
        whole = [side + -side % _STRIDE for side in (height, width)]
        if isinstance(images, Tensor) and list(images.shape[-2:]) == whole:
            return ImageList(images, sizes), targets
        # Zero is the mean of a normalised image.
        padded = [
            F.pad(each, (0, whole[1] - each.shape[-1], 0, whole[0] - each.shape[-2]))
            for each in images
        ]
        return ImageList(torch.stack(padded), sizes), targets

    def postprocess(
        self, result: list[_Target], image_shapes: object, original_image_sizes: object
    ) -> list[_Target]:
        """Return the detections: they are in pixels of the given images already."""
        return result


# -- building


def _own(
    arch: str,
    encoder: str | None,
    weights: str | None,
    in_channels: int,
    num_classes: int,
    box_loss: str | None,
    focal: WeightedLoss | None,
    args: Mapping[str, Any],
) -> Detector:
    sizes = numbers_in("level_sizes", args.get("level_sizes", LEVEL_SIZES))
    if not 1 <= len(sizes) <= _LEVELS or sizes[0] <= 0 or sorted(set(sizes)) != sizes:
        raise ValueError(
            f"`level_sizes` must be 1 to {_LEVELS} ascending sizes in pixels, for the strides 4, 8,"
            f" 16 and 32 or the last of them, got {sizes}"
        )
    if any(large > 2 * small for small, large in pairwise(sizes)):
        raise ValueError(
            "each of `level_sizes` must be at most twice the one before, or objects between two "
            f"levels are learnt by neither, got {sizes}"
        )
    channels = whole_number("fpn_channels", args.get("fpn_channels", 64), 32)
    if channels % 32:
        raise ValueError(f"`fpn_channels` must be a multiple of 32, got {channels}")
    whole_number("head_convs", args.get("head_convs", 2), 0)
    in_range("center_sampling_radius", args.get("center_sampling_radius", 1.5), above=0.0)
    box_loss = _USUAL_BOX_LOSS if box_loss is None else box_loss
    one_of("box_loss", box_loss, BOX_LOSSES)
    name = ENCODER if encoder is None else encoder
    part = build_encoder(name, weights, in_channels=in_channels)
    model = build_fcos(part, num_classes, box_loss=box_loss, focal=focal, **args)
    expected = None if weights is None else input_statistics(name, weights)
    return Detector(model, 0, losses_of(arch), expected)


def _torchvision(
    arch: str,
    encoder: str | None,
    weights: str | None,
    in_channels: int,
    num_classes: int,
    box_loss: str | None,
    focal: WeightedLoss | None,
    args: Mapping[str, Any],
) -> Detector:
    if encoder is not None:
        raise ValueError(f"arch {arch!r} has an encoder of its own; leave out encoder={encoder!r}")
    if in_channels != 3:
        raise ValueError(
            f"arch {arch!r} takes images of 3 channels, got in_channels={in_channels}; "
            f"arch={_OWN!r} takes any number"
        )
    if weights is not None:
        one_of("weights", weights, ["imagenet", "coco"], otherwise="or a file")
    first = 0 if arch.startswith(_FOCAL) else 1
    if focal is not None and first:
        raise ValueError(
            "`class_weights` is for the focal loss of FCOS and RetinaNet, and "
            f"arch {arch!r} has another loss; leave it out, or use sampler='balanced' in the data"
        )
    made = {**args, **_head(arch, num_classes, box_loss, focal)}
    model = _with_weights(arch, weights, num_classes=num_classes + first, **made)
    if box_loss is not None and arch.startswith("retinanet"):
        # torchvision's own way to give its second version another loss than the first.
        model.head.regression_head._loss_type = box_loss
    if focal is not None and arch.startswith("retinanet"):
        head = model.head
        head.classification_head = WeightedRetinaHead(head.classification_head, focal)
    expected = (list(model.transform.image_mean), list(model.transform.image_std))
    return Detector(model, first, losses_of(arch), None if weights is None else expected)


def _head(
    arch: str, num_classes: int, box_loss: str | None, focal: WeightedLoss | None
) -> dict[str, nn.Module]:
    """The head of a detector of torchvision with another loss, if it differs in class."""
    if arch.startswith("fcos") and not (box_loss is None and focal is None):
        box_loss = _USUAL_BOX_LOSS if box_loss is None else box_loss
        one_of("box_loss", box_loss, BOX_LOSSES)
        return {"head": FcosHead(256, num_classes, convs=4, box_loss=box_loss, focal=focal)}
    if box_loss is None:
        return {}
    if not arch.startswith("retinanet"):
        raise ValueError(
            f"arch {arch!r} has a fixed box loss, smooth L1; leave out box_loss={box_loss!r}"
        )
    one_of("box_loss", box_loss, ("l1", *BOX_LOSSES))
    return {}


def _with_weights(arch: str, weights: str | None, **args: Any) -> Any:
    """Build a detector of torchvision, with the pretrained weights that fit its classes."""
    builder = detection.__dict__[arch]
    model: nn.Module = builder(weights=None, weights_backbone=None, **args)
    try:
        if weights == "imagenet":
            # With weights, torchvision builds other layers: frozen batch normalisations, a frozen
            # stem, twice the channels at the end of SSDlite. A checkpoint, which is loaded without
            # weights, would not fit.
            other = builder(weights=None, weights_backbone="DEFAULT", progress=False, **args)
            load_fitting(model, other.state_dict())
        if weights == "coco":
            given = torchvision.models.get_model_weights(arch).DEFAULT.get_state_dict(
                progress=False, check_hash=True
            )
            load_fitting(model, given)
    except OSError as error:  # of urllib
        raise ConnectionError(
            f"weights={weights!r} of arch {arch!r} are not in the local cache and cannot be "
            f"downloaded ({error}); pass weights=None to train from scratch, or a file"
        ) from error
    return model


def _check_args(arch: str, args: Mapping[str, Any]) -> None:
    known = _known_args(arch)
    for key in args:
        if key in _THRESHOLDS:
            raise TypeError(f"`arch_args`: pass {_THRESHOLDS[key]}= to the task instead of {key!r}")
        if key in _RESIZING:
            raise TypeError(
                f"`arch_args` cannot have {key!r}: images keep their size; resize them in the data"
            )
        if key == "trainable_backbone_layers":
            raise TypeError(f"`arch_args` cannot have {key!r}; pass freeze= to the task instead")
        if key not in known:
            hint = nearest(key, known) or f"; {arch} takes {sorted(known)}"
            raise TypeError(f"`arch_args`: {arch} takes no {key!r}{hint}")


def _known_args(arch: str) -> set[str]:
    """The plain arguments of a detector: its builder hands the rest on to the class."""
    if arch == _OWN:
        functions: list[Callable[..., object]] = [build_fcos]
    else:
        families = {"fcos": detection.FCOS, "retinanet": detection.RetinaNet}
        families |= {"ssd": detection.ssd.SSD} | {"fasterrcnn": detection.FasterRCNN}
        family = next(each for name, each in families.items() if arch.startswith(name))
        functions = [detection.__dict__[arch], family.__init__]
    named = {
        each.name
        for function in functions
        for each in inspect.signature(function).parameters.values()
        if each.kind is not inspect.Parameter.VAR_KEYWORD
        and (each.default is None or isinstance(each.default, int | float | tuple))
    }
    return {
        name
        for name in named - _SET_BY_TASK - _RESIZING - set(_THRESHOLDS) - {"box_loss"}
        if not name.endswith(("_head", "head", "generator", "matcher", "predictor", "_pool"))
    }


# -- outputs


def _outputs_in_float32(model: nn.Module) -> None:
    """Leave the mixed precision of the layers before boxes and losses are computed."""
    parts: Iterable[object] = (
        getattr(model, "head", None),
        getattr(getattr(model, "rpn", None), "head", None),
        getattr(getattr(model, "roi_heads", None), "box_predictor", None),
    )
    for part in parts:
        if isinstance(part, nn.Module):
            part.register_forward_hook(_to_float32)


def _to_float32(module: nn.Module, inputs: object, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, Mapping):
        return {key: _to_float32(module, inputs, value) for key, value in output.items()}
    return type(output)(_to_float32(module, inputs, value) for value in output)


class _Once(nn.Module):
    """Stands in for a module, and returns the output of its first call again."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.kept: list[Any] = []

    def forward(self, *args: Any) -> Any:
        if not self.kept:
            self.kept.append(self.module(*args))
        return self.kept[0]

    def compute_loss(self, *args: Any) -> Any:
        """Return the losses, for the head of a detector."""
        return self.module.compute_loss(*args)


@contextmanager
def _computed_once(model: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Let these modules of a model compute their output in its next call only."""
    before = {name: getattr(model, name) for name in names}
    try:
        for name, module in before.items():
            setattr(model, name, _Once(module).train(module.training))
        yield
    finally:
        for name, module in before.items():
            setattr(model, name, module)


@contextmanager
def _choosing_losses(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Set the flag of these modules, but not of those in them."""
    before = [module.training for module in modules]
    try:
        for module in modules:
            module.training = True
        yield
    finally:
        for module, was in zip(modules, before, strict=True):
            module.training = was
