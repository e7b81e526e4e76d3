"""Schedules on the user's optimizers, without a change to the module."""

from __future__ import annotations

import math
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer

from ..checks import in_range
from ..schedules import one_cycle

__all__ = ["OneCycle"]


class OneCycle(Callback):
    """Let the learning rate rise to its peak and then fall, once over the whole run.

    The rate is a function of the optimizer step alone
    (:func:`lightning_hparams.schedules.one_cycle`), so a resumed run goes on where it stood. Each
    parameter group's own rate is multiplied: the ratios between groups stay.

    Args:
        max_lr: Peak of the group with the largest rate; None for the rates as configured.
        total_steps: Optimizer steps in the run; None to take them from the trainer.
        pct_start: Share of the run spent rising, in 0..1.
        div_factor: The first step has the peak divided by this.
        final_div_factor: The last step has the first's rate divided by this.
        anneal_strategy: ``"cos"`` or ``"linear"``.

    Raises:
        ValueError: If an argument is out of its range, or the number of steps cannot be known.
        RuntimeError: If the module configures a scheduler of its own.
    """

    def __init__(
        self,
        max_lr: float | None = None,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal_strategy: Literal["cos", "linear"] = "cos",
    ) -> None:
        super().__init__()
        if max_lr is not None:
            in_range("max_lr", max_lr, above=0.0)
        self._shape: dict[str, Any] = {
            "pct_start": pct_start,
            "div_factor": div_factor,
            "final_div_factor": final_div_factor,
            "anneal_strategy": anneal_strategy,
        }
        one_cycle(0, 1 if total_steps is None else total_steps, **self._shape)  # checks them
        self.max_lr = max_lr
        self.total_steps = total_steps
        self._peaks: list[list[float]] = []
        self._total = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the configured rates, before a checkpoint puts back those of its own step."""
        if trainer.lr_scheduler_configs:
            name = type(trainer.lr_scheduler_configs[0].scheduler).__name__
            raise RuntimeError(
                f"OneCycle and {name} (from configure_optimizers) would both set the learning "
                "rate; return the optimizer alone, or leave out the callback"
            )
        self._peaks = []
        for optimizer in trainer.optimizers:
            rates = [float(group["lr"]) for group in optimizer.param_groups]
            scale = 1.0 if self.max_lr is None else self.max_lr / max(rates)
            self._peaks.append([rate * scale for rate in rates])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the length of the run."""
        steps = self.total_steps or trainer.estimated_stepping_batches
        if math.isinf(steps) or steps < 1:
            raise ValueError(
                f"OneCycle needs to know the number of optimizer steps, the trainer says {steps}; "
                "pass OneCycle(total_steps=...) or Trainer(max_steps=...)"
            )
        self._total = int(steps)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the rate of the coming step."""
        step = trainer.global_step // len(self._peaks)
        multiplier = one_cycle(step, self._total, **self._shape)
        for optimizer, peaks in zip(trainer.optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * multiplier
