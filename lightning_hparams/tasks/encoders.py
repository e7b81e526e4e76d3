"""Segmentation models by name from segmentation-models-pytorch, checked before they are built."""

from __future__ import annotations

import inspect
import socket
import threading
import urllib.parse
import urllib.request
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import segmentation_models_pytorch as smp
import timm
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from ..checks import nearest, one_of

__all__ = ["build_model", "check_encoder", "input_statistics", "load_weights"]

_PROBE_S = 0.6  # patience for a look whether the hub answers; a hub that is there takes less
_ARCHITECTURES = smp.MODEL_ARCHITECTURES_MAPPING


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
        weights: None for random values, a name such as ``"imagenet"``, or a file.
        in_channels: Channels of an image.
        out_channels: Channels of the logits.
        args: Further arguments of the architecture, by its own names.

    Raises:
        ValueError: For an unknown name, with the nearest.
        TypeError: For an argument that the architecture does not take.
        ConnectionError: If pretrained weights are neither cached nor within reach.
    """
    one_of("arch", arch, _ARCHITECTURES)
    check_encoder(encoder)
    _check_args(arch, args)
    pretrained = None if weights is None or _is_file(weights) else weights
    if pretrained is not None:
        _check_pretrained(encoder, pretrained)
    with warnings.catch_warnings():
        # smp wants `True` for tu- encoders and says so; the task takes one form for all.
        warnings.filterwarnings("ignore", message="For 'tu-'", category=UserWarning)
        try:
            model: nn.Module = smp.create_model(
                arch,
                encoder_name=encoder,
                encoder_weights=pretrained,
                in_channels=in_channels,
                classes=out_channels,
                **args,
            )
        except (RuntimeError, ValueError, NotImplementedError, AttributeError) as error:
            raise ValueError(
                f"encoder {encoder!r} does not work with arch {arch!r} ({error}); "
                "'tu-mobilenetv3_small_100' and 'resnet18' work with most"
            ) from error
    if weights is not None and pretrained is None:
        load_weights(model, Path(weights))
    return model


def check_encoder(encoder: str) -> None:
    """Check that an encoder of this name exists; an unknown one raises with the nearest."""
    if encoder.startswith("tu-"):
        # A name may end in the tag of its weights, as in 'tu-resnet18.a1_in1k'.
        if not timm.is_model(encoder[3:].partition(".")[0]):
            one_of("encoder", encoder, [f"tu-{name}" for name in timm.list_models()])
    elif encoder not in smp.encoders.encoders:
        tu_names = [f"tu-{name}" for name in timm.list_models()]
        one_of("encoder", encoder, [*smp.encoders.get_encoder_names(), *tu_names])


def input_statistics(encoder: str, weights: str | None) -> tuple[list[float], list[float]] | None:
    """Mean and deviation, in units of 0..1, that pretrained weights expect; None if not known."""
    if weights is None or _is_file(weights):
        return None
    stats = smp.encoders.get_preprocessing_params(encoder, weights)
    scale = stats["input_range"][1]
    return [m / scale for m in stats["mean"]], [s / scale for s in stats["std"]]


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a file of weights for the whole model or for its encoder, and say how well it fits.

    Takes a state dict as ``.pt``, ``.pth`` or ``.safetensors``, or a Lightning checkpoint.

    Raises:
        ValueError: If more than half of the values find no place.
    """
    state = _read_state(path)
    encoder = model.encoder
    assert isinstance(encoder, nn.Module)
    target, name = (
        (model, "model")
        if len(_fitting(model, state)) >= len(_fitting(encoder, state))
        else (encoder, "encoder")
    )
    fitting, own = _fitting(target, state), target.state_dict()
    missing, unexpected = len(own) - len(fitting), len(state) - len(fitting)
    found = f"{path}: {len(fitting)} of {len(own)} tensors of the {name} found, "
    found += f"{missing} missing, {unexpected} unexpected"
    if missing > len(own) / 2:
        raise ValueError(f"{found}; these are weights of another architecture: check arch/encoder")
    target.load_state_dict(fitting, strict=False)
    rank_zero_info(found)


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if "state_dict" not in loaded:
        return dict(loaded)
    # A checkpoint of a task, whose model is its attribute.
    return {key.removeprefix("model."): value for key, value in loaded["state_dict"].items()}


def _fitting(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = module.state_dict()
    return {
        key: value
        for key, value in state.items()
        if key in own and own[key].shape == getattr(value, "shape", None)
    }


def _is_file(weights: str) -> bool:
    """Whether ``weights`` names a file rather than a set of pretrained values."""
    looks_like_path = Path(weights).suffix in {".pt", ".pth", ".ckpt", ".safetensors"}
    if looks_like_path and not Path(weights).is_file():
        raise FileNotFoundError(f"weights file {weights} does not exist; check the path")
    return looks_like_path or Path(weights).is_file()


def _check_args(arch: str, args: Mapping[str, Any]) -> None:
    known = [
        name
        for name, parameter in inspect.signature(_ARCHITECTURES[arch].__init__).parameters.items()
        if name not in {"self", "encoder_name", "encoder_weights", "in_channels", "classes"}
        and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for key in args:
        if key not in known:
            hint = nearest(key, known) or f"; it takes {known}"
            raise TypeError(f"`arch_args`: {arch} takes no argument {key!r}{hint}")


def _check_pretrained(encoder: str, weights: str) -> None:
    """Fail at once where a download would fail after half a minute of retries."""
    if encoder.startswith("tu-"):
        one_of("weights", weights, ["imagenet"])
        if not timm.models.is_model_pretrained(encoder[3:]):
            raise ValueError(f"timm has no pretrained weights for {encoder!r}; pass weights=None")
        config = timm.models.get_pretrained_cfg(encoder[3:])
        repository, revision = config and config.hf_hub_id, None
        names = ["model.safetensors", "pytorch_model.bin"]
    else:
        known = smp.encoders.encoders[encoder]["pretrained_settings"]
        one_of("weights", weights, known)
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
