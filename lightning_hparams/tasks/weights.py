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
from torch import Tensor, nn

from ..checks import type_name

__all__ = ["Statistics", "is_file", "load_weights"]

Statistics = tuple[list[float], list[float]]  # mean and deviation of each channel, in 0..1

_SUFFIXES = {".pt", ".pth", ".ckpt", ".safetensors"}
_SAVING = "save them with torch.save(model.state_dict(), path), or as safetensors"
_WRAPPERS = {"_orig_mod", "module"}  # of torch.compile, and of DataParallel and its like
_DEPTH = 3  # of nested dicts in a checkpoint, and of prefixes before the names of tensors


class _Match(NamedTuple):
    part: str  # "model" or "encoder"
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


def load_weights(model: nn.Module, path: Path) -> tuple[str, Statistics | None]:
    """Load weights from a file into the whole model or its encoder, and report how well they fit.

    Accepts a state dict as ``.pt``, ``.pth`` or ``.safetensors``, a checkpoint that holds one under
    any key, and files from timm. Names may have prefixes from wrappers, LightningModules and
    classifiers.

    Returns:
        ``"model"`` or ``"encoder"``, and the input statistics if the file is a checkpoint of a
        :class:`~lightning_hparams.tasks.base.VisionTask`, otherwise None.

    Raises:
        ValueError: If the file cannot be read, or lacks more than half of the tensors.
    """
    loaded = _read(path)
    states = [_unwrapped(state) for state in _states(loaded)]
    if not states:
        raise ValueError(
            f"{path} must hold a dict of tensors by name, got {type_name(loaded)}; {_SAVING}"
        )
    best = max(_matches(model, states), key=lambda match: (len(match.found), match.share))
    total = len(best.module.state_dict())
    missing, unexpected = total - len(best.found), len(best.state) - len(best.found)
    report = f"{path}: {len(best.found)} of {total} tensors of the {best.part} found, "
    report += f"{missing} missing, {unexpected} unexpected"
    if missing > total / 2:
        raise ValueError(f"{report}; these are weights of another architecture: check arch/encoder")
    best.module.load_state_dict(best.found, strict=False)
    rank_zero_info(report)
    return best.part, _statistics(best.state) if best.part == "model" else None


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


def _matches(model: nn.Module, states: list[dict[str, Tensor]]) -> Iterator[_Match]:
    """Match each state dict with the model, its encoder, and the timm model inside that."""
    encoder = model.encoder
    assert isinstance(encoder, nn.Module)
    targets = [("model", model), ("encoder", encoder)]
    if isinstance(inner := getattr(encoder, "model", None), nn.Module):
        targets.append(("encoder", inner))
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
                    key: given[plain]
                    for key, (plain, shape) in names.items()
                    if plain in given and given[plain].shape == shape
                }
                yield _Match(part, module, found, len(found) / max(len(names), 1), state)


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
