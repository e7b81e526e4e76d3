"""Requests to stop a worker, and how long its trial may still take."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

__all__ = ["SIGNALS", "Stop"]

# Schedulers send one of the first two before they kill; the third is Ctrl-C.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)
)
_LEFT = 3.5  # seconds from a signal until the trial is given up


class Stop:
    """Whether the worker is asked to stop, by a signal, its parent or the wall time.

    Args:
        deadline: Seconds since the epoch at which the wall time is over; None for no limit.
        give_up: Called in a thread if a signal has not ended the process within seconds, as in a
            step that takes minutes; must end the process.
    """

    def __init__(
        self, deadline: float | None = None, give_up: Callable[[], None] | None = None
    ) -> None:
        self.deadline = deadline
        self.forward = False  # whether child processes train, and are to be asked too
        self._give_up = give_up
        self.asked = False  # whether a signal or the parent asked to stop
        self.signal: int | None = None  # the last one that did
        self._woken = threading.Event()

    def due(self) -> bool:
        """Whether to stop now."""
        return self.asked or (self.deadline is not None and time.time() >= self.deadline)

    def ask(self) -> None:
        """Ask to stop."""
        if not self.asked:
            self.asked = True
            # Not here: a signal may arrive while the main thread holds the lock of the event.
            threading.Thread(target=self._after_request, daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait, at most until asked to stop, and return whether to stop."""
        if self.deadline is not None:
            seconds = min(seconds, max(0.0, self.deadline - time.time()))
        self._woken.wait(seconds)
        return self.due()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take the signals as requests to stop."""
        previous = {one: signal.getsignal(one) for one in SIGNALS}
        self.take_signals()
        try:
            yield
        finally:
            for one, handler in previous.items():
                signal.signal(one, handler)

    def take_signals(self) -> None:
        """Install the handlers; Lightning replaces some of them at the start of a fit."""
        if threading.current_thread() is threading.main_thread():
            for one in SIGNALS:
                signal.signal(one, self._on_signal)

    def __getstate__(self) -> dict[str, Any]:
        return {"deadline": self.deadline, "asked": self.asked}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["deadline"])  # type: ignore[misc]  # in another process
        self.asked = state["asked"]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.ask()
        if self.forward:
            for child in multiprocessing.active_children():
                with suppress(OSError):
                    os.kill(child.pid or 0, number)

    def _after_request(self) -> None:
        self._woken.set()
        if self._give_up is not None:
            time.sleep(_LEFT)  # by then the process has ended by itself, if it can
            self._give_up()
