"""A stop of several processes at the same batch, after SIGTERM or Ctrl-C in one or all of them."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..checks import counted
from .children import SIGNALS
from .program import INTERRUPTED, TERMINATED

__all__ = ["StopTogether", "last_checkpoint"]

_KINDS = ("best", "last")  # of checkpoints


class StopTogether(Callback):
    """Let all processes of a training stop before the same batch.

    Lightning's handler of SIGTERM waits for the other processes, which may be within a step and
    wait for this one. Here, a handler only takes note, and all processes agree before each batch. A
    second Ctrl-C interrupts this process at once. One process alone is left to Lightning.

    Attributes:
        stopped: Whether the processes have stopped together.
        began: When the run began, in seconds since the epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False
        self.began = time.time()
        self._asked: int | None = None  # the signal
        self._previous: dict[int, Any] = {}

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals, which Lightning has just taken for itself."""
        is_main = threading.current_thread() is threading.main_thread()
        if trainer.world_size > 1 and is_main and not self._previous:
            self._previous = {one: signal.signal(one, self._ask) for one in SIGNALS}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take them if there was no sanity check."""
        self.on_sanity_check_start(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop if any process was asked to."""
        if trainer.world_size == 1:
            return
        asked = self._asked is not None
        if trainer.strategy.reduce_boolean_decision(asked, all=False):
            self.stopped = True
            by_user = self._asked == signal.SIGINT
            if multiprocessing.parent_process() is not None:
                self._leave(trainer, INTERRUPTED if by_user else TERMINATED)
            raise KeyboardInterrupt if by_user else SIGTERMException

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def report(self, trainer: Trainer) -> None:
        """Say how to go on."""
        if not trainer.is_global_zero:
            return
        step = counted(trainer.global_step, "step")
        path = last_checkpoint(trainer, since=self.began)
        if path is None:
            print(f"stopped after {step}, before a checkpoint was written")
        else:
            print(f"stopped after {step}; to go on, run the same command with --ckpt_path {path}")

    def _leave(self, trainer: Trainer, code: int) -> None:
        """End a process that another one waits for, in which Lightning handles no exception."""
        error = SystemExit(code)
        trainer.state.status = TrainerStatus.INTERRUPTED
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            callback.on_exception(trainer, trainer.lightning_module, error)
        for logger in trainer.loggers:
            logger.finalize("failed")
        self.report(trainer)
        raise error

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._asked is not None:
            if multiprocessing.parent_process() is not None:
                # Multiprocessing takes a KeyboardInterrupt for success, and Lightning would wait
                # for the result.
                raise SystemExit(INTERRUPTED)
            signal.default_int_handler(number, frame)
        self._asked = number


def last_checkpoint(trainer: Trainer, since: float) -> Path | None:
    """Return the latest checkpoint that a run has written; None if there is none on this disk.

    Args:
        trainer: A Trainer that was stopped. If it was writing a checkpoint, Lightning already
            calls that file the best one, although only the one before exists.
        since: When the run began, as from ``time.time``; its folder may hold older checkpoints.
    """
    paths = []
    for callback in trainer.checkpoint_callbacks:
        several = getattr(callback, "best_k_models", {})
        found = [*several, *(getattr(callback, f"{kind}_model_path", "") for kind in _KINDS)]
        paths += [Path(each) for each in found if each and Path(each).exists()]
        paths += [path for path in _files(callback) if path.stat().st_mtime >= since]
    return max(paths, key=lambda path: path.stat().st_mtime, default=None)


def _files(callback: Callback) -> Iterator[Path]:
    """Checkpoints in the folder of a callback."""
    folder = getattr(callback, "dirpath", None)
    if folder and "://" not in str(folder):
        yield from Path(folder).rglob(f"*{ModelCheckpoint.FILE_EXTENSION}")
