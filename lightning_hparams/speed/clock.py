"""Step times and rates, from moments that are given.

Every time is an argument. ``StepClock`` is told when the loader was asked, when it answered and
when the batch was done, so all numbers can be checked without a clock; what a moment is, and how
long it is from one to another, a ``Timer`` knows: the process's clock, or events of a CUDA stream.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch

from ..checks import in_range

__all__ = ["CudaTimer", "HostTimer", "Speed", "StepClock", "Timer", "Totals"]

Pause = Literal["validation", "other", "once"]
"""What is between two batches; what happens once in a run tells nothing of the time to come."""


class Timer(Protocol):
    """What a point in time is."""

    def now(self) -> Any:
        """This moment."""
        ...

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one moment to a later one, once ``wait_for(end)`` has returned."""
        ...

    def wait_for(self, moment: Any) -> None:
        """Return when the moment has come."""
        ...


class HostTimer:
    """The clock of the process."""

    now = staticmethod(time.perf_counter)

    def between(self, start: float, end: float) -> float:
        """See :class:`Timer`."""
        return end - start

    def wait_for(self, moment: float) -> None:
        """Nothing: the process has lived it."""


class CudaTimer:
    """The clock of the current CUDA stream, which the process need not keep up with.

    A moment comes when the GPU has done all that was asked of it before. So what lies between the
    loader's being asked and its answer is the time that the GPU stood idle for want of data: none
    as long as it had work left.
    """

    def now(self) -> torch.cuda.Event:
        """See :class:`Timer`; nothing waits here."""
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
    """Rates over the last batches of one process; all zero before a batch was measured."""

    batches_per_sec: float = 0.0
    samples_per_sec: float = 0.0
    steps_per_sec: float = 0.0
    data_wait_frac: float = 0.0
    step_ms_p50: float = 0.0
    step_ms_p90: float = 0.0
    step_ms_p99: float = 0.0


@dataclass
class Totals:
    """Sums in seconds since the first batch that was measured."""

    batches: int = 0
    samples: int = 0
    steps: int = 0
    seconds: float = 0.0  # in batches
    wait: float = 0.0  # of which waiting for data
    restart_wait: float = 0.0  # of which at the start of an epoch
    validation: float = 0.0  # between batches, with all that came before the next one
    validation_wait: float = 0.0  # of which waiting for data; whoever measured it adds it here
    validations: int = 0
    other: float = 0.0  # between batches, such as saving a checkpoint

    @property
    def all_seconds(self) -> float:
        """Everything that was measured."""
        return self.seconds + self.validation + self.other


_MOST_PENDING = 10_000


class StepClock:
    """Measures batches from the end of one to the end of the next.

    What was announced by :meth:`leave_out` in between is not part of either. A batch in the middle
    of which that happens does not count, nor do the first ones.

    Args:
        window: Batches that :meth:`speed` looks back on.
        warmup: Batches at the start that do not count.
        timer: What the moments passed to the methods are.

    >>> clock = StepClock(warmup=0)
    >>> for second in range(4):
    ...     clock.fetching(second)
    ...     clock.fetched(second + 0.25)
    ...     clock.batch_done(second + 1, samples=8, steps=1)
    >>> clock.speed().samples_per_sec, clock.speed().data_wait_frac
    (8.0, 0.25)
    """

    def __init__(self, window: int = 100, warmup: int = 1, timer: Timer | None = None) -> None:
        in_range("window", window, 1, remedy="100 batches are usual")
        in_range("warmup", warmup, 0, remedy="it counts batches that are left out")
        self.timer: Timer = timer or HostTimer()
        self.is_warm = False  # whether a batch came after the warm-up
        self._totals = Totals()
        # Of the last batches: sums over four columns are faster than over one of rows.
        self._seconds: deque[float] = deque(maxlen=window)
        self._waited: deque[float] = deque(maxlen=window)
        self._samples: deque[int] = deque(maxlen=window)
        self._steps: deque[int] = deque(maxlen=window)
        self._pending: list[tuple[Any, ...]] = []  # moments of batches, subtracted when asked for
        self._warmup = warmup
        self._previous: Any = None  # end of the batch before
        self._pause: Pause | None = None  # what came after it, if that does not count
        self._fetches: list[Any] = []  # asked, answered, asked, ...
        self._restart: Any = None
        self._spoiled = False

    def epoch_started(self, now: Any) -> None:
        """From here on the loader is making itself ready, which is waiting too."""
        self._restart = now

    def fetching(self, now: Any) -> None:
        """The loader is asked for a batch."""
        self._fetches.append(now)

    def fetched(self, now: Any) -> None:
        """The loader has answered, or said that there is no more."""
        self._fetches.append(now)

    def leave_out(self, what: Pause) -> None:
        """What passes until the loader is next asked does not count as training."""
        if self._fetches or self._restart is not None:
            self._spoiled = True
        elif self._pause != "validation":
            self._pause = what

    def batch_done(self, now: Any, samples: int, steps: int) -> None:
        """The batch is through.

        Args:
            now: The moment.
            samples: Images in the batch, 0 if that is not known.
            steps: Optimizer steps that it ended in.
        """
        self.is_warm = is_warm = self._warmup <= 0
        self._warmup -= 1
        fetches, restart = self._fetches, self._restart
        counts = is_warm and not self._spoiled
        self._pending.append(
            (self._previous, self._pause, restart, fetches, now, samples, steps, counts)
        )
        self._previous, self._pause, self._restart, self._fetches = now, None, None, []
        self._spoiled = False
        if len(self._pending) >= _MOST_PENDING:  # nobody asks
            self._resolve()

    def stopped(self, now: Any) -> None:
        """There is no batch to come: what has passed since the last one is over."""
        if self._pause is not None and self._previous is not None:
            self.timer.wait_for(now)
            self._resolve()
            self._add_pause(self._pause, self.timer.between(self._previous, now))
        self._pause = None

    def speed(self) -> Speed:
        """Rates over the window; waits until the last batch is through."""
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
        """Sums over everything; waits until the last batch is through."""
        self._resolve()
        return self._totals

    def _resolve(self) -> None:
        if not self._pending:
            return
        self.timer.wait_for(self._previous)
        between, totals = self.timer.between, self._totals
        for previous, pause, restart, fetches, end, samples, steps, counts in self._pending:
            asked, answered = fetches[::2], fetches[1::2]
            if restart is not None:
                asked[:1] = [restart]
            first = asked[0] if asked else None
            if pause is not None and previous is not None and first is not None:
                self._add_pause(pause, between(previous, first))
            start = first if pause is not None or previous is None else previous
            if not counts or start is None:
                continue
            seconds = between(start, end)
            wait = 0.0
            for begin, done in zip(asked, answered, strict=False):
                wait += between(begin, done)
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
    """The smallest value that ``percent`` of all are not above: one of them, not between two."""
    return in_order[-(-len(in_order) * percent // 100) - 1]
