"""Where the time of a training goes: rates, waiting for data, percentiles, what to do about it.

Every time is an argument. ``StepClock`` is told when the loader was asked, when it answered and
when the batch was done, so all numbers can be checked without a clock; what a moment is, and how
long it is from one to another, a ``Timer`` knows: the process's clock, or events of a CUDA stream.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..checks import in_range

__all__ = [
    "CudaTimer",
    "HostTimer",
    "Loading",
    "Speed",
    "StepClock",
    "Timer",
    "Totals",
    "batch_size",
    "bottleneck",
    "validations_within",
]

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


def batch_size(batch: object) -> int | None:
    """How many samples a batch holds, or None if nothing in it tells.

    Tensors, arrays, and mappings, sequences and dataclasses of them, however nested. A list of
    mappings, as detection has it, or of ``(channels, height, width)`` images counts its entries.
    Otherwise the tensor with the most dimensions tells, which is the image rather than a weight
    per class; of several loaders' batches in one, that is the first.

    >>> batch_size({"weights": torch.ones(21), "image": torch.ones(8, 3, 4, 4)})
    8
    >>> batch_size(([torch.ones(3, 4, 5), torch.ones(3, 6, 4)], [{"boxes": 1}, {"boxes": 2}]))
    2
    """
    if isinstance(batch, Tensor):  # the usual case, in a tenth of the time
        return batch.shape[0] if batch.ndim else None
    return max(_sizes(batch), key=lambda found: found[0], default=(0, None))[1]


_SAMPLES = 1000  # a list of samples tells more than any number of dimensions
_CHANNELS = (1, 3, 4)
_BATCH_DIMS = 4  # of a batch of images, which one sample does not have


def _sizes(value: object) -> Iterator[tuple[int, int]]:
    """Sizes found, each with how much it tells."""
    if isinstance(value, (Tensor, np.ndarray)):
        if value.ndim:
            yield value.ndim, value.shape[0]
    elif isinstance(value, (list, tuple)):
        if _are_samples(value):
            yield _SAMPLES, len(value)
        elif value and all(isinstance(one, (str, bytes, int, float)) for one in value):
            yield 0, len(value)
        else:
            for one in value:
                yield from _sizes(one)
    else:
        for one in _parts(value):
            yield from _sizes(one)


def _are_samples(values: Sequence[object]) -> bool:
    """Whether a list holds one entry a sample, rather than one an input of the model."""
    if not values:
        return False
    if all(isinstance(one, Mapping) or is_dataclass(one) for one in values):
        return all(getattr(part, "ndim", 0) < _BATCH_DIMS for one in values for part in _parts(one))
    images = [one for one in values if isinstance(one, Tensor) and one.ndim == 3]
    return (
        1 < len(values) == len(images)
        and all(one.shape[0] in _CHANNELS for one in images)
        and len({one.dtype for one in images}) == 1  # grey images and their masks are two inputs
    )


def _parts(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    return []


def validations_within(
    batches: float, per_epoch: float, check_batch: float, every_epochs: int | None
) -> int:
    """How often a Trainer validates within its first batches.

    Args:
        batches: How many, from the start of the run.
        per_epoch: Batches of an epoch, infinite if the loader does not tell.
        check_batch: ``trainer.val_check_batch``: every so many batches, infinite for the epoch's
            end.
        every_epochs: ``trainer.check_val_every_n_epoch``; None counts batches across epochs.

    >>> validations_within(100, per_epoch=10, check_batch=5, every_epochs=2)
    10
    """
    if every_epochs is None:
        return int(batches // check_batch)
    if math.isinf(per_epoch):
        return 0 if every_epochs > 1 else int(batches // check_batch)
    epochs, rest = divmod(batches, per_epoch)
    each = per_epoch // check_batch if math.isfinite(check_batch) else 1
    last = rest // check_batch if (epochs + 1) % every_epochs == 0 else 0
    return int(epochs // every_epochs * each + last)


@dataclass(frozen=True)
class Loading:
    """How data are loaded.

    Args:
        workers: ``num_workers`` of the DataLoader, None if there is no DataLoader.
        persistent: Its ``persistent_workers``.
        cores: CPU cores that this process and its workers may use.
    """

    workers: int | None
    persistent: bool
    cores: int


_FEW = 10  # batches that say nothing about a bottleneck
_WAIT = 0.10  # share of the time from which on waiting is worth a remark
_PAUSED = 0.25  # the same for validation and for the rest: they are there for a purpose


def bottleneck(totals: Totals, train: Loading, val: Loading) -> str:
    """What a training spent its time on that it need not have, in one sentence.

    Of waiting for data (in validation too), the rest of validation, and what else came between
    batches, the longest is named, and what to do about it if it took long enough. A number of
    workers is worked out of the times: so many that loading keeps up with the model, as far as
    there are cores.

    >>> loading = Loading(workers=0, persistent=False, cores=4)
    >>> bottleneck(Totals(batches=100, seconds=60, wait=30), loading, loading)
    'waiting for data 50 % of the time: try num_workers=1 in the training DataLoader (now 0)'
    """
    if totals.batches < _FEW:
        return f"{totals.batches} measured batches are too few to name a bottleneck"
    parts = {
        "waiting for data": (totals.wait + totals.validation_wait, _WAIT),
        "validation": (totals.validation - totals.validation_wait, _PAUSED),
        "checkpoints and the work between epochs": (totals.other, _PAUSED),
    }
    worst = max(parts, key=lambda name: parts[name][0])
    share = parts[worst][0] / totals.all_seconds
    text = f"{worst} {100 * share:.0f} % of the time"
    if share < parts[worst][1]:
        return f"{text}; the bottleneck is the training step itself"
    match worst:
        case "validation":
            return f"{text}: try a larger check_val_every_n_epoch, or limit_val_batches"
        case "waiting for data" if totals.wait >= totals.validation_wait:
            if train.workers and not train.persistent and totals.restart_wait > totals.wait / 2:
                return f"{text}, most of it as epochs start: try persistent_workers=True"
            return f"{text}: {_more_workers('training', totals.wait / totals.seconds, train)}"
        case "waiting for data":
            share = totals.validation_wait / totals.validation
            return f"{text}, most of it in validation: {_more_workers('validation', share, val)}"
        case _:
            return f"{text}: try saving less often (every_n_epochs of ModelCheckpoint)"


def _more_workers(stage: str, share: float, loading: Loading) -> str:
    """What to do about a share of the time that is spent waiting.

    Without workers a batch takes as long to load as is waited for it; with some, each of them takes
    as long for one as the model has to wait for one of each.
    """
    workers, cores = loading.workers, loading.cores
    if workers is None:
        return f"make the {stage} loader faster"
    where = f"in the {stage} DataLoader (now {workers})"
    cheaper = "make loading cheaper (decode once, smaller files, lighter transforms)"
    if workers >= cores:
        return f"num_workers={workers} are as many as there are cores; {cheaper}"
    time_to_load = share if workers == 0 else workers
    needed = max(math.ceil(time_to_load / max(1 - share, 1e-3) - 1e-9), workers + 1)
    if needed <= cores:
        return f"try num_workers={needed} {where}"
    return f"try num_workers={cores} {where}, which is all cores; beyond that, {cheaper}"
