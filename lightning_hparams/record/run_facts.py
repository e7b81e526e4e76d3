"""Facts about a run, read from its Trainer, module and data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from torch.nn.parameter import Parameter, is_lazy

from ..provenance import file_hash
from ..tags import unique_names

__all__ = ["checkpoints", "configuration", "datasets"]


def configuration(
    trainer: Trainer, module: LightningModule, values: Mapping[str, object]
) -> dict[str, object]:
    """Configuration of the run, as far as its objects keep it."""
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
    """Number of elements; None before a lazy layer has seen its first batch."""
    found = list(parameters)
    return None if any(map(is_lazy, found)) else sum(p.numel() for p in found)


def _without_params(group: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in group.items() if name != "params"}


def _settings(callback: Callback) -> dict[str, object]:
    """Arguments of a callback, as far as it keeps them in public attributes."""
    return {
        name: value
        for name, value in vars(callback).items()
        if not name.startswith("_") and isinstance(value, (bool, int, float, str, list, tuple))
    }


def datasets(trainer: Trainer) -> dict[str, object]:
    """Dataset of each dataloader of the fit."""
    found: dict[str, object] = {}
    for name, loaders in (
        ("training", trainer.train_dataloader),
        ("validation", trainer.val_dataloaders),
    ):
        for key, loader in _named(loaders):
            found[f"{name} {key}".strip()] = getattr(loader, "dataset", loader)
    return found


def _named(loaders: object) -> list[tuple[str, object]]:
    if isinstance(loaders, Mapping):
        return [(str(name), loader) for name, loader in loaders.items()]
    if isinstance(loaders, (list, tuple)):
        return [(str(i) if len(loaders) > 1 else "", loader) for i, loader in enumerate(loaders)]
    return [] if loaders is None else [("", loaders)]


def checkpoints(trainer: Trainer) -> dict[str, dict[str, dict[str, str]]]:
    """Name and hash of the files that each checkpoint callback has kept."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, callback in _by_name(trainer.checkpoint_callbacks).items():
        for kind in ("best", "last"):
            path = getattr(callback, f"{kind}_model_path", "")
            if path and os.path.isfile(path):
                kept = {"file": Path(path).name, "sha256": file_hash(path)}
                found.setdefault(name, {})[kind] = kept
    return found


def _by_name(callbacks: Iterable[Callback]) -> dict[str, Callback]:
    """Callbacks by the key under which Lightning saves their state, made unique by a number."""
    listed = list(callbacks)
    names = unique_names([callback.state_key for callback in listed])
    return dict(zip(names, listed, strict=True))
