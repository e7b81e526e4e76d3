"""Calls to a server in a separate thread, awaited with a deadline."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Delivery"]

Call: TypeAlias = tuple[str, Callable[[], object]]
"""A description for messages, and the function to call."""


class Delivery:
    """Runs calls in order, in a daemon thread that lives while calls are pending.

    At exit Python joins the threads of a ``ThreadPoolExecutor``, so a single call that is never
    answered would keep a finished program from exiting. This class joins too, but gives up
    ``timeout`` seconds after the last answer, until another answer arrives.

    Args:
        name: Name of the thread.
        timeout: Seconds to wait for an answer.
        most: Pending calls at which ``submit`` starts to block; after giving up, further calls
            are rejected instead.
        failed: Called with the error of each failed call, in the thread of a caller.
        gave_up: Called on giving up, in the thread that waited.
    """

    def __init__(
        self,
        name: str,
        *,
        timeout: float,
        most: int,
        failed: Callable[[Exception], None],
        gave_up: Callable[[], None],
    ) -> None:
        self._name, self._timeout, self._most = name, timeout, most
        self._failed, self._gave_up = failed, gave_up
        self._calls: deque[Call] = deque()  # the first is running
        self._errors: deque[Exception] = deque()
        self._changed = threading.Condition()
        self._is_running = False
        self._last_answer = 0.0
        self.has_given_up = False

    def waiting(self) -> list[str]:
        """Return the descriptions of pending calls."""
        return [what for what, _ in tuple(self._calls)]

    def submit(self, what: str, call: Callable[[], object]) -> bool:
        """Queue a call; return whether it was accepted.

        Args:
            what: Description, for :meth:`waiting`.
            call: The function; its return value is ignored.
        """
        self.tell_errors()
        if len(self._calls) >= self._most and not self._wait(lambda: len(self._calls) < self._most):
            return False
        with self._changed:
            if not self._calls:
                self._last_answer = time.monotonic()
            self._calls.append((what, call))
            if not self._is_running:
                self._is_running = True
                _busy.add(self)
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
        return True

    def join(self) -> bool:
        """Wait for all pending calls; return False if the server did not answer in time."""
        answered = self._wait(lambda: not self._calls)
        self.tell_errors()
        return answered

    def tell_errors(self) -> None:
        """Report errors of failed calls, in the caller's thread."""
        while self._errors:
            self._failed(self._errors.popleft())

    def _wait(self, is_done: Callable[[], bool]) -> bool:
        try:
            with self._changed:
                while not is_done():
                    left = self._last_answer + self._timeout - time.monotonic()
                    if self.has_given_up or left <= 0:
                        break
                    self._changed.wait(left)
                else:
                    return True
        except BaseException:  # Ctrl-C: later waits must not start over
            self._give_up()
            raise
        self._give_up()
        return False

    def _give_up(self) -> None:
        if not self.has_given_up:
            self.has_given_up = True
            self._gave_up()

    def _run(self) -> None:
        while True:
            try:
                self._calls[0][1]()
                self.has_given_up = False
                self._last_answer = time.monotonic()
            except Exception as error:
                self._errors.append(error)
            with self._changed:
                self._calls.popleft()
                self._is_running = bool(self._calls)
                if not self._calls:
                    _busy.discard(self)
                self._changed.notify_all()
                if not self._is_running:
                    return


_busy: set[Delivery] = set()  # keeps a delivery alive until its calls are done


@atexit.register
def _join_all() -> None:
    """Deliver pending values even if the program exits without closing its loggers."""
    for delivery in list(_busy):
        delivery.join()
