"""Step times and rates, computed from moments that are passed as arguments.

``StepClock`` gets the moments at which a batch was requested, arrived and was done, so it can be
tested without a real clock. A ``Timer`` defines what a moment is and the time between two of them:
a reading of the process's clock, or an event in a CUDA stream.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import torch

from ..checks import whole_number

__all__ = ["CudaTimer", "HostTimer", "Speed", "StepClock", "Timer", "Totals"]

Pause = Literal["validation", "other", "once"]
"""Kind of pause between two batches; "once" is left out of the time estimate."""

Moment = TypeVar("Moment")


class Timer(Protocol[Moment]):
    """Defines moments in time and measures the time between them."""

    def now(self) -> Moment:
        """Return the current moment."""
        ...

    def between(self, start: Moment, end: Moment) -> float:
        """Return the seconds between two moments, once ``wait_for(end)`` has returned."""
        ...

    def wait_for(self, moment: Moment) -> None:
        """Block until the moment has come."""
        ...


class HostTimer:
    """The clock of the process."""

    now = staticmethod(time.perf_counter)

    def between(self, start: float, end: float) -> float:
        """See :class:`Timer`."""
        return end - start

    def wait_for(self, moment: float) -> None:
        """Do nothing: a moment of the process has passed when it is recorded."""


class CudaTimer:
    """The clock of the current CUDA stream, recorded without synchronising.

    A moment comes when the GPU has finished all work that was queued before it. The time between
    requesting a batch and its arrival is therefore the time that the GPU was idle for lack of data:
    zero while it still has work queued.
    """

    def now(self) -> torch.cuda.Event:
        """See :class:`Timer`; does not synchronise."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """See :class:`Timer`."""
        seconds: float = start.elapsed_time(end) / 1e3
        return seconds

    def wait_for(self, moment: torch.cuda.Event) -> None:
        """See :class:`Timer`."""
        moment.synchronize()


class Speed(NamedTuple):
    """Rates over the last batches of one process; all zero until a batch has been measured."""

    batches_per_sec: float = 0.0
    samples_per_sec: float = 0.0
    steps_per_sec: float = 0.0
    data_wait_frac: float = 0.0
    step_ms_p50: float = 0.0
    step_ms_p90: float = 0.0
    step_ms_p99: float = 0.0


@dataclass
class Totals:
    """Sums since the first measured batch; times in seconds."""

    batches: int = 0
    samples: int = 0
    steps: int = 0
    seconds: float = 0.0  # in batches
    wait: float = 0.0  # part of `seconds`: waiting for data
    restart_wait: float = 0.0  # part of `wait`: at the start of an epoch
    validation: float = 0.0  # pauses with a validation, up to the next batch
    validation_wait: float = 0.0  # part of `validation`: waiting for data; set from outside
    validations: int = 0
    other: float = 0.0  # other pauses, such as saving a checkpoint

    @property
    def all_seconds(self) -> float:
        """Total measured time, in batches and pauses."""
        return self.seconds + self.validation + self.other


_MOST_PENDING = 10_000
# Of a batch: end of the previous one, pause since, start of the epoch, fetches, end, samples, steps
# and whether it counts. A plain tuple, since one is created in every step.
_Pending: TypeAlias = tuple[
    Moment | None, Pause | None, Moment | None, list[Moment], Moment, int, int, bool
]


class StepClock(Generic[Moment]):
    """Measures each batch from the end of the previous one to its own end.

    Pauses between them, announced by :meth:`leave_out`, belong to neither. A batch that is
    interrupted by a pause is not counted, nor are the first ones.

    Args:
        window: Number of batches over which :meth:`speed` averages.
        warmup: Number of batches at the start that are not counted.
        timer: Interprets the moments passed to the methods; None for a :class:`HostTimer`.

    >>> clock = StepClock(warmup=0)
    >>> for second in range(4):
    ...     clock.fetching(second)
    ...     clock.fetched(second + 0.25)
    ...     clock.batch_done(second + 1, samples=8, steps=1)
    >>> clock.speed().samples_per_sec, clock.speed().data_wait_frac
    (8.0, 0.25)
    """

    def __init__(
        self, window: int = 100, warmup: int = 1, timer: Timer[Moment] | None = None
    ) -> None:
        window = whole_number("window", window, 1, remedy="100 batches are usual")
        warmup = whole_number("warmup", warmup, 0, remedy="it counts batches that are left out")
        self.timer = timer or cast("Timer[Moment]", HostTimer())
        self.is_warm = False  # whether a batch has come after the warm-up
        self._totals = Totals()
        # Four columns of the last batches: summing them is faster than summing over rows.
        self._seconds: deque[float] = deque(maxlen=window)
        self._waited: deque[float] = deque(maxlen=window)
        self._samples: deque[int] = deque(maxlen=window)
        self._steps: deque[int] = deque(maxlen=window)
        # Kept as moments and evaluated when needed: between() may have to wait for the GPU.
        self._pending: list[_Pending[Moment]] = []
        self._warmup = warmup
        self._previous: Moment | None = None  # end of the previous batch
        self._pause: Pause | None = None  # kind of pause since then
        self._fetches: list[Moment] = []  # requested, arrived, requested, ...
        self._restart: Moment | None = None  # start of the epoch, until its first batch
        self._interrupted = False

    def epoch_started(self, now: Moment) -> None:
        """Count the time from here to the first batch as waiting: the loader is starting."""
        self._restart = now

    def fetching(self, now: Moment) -> None:
        """Record that a batch was requested from the loader."""
        self._fetches.append(now)

    def fetched(self, now: Moment) -> None:
        """Record that the loader returned a batch, or was exhausted."""
        self._fetches.append(now)

    def leave_out(self, what: Pause) -> None:
        """Exclude the time until the next request to the loader from training time."""
        if self._fetches or self._restart is not None:
            self._interrupted = True
        elif self._pause != "validation":
            self._pause = what

    def batch_done(self, now: Moment, samples: int, steps: int) -> None:
        """Record the end of a batch.

        Args:
            now: The moment.
            samples: Number of samples in the batch, 0 if unknown.
            steps: Number of optimizer steps taken at its end.
        """
        self.is_warm = is_warm = self._warmup <= 0
        self._warmup -= 1
        fetches, restart = self._fetches, self._restart
        counts = is_warm and not self._interrupted
        self._pending.append(
            (self._previous, self._pause, restart, fetches, now, samples, steps, counts)
        )
        self._previous, self._pause, self._restart, self._fetches = now, None, None, []
        self._interrupted = False
        if len(self._pending) >= _MOST_PENDING:  # nobody asks for results
            self._resolve()

    def stopped(self, now: Moment) -> None:
        """End the current pause, since no batch follows."""
        if self._pause is not None and self._previous is not None:
            self.timer.wait_for(now)
            self._resolve()
            self._add_pause(self._pause, self.timer.between(self._previous, now))
        self._pause = None

    def speed(self) -> Speed:
        """Return the rates over the window; waits until the last batch is done."""
        self._resolve()
        count = len(self._seconds)
        if not count:
            return Speed()
        total = max(sum(self._seconds), 1e-12)
        in_order = sorted(self._seconds)
        return Speed(
            batches_per_sec=count / total,
            samples_per_sec=sum(self._samples) / total,
            steps_per_sec=sum(self._steps) / total,
            data_wait_frac=sum(self._waited) / total,
            step_ms_p50=_percentile(in_order, 50) * 1e3,
            step_ms_p90=_percentile(in_order, 90) * 1e3,
            step_ms_p99=_percentile(in_order, 99) * 1e3,
        )

    def totals(self) -> Totals:
        """Return the sums over all counted batches; waits until the last batch is done."""
        self._resolve()
        return self._totals

    def _resolve(self) -> None:
        if not self._pending:
            return
        self.timer.wait_for(self._pending[-1][4])
        between, totals = self.timer.between, self._totals
        for previous, pause, restart, fetches, end, samples, steps, counts in self._pending:
            if pause is None and restart is None and previous is not None and len(fetches) == 2:
                start, wait = previous, between(*fetches)  # the usual case, twice as fast
            else:
                requested, arrived = fetches[::2], fetches[1::2]
                if restart is not None:
                    requested[:1] = [restart]
                first = requested[0] if requested else None
                if pause is not None and previous is not None and first is not None:
                    self._add_pause(pause, between(previous, first))
                if pause is not None or previous is None:
                    previous = first
                if previous is None:
                    continue
                start, wait = previous, 0.0
                for begin, done in zip(requested, arrived, strict=False):
                    wait += between(begin, done)
            if not counts:
                continue
            seconds = between(start, end)
            self._seconds.append(seconds)
            self._waited.append(wait)
            self._samples.append(samples)
            self._steps.append(steps)
            totals.batches += 1
            totals.samples += samples
            totals.steps += steps
            totals.seconds += seconds
            totals.wait += wait
            totals.restart_wait += wait if restart is not None else 0.0
        self._pending.clear()

    def _add_pause(self, what: Pause, seconds: float) -> None:
        if what == "validation":
            self._totals.validation += seconds
            self._totals.validations += 1
        elif what == "other":
            self._totals.other += seconds


def _percentile(in_order: Sequence[float], percent: int) -> float:
    """Return the smallest value that at least ``percent`` of all do not exceed (nearest rank)."""
    return in_order[-(-len(in_order) * percent // 100) - 1]
