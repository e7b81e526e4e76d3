"""Throughput, data wait, step times, time left, memory and FLOP/s in every logger."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader

from ..checks import in_range
from ..internals import log_step, replace_fetch_marks
from ..sinks import is_rehearsal, open_sinks
from ..speed import (
    CudaTimer,
    HostTimer,
    Loading,
    Speed,
    StepClock,
    Totals,
    batch_size,
    bottleneck,
    memory_mib,
    peak_flops,
)
from ..tags import Stage, tag
from ._flop_count import count_flops
from ._log_step import is_due
from ._monitor import Monitor
from ._time_left import seconds_left
from ._two_packages import refuse_other_lightning

__all__ = ["SpeedMonitor"]

_Mark: TypeAlias = Callable[[], None]
_WHOLE = 10**9  # a window longer than any validation
_SLOW_VALUES = 1.0  # seconds


class SpeedMonitor(Monitor):
    """Log training speed and data wait, and report the bottleneck at the end.

    Training values are written after the first measured batch and every ``log_every_n_steps``
    steps; those of a validation, test or prediction at its end, over all of its batches. The time
    of validations, sanity check, checkpoints and epoch changes only counts for the time left.

    | tag | meaning | unit |
    |---|---|---|
    | `perf/samples_per_sec/{train,val,test,predict}` | samples of all processes | 1/s |
    | `perf/batches_per_sec/{train,val,test,predict}` | batches of all processes | 1/s |
    | `perf/steps_per_sec/train` | optimizer steps, which all processes share | 1/s |
    | `perf/data_wait_frac/{train,val,test,predict}` | share of data wait, slowest rank | 0..1 |
    | `perf/step_ms_p50/{train,val,test,predict}` | median batch time | ms |
    | `perf/step_ms_p90/{train,val,test,predict}` | 90th percentile of batch times | ms |
    | `perf/step_ms_p99/{train,val,test,predict}` | 99th percentile of batch times | ms |
    | `perf/eta_s` | time left of the fit, including validations and checkpoints | s |
    | `perf/memory_mib/rss` | resident memory of rank zero, without loader workers | MiB |
    | `perf/memory_mib/cuda_peak_allocated` | peak memory of tensors since the start | MiB |
    | `perf/memory_mib/cuda_peak_reserved` | peak memory reserved by torch | MiB |
    | `perf/flops_per_sec/train` | operations of all processes, with `flops=True` | 1/s |
    | `perf/mfu/train` | share of the devices' peak FLOP/s, where known | 0..1 |

    On CUDA, times are measured on the stream with events: waiting for data does not count while
    the GPU is busy. The GPU is synchronized only when values are written. Percentiles, memory and
    time left are those of rank zero; memory and time left are written at most once per second.
    Validation rates include the first batch. Values are written at the steps of Lightning's own
    values, which count from 0.

    Args:
        window: Number of recent batches that training values cover.
        warmup: Batches at the start of a fit that are not measured.
        batch_size: Function that returns the number of samples in a batch or None if unknown, for
            batches in which :func:`~lightning_hparams.speed.batch_size` finds none.
        flops: Whether to count the operations of one training step, on copies of the module and
            the first batch; the copies add to the peak memory.
        peak_flops: Peak operations per second of one device; None for the value from
            :mod:`lightning_hparams.speed.hardware`. Needs ``flops=True``.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        window: int = 100,
        *,
        warmup: int = 1,
        batch_size: Callable[[Any], int | None] = batch_size,
        flops: bool = False,
        peak_flops: float | None = None,
    ) -> None:
        super().__init__()
        StepClock(window, warmup)  # checks the arguments
        if peak_flops is not None:
            in_range("peak_flops", peak_flops, above=0.0, remedy="an A100 does 312e12 in bfloat16")
            if not flops:
                raise ValueError("`peak_flops` needs flops=True; pass both")
        self.window = window
        self.warmup = warmup
        self.flops = flops
        self.peak_flops = peak_flops
        self._batch_size = batch_size
        self._timer: HostTimer | CudaTimer = HostTimer()
        self._clock: StepClock[Any] | None = None  # of the running stage
        self._train_clock: StepClock[Any] | None = None
        self._watched: list[Callable[[], None]] = []  # each restores a loop
        self._steps_taken = 0
        self._written_step = -1
        self._flops_per_sample = 0.0  # per batch if the batch size is unknown
        self._peak: float | None = None
        self._slow_values_at = -math.inf

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers, and hook into the loops' data fetching."""
        refuse_other_lightning(self, trainer, pl_module)
        self._release()
        if is_rehearsal(trainer):
            return
        self._sinks = open_sinks(trainer, type(self).__name__)
        self._timer = CudaTimer() if _device(trainer).type == "cuda" else HostTimer()
        epochs = trainer.fit_loop.epoch_loop
        for loop in (
            epochs,
            epochs.val_loop,
            trainer.validate_loop,
            trainer.test_loop,
            trainer.predict_loop,
        ):
            self._watch(loop)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring."""
        if not self._watched:
            return
        self._go_on(trainer)
        self._clock = self._train_clock = StepClock(self.window, self.warmup, self._timer)
        self._steps_taken = trainer.global_step
        self._written_step = -1
        self._flops_per_sample = 0.0
        self._slow_values_at = -math.inf

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the start of the epoch, where the loader starts its workers."""
        if self._train_clock is not None:
            self._train_clock.epoch_started(self._timer.now())

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Record the batch, and write values if due."""
        clock = self._train_clock
        if clock is None:
            return
        steps_taken = trainer.global_step
        steps = steps_taken - self._steps_taken
        self._steps_taken = steps_taken
        samples = self._samples(batch)
        clock.batch_done(self._timer.now(), samples, steps)
        if self.flops and not self._flops_per_sample:
            self._count_flops(trainer, pl_module, batch)
            clock.leave_out("once")
        # Equal on every rank, since the ranks exchange their rates.
        if steps and clock.is_warm and is_due(trainer, self._written_step):
            self._written_step = log_step(trainer)
            self._write_training(trainer, clock)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exclude the time between epochs."""
        if self._train_clock is not None:
            self._train_clock.leave_out("other")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Exclude the time of saving."""
        if self._clock is not None:
            self._clock.leave_out("other")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure validation separately."""
        if self._train_clock is not None:
            self._train_clock.leave_out("validation")
        if not trainer.sanity_checking:
            self._start_evaluation()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the test."""
        self._start_evaluation()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Record the batch."""
        if self._clock is not None:
            samples = self._samples(batch)
            self._clock.batch_done(self._timer.now(), samples, 0)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rates of the validation."""
        if not trainer.sanity_checking:
            self._end_evaluation(trainer, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rates of the test."""
        self._end_evaluation(trainer, "test")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the prediction."""
        self._start_evaluation()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rates of the prediction."""
        self._end_evaluation(trainer, "predict")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the bottleneck."""
        self._conclude(trainer, _over_ranks)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Report the bottleneck without the other processes, which may be gone."""
        with contextlib.suppress(RuntimeError):  # CUDA is unusable after an error
            self._conclude(trainer, lambda _, speed: speed)
        self._release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the loops."""
        self._release()

    def _write_training(self, trainer: Trainer, clock: StepClock[Any]) -> None:
        own = clock.speed()
        speed = _over_ranks(trainer, own)
        if not self._sinks or not own.batches_per_sec:
            return
        values = _values(speed, "train")
        values[tag("perf", "steps_per_sec", stage="train")] = speed.steps_per_sec
        if self._flops_per_sample > 0:
            rate = self._flops_per_sample * (speed.samples_per_sec or speed.batches_per_sec)
            values[tag("perf", "flops_per_sec", stage="train")] = rate
            if self._peak is not None:
                mfu = rate / (self._peak * trainer.world_size)
                values[tag("perf", "mfu", stage="train")] = mfu
        totals = clock.totals()
        if totals.all_seconds - self._slow_values_at >= _SLOW_VALUES:
            self._slow_values_at = totals.all_seconds
            values |= _slow_values(trainer, 1 / own.batches_per_sec, totals)
        self._write(values, self._written_step)

    def _start_evaluation(self) -> None:
        if self._watched:
            self._clock = StepClock(_WHOLE, 0, self._timer)

    def _end_evaluation(self, trainer: Trainer, stage: Stage | Literal["predict"]) -> None:
        if self._clock is not None:
            speed = _over_ranks(trainer, self._clock.speed())
            if self._train_clock is not None:
                self._train_clock.totals().validation_wait += self._clock.totals().wait
            if speed.batches_per_sec:
                self._write(_values(speed, stage), log_step(trainer))
                self._flush()
        self._clock = self._train_clock

    def _conclude(self, trainer: Trainer, over_ranks: Callable[[Trainer, Speed], Speed]) -> None:
        clock, self._clock, self._train_clock = self._train_clock, None, None
        if clock is None:
            return
        self._flush()
        clock.stopped(self._timer.now())
        totals = clock.totals()
        seconds = max(totals.seconds, 1e-12)
        rates = over_ranks(
            trainer,
            Speed(
                batches_per_sec=totals.batches / seconds,
                samples_per_sec=totals.samples / seconds,
                data_wait_frac=totals.wait / seconds,
            ),
        )
        if rates.data_wait_frac:  # of the slowest process
            totals = dataclasses.replace(totals, wait=rates.data_wait_frac * totals.seconds)
        text = f"{rates.batches_per_sec:.4g} batches/s"
        if rates.samples_per_sec:
            text += f", {rates.samples_per_sec:.4g} samples/s"
        rank_zero_info(
            f"{type(self).__name__}: {text}; "
            + bottleneck(
                totals,
                _loading(trainer, trainer.train_dataloader),
                _loading(trainer, trainer.val_dataloaders),
            )
        )

    def _write(self, values: Mapping[str, float], step: int) -> None:
        self._sinks.scalars(values, step)

    def _flush(self) -> None:
        self._sinks.flush()

    def _samples(self, batch: object) -> int:
        """Return the batch size, or 0 if unknown; never raises, as it might on one rank only."""
        try:
            if found := self._batch_size(batch):
                return found
        except Exception as error:
            self._notices.failed("find the batch size", error, "batch size")
        self._notices.warn(
            "batch size",
            f"no batch size found in a {type(batch).__name__}, so samples/s are not written; "
            "pass batch_size=, a function of the batch",
        )
        return 0

    def _count_flops(self, trainer: Trainer, pl_module: LightningModule, batch: object) -> None:
        name = type(self).__name__
        try:
            flops = count_flops(trainer, pl_module, batch)
        except Exception as error:
            rank_zero_warn(
                f"{name} could not count the operations of a step, so it writes no FLOP/s: "
                f"{type(error).__name__}: {error}"
            )
            flops = 0
        self._flops_per_sample = flops / (self._samples(batch) or 1) or -1.0  # not counted again
        device = _device(trainer)
        self._peak = self.peak_flops
        if self._peak is None and device.type == "cuda":
            self._peak = peak_flops(torch.cuda.get_device_name(device), trainer.precision)
            if self._peak is None:
                rank_zero_info(f"{name} does not know the peak of this GPU; pass peak_flops=")

    def _watch(self, loop: object) -> None:
        """Record when a loop starts and ends fetching data."""
        now = self._timer.now

        def wrap(ask: _Mark, answer: _Mark) -> tuple[_Mark, _Mark]:
            def before() -> None:
                if (clock := self._clock) is not None:
                    clock.fetching(now())
                ask()

            def after() -> None:
                answer()
                if (clock := self._clock) is not None:
                    clock.fetched(now())

            return before, after

        self._watched.append(replace_fetch_marks(loop, wrap))

    def _release(self) -> None:
        for undo in self._watched:
            undo()
        self._watched.clear()
        self._clock = self._train_clock = None


def _values(speed: Speed, stage: Stage | Literal["predict"]) -> dict[str, float]:
    names = [
        "batches_per_sec",
        "data_wait_frac",
        "step_ms_p50",
        "step_ms_p90",
        "step_ms_p99",
    ]
    if speed.samples_per_sec:
        names.append("samples_per_sec")
    return {_rate_tag(name, stage): getattr(speed, name) for name in names}


def _rate_tag(name: str, stage: Stage | Literal["predict"]) -> str:
    """Return a rate's tag; prediction is not a stage of :class:`~lightning_hparams.tags.Tag`."""
    return f"perf/{name}/predict" if stage == "predict" else tag("perf", name, stage=stage)


def _slow_values(trainer: Trainer, seconds_per_batch: float, totals: Totals) -> dict[str, float]:
    """Return memory and time left, which change slowly."""
    found = memory_mib(_device(trainer))
    values = {tag("perf", f"memory_mib/{name}"): mib for name, mib in found.items()}
    left = seconds_left(trainer, seconds_per_batch, totals)
    if math.isfinite(left):
        values[tag("perf", "eta_s")] = left
    return values


def _over_ranks(trainer: Trainer, speed: Speed) -> Speed:
    """Combine the ranks: total rates and the longest wait. Every rank must call this."""
    if trainer.world_size == 1:
        return speed
    own = [speed.batches_per_sec, speed.samples_per_sec, speed.data_wait_frac]
    ranks = trainer.strategy.all_gather(torch.tensor(own, device=_device(trainer)))
    batches, samples, waits = ranks.T.tolist()
    return speed._replace(
        batches_per_sec=sum(batches),
        samples_per_sec=sum(samples),
        data_wait_frac=max(waits),
    )


def _device(trainer: Trainer) -> torch.device:
    device: torch.device = trainer.strategy.root_device
    return device


def _loading(trainer: Trainer, loaders: object) -> Loading:
    found = [one for one in _flat(loaders) if isinstance(one, DataLoader)]
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    cores = max(1, cores // (trainer.num_devices if trainer.world_size > 1 else 1))
    if not found:
        return Loading(None, False, cores)
    slowest = min(found, key=lambda loader: loader.num_workers)
    return Loading(slowest.num_workers, slowest.persistent_workers, cores)


def _flat(loaders: object) -> list[object]:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, (list, tuple)):
        return [one for part in loaders for one in _flat(part)]
    return [loaders]
