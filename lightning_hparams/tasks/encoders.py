"""Segmentation models by name, from segmentation-models-pytorch, checked before they are built."""

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

from ..checks import mapping_in, nearest, one_of
from .weights import Statistics

__all__ = [
    "build_encoder",
    "build_model",
    "check_downloads",
    "check_encoder",
    "check_timm_weights",
    "input_statistics",
    "smallest_side",
]

_PROBE_S = 0.6  # timeout for probing the hub, which answers faster if it can be reached
_ARCHITECTURES = smp.MODEL_ARCHITECTURES_MAPPING
_SET_BY_TASK = {"self", "encoder_name", "encoder_weights", "in_channels", "classes"}
_VIT = "tu-vit_tiny_patch16_224"  # one of the smallest encoders that DPT accepts
_BUILD_ERRORS = (  # raised by constructors of smp and timm for arguments that do not fit
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_REFUSED = {
    "activation": "the losses take logits; SegmentationTask.probabilities() converts them",
    "aux_params": "the task has no loss for the second output that it adds",
}


def build_model(
    arch: str,
    encoder: str,
    weights: str | None,
    *,
    in_channels: int,
    out_channels: int,
    args: Mapping[str, object],
) -> nn.Module:
    """Build a model that returns logits ``(N, out_channels, H, W)``.

    Args:
        arch: An architecture of segmentation-models-pytorch in lower case: unet, fpn, ...
        encoder: One of its encoders, or ``tu-`` and the name of any timm model.
        weights: None for random initialisation, or a name such as ``"imagenet"``.
        in_channels: Channels of an image.
        out_channels: Channels of the logits.
        args: Further arguments of the architecture, and of the timm model if the encoder is one
            (``img_size``, ``dynamic_img_size``, ``drop_path_rate``, ...).

    Raises:
        ValueError: For an unknown name (suggesting similar ones), or parts that do not fit.
        TypeError: For an argument that neither the architecture nor the timm model takes.
        ConnectionError: If pretrained weights are not cached and cannot be downloaded.
    """
    one_of("arch", arch, _ARCHITECTURES)
    check_encoder(encoder)
    _check_args(arch, encoder, args)
    if weights is not None:
        _check_pretrained(encoder, weights)
    with warnings.catch_warnings():
        # smp asks for `True` instead of a name for tu- encoders; the task accepts names for all.
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
        except _BUILD_ERRORS as error:
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


def build_encoder(encoder: str, weights: str | None, *, in_channels: int) -> nn.Module:
    """Build an encoder alone: it returns feature maps at the strides 1, 2, 4, 8, 16 and 32.

    Args:
        encoder: As in :func:`build_model`.
        weights: None for random initialisation, or a name such as ``"imagenet"``.
        in_channels: Channels of an image.

    Raises:
        ValueError: For an unknown name (suggesting similar ones), or an encoder without such maps.
        ConnectionError: If pretrained weights are not cached and cannot be downloaded.
    """
    check_encoder(encoder)
    if weights is not None:
        _check_pretrained(encoder, weights)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="For 'tu-'", category=UserWarning)
        try:
            model: nn.Module = smp.encoders.get_encoder(
                encoder, in_channels=in_channels, depth=5, weights=weights
            )
        except _BUILD_ERRORS as error:
            raise ValueError(
                f"encoder {encoder!r} has no feature maps at strides 8, 16 and 32 ({error}); "
                "'tu-mobilenetv3_small_100' has"
            ) from error
    if model.output_stride != 32:
        raise ValueError(
            f"encoder {encoder!r} has no feature maps at strides 8, 16 and 32, but up to "
            f"{model.output_stride}; 'tu-mobilenetv3_small_100' has"
        )
    return model


def smallest_side(arch: str, model: nn.Module) -> int:
    """Return the minimum height and width of an image, in pixels."""
    encoder: Any = model.encoder
    # PAN's attention pyramid halves the deepest features three more times.
    return int(encoder.output_stride) * (8 if arch == "pan" else 1)


def check_encoder(encoder: str) -> None:
    """Check that an encoder exists; raise with similar names if it does not."""
    if not isinstance(encoder, str):
        raise TypeError(f"`encoder` must be the name of an encoder, got {encoder!r}")
    if encoder.startswith("tu-"):
        # A name may end in a tag of weights, as in 'tu-resnet18.a1_in1k'.
        if not timm.is_model(encoder[3:].partition(".")[0]):
            one_of("encoder", encoder, [f"tu-{name}" for name in timm.list_models()])
    elif encoder not in smp.encoders.encoders:
        tu_names = [f"tu-{name}" for name in timm.list_models()]
        one_of("encoder", encoder, [*smp.encoders.get_encoder_names(), *tu_names])


def input_statistics(encoder: str, weights: str | None) -> Statistics | None:
    """Return the mean and deviation that an encoder's weights expect, in 0..1; None if unknown.

    Args:
        encoder: As in :func:`build_model`.
        weights: Name of pretrained weights; None for weights from a file, which are assumed to
            expect the same as those published by timm.
    """
    if weights is not None:
        stats = smp.encoders.get_preprocessing_params(encoder, weights)
        scale = stats["input_range"][1]
        return [m / scale for m in stats["mean"]], [s / scale for s in stats["std"]]
    config = timm.models.get_pretrained_cfg(encoder[3:]) if encoder.startswith("tu-") else None
    return (list(config.mean), list(config.std)) if config else None


def _check_args(arch: str, encoder: str, args: Mapping[str, object]) -> None:
    for key in mapping_in("arch_args", args):
        if key in _REFUSED:
            raise ValueError(f"`arch_args` cannot have {key!r}: {_REFUSED[key]}; leave it out")
        # timm raises for unknown arguments, but smp's own encoders ignore them.
        if key not in _known_args(arch) and not encoder.startswith("tu-"):
            raise _unknown_arg(arch, encoder, key)


def _known_args(arch: str) -> set[str]:
    parameters = inspect.signature(_ARCHITECTURES[arch].__init__).parameters.values()
    named = {each.name for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD}
    return named - _SET_BY_TASK - set(_REFUSED)


def _unknown_arg(arch: str, encoder: str, key: str) -> TypeError:
    known = sorted(_known_args(arch))
    hint = nearest(key, known) or f"; {arch} takes {known}"
    return TypeError(f"`arch_args`: {arch} with encoder {encoder!r} takes no {key!r}{hint}")


def check_timm_weights(name: str) -> None:
    """Check that a model of timm has pretrained weights, in the cache or on a hub that answers.

    Raises:
        ValueError: If it has none.
        ConnectionError: If they cannot be downloaded.
    """
    if not timm.models.is_model_pretrained(name):
        raise ValueError(f"timm has no pretrained weights for {name!r}; pass weights=None")
    config = timm.models.get_pretrained_cfg(name)
    repository = config.hf_hub_id if config else None
    if not _cached(repository, ["model.safetensors", "pytorch_model.bin"], None):
        hub = huggingface_hub.constants.ENDPOINT
        check_downloads(hub, f"weights='imagenet' of encoder {name!r}")


def check_downloads(url: str, what: str) -> None:
    """Fail immediately if a download would fail after half a minute of retries.

    Raises:
        ConnectionError: If the server, or its proxy, does not accept a connection in time.
    """
    if not _answers(url):
        raise ConnectionError(
            f"{what} are not in the local cache and {url} cannot be reached; pass weights=None to "
            "train from scratch, or weights='path/to/file.safetensors'"
        )


def _check_pretrained(encoder: str, weights: str) -> None:
    if encoder.startswith("tu-"):
        one_of("weights", weights, ["imagenet"], otherwise="or a file")
        check_timm_weights(encoder[3:])
        return
    known = smp.encoders.encoders[encoder]["pretrained_settings"]
    one_of("weights", weights, known, otherwise="or a file")
    settings = known[weights]
    if not _cached(settings["repo_id"], ["model.safetensors"], settings["revision"]):
        hub = huggingface_hub.constants.ENDPOINT
        check_downloads(hub, f"weights={weights!r} of encoder {encoder!r}")


def _cached(repository: str | None, names: list[str], revision: str | None) -> bool:
    return repository is not None and any(
        isinstance(huggingface_hub.try_to_load_from_cache(repository, name, revision=revision), str)
        for name in names
    )


def _answers(server: str) -> bool:
    """Whether a connection to a server, or to its proxy, opens in time."""
    hub = huggingface_hub.constants.ENDPOINT
    if server == hub and huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    url = urllib.parse.urlsplit(server)
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

    # A DNS look-up has no timeout, so it runs in a thread that may be left behind.
    probe = threading.Thread(target=connect, daemon=True)
    probe.start()
    probe.join(_PROBE_S)
    return opened.is_set()
