"""Signs of life of a trial, from a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .study import SearchStudy

__all__ = ["beating"]

_SLACK = 60.0  # seconds, or a tenth of the timeout if that is more


@contextmanager
def beating(
    study: SearchStudy,
    key: int,
    timeout: float | None = None,
    hung: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Record heartbeats of a trial within the block.

    Args:
        study: The study.
        key: The trial's key in the database.
        timeout: Seconds that the trial may take; it ends by itself after a step.
        hung: Called if it has not ended by itself long after that; must end the process.
    """
    ended = threading.Event()
    interval = float(study.database.heartbeat_interval or 60)
    limit = None if timeout is None else timeout + max(_SLACK, timeout / 10)

    def beat() -> None:
        started = time.monotonic()
        while not ended.wait(interval if limit is None else min(interval, limit)):
            if limit is not None and time.monotonic() - started > limit and hung is not None:
                hung()
            with suppress(Exception):  # a database that is away for a while may come back
                study.database.record_heartbeat(key)

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
