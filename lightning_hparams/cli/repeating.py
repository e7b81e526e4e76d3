"""Repeat a run from its configuration, and compare."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from ..callbacks import RunRecorder
from ..checks import counted
from ..configuration import Built, Configuration, ConfigurationError
from ..provenance import load_run

__all__ = ["differences", "repeat_run"]


def repeat_run(folder: Path) -> tuple[str, bool]:
    """Train again in a temporary folder; return a sentence, and whether nothing differs.

    Raises:
        ConfigurationError: If the run left neither metrics nor checkpoints to compare with, or they
            cannot be read.
    """
    configuration = Configuration.load(folder / "config.yaml")
    paths = [*folder.glob("checkpoints/*.ckpt"), *folder.glob("*.ckpt")]
    before = _metrics(folder)
    for path in paths:  # before anything is trained
        _weights(path)
    if not before and not paths:
        raise ConfigurationError(
            f"{folder} has neither manifest.json nor a checkpoint to compare with; it is not the "
            "folder of a finished run"
        )
    with tempfile.TemporaryDirectory() as temporary:
        now, built = _repeated(configuration, Path(temporary))
        found = [*differences(before, now), *_of_checkpoints(paths, Path(temporary))]
    compared = f"{counted(len(before), 'metric')}, {counted(len(paths), 'checkpoint')}"
    steps = counted(built.trainer.global_step, "step")
    if found:
        return f"{folder} differs: {'; '.join(found)}", False
    return f"{folder} repeated exactly in {steps}: {compared}", True


def _repeated(configuration: Configuration, root: Path) -> tuple[Mapping[str, Any], Built]:
    if configuration.has_callback(RunRecorder.__name__):
        configuration = configuration.without_callback(RunRecorder.__name__)
    recorder = RunRecorder()
    built = configuration.build(root=root, callbacks=[recorder], logger=CSVLogger(str(root)))
    built.trainer.fit(built.module, built.data)
    return _by_name(recorder.manifest), built


def _metrics(folder: Path) -> dict[str, Any]:
    try:
        manifest = load_run(folder)
    except (FileNotFoundError, ValueError):
        if (folder / "manifest.json").exists():
            raise
        return {}
    return _by_name(manifest)


def _by_name(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The last value and the best one of each metric."""
    return {
        f"{name} ({which})": value
        for which, values in (manifest.get("metrics") or {}).items()
        for name, value in values.items()
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each metric that differs.

    >>> differences({"loss": 0.5, "acc": 1.0, "nan": math.nan}, {"loss": 0.25, "nan": math.nan})
    ['loss was 0.5 and is 0.25', 'acc is missing']
    """
    found = []
    for name, value in before.items():
        if name not in now:
            found.append(f"{name} is missing")
        elif now[name] != value and not (_is_nan(value) and _is_nan(now[name])):
            found.append(f"{name} was {value!r} and is {now[name]!r}")
    return found


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _of_checkpoints(paths: list[Path], root: Path) -> list[str]:
    written = {path.name: path for path in root.rglob("*.ckpt")}
    found = []
    for path in paths:
        if path.name not in written:
            found.append(f"{path.name} is missing")
        elif not _same(_weights(path), _weights(written[path.name])):
            found.append(f"the weights in {path.name} differ")
    return found


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)[
            "state_dict"
        ]
    except OSError:
        raise
    except Exception as error:  # torch raises many kinds
        raise ConfigurationError(
            f"{path} must be a checkpoint to compare with, but cannot be read; it may have been "
            "cut off while it was written: move it away to compare without it"
        ) from error
    return weights


def _same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )
