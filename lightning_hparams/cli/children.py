"""The processes that a strategy such as ``ddp_spawn`` starts, after SIGTERM or Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType

from lightning import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.multiprocessing.spawn import ProcessExitedException

from .program import INTERRUPTED, TERMINATED

__all__ = ["SIGNALS", "Children"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE = 30  # seconds between the end of the first process and that of the others, as torch's
_CODES = {  # of a process that ended by itself, or that a signal ended
    code: number
    for number, own in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED))
    for code in (own, -number)
}


class Children:
    """Passes signals on to the processes that train, and waits until they have ended.

    Lightning lets them train on if the process that waits for them is stopped. A second signal
    kills them.

    Attributes:
        stopped: Whether they have stopped at a batch, and one of them has said how to go on.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._asked = False

    @contextmanager
    def passing_on(self, trainer: Trainer) -> Iterator[None]:
        """Take the signals, if the Trainer starts such processes."""
        # `ddp` runs the command once more for each device, and Lightning stops those.
        if type(trainer.strategy.launcher).__name__ != "_MultiProcessingLauncher":
            yield
            return
        previous = {one: signal.signal(one, self._pass_on) for one in SIGNALS}
        try:
            yield
        except ProcessExitedException as error:  # one of them was asked, and this process was not
            if error.exit_code not in _CODES:
                raise
            self.stopped = error.exit_code > 0
            raise _exception(_CODES[error.exit_code]) from error
        finally:
            for one, handler in previous.items():
                signal.signal(one, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if multiprocessing.parent_process() is not None:  # in a fork, before it takes the signals
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        children = multiprocessing.active_children()
        for child in children:
            # Ctrl-C in a terminal reaches them, too, and twice would interrupt them at once.
            (child.kill if self._asked else child.terminate)()
        if self._asked:  # the first call waits
            return
        self._asked = True
        wait([child.sentinel for child in children])
        for child in children:
            if not wait([child.sentinel], _GRACE):  # it may wait for one that has gone
                child.kill()
            child.join()
        self.stopped = any((child.exitcode or 0) > 0 for child in children)
        raise _exception(number)


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SIGTERMException()
