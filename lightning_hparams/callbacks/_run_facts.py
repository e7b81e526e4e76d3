"""What a Trainer, its loggers, its module and its data tell of a run."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from torch.nn.parameter import Parameter, is_lazy

from ..provenance import file_hash

__all__ = ["checkpoints", "configuration", "datasets", "keep_manifest", "kept_manifest"]


def configuration(
    trainer: Trainer, module: LightningModule, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything the run was told, as far as the objects remember it."""
    datamodule = getattr(trainer, "datamodule", None)
    return {
        "module": type(module),
        "data": None if datamodule is None else type(datamodule),
        "hparams": dict(values),
        "parameters": _count(module.parameters()),
        "trainable": _count(p for p in module.parameters() if p.requires_grad),
        "optimizers": [
            {
                "class": type(optimizer),
                "groups": [_without_params(g) for g in optimizer.param_groups],
            }
            for optimizer in trainer.optimizers
        ],
        "lr_schedulers": [type(config.scheduler) for config in trainer.lr_scheduler_configs],
        "trainer": {
            name: getattr(trainer, name, None)
            for name in (
                *("max_epochs", "min_epochs", "max_steps", "min_steps", "precision"),
                *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"),
                *("num_devices", "num_nodes", "world_size", "check_val_every_n_epoch"),
                *("val_check_interval", "limit_train_batches", "limit_val_batches"),
            )
        },
        "strategy": type(trainer.strategy),
        "accelerator": type(trainer.accelerator),
        "callbacks": {name: _settings(c) for name, c in _by_name(trainer.callbacks).items()},  # type: ignore[attr-defined]
    }


def _count(parameters: Iterable[Parameter]) -> int | None:
    """None before a lazy layer has seen its first batch."""
    found = list(parameters)
    return None if any(map(is_lazy, found)) else sum(p.numel() for p in found)


def _without_params(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _settings(callback: Callback) -> dict[str, Any]:
    """What a callback was made with, as far as it keeps it under a public name."""
    return {
        name: value
        for name, value in vars(callback).items()
        if not name.startswith("_") and isinstance(value, (bool, int, float, str, list, tuple))
    }


def datasets(trainer: Trainer) -> dict[str, Any]:
    """The data behind each loader of the fit."""
    found: dict[str, Any] = {}
    for name, loaders in (
        ("training", trainer.train_dataloader),
        ("validation", trainer.val_dataloaders),
    ):
        for place, loader in _named(loaders):
            found[f"{name} {place}".strip()] = getattr(loader, "dataset", loader)
    return found


def _named(loaders: Any) -> list[tuple[str, Any]]:
    if isinstance(loaders, Mapping):
        return [(str(name), loader) for name, loader in loaders.items()]
    if isinstance(loaders, (list, tuple)):
        return [(str(i) if len(loaders) > 1 else "", loader) for i, loader in enumerate(loaders)]
    return [] if loaders is None else [("", loaders)]


def checkpoints(trainer: Trainer) -> dict[str, dict[str, dict[str, str]]]:
    """Name and hash of what each checkpoint callback has kept."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, callback in _by_name(trainer.checkpoint_callbacks).items():
        for kind in ("best", "last"):
            path = getattr(callback, f"{kind}_model_path", "")
            if path and os.path.isfile(path):
                kept = {"file": Path(path).name, "sha256": file_hash(path)}
                found.setdefault(name, {})[kind] = kept
    return found


def _by_name(callbacks: Iterable[Callback]) -> dict[str, Callback]:
    """Each under what Lightning itself tells it from others by, or else by a number."""
    found: dict[str, Callback] = {}
    for callback in callbacks:
        name = callback.state_key
        same = sum(known == name or known.startswith(f"{name} #") for known in found)
        found[f"{name} #{same + 1}" if same else name] = callback
    return found


def keep_manifest(trainer: Trainer, path: Path) -> None:
    """Copy it to where checkpoints go, for loggers that have no room for it."""
    if folder := _folder(trainer, trainer.loggers[0]):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)


def kept_manifest(trainer: Trainer, *, resumed: bool) -> dict[str, Any] | None:
    """The one that is about to be written over.

    Args:
        trainer: With its loggers where they will write.
        resumed: Whether to ask MLflow, too.
    """
    for logger in trainer.loggers:
        # What cannot be read, or fetched, is not there, or is no manifest.
        with suppress(Exception), tempfile.TemporaryDirectory() as temporary:
            # Where a folder's name is not known to be the run's own, another run's lies there.
            is_of_run = resumed or isinstance(logger, (TensorBoardLogger, CSVLogger))
            is_local = is_of_run and not isinstance(logger, MLFlowLogger)
            folder = _folder(trainer, logger) if is_local else None
            if isinstance(logger, MLFlowLogger) and resumed:
                folder = Path(temporary)
                logger.experiment.download_artifacts(logger.run_id, "manifest.json", temporary)
            if folder is not None:
                text = (folder / "manifest.json").read_text(encoding="utf-8")
                return dict(json.loads(text))
    return None


def _folder(trainer: Trainer, logger: Logger) -> Path | None:
    """Of a run; None if it is not of this machine."""
    if isinstance(logger, (TensorBoardLogger, CSVLogger)):
        return None if "://" in logger.log_dir else Path(logger.log_dir)
    root = logger.save_dir or trainer.default_root_dir
    version = logger.version  # as ModelCheckpoint names its folder
    named = version if version is None or isinstance(version, str) else f"version_{version}"
    names = [str(name) for name in (logger.name, named) if name is not None]
    return None if "://" in str(root) else Path(root, *names)
