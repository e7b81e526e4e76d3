"""Segmentation models by name from segmentation-models-pytorch, checked before they are built."""

from __future__ import annotations

import inspect
import socket
import threading
import urllib.parse
import urllib.request
import warnings
from collections.abc import Mapping
from typing import Any

import huggingface_hub
import segmentation_models_pytorch as smp
import timm
from torch import nn

from ..checks import nearest, one_of
from .weights import Statistics

__all__ = ["build_model", "check_encoder", "input_statistics", "smallest_side"]

_PROBE_S = 0.6  # patience for a look whether the hub answers; a hub that is there takes less
_ARCHITECTURES = smp.MODEL_ARCHITECTURES_MAPPING
_GIVEN = {"self", "encoder_name", "encoder_weights", "in_channels", "classes"}  # by the task
_VIT = "tu-vit_tiny_patch16_224"  # one of the smallest that DPT takes
_UNBUILT = (  # what constructors of smp and timm raise for what does not fit
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_REFUSED = {
    "activation": "the losses take logits; SegmentationTask.probabilities() makes them from these",
    "aux_params": "the task has no loss for the second output that it makes",
}


def build_model(
    arch: str,
    encoder: str,
    weights: str | None,
    *,
    in_channels: int,
    out_channels: int,
    args: Mapping[str, Any],
) -> nn.Module:
    """Build a model that gives logits ``(N, out_channels, H, W)``.

    Args:
        arch: An architecture of segmentation-models-pytorch in lower case: unet, fpn, ...
        encoder: One of its encoders, or ``tu-`` and the name of any timm model.
        weights: None for random values, or a name such as ``"imagenet"``.
        in_channels: Channels of an image.
        out_channels: Channels of the logits.
        args: Further arguments of the architecture, by its own names, and of timm's model if the
            encoder is one (``img_size``, ``dynamic_img_size``, ``drop_path_rate``, ...).

    Raises:
        ValueError: For an unknown name, with the nearest; for what does not go together.
        TypeError: For an argument that neither the architecture nor timm's model takes.
        ConnectionError: If pretrained weights are neither cached nor within reach.
    """
    one_of("arch", arch, _ARCHITECTURES)
    check_encoder(encoder)
    _check_args(arch, encoder, args)
    if weights is not None:
        _check_pretrained(encoder, weights)
    with warnings.catch_warnings():
        # smp wants `True` for tu- encoders and says so; the task takes one form for all.
        warnings.filterwarnings("ignore", message="For 'tu-'", category=UserWarning)
        try:
            model: nn.Module = smp.create_model(
                arch,
                encoder_name=encoder,
                encoder_weights=weights,
                in_channels=in_channels,
                classes=out_channels,
                **args,
            )
        except _UNBUILT as error:
            for key in set(args) - _known_args(arch):
                if isinstance(error, TypeError) and key in str(error):
                    raise _unknown_arg(arch, encoder, key) from error
            if args:
                raise ValueError(
                    f"arch {arch!r} with encoder {encoder!r} and arch_args={dict(args)} cannot be "
                    f"built ({error}); check encoder and arch_args"
                ) from error
            raise ValueError(
                f"encoder {encoder!r} does not work with arch {arch!r} ({error}); "
                f"{_VIT if arch == 'dpt' else 'tu-mobilenetv3_small_100'!r} does"
            ) from error
        patch = smallest_side(arch, model)
        if arch == "dpt" and patch & (patch - 1):
            raise ValueError(
                f"encoder {encoder!r} has patches of {patch} pixels, but arch 'dpt' needs a power "
                f"of 2; {_VIT!r} has 16"
            )
    return model


def smallest_side(arch: str, model: nn.Module) -> int:
    """The least height and width of an image, in pixels, that a model takes."""
    encoder: Any = model.encoder
    # PAN halves the deepest features three times more, for its pyramid of attention.
    return int(encoder.output_stride) * (8 if arch == "pan" else 1)


def check_encoder(encoder: str) -> None:
    """Check that an encoder of this name exists; an unknown one raises with the nearest."""
    if encoder.startswith("tu-"):
        # A name may end in the tag of its weights, as in 'tu-resnet18.a1_in1k'.
        if not timm.is_model(encoder[3:].partition(".")[0]):
            one_of("encoder", encoder, [f"tu-{name}" for name in timm.list_models()])
    elif encoder not in smp.encoders.encoders:
        tu_names = [f"tu-{name}" for name in timm.list_models()]
        one_of("encoder", encoder, [*smp.encoders.get_encoder_names(), *tu_names])


def input_statistics(encoder: str, weights: str | None) -> Statistics | None:
    """Mean and deviation, in units of 0..1, that weights of an encoder expect; None if not known.

    Args:
        encoder: As in :func:`build_model`.
        weights: The name of pretrained weights; None for those of an unknown origin, of which
            timm knows what the ones it has published expect.
    """
    if weights is not None:
        stats = smp.encoders.get_preprocessing_params(encoder, weights)
        scale = stats["input_range"][1]
        return [m / scale for m in stats["mean"]], [s / scale for s in stats["std"]]
    config = timm.models.get_pretrained_cfg(encoder[3:]) if encoder.startswith("tu-") else None
    return (list(config.mean), list(config.std)) if config else None


def _check_args(arch: str, encoder: str, args: Mapping[str, Any]) -> None:
    for key in args:
        if key in _REFUSED:
            raise ValueError(f"`arch_args` cannot have {key!r}: {_REFUSED[key]}; leave it out")
        # timm raises for what its model does not take; smp's own encoders drop it in silence.
        if key not in _known_args(arch) and not encoder.startswith("tu-"):
            raise _unknown_arg(arch, encoder, key)


def _known_args(arch: str) -> set[str]:
    parameters = inspect.signature(_ARCHITECTURES[arch].__init__).parameters.values()
    named = {each.name for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD}
    return named - _GIVEN - set(_REFUSED)


def _unknown_arg(arch: str, encoder: str, key: str) -> TypeError:
    known = sorted(_known_args(arch))
    hint = nearest(key, known) or f"; {arch} takes {known}"
    return TypeError(f"`arch_args`: {arch} with encoder {encoder!r} takes no {key!r}{hint}")


def _check_pretrained(encoder: str, weights: str) -> None:
    """Fail at once where a download would fail after half a minute of retries."""
    if encoder.startswith("tu-"):
        one_of("weights", weights, ["imagenet"], otherwise="or a file")
        if not timm.models.is_model_pretrained(encoder[3:]):
            raise ValueError(f"timm has no pretrained weights for {encoder!r}; pass weights=None")
        config = timm.models.get_pretrained_cfg(encoder[3:])
        repository, revision = config and config.hf_hub_id, None
        names = ["model.safetensors", "pytorch_model.bin"]
    else:
        known = smp.encoders.encoders[encoder]["pretrained_settings"]
        one_of("weights", weights, known, otherwise="or a file")
        repository, revision = known[weights]["repo_id"], known[weights]["revision"]
        names = ["model.safetensors"]
    cached = repository and any(
        isinstance(huggingface_hub.try_to_load_from_cache(repository, name, revision=revision), str)
        for name in names
    )
    if not cached and not _hub_answers():
        raise ConnectionError(
            f"weights={weights!r} of encoder {encoder!r} are not in the local cache and "
            f"{huggingface_hub.constants.ENDPOINT} cannot be reached; pass weights=None to train "
            "from scratch, or weights='path/to/file.safetensors'"
        )


def _hub_answers() -> bool:
    """Whether a connection to the hub (or to the proxy before it) opens in time."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    url = urllib.parse.urlsplit(huggingface_hub.constants.ENDPOINT)
    proxy = urllib.request.getproxies().get(url.scheme)
    if proxy and not urllib.request.proxy_bypass(url.hostname or ""):
        url = urllib.parse.urlsplit(proxy)
    address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
    opened = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=_PROBE_S).close()
        except OSError:
            return
        opened.set()

    # A name look-up has no time-out of its own, so it runs in a thread that may be left behind.
    probe = threading.Thread(target=connect, daemon=True)
    probe.start()
    probe.join(_PROBE_S)
    return opened.is_set()
