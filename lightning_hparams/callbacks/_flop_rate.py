"""Floating point operations per second, from a count of one step and the measured rates."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..notices import warn_user
from ..speed import Speed, peak_flops
from ..tags import tag
from ._flop_count import count_flops

__all__ = ["FlopRate"]


class FlopRate:
    """Counts the operations of a training step once, and turns rates into FLOP/s.

    Args:
        speaker: Name of the callback, for messages.
    """

    def __init__(self, speaker: str) -> None:
        self._speaker = speaker
        self._per_sample = 0.0  # per batch if the batch size is unknown; below 0 if not countable
        self._peak: float | None = None

    @property
    def is_counted(self) -> bool:
        """Whether the count has been attempted; it is not repeated."""
        return self._per_sample != 0

    def clear(self) -> None:
        """Forget the count, as for a new fit."""
        self._per_sample = 0.0

    def count(
        self,
        trainer: Trainer,
        module: LightningModule,
        batch: object,
        samples: int,
        peak: float | None,
    ) -> None:
        """Count the operations of a step; warn if that is not possible.

        Args:
            trainer: The Trainer of the fit.
            module: Its module.
            batch: A training batch.
            samples: Number of samples in the batch, 0 if unknown.
            peak: Peak operations per second of one device; None to look it up.
        """
        try:
            flops = count_flops(trainer, module, batch)
        except Exception as error:
            warn_user(
                f"{self._speaker} could not count the operations of a step, so it writes no "
                f"FLOP/s: {type(error).__name__}: {error}"
            )
            flops = 0
        self._per_sample = flops / (samples or 1) or -1.0
        device = trainer.strategy.root_device
        self._peak = peak
        if self._peak is None and device.type == "cuda":
            self._peak = peak_flops(torch.cuda.get_device_name(device), trainer.precision)
            if self._peak is None:
                rank_zero_info(
                    f"{self._speaker} does not know the peak of this GPU; pass peak_flops="
                )

    def values(self, speed: Speed, devices: int) -> dict[str, float]:
        """Return FLOP/s and their share of the peak by tag, as far as known.

        Args:
            speed: Rates of all processes.
            devices: Number of processes, each with one device.
        """
        if self._per_sample <= 0:
            return {}
        rate = self._per_sample * (speed.samples_per_sec or speed.batches_per_sec)
        values = {tag("perf", "flops_per_sec", stage="train"): rate}
        if self._peak is not None:
            values[tag("perf", "mfu", stage="train")] = rate / (self._peak * devices)
        return values
