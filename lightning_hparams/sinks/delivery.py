"""Calls of a server in a thread of their own, waited for with a deadline."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Delivery"]

Call: TypeAlias = tuple[str, Callable[[], object]]
"""What it delivers, and what is called."""


class Delivery:
    """Makes calls one after the other, in a daemon thread that lives while there are any.

    Python waits at its end for the threads of a ``ThreadPoolExecutor``, so one call that is never
    answered would keep a finished program from ending. This waits too, but only ``timeout``
    seconds from the last answer on; then it gives up, until there is another answer.

    Args:
        name: Of the thread.
        timeout: Seconds to wait for an answer.
        most: So many calls may wait for the server before training waits for it; after giving up,
            further ones are not taken.
        failed: Called with the error of a call that failed, in any thread.
        gave_up: Called when an answer is no longer waited for, in the thread that waited.
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
        self._calls: deque[Call] = deque()  # the first one is being made
        self._errors: deque[Exception] = deque()
        self._changed = threading.Condition()
        self._is_running = False
        self._last_answer = 0.0
        self.has_given_up = False

    def waiting(self) -> list[str]:
        """What the calls deliver that were not answered yet."""
        return [what for what, _ in tuple(self._calls)]

    def submit(self, what: str, call: Callable[[], object]) -> bool:
        """Have a call made in its turn; false if it was not taken.

        Args:
            what: What it delivers, for :meth:`waiting`.
            call: Its value is not used.
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
        """Wait until every call so far was answered; false if the server kept silent."""
        answered = self._wait(lambda: not self._calls)
        self.tell_errors()
        return answered

    def tell_errors(self) -> None:
        """Pass on what went wrong, in the thread of the caller."""
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
        except BaseException:  # Ctrl-C: the next one to wait must not begin anew
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


_busy: set[Delivery] = set()  # is not garbage before its calls were made


@atexit.register
def _join_all() -> None:
    """A program that ends without a word has its values delivered, too."""
    for delivery in list(_busy):
        delivery.join()
