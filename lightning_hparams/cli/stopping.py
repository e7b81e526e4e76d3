"""A stop of several processes at the same batch, after SIGTERM or Ctrl-C in one or all of them."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

__all__ = ["StopTogether"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopTogether(Callback):
    """Let all processes of a training stop before the same batch.

    Lightning's handler of SIGTERM waits for the other processes, which may be within a step and
    wait for this one. Here, a handler only takes note, and all processes agree before each batch. A
    second Ctrl-C interrupts this process at once. One process alone is left to Lightning.

    Attributes:
        stopped: Whether the processes have stopped together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False
        self._asked: int | None = None  # the signal
        self._previous: dict[int, Any] = {}

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals, which Lightning has just taken for itself."""
        is_main = threading.current_thread() is threading.main_thread()
        if trainer.world_size > 1 and is_main and not self._previous:
            self._previous = {one: signal.signal(one, self._ask) for one in _SIGNALS}

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
            raise KeyboardInterrupt if self._asked == signal.SIGINT else SIGTERMException

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._asked is not None:
            signal.default_int_handler(number, frame)
        self._asked = number
