"""Rates, waiting for data, step times, time left, memory and FLOP/s in every logger."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

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

_WHOLE = 10**9  # a window that no validation fills
_SLOW_VALUES = 1.0  # seconds


class SpeedMonitor(Monitor):
    """Write how fast a training is and what it waits for; say at its end what held it up.

    Training values come as soon as a batch was measured and every ``log_every_n_steps`` steps,
    those of a validation or test at its end, over all of its batches. The time that validation,
    sanity check, checkpoints and the change of epochs take is in none of them but the time left.

    | tag | meaning | unit |
    |---|---|---|
    | `perf/samples_per_sec/{train,val,test,predict}` | samples of all processes | 1/s |
    | `perf/batches_per_sec/{train,val,test,predict}` | batches of all processes | 1/s |
    | `perf/steps_per_sec/train` | optimizer steps, which processes take together | 1/s |
    | `perf/data_wait_frac/{train,val,test,predict}` | waiting for data, slowest process | 0..1 |
    | `perf/step_ms_p50/{train,val,test,predict}` | time of half of the batches at most | ms |
    | `perf/step_ms_p90/{train,val,test,predict}` | time of 90 % of them | ms |
    | `perf/step_ms_p99/{train,val,test,predict}` | time of 99 % of them | ms |
    | `perf/eta_s` | until the end of the fit, validations and the rest included | s |
    | `perf/memory_mib/rss` | resident memory of rank zero, without its loader's workers | MiB |
    | `perf/memory_mib/cuda_peak_allocated` | the most that tensors took since the start | MiB |
    | `perf/memory_mib/cuda_peak_reserved` | the most that torch took for them | MiB |
    | `perf/flops_per_sec/train` | operations of all processes, with `flops=True` | 1/s |
    | `perf/mfu/train` | the part of it of what the devices could do, where that is known | 0..1 |

    On CUDA times are those of the stream, taken by events: a wait for data during which the GPU had
    work is none. The GPU is waited for only where values are due. Percentiles, memory and time left
    are those of rank zero; memory and time left are written at most once a second. Rates of a
    validation count all of its batches, the first one too. All of it stands at the steps at which
    Lightning writes its own values, which count from 0.

    Args:
        window: Batches that the values of training look back on.
        warmup: Batches at the start of a fit that are not measured.
        batch_size: Samples of a batch, for one in which
            :func:`~lightning_hparams.speed.batch_size` does not find them; None if unknown.
        flops: Whether to count the operations of one training step, on copies of the module and of
            the first batch, whose memory is part of the peaks.
        peak_flops: Operations per second that one device could do; None for the table of
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
        StepClock(window, warmup)  # checks them
        if peak_flops is not None:
            in_range("peak_flops", peak_flops, above=0.0, remedy="an A100 does 312e12 in bfloat16")
            if not flops:
                raise ValueError("`peak_flops` is of use with flops=True only; pass both")
        self.window = window
        self.warmup = warmup
        self.flops = flops
        self.peak_flops = peak_flops
        self._batch_size = batch_size
        self._timer: HostTimer | CudaTimer = HostTimer()
        self._clock: StepClock[Any] | None = None  # of what is running
        self._train_clock: StepClock[Any] | None = None
        self._watched: list[Callable[[], None]] = []  # each undoes what watches a loop
        self._steps_taken = 0
        self._written_step = -1
        self._flops_per_sample = 0.0  # per batch where the samples are not known
        self._peak: float | None = None
        self._slow_values_at = -math.inf

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers, and have the loops tell when they ask for data."""
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
        """Begin to measure."""
        if not self._watched:
            return
        self._go_on(trainer)
        self._clock = self._train_clock = StepClock(self.window, self.warmup, self._timer)
        self._steps_taken = trainer.global_step
        self._written_step = -1
        self._flops_per_sample = 0.0
        self._slow_values_at = -math.inf

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The loader starts its workers from here on."""
        if self._train_clock is not None:
            self._train_clock.epoch_started(self._timer.now())

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note the batch, and write what is due."""
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
        # The same on every rank, since all of them add up their rates.
        if steps and clock.is_warm and is_due(trainer, self._written_step):
            self._written_step = log_step(trainer)
            self._write_training(trainer, clock)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What comes until the next epoch is not training."""
        if self._train_clock is not None:
            self._train_clock.leave_out("other")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Saving is not training."""
        if self._clock is not None:
            self._clock.leave_out("other")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure validation by itself."""
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
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note the batch."""
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
        """Measure a prediction."""
        self._start_evaluation()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rates of the prediction."""
        self._end_evaluation(trainer, "predict")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what held the training up."""
        self._conclude(trainer, _over_ranks)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say it here too; the other processes may be gone."""
        with contextlib.suppress(RuntimeError):  # after an error of CUDA nothing can be asked of it
            self._conclude(trainer, lambda _, speed: speed)
        self._release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the loops as they were."""
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

    def _samples(self, batch: Any) -> int:
        """The size of a batch; 0 where it is not known, without an error on one rank alone."""
        try:
            if found := self._batch_size(batch):
                return found
        except Exception as error:
            self._notices.failed("find the batch size", error, "batch size")
        self._notices.warn(
            "batch size",
            f"no batch size is found in a {type(batch).__name__}, so no samples/s are written; "
            "pass batch_size=, a function of the batch",
        )
        return 0

    def _count_flops(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        name = type(self).__name__
        try:
            flops = count_flops(trainer, pl_module, batch)
        except Exception as error:
            rank_zero_warn(
                f"{name} could not count the operations of a step, so it writes no FLOP/s: "
                f"{type(error).__name__}: {error}"
            )
            flops = 0
        self._flops_per_sample = flops / (self._samples(batch) or 1) or -1.0  # not again
        device = _device(trainer)
        self._peak = self.peak_flops
        if self._peak is None and device.type == "cuda":
            self._peak = peak_flops(torch.cuda.get_device_name(device), trainer.precision)
            if self._peak is None:
                rank_zero_info(f"{name} does not know the peak of this GPU; pass peak_flops=")

    def _watch(self, loop: Any) -> None:
        """Have a loop say when it asks for data and when it has got them."""
        now = self._timer.now

        def wrap(ask: Callable[[], None], answer: Callable[[], None]) -> tuple[Any, Any]:
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
    """Predicting is not a stage to the grammar of tags: it has no losses and no metrics."""
    return f"perf/{name}/predict" if stage == "predict" else tag("perf", name, stage=stage)


def _slow_values(trainer: Trainer, seconds_per_batch: float, totals: Totals) -> dict[str, float]:
    """What changes too slowly to be asked for more than once a second."""
    found = memory_mib(_device(trainer))
    values = {tag("perf", f"memory_mib/{name}"): mib for name, mib in found.items()}
    left = seconds_left(trainer, seconds_per_batch, totals)
    if math.isfinite(left):
        values[tag("perf", "eta_s")] = left
    return values


def _over_ranks(trainer: Trainer, speed: Speed) -> Speed:
    """Rates of all processes together and the longest wait; every rank must come here."""
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


def _loading(trainer: Trainer, loaders: Any) -> Loading:
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


def _flat(loaders: Any) -> list[Any]:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, (list, tuple)):
        return [one for part in loaders for one in _flat(part)]
    return [loaders]
