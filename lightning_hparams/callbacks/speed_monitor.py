"""Throughput, data wait, step times, time left, memory and FLOP/s in every logger."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..checks import in_range, type_name
from ..internals import log_step
from ..sinks import is_rehearsal, open_sinks
from ..speed import Speed, StepClock, batch_size, loading_of, mean_speed, summary
from ._flop_rate import FlopRate
from ._log_step import is_due
from ._monitor import Monitor
from ._speed_values import SpeedStage, memory_and_time_left, over_ranks, rate_values
from ._stage_clocks import StageClocks
from ._two_packages import refuse_other_lightning

__all__ = ["SpeedMonitor"]

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
        self._clocks = StageClocks()
        self._flop_rate = FlopRate(type(self).__name__)
        self._steps_taken = 0
        self._written_step = -1
        self._slow_values_at = -math.inf

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers, and hook into the loops' data fetching."""
        refuse_other_lightning(self, trainer, pl_module)
        self._clocks.release()
        if is_rehearsal(trainer):
            return
        self._sinks = open_sinks(trainer, type(self).__name__)
        self._clocks.watch(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring."""
        if not self._clocks.is_watching:
            return
        self._go_on(trainer)
        self._clocks.begin_fit(self.window, self.warmup)
        self._steps_taken = trainer.global_step
        self._written_step = -1
        self._flop_rate.clear()
        self._slow_values_at = -math.inf

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the start of the epoch, where the loader starts its workers."""
        if (clock := self._clocks.training) is not None:
            clock.epoch_started(self._clocks.now())

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Record the batch, and write values if due."""
        clock = self._clocks.training
        if clock is None:
            return
        steps_taken = trainer.global_step
        steps = steps_taken - self._steps_taken
        self._steps_taken = steps_taken
        samples = self._samples(batch)
        clock.batch_done(self._clocks.now(), samples, steps)
        if self.flops and not self._flop_rate.is_counted:
            self._flop_rate.count(trainer, pl_module, batch, samples, self.peak_flops)
            clock.leave_out("once")
        # Equal on every rank, since the ranks exchange their rates.
        if steps and clock.is_warm and is_due(trainer, self._written_step):
            self._written_step = log_step(trainer)
            self._write_training(trainer, clock)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exclude the time between epochs."""
        if (clock := self._clocks.training) is not None:
            clock.leave_out("other")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Exclude the time of saving."""
        if (clock := self._clocks.running) is not None:
            clock.leave_out("other")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure validation separately."""
        if (clock := self._clocks.training) is not None:
            clock.leave_out("validation")
        if not trainer.sanity_checking:
            self._clocks.begin_evaluation()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the test."""
        self._clocks.begin_evaluation()

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
        if (clock := self._clocks.running) is not None:
            samples = self._samples(batch)
            clock.batch_done(self._clocks.now(), samples, 0)

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
        self._clocks.begin_evaluation()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rates of the prediction."""
        self._end_evaluation(trainer, "predict")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the bottleneck."""
        self._conclude(trainer, over_ranks)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Report the bottleneck without the other processes, which may be gone."""
        with contextlib.suppress(RuntimeError):  # CUDA is unusable after an error
            self._conclude(trainer, lambda _, speed: speed)
        self._clocks.release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the loops."""
        self._clocks.release()

    def _write_training(self, trainer: Trainer, clock: StepClock[Any]) -> None:
        own = clock.speed()
        speed = over_ranks(trainer, own)
        if not self._sinks or not own.batches_per_sec:
            return
        values = rate_values(speed, "train") | self._flop_rate.values(speed, trainer.world_size)
        totals = clock.totals()
        if totals.all_seconds - self._slow_values_at >= _SLOW_VALUES:
            self._slow_values_at = totals.all_seconds
            values |= memory_and_time_left(trainer, 1 / own.batches_per_sec, totals)
        self._sinks.scalars(values, self._written_step)

    def _end_evaluation(self, trainer: Trainer, stage: SpeedStage) -> None:
        own = self._clocks.end_evaluation()
        if own is None:
            return
        speed = over_ranks(trainer, own)
        if speed.batches_per_sec:
            self._sinks.scalars(rate_values(speed, stage), log_step(trainer))
            self._sinks.flush()

    def _conclude(self, trainer: Trainer, combine: Callable[[Trainer, Speed], Speed]) -> None:
        totals = self._clocks.end_fit()
        if totals is None:
            return
        self._sinks.flush()
        speed = combine(trainer, mean_speed(totals))
        processes = trainer.num_devices if trainer.world_size > 1 else 1
        train, val = (
            loading_of(loaders, processes)
            for loaders in (trainer.train_dataloader, trainer.val_dataloaders)
        )
        rank_zero_info(f"{type(self).__name__}: {summary(speed, totals, train, val)}")

    def _samples(self, batch: object) -> int:
        """Return the batch size, or 0 if unknown; never raises, as it might on one rank only."""
        try:
            if found := self._batch_size(batch):
                return found
        except Exception as error:
            self._notices.failed("find the batch size", error, "batch size")
        self._notices.warn(
            "batch size",
            f"no batch size found in a {type_name(batch)}, so samples/s are not written; "
            "pass batch_size=, a function of the batch",
        )
        return 0
