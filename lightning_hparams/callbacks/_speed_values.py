"""Speed as values to write, by tag."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from lightning import Trainer

from ..speed import Speed, Totals, memory_mib
from ..tags import Stage, tag
from ._time_left import seconds_left

__all__ = ["SpeedStage", "memory_and_time_left", "over_ranks", "rate_values"]

SpeedStage: TypeAlias = Stage | Literal["predict"]
"""Prediction is not a stage of :class:`~lightning_hparams.tags.Tag`."""
_RATES = ("batches_per_sec", "data_wait_frac", "step_ms_p50", "step_ms_p90", "step_ms_p99")


def rate_values(speed: Speed, stage: SpeedStage) -> dict[str, float]:
    """Return the rates of a stage; without samples per second if the batch size is unknown."""
    names = [*_RATES, "samples_per_sec"] if speed.samples_per_sec else list(_RATES)
    if stage == "train":
        names.append("steps_per_sec")
    return {_rate_tag(name, stage): getattr(speed, name) for name in names}


def _rate_tag(name: str, stage: SpeedStage) -> str:
    return f"perf/{name}/predict" if stage == "predict" else tag("perf", name, stage=stage)


def memory_and_time_left(
    trainer: Trainer, seconds_per_batch: float, totals: Totals
) -> dict[str, float]:
    """Return memory and time left, which change slowly; without an infinite time."""
    found = memory_mib(trainer.strategy.root_device)
    values = {tag("perf", f"memory_mib/{name}"): mib for name, mib in found.items()}
    left = seconds_left(trainer, seconds_per_batch, totals)
    if math.isfinite(left):
        values[tag("perf", "eta_s")] = left
    return values


def over_ranks(trainer: Trainer, speed: Speed) -> Speed:
    """Combine the ranks: total rates and the longest wait. Every rank must call this."""
    if trainer.world_size == 1:
        return speed
    own = [speed.batches_per_sec, speed.samples_per_sec, speed.data_wait_frac]
    ranks = trainer.strategy.all_gather(torch.tensor(own, device=trainer.strategy.root_device))
    batches, samples, waits = ranks.T.tolist()
    return speed._replace(
        batches_per_sec=sum(batches),
        samples_per_sec=sum(samples),
        data_wait_frac=max(waits),
    )
