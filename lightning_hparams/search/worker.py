"""A worker: a process that runs one trial after the other until the study ends.

``python -m lightning_hparams.search.worker STUDY`` starts one, on any machine that reaches the
database, under any scheduler.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from ..json_text import Json
from ..provenance import code
from .beating import beating
from .claims import claim, finish, hand_back
from .ending import Limits
from .failures import Failure
from .files import enter, open_from
from .owners import Owner
from .process_state import leaving_out_what_stays
from .stopping import Stop
from .tracking import known_mlflow_study
from .trial import TrialRun, run_trial

if TYPE_CHECKING:
    from ..configuration import Configuration
    from .study import Asked, SearchStudy

__all__ = ["Worker", "main", "work"]

_PAUSE = 0.5  # seconds between two looks for a trial while others run
_HUNG = 75  # exit codes
_GIVEN_UP = 76
_ASKED = 128 + 15  # as if SIGTERM had ended it: schedulers start another one for a failed worker
# Lightning takes the tasks of a Slurm job for the processes of one training.
_OF_SLURM = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID")


class Worker:
    """Run trials of a study.

    Args:
        study: The study.
        base: The configuration that it varies.
        index: Index of the worker on its machine.
        deadline: Seconds since the epoch at which the wall time is over; None for no limit.
        since: When the command was started; earlier failures do not end the study.
        own_process: Whether the process may be ended if a trial hangs.
    """

    def __init__(
        self,
        study: SearchStudy,
        base: Configuration,
        index: int = 0,
        *,
        deadline: float | None = None,
        since: datetime | None = None,
        own_process: bool = True,
    ) -> None:
        self.study, self.base = study, base
        self.me = Owner.me(index)
        self.limits = Limits.of(study.settings, deadline, since or datetime.now())
        self.stop = Stop(deadline, self._give_up if own_process else None)
        self._own_process = own_process
        self._number: int | None = None
        self._mlflow = known_mlflow_study(study, base)

    def run(self) -> str:
        """Run trials until the study ends or the worker is asked to stop; return why."""
        import torch

        with self.stop.signals(), leaving_out_what_stays() as leave_out:
            while not self.stop.asked:
                attributes = {"threads": torch.get_num_threads()}
                asked = claim(self.study, self.me, self.limits, attributes)
                if isinstance(asked, str):
                    return asked
                if asked is None:
                    self.stop.wait(_PAUSE)
                else:
                    self.run_one(asked)
                    leave_out()  # by now, everything is imported, and the trial's garbage is gone
        return "asked to stop"

    def run_one(self, asked: Asked) -> str:
        """Run a trial, with heartbeat."""
        self._number = asked.trial.number
        key = self.study.database_id(asked.trial)
        timeout = self.study.settings.trial_timeout
        hung = self._end_hung if self._own_process else None
        try:
            with beating(self.study, key, timeout, hung):
                run = TrialRun(
                    self.study, asked, self.me, self.base, self.stop, self._mlflow, self._git
                )
                return run_trial(run)
        finally:
            self._number = None

    @cached_property
    def _git(self) -> Json:
        """The code that this process has imported, whatever is changed while it runs."""
        return code(os.environ)

    def _give_up(self) -> None:
        """Leave a trial that has not stopped in time, and go."""
        self._leave(lambda number: hand_back(self.study, number, self.me), _GIVEN_UP)

    def _end_hung(self) -> None:
        """End a trial that has not even stopped by itself after its time was over."""
        failure = Failure("TimeoutError", ["the trial was over its time and did not respond"])
        attributes = {"failure": failure.to_mapping(), "outcome": "timeout"}
        self._leave(
            lambda number: finish(
                self.study, number, self.me, TrialState.PRUNED, attributes=attributes
            ),
            _HUNG,
        )

    def _leave(self, action: Callable[[int], object], code: int) -> None:
        number = self._number
        if number is not None:
            # In a thread, since the main thread may hold the database.
            thread = threading.Thread(target=action, args=(number,), daemon=True)
            thread.start()
            thread.join(1.0)
        os._exit(code)


def work(
    where: str | Path,
    index: int = 0,
    *,
    name: str | None = None,
    deadline: float | None = None,
    since: datetime | None = None,
) -> str:
    """Run trials of a study in this process.

    Args:
        where: Folder of the study, or address of its database.
        index: Index of the worker on its machine.
        name: Name of the study, if the database has several.
        deadline: Seconds since the epoch at which the wall time is over.
        since: When the command was started.

    Returns:
        Why it ended.
    """
    study, base = open_from(where, name)
    return Worker(study, base, index, deadline=deadline, since=since).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_hparams.search.worker",
        description="Run trials of a study until it ends.",
    )
    parser.add_argument("study", help="folder of the study, or address of its database")
    parser.add_argument("--name", help="name of the study, if the database has several")
    parser.add_argument("--index", type=int, default=0, help="index of the worker on its machine")
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--since", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--parent", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for variable in _OF_SLURM:
        os.environ.pop(variable, None)
    where = options.study if "://" in options.study else enter(options.study)
    study, base = open_from(where, options.name)
    since = None if options.since is None else datetime.fromtimestamp(options.since)
    worker = Worker(study, base, options.index, deadline=options.deadline, since=since)
    if options.parent:
        threading.Thread(target=_watch_parent, args=(worker.stop,), daemon=True).start()
    print(worker.run(), file=sys.stderr)
    return _ASKED if worker.stop.asked else 0


def _watch_parent(stop: Stop) -> None:
    """Stop when the process that started this one has gone, and its end of the pipe is closed."""
    while os.read(0, 1):
        pass
    stop.ask()


if __name__ == "__main__":
    ended = main()
    sys.stderr.flush()
    os._exit(ended)  # torch takes seconds to go, for which the command would wait
