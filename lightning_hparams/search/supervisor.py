"""Starts the workers of a study on this machine, and looks after them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..speed import usable_cores
from .dealing import Share, deal, visible_gpus
from .reaper import reap
from .stopping import Stop
from .worker_process import (
    TELL,
    WAIT,
    death_message,
    import_path,
    start_worker,
    worker_command,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from .study import SearchStudy

__all__ = ["Supervisor"]

_LOOK = 0.25  # seconds between two looks at the workers
_DEATHS = 2  # of each worker, without a finished trial in between, beside the retries


@dataclass
class _Process:
    """A worker process."""

    index: int
    process: subprocess.Popen[bytes]
    log: Path


class Supervisor:
    """Run a study with a number of worker processes until it ends.

    Args:
        study: The study, whose folder has what the workers need.
        workers: How many; None for the number in the settings.
        watch: Called about once a second with all trials.
    """

    def __init__(
        self,
        study: SearchStudy,
        workers: int | None = None,
        watch: Callable[[Sequence[FrozenTrial]], object] | None = None,
    ) -> None:
        settings = study.settings
        self.study, self.watch = study, watch
        self.folder = Path(settings.folder)
        self.since = datetime.now()
        self.deadline = settings.deadline()
        self.stop = Stop()
        self._running: list[_Process] = []
        self._deaths = self._finished = 0
        cores, usable = _cores()
        count = settings.workers if workers is None else workers
        self.shares = deal(count, cores, visible_gpus(), usable=usable)

    def run(self) -> bool:
        """Run the study; return whether it came to its end, rather than being stopped.

        Raises:
            RuntimeError: If the workers cannot be started, with the last lines of their output.
        """
        try:
            with self.stop.signals():
                reap(self.study)
                self._running = [self._start(index) for index in range(len(self.shares))]
                told = 0.0
                while self._running and not self.stop.wait(_LOOK):
                    if self.watch is not None and time.monotonic() - told >= TELL:
                        told = time.monotonic()
                        self.watch(self.study.get_trials(deepcopy=False))
                    self._look()
        finally:
            self._end()
            reap(self.study)
        if self.watch is not None:
            self.watch(self.study.get_trials(deepcopy=False))
        return not self.stop.asked

    def _start(self, index: int) -> _Process:
        log = self.folder / "workers" / f"{index}.log"
        share = self.shares[index]
        command = worker_command(self.folder, index, self.since.timestamp(), self.deadline)
        environment = {**share.environment, "PYTHONPATH": import_path()}
        process = start_worker(command, environment, log)
        _pin(process.pid, share)
        return _Process(index, process, log)

    def _look(self) -> None:
        """Replace workers that have died."""
        for worker in list(self._running):
            code = worker.process.poll()
            if code is None:
                continue
            self._running.remove(worker)
            _close(worker)
            if code == 0:
                continue
            reap(self.study)
            finished = sum(one.state.is_finished() for one in self.study.get_trials(deepcopy=False))
            self._deaths = self._deaths + 1 if finished == self._finished else 1
            self._finished = finished
            if self._deaths > self.study.settings.retries + _DEATHS * len(self.shares):
                raise RuntimeError(death_message(code, worker.log))
            self._running.append(self._start(worker.index))

    def _end(self) -> None:
        """Ask all workers to stop, and end those that do not."""
        for worker in self._running:
            if worker.process.poll() is None:
                worker.process.terminate()
        end = time.monotonic() + WAIT
        for worker in self._running:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, end - time.monotonic()))
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
            _close(worker)
        self._running = []


def _cores() -> tuple[list[int], int]:
    """Return the numbers of the cores that this process may use, and the time in cores."""
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(os.cpu_count() or 1))
    return cores, usable_cores().usable


def _pin(pid: int, share: Share) -> None:
    if share.cores and hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(pid, share.cores)


def _close(worker: _Process) -> None:
    if worker.process.stdin is not None:
        with suppress(OSError):
            worker.process.stdin.close()
