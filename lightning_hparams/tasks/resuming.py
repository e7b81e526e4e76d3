"""Whether a run can resume from a checkpoint, before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["check_resumable"]

# What Lightning restores; checkpoints with `save_weights_only=True` lack the later ones.
_PARTS = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers")


def check_resumable(path: str | Path, module: nn.Module) -> None:
    """Check that a fit of a module can resume from a checkpoint.

    Args:
        path: The file for ``ckpt_path``.
        module: The module to train, with the parts whose weights the checkpoint has.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is not a checkpoint of Lightning, or is one of another model.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file; check the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # another file can raise almost anything when it is unpickled
        raise ValueError(
            f"{path} is not a checkpoint of Lightning ({type(error).__name__}); pass a .ckpt file"
        ) from error
    if reason := _why_not(content, module):
        raise ValueError(f"{path} is not a checkpoint to resume this run from: {reason}")


def _why_not(content: object, module: nn.Module) -> str | None:
    known = content if isinstance(content, Mapping) else {}
    if missing := [part for part in _PARTS if not isinstance(known.get(part), (list, dict))]:
        weights = " (with save_weights_only=False)" if "state_dict" not in missing else ""
        return f"it has no {missing[0]!r}; pass a .ckpt file that Lightning wrote{weights}"
    ours, theirs = _shapes(module.state_dict()), _shapes(known["state_dict"])
    differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if not differing:
        return None
    name = differing[0]
    shapes = [str(each.get(name, "missing")) for each in (theirs, ours)]
    return (
        f"{len(differing)} of its weights differ in name or shape from those of the model, such as "
        f"{name!r}: {shapes[0]} in the checkpoint, {shapes[1]} in the model; train the same model, "
        "with the same classes"
    )


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}
