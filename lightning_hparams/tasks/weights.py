"""Weights from files, with any wrapper and any prefix of names."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from lightning.pytorch.utilities import rank_zero_info
from timm.models import adapt_input_conv
from torch import Tensor, nn

from ..checks import type_name

__all__ = ["Statistics", "is_file", "load_fitting", "load_weights"]

Statistics = tuple[list[float], list[float]]  # mean and deviation of each channel, in 0..1

_SUFFIXES = {".pt", ".pth", ".ckpt", ".safetensors"}
_SAVING = "save them with torch.save(model.state_dict(), path), or as safetensors"
_WRAPPERS = {"_orig_mod", "module"}  # of torch.compile, and of DataParallel and its like
_ENOUGH = 0.5  # share of a module's tensors that a file must have
_FEWEST = 20  # tensors: the order of fewer says too little about the architecture
_HEAD = 2  # tensors, weight and bias, that differ between numbers of classes
_DEPTH = 3  # of nested dicts in a checkpoint, and of prefixes before the names of tensors


class _Match(NamedTuple):
    part: str  # "model", or the name of a part of it
    module: nn.Module
    found: dict[str, Tensor]  # by the module's own names
    share: float  # of the module's tensors
    state: Mapping[str, Tensor]  # the state dict in the file that they come from


def is_file(weights: str | os.PathLike[str]) -> bool:
    """Whether ``weights`` is the path of a file rather than a name of pretrained weights.

    Raises:
        FileNotFoundError: If it looks like a path, but there is no such file.
    """
    path = Path(weights)
    looks_like_path = len(path.parts) > 1 or path.suffix in _SUFFIXES
    if looks_like_path and not path.is_file():
        raise FileNotFoundError(f"weights file {weights} does not exist; check the path")
    return path.is_file()


def load_weights(
    model: nn.Module, path: Path, *, parts: Mapping[str, nn.Module] | None = None
) -> tuple[str, Statistics | None]:
    """Load weights from a file into the whole model or a part of it, and report how well they fit.

    Accepts a state dict as ``.pt``, ``.pth`` or ``.safetensors``, a checkpoint that holds one under
    any key, and files from timm, torchvision and segmentation-models-pytorch. Names may have
    prefixes from wrappers, LightningModules and classifiers, and :func:`_in_order` accepts other
    names. A first layer for RGB is adapted to another number of channels, as timm does. Any other
    tensor of another shape, such as that of a head for other classes, is left as it is.

    Args:
        model: The model.
        path: The file.
        parts: Modules in the model that the file may be for, by name, such as the encoder.

    Returns:
        ``"model"`` or the name of the part, and the input statistics if the file is a checkpoint of
        a :class:`~lightning_hparams.tasks.base.VisionTask`, otherwise None.

    Raises:
        ValueError: If the file cannot be read, or lacks more than half of the tensors.
    """
    loaded = _read(path)
    states = [_unwrapped(state) for state in _states(loaded)]
    if not states:
        raise ValueError(
            f"{path} must hold a dict of tensors by name, got {type_name(loaded)}; {_SAVING}"
        )
    targets = list(_targets(model, parts or {}))
    best = max(_matches(targets, states), key=lambda match: (len(match.found), match.share))
    if best.share < _ENOUGH:
        best = next(_in_order(targets, states), best)
    total = len(best.module.state_dict())
    missing, unexpected = total - len(best.found), len(best.state) - len(best.found)
    report = f"{path}: {len(best.found)} of {total} tensors of the {best.part} found, "
    report += f"{missing} missing, {unexpected} unexpected"
    if best.share < _ENOUGH:
        raise ValueError(f"{report}; these are weights of another architecture: check arch/encoder")
    best.module.load_state_dict(best.found, strict=False)
    rank_zero_info(report + _other_shapes(best))
    return best.part, _statistics(best.state) if best.part == "model" else None


def load_fitting(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the tensors that the model has by the same name in the same shape."""
    own = model.state_dict()
    fitting = {key: v for key, v in state.items() if key in own and v.shape == own[key].shape}
    model.load_state_dict(fitting, strict=False)


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # Many training scripts save their arguments along with the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can raise almost anything when it is unpickled
        reason = str(error).partition("\n")[0] or "it is empty"
        raise ValueError(
            f"{path} cannot be read as weights ({type(error).__name__}: {reason}); {_SAVING}"
        ) from error
    return loaded


def _states(loaded: object, depth: int = _DEPTH) -> Iterator[dict[str, Tensor]]:
    """Find every dict of tensors in a file, such as the ``"model"`` of a checkpoint."""
    if not isinstance(loaded, Mapping) or not depth:
        return
    tensors = {
        key: value
        for key, value in loaded.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    if tensors:
        yield tensors
    for value in loaded.values():
        yield from _states(value, depth - 1)


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        ".".join(part for part in key.split(".") if part not in _WRAPPERS): value
        for key, value in state.items()
    }


def _targets(model: nn.Module, parts: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Return the model, its parts, and the timm models inside these."""
    yield "model", model
    for part, module in parts.items():
        yield part, module
        if isinstance(inner := getattr(module, "model", None), nn.Module):
            yield part, inner


def _matches(
    targets: list[tuple[str, nn.Module]], states: list[dict[str, Tensor]]
) -> Iterator[_Match]:
    """Match the names and shapes of each state dict with each module's."""
    expected = [
        {key: (_plain(key), value.shape) for key, value in module.state_dict().items()}
        for _, module in targets
    ]
    for state in states:
        for prefix in _prefixes(state):
            given = {
                _plain(key.removeprefix(prefix)): value
                for key, value in state.items()
                if key.startswith(prefix)
            }
            for (part, module), names in zip(targets, expected, strict=True):
                found = {
                    key: value
                    for key, (plain, shape) in names.items()
                    if plain in given
                    and (value := _fitted(given[plain], shape, first=key == next(iter(names))))
                    is not None
                }
                yield _Match(part, module, found, len(found) / max(len(names), 1), state)


def _in_order(
    targets: list[tuple[str, nn.Module]], states: list[dict[str, Tensor]]
) -> Iterator[_Match]:
    """Match tensors by their order, where the shapes and last names of all agree but a head's.

    Other packages have the same architectures with other names of their layers: ``_blocks.0._bn0``
    for timm's ``blocks.0.0.bn1``.
    """
    for part, module in targets:
        ours = module.state_dict()
        for state in states:
            if len(ours) < _FEWEST or len(state) < len(ours) - _HEAD:
                continue
            pairs = list(zip(ours.items(), state.items(), strict=False))
            equal = [
                (key, fitted)
                for index, ((key, mine), (name, value)) in enumerate(pairs)
                if key.split(".")[-1] == name.split(".")[-1]
                and (fitted := _fitted(value, mine.shape, first=not index)) is not None
            ]
            if len(equal) >= len(ours) - _HEAD and _same_start(equal, pairs):
                yield _Match(part, module, dict(equal), len(equal) / len(ours), state)


def _fitted(value: Tensor, shape: torch.Size, *, first: bool) -> Tensor | None:
    """Return a tensor that a module can load, or None if it has another shape.

    The filters of a ``first`` layer for RGB are summed for one channel, and repeated for others.
    """
    if value.shape == shape:
        return value
    of_rgb = first and value.ndim == len(shape) == 4 and value.shape[1] == 3
    if not of_rgb or (value.shape[0], *value.shape[2:]) != (shape[0], *shape[2:]):
        return None
    adapted: Tensor = adapt_input_conv(shape[1], value)
    return adapted


def _same_start(
    equal: list[tuple[str, Tensor]], pairs: list[tuple[tuple[str, Tensor], tuple[str, Tensor]]]
) -> bool:
    """Whether the tensors that agree are the first ones: only the last may be a head's."""
    return [key for key, _ in equal] == [key for (key, _), _ in pairs[: len(equal)]]


def _other_shapes(match: _Match) -> str:
    """Return the end of a report with the tensors that the file has in another shape, or ""."""
    given = {_plain(key): value.shape for key, value in match.state.items()}
    for key, value in match.module.state_dict().items():
        if key in match.found:
            continue
        for name, shape in given.items():
            if name.endswith(_plain(key)) and shape != value.shape:
                theirs, ours = tuple(shape), tuple(value.shape)
                return f"; {key} stays as it is, since its shape is {ours}, not {theirs}"
    return ""


def _prefixes(state: Mapping[str, Tensor]) -> list[str]:
    """Return candidate prefixes of names: none, or any that a quarter of the names share."""
    counts: dict[str, int] = {"": len(state)}
    for key in state:
        parts = key.split(".")[:-1]
        for depth in range(1, min(len(parts), _DEPTH) + 1):
            prefix = ".".join(parts[:depth]) + "."
            counts[prefix] = counts.get(prefix, 0) + 1
    return [prefix for prefix, count in counts.items() if 4 * count >= len(state)]


def _plain(key: str) -> str:
    """Unify names: timm's feature extractors use ``stages_0`` for ``stages.0``."""
    return key.replace("_", ".")


def _statistics(state: Mapping[str, Tensor]) -> Statistics | None:
    mean, std = state.get("mean"), state.get("std")
    if mean is None or std is None or not mean.shape == std.shape == (mean.numel(), 1, 1):
        return None
    return mean.flatten().tolist(), std.flatten().tolist()
