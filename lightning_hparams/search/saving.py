"""The callback that saves a trial, and stops it in time."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..callbacks import TrialPruning
from ..internals import validates_next
from .folders import link_or_copy, write_json
from .stopping import Stop

__all__ = ["Interrupted", "InterruptedTogether", "TrialCheckpoint", "weights_hash"]

_NEW = ".new.ckpt"


class Interrupted(SystemExit):
    """A trial was stopped after its checkpoint was saved; it goes on later."""


class InterruptedTogether(RuntimeError):
    """The same in one of several processes, whose parent waits for a result or an error."""


class TrialCheckpoint(Checkpoint):
    """Save ``last.ckpt`` after each epoch and ``best.ckpt`` after the best, and stop in time.

    A checkpoint replaces the earlier one as a whole: the file is written beside it, and renamed.

    Args:
        folder: Folder of the trial.
        pruning: Reports the metric, before this callback.
        mode: Whether a lower or a higher value is better.
        stop: Whether the worker is asked to stop.
        timeout: Seconds that the trial may take; None for no limit.
        used: Seconds that it took before it was interrupted.
        until_step: Step at which the trial was stopped, when it is repeated.
        shared: Whether other processes train, whose results are read from a file.
    """

    def __init__(
        self,
        folder: Path,
        pruning: TrialPruning,
        mode: Literal["min", "max"],
        stop: Stop,
        *,
        timeout: float | None = None,
        used: float = 0.0,
        until_step: int | None = None,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.folder, self.pruning, self.mode, self.stop = folder, pruning, mode, stop
        self.timeout, self.until_step, self.shared = timeout, until_step, shared
        self.best: float | None = None
        self.best_step: int | None = None
        self.timed_out_at: int | None = None  # step
        self.weights = ""
        self.global_step = 0
        self.seconds = used  # of earlier parts
        self._started = time.monotonic()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals, which Lightning has just taken for itself."""
        self.stop.take_signals()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take them if there was no sanity check."""
        self.stop.take_signals()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop if asked to; end the training if it has taken too long."""
        # A validation that is due would be left out by the run that goes on from here.
        due = self.stop.due() and not (trainer.is_last_batch or validates_next(trainer))
        if self._agreed(trainer, due):
            self._save(trainer, "last.ckpt")
            self._interrupt()
        late = self.timeout is not None and self.elapsed() >= self.timeout
        late |= self.until_step is not None and trainer.global_step >= self.until_step
        if self._agreed(trainer, late) and not trainer.should_stop:
            self.timed_out_at = trainer.global_step
            trainer.should_stop = True
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop at once if a signal asked to; the trial goes on from the last checkpoint."""
        if trainer.state.fn == "fit" and trainer.world_size == 1 and self.stop.asked:
            raise Interrupted

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the checkpoints of the epoch."""
        reports = self.pruning.reports
        step, value = max(reports.items()) if reports else (None, None)
        is_new = step is not None and step != self.best_step
        if is_new and value is not None and self._is_better(value):
            self.best, self.best_step = value, step
            self._save(trainer, "last.ckpt", "best.ckpt")
        else:
            self._save(trainer, "last.ckpt")
        if self._agreed(trainer, self.stop.due() and not trainer.should_stop):
            self._interrupt()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the result."""
        self.weights, self.global_step = weights_hash(pl_module), trainer.global_step
        if self.shared and trainer.is_global_zero:
            write_json(self.folder / "result.json", self.result())

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, and the time taken so far."""
        return {"best": self.best, "best_step": self.best_step, "seconds": self.elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.seconds = state_dict["seconds"]

    def result(self) -> dict[str, object]:
        """Return what came out of the training."""
        return {
            "outcome": self.pruning.outcome or ("timeout" if self.timed_out_at else ""),
            "best": self.best,
            "best_step": self.best_step,
            "reports": {str(step): value for step, value in self.pruning.reports.items()},
            "weights": self.weights,
            "global_step": self.global_step,
            "timed_out_at": self.timed_out_at,
            "seconds": self.elapsed(),
        }

    def elapsed(self) -> float:
        """Return the seconds that the trial has taken, in all of its parts."""
        return self.seconds + time.monotonic() - self._started

    def _interrupt(self) -> None:
        raise InterruptedTogether if self.shared else Interrupted

    def _agreed(self, trainer: Trainer, wish: bool) -> bool:
        if trainer.world_size == 1:
            return wish
        return bool(trainer.strategy.reduce_boolean_decision(wish, all=False))

    def _is_better(self, value: float) -> bool:
        return self.best is None or (value < self.best if self.mode == "min" else value > self.best)

    def _save(self, trainer: Trainer, *names: str) -> None:
        new = self.folder / _NEW
        trainer.save_checkpoint(new)
        if trainer.is_global_zero:
            for name in names[1:]:
                link = self.folder / f".{name}"
                link_or_copy(new, link)
                link.replace(self.folder / name)
            new.replace(self.folder / names[0])


def weights_hash(module: torch.nn.Module) -> str:
    """Return a hash of all parameters and buffers, bit for bit."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            array = value.detach().cpu().contiguous()
            digest.update(f"{array.dtype}{tuple(array.shape)}".encode())
            digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
