"""Classifiers by name, from timm and torchvision, checked before they are built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from timm.models import adapt_input_conv
from torch import Tensor, nn

from ..checks import mapping_in, one_of, type_name
from .encoders import check_downloads, check_timm_weights, input_statistics
from .weights import Statistics, load_fitting

__all__ = ["Classifier", "build_classifier"]

_TORCHVISION = "torchvision/"
_TIMM = "tu-"  # as segmentation-models-pytorch calls timm's models
_STRIDE = 32  # of models that do not say
_SET_BY_TASK = {"num_classes", "in_chans", "pretrained", "weights", "progress", "weights_backbone"}
# Without a second output in training, and with the initialisation that is the default until now.
_ONE_OUTPUT: dict[str, bool] = {"aux_logits": False, "init_weights": True}
_FIXED = {"googlenet": _ONE_OUTPUT, "inception_v3": _ONE_OUTPUT}
# Their weights expect images in -1..1: torchvision converts those of other statistics only where it
# loads the weights itself (transform_input).
_SYMMETRIC = ([0.5] * 3, [0.5] * 3)
_BUILD_ERRORS = (  # raised by constructors of timm and torchvision for arguments that do not fit
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Classifier(NamedTuple):
    """A model that returns ``(N, outputs)``, and what there is to know about it."""

    model: nn.Module
    heads: list[nn.Module]  # the last layers, which are new for each data set
    side: int  # of the smallest images that it works well with, in pixels
    fixed: bool  # whether it works with no other size
    statistics: Statistics | None  # of the images that its weights expect


def build_classifier(
    name: str,
    weights: str | None,
    *,
    in_channels: int,
    outputs: int,
    args: Mapping[str, Any],
) -> Classifier:
    """Build a model with a new last layer.

    Args:
        name: A model of timm, or ``torchvision/`` and one of torchvision's classifiers.
        weights: None for random initialisation, or ``"imagenet"``.
        in_channels: Channels of an image.
        outputs: Number of outputs.
        args: Further arguments of the model.

    Raises:
        ValueError: For an unknown name (suggesting similar ones), or arguments that do not fit.
        TypeError: For an argument that the model does not take, or a model instead of its name.
        ConnectionError: If pretrained weights are not cached and cannot be downloaded.
    """
    if not isinstance(name, str):
        raise TypeError(f"`model` must be the name of a model, got {type_name(name)}")
    args = mapping_in("model_args", args)
    for key in _SET_BY_TASK & set(args):
        raise TypeError(f"`model_args` repeats {key!r}; use the task's own arguments")
    if weights is not None:
        one_of("weights", weights, ["imagenet"], otherwise="or a file")
    build = _torchvision if name.startswith(_TORCHVISION) else _timm
    return build(name, weights, in_channels, outputs, args)


def _timm(
    name: str, weights: str | None, in_channels: int, outputs: int, args: Mapping[str, Any]
) -> Classifier:
    plain = name.removeprefix(_TIMM)
    # A name may end in a tag of weights, as in 'resnet18.a1_in1k'.
    if not timm.is_model(plain.partition(".")[0]):
        known = [f"{_TORCHVISION}{each}" for each in _torchvision_names()]
        one_of("model", name, [*timm.list_models(), *known])
    if weights is not None:
        check_timm_weights(plain)
    try:
        model: Any = timm.create_model(
            plain, pretrained=weights is not None, in_chans=in_channels, num_classes=outputs, **args
        )
    except _BUILD_ERRORS as error:
        raise _unbuilt(name, args, error) from error
    head = model.get_classifier()
    heads = [head] if isinstance(head, nn.Module) else list(head)  # two in distilled models
    info = getattr(model, "feature_info", None)
    stride = max((int(each["reduction"]) for each in info or []), default=_STRIDE)
    config = model.pretrained_cfg
    if config.get("fixed_input_size") and not args.get("dynamic_img_size"):
        size = args.get("img_size", config["input_size"][-2:])
        side = size if isinstance(size, int) else min(size)
        return Classifier(model, heads, side, True, _statistics(plain))
    return Classifier(model, heads, 2 * stride, False, _statistics(plain))


def _statistics(name: str) -> Statistics | None:
    """Return what weights published by timm expect, as those in a file probably do too."""
    return input_statistics(f"{_TIMM}{name}", None)


def _torchvision_names() -> list[str]:
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _torchvision(
    name: str, weights: str | None, in_channels: int, outputs: int, args: Mapping[str, Any]
) -> Classifier:
    plain = name.removeprefix(_TORCHVISION)
    one_of("model", plain, _torchvision_names())
    options = {**_FIXED.get(plain, {}), **args}
    try:
        model: nn.Module = torchvision.models.get_model(
            plain, weights=None, num_classes=outputs, **options
        )
    except _BUILD_ERRORS as error:
        raise _unbuilt(name, args, error) from error
    stem = next(key for key, part in model.named_modules() if isinstance(part, nn.Conv2d))
    statistics: Statistics | None = None
    if weights is not None:
        entry = torchvision.models.get_model_weights(plain).DEFAULT
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
        if not file.is_file():
            check_downloads(entry.url, f"weights={weights!r} of model {name!r}")
        _load(model, entry.get_state_dict(progress=False), f"{stem}.weight", in_channels)
        images = entry.transforms()
        statistics = list(images.mean), list(images.std)
    elif in_channels != 3:
        _widen(model, stem, in_channels)
    if plain in _FIXED and not options.get("transform_input"):
        statistics = _SYMMETRIC
    head = next(part for part in reversed(list(model.modules())) if _is_head(part, outputs))
    return Classifier(model, [head], 2 * _STRIDE, False, statistics)


def _is_head(part: nn.Module, outputs: int) -> bool:
    if isinstance(part, nn.Linear):
        return part.out_features == outputs
    return isinstance(part, nn.Conv2d) and part.out_channels == outputs  # as in SqueezeNet


def _widen(model: nn.Module, stem: str, in_channels: int) -> None:
    """Replace the first convolution by one for another number of channels."""
    parent, _, leaf = stem.rpartition(".")
    old = model.get_submodule(stem)
    assert isinstance(old, nn.Conv2d)
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    setattr(model.get_submodule(parent) if parent else model, leaf, new)


def _load(model: nn.Module, state: Mapping[str, Tensor], stem: str, in_channels: int) -> None:
    """Load weights for 3 channels and other classes: the last layer stays as it is."""
    if in_channels != 3:
        _widen(model, stem.removesuffix(".weight"), in_channels)
    load_fitting(model, {**state, stem: adapt_input_conv(in_channels, state[stem])})


def _unbuilt(name: str, args: Mapping[str, Any], error: Exception) -> Exception:
    for key in args:
        if isinstance(error, TypeError) and key in str(error):
            return TypeError(f"`model_args`: model {name!r} takes no {key!r} ({error})")
    if args:
        return ValueError(
            f"model {name!r} with model_args={dict(args)} cannot be built ({error}); "
            "check model_args"
        )
    return ValueError(f"model {name!r} cannot be built ({error}); 'resnet18' can")
