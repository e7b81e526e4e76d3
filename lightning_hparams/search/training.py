"""Train one trial from its configuration, in its folder."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback
from lightning.pytorch.loggers import Logger

from ..callbacks import TrialPruning
from ..configuration import Configuration
from .folders import read_json
from .process_state import as_in_a_new_process
from .saving import Interrupted, TrialCheckpoint, weights_hash
from .stopping import Stop

__all__ = ["exact", "train"]

_LAUNCHERS = ("NoneType", "_MultiProcessingLauncher")
# What does not change the numbers, and is not of the trial's configuration.
_QUIET = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": True,
}


def train(
    configuration: Configuration,
    folder: Path,
    *,
    metric: str,
    mode: Literal["min", "max"],
    report: Callable[[int, float], bool],
    stop: Stop,
    timeout: float | None = None,
    until_step: int | None = None,
    threads: int | None = None,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train, from the last checkpoint in the folder if there is one.

    Args:
        configuration: What to train.
        folder: Folder of the trial.
        metric: Name of the metric.
        mode: Whether a lower or a higher value is better.
        report: Takes step and value of the metric, and returns whether to stop.
        stop: Whether the process is asked to stop.
        timeout: Seconds that the trial may take.
        until_step: Step to stop at, when a trial that had taken too long is repeated.
        threads: Threads of torch; None leaves them as they are.
        loggers: Loggers of the trial.
        callbacks: Further callbacks.

    Returns:
        What came out of it; see :meth:`TrialCheckpoint.result`.

    Raises:
        Interrupted: If the process is asked to stop; the checkpoint is saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pruning = TrialPruning(metric, report)
    saving = TrialCheckpoint(folder, pruning, mode, stop, timeout=timeout, until_step=until_step)
    try:
        with as_in_a_new_process(threads):
            return _fit(configuration, folder, pruning, saving, stop, [*callbacks], [*loggers])
    finally:
        stop.forward = False
        gc.collect()  # Trainer, module and optimizers refer to each other
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _fit(
    configuration: Configuration,
    folder: Path,
    pruning: TrialPruning,
    saving: TrialCheckpoint,
    stop: Stop,
    callbacks: list[Callback],
    loggers: list[Logger],
) -> dict[str, Any]:
    built = launchable(configuration).build(
        root=folder,
        callbacks=[*callbacks, pruning, saving],
        logger=loggers or False,
        trainer=_QUIET,
    )
    trainer, result = built.trainer, folder / "result.json"
    if type(trainer.strategy.launcher).__name__ not in _LAUNCHERS:
        raise ValueError(
            "a trial in several processes must use the strategy `ddp`, got "
            f"{type(trainer.strategy).__name__}, which would start the worker's command again"
        )
    saving.shared = stop.forward = trainer.strategy.launcher is not None
    result.unlink(missing_ok=True)
    last = folder / "last.ckpt"
    if stop.asked:
        raise Interrupted
    try:
        trainer.fit(built.module, datamodule=built.data, ckpt_path=last if last.is_file() else None)
    except Exception:
        # Of several processes, the parent sees an error when they are stopped.
        if not (saving.shared and stop.due()):
            raise
        raise Interrupted from None
    if saving.shared:
        return read_json(result)
    if not saving.weights:  # the checkpoint was of the end of the training
        saving.weights, saving.global_step = weights_hash(built.module), trainer.global_step
    return saving.result()


def launchable(configuration: Configuration) -> Configuration:
    """Return a configuration whose processes are children of this one.

    ``ddp`` starts the command of the process again for each device, and that is a worker.
    """
    trainer = configuration.data["trainer"]
    strategy = trainer.get("strategy") or "auto"
    several = trainer.get("devices") not in (1, "1", [0], "auto", None)
    if not (several and isinstance(strategy, str)):
        return configuration
    if strategy != "auto" and not re.fullmatch(r"ddp(_find_unused_parameters_\w+)?", strategy):
        return configuration
    # CUDA does not survive a fork.
    way = "spawn" if torch.cuda.is_available() and trainer["accelerator"] != "cpu" else "fork"
    suffix = strategy.removeprefix("ddp") if strategy != "auto" else ""
    return configuration.with_values({"trainer.strategy": f"ddp_{way}{suffix}"})


def exact(configuration: Configuration, seed: int) -> Configuration:
    """Return a configuration with a seed, whose resumed runs equal those that were not stopped."""
    values: dict[str, object] = {"seed_everything": seed}
    if not configuration.has_callback("ExactResume"):
        callbacks = (configuration.given.get("trainer") or {}).get("callbacks") or []
        first = {"class_path": "lightning_hparams.ExactResume"}
        values["trainer.callbacks"] = [first, *callbacks]
    return configuration.with_values(values)
