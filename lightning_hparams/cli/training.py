"""The commands fit, validate, test and predict, on LightningCLI."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback
from lightning.pytorch.callbacks import BasePredictionWriter

from ..callbacks import PredictionWriter, RunRecorder
from ..configuration import (
    Built,
    Configuration,
    ConfigurationSaver,
    Stage,
    without_deprecations,
)
from ..tasks import VisionTask
from .files import free_folder, reported
from .one_command import OneCommand
from .program import INTERRUPTED
from .stopping import StopTogether

__all__ = ["run"]

_FOLDER = "LIGHTNING_HPARAMS_PREDICTIONS"  # that of this run, for its other processes


def run(command: str, args: Sequence[str]) -> int:
    """Run a command, and report what it has written."""
    with without_deprecations():
        if command != "fit":  # for which the callbacks of the fit do not matter
            for message in ("Be aware that when using `ckpt_path`", "The dirpath has changed from"):
                warnings.filterwarnings("ignore", message=message)
        done = _Training(cast(Stage, command), args)
    return done.code


class _Training(OneCommand):
    """Reports where the files of a run are."""

    def __init__(self, command: Stage, args: Sequence[str]) -> None:
        self.stage = command
        self.saver: ConfigurationSaver | None = None
        self.stop = StopTogether()
        super().__init__(command, args)

    def built(self, configuration: Configuration, callbacks: Sequence[Callback] = ()) -> Built:
        if self.stage != "fit":
            return super().built(configuration, callbacks)
        self.saver = ConfigurationSaver(configuration.to_yaml())
        added: list[Callback] = [*callbacks, self.saver, self.stop]
        is_recorded = configuration.has_callback(RunRecorder.__name__)
        if not is_recorded and configuration.value("trainer.logger") is not False:
            added.append(RunRecorder())  # for `compare` and `replay`
        return super().built(configuration, added)

    def fit(self, **kwargs: Any) -> None:
        """Train, and report the run's folder."""
        try:
            self.trainer.fit(**kwargs)
        except SystemExit:  # of the Trainer, after Ctrl-C or SIGTERM
            if not self.children.stopped:  # where one of them has reported
                self.stop.report(self.trainer)
            if self.stop.stopped and not self.trainer.is_global_zero:
                # Lightning kills the first process if it sees another one fail; the exit code of
                # the first is that of the run.
                self.code = 0
                return
            raise
        if self.trainer.interrupted:  # where the Trainer returns after Ctrl-C
            self.stop.report(self.trainer)
            self.code = INTERRUPTED
        elif self.trainer.is_global_zero:
            files = [("configuration", self.saver.path if self.saver is not None else None)]
            for callback in self.trainer.checkpoint_callbacks:
                # Lightning calls the latest one the best if nothing is monitored.
                is_best = getattr(callback, "monitor", None) is not None
                name = "best checkpoint" if is_best else "checkpoint"
                files += [(name, _path(callback, "best_model_path"))]
                files += [("last checkpoint", _path(callback, "last_model_path"))]
            self.code = reported(files)

    def predict(self, **kwargs: Any) -> None:
        """Predict, write everything to a folder, and report it."""
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        writers = [each for each in callbacks if isinstance(each, BasePredictionWriter)]
        folder = None
        if not writers:
            folder = free_folder(Path(self.trainer.default_root_dir) / "predictions", _FOLDER)
            if isinstance(self.model, VisionTask):
                callbacks.append(PredictionWriter(folder))
        found = self.trainer.predict(**kwargs)
        if not self.trainer.is_global_zero:
            return
        if folder is not None and not isinstance(self.model, VisionTask):
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(found, folder / "predictions.pt")
        folders = [folder] if folder is not None else [_folder(each) for each in writers]
        self.code = reported([("predictions", each) for each in folders])


def _folder(writer: Callback) -> Path | None:
    """The folder of a writer, by the names that writers use for it."""
    for name in ("folder", "output_dir"):
        if (folder := getattr(writer, name, None)) is not None:
            return Path(folder)
    return None


def _path(callback: Callback, name: str) -> Path | None:
    path = getattr(callback, name, "")
    return Path(path) if path and "://" not in path else None
