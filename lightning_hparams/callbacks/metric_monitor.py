"""Losses, metrics, per-class scores, rates and momenta in every logger of the Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from ..optim import get_param, has_param
from ..sinks import Sink, open_sinks

__all__ = ["MetricMonitor"]


class MetricMonitor(Callback):
    """Write what training is about, in one event a step, and never what is written already.

    What a module logs for its loggers by ``self.log``, Lightning writes; this adds the rest. Any
    module works; the package's tasks give all of the rows. Training values come every
    ``log_every_n_steps`` steps of the Trainer, the others with each validation or test.

    | tag | meaning | unit |
    |---|---|---|
    | `loss/train` | loss of the step, before it is divided for gradient accumulation | |
    | `loss/train/{term}` | one part of it, unweighted | |
    | `loss/val`, `loss/test` | mean over the images | |
    | `loss/{val,test}/{term}` | one part of it, unweighted | |
    | `metric/{name}/{val,test}` | score of the whole set, such as `miou` | 0..1 |
    | `class/{name}/{class}/{val,test}` | score of one class; NaN if it does not occur | 0..1 |
    | `lr/{group}` | learning rate of the step just taken, by group name | |
    | `momentum/{group}` | its momentum, or first beta, where the optimizer has one | |

    With several optimizers, ``lr/{optimizer}/{group}`` counts the optimizers from 0. A group
    without a name is called by its number.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sinks: list[Sink] = []
        self._rates: dict[str, float] = {}
        self._written_step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers."""
        self._sinks = open_sinks(trainer, type(self).__name__)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew where a callback is used for a second fit."""
        self._written_step = -1

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Note the rates that this step uses; a scheduler may have changed them by its end."""
        if self._sinks and self._is_due(trainer, trainer.global_step + 1):
            self._rates.update(_rates(trainer, optimizer))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write the step's losses and rates."""
        step = trainer.global_step
        if not self._sinks or step == self._written_step or not self._is_due(trainer, step):
            return
        values = dict(self._rates)
        logged = trainer.logged_metrics
        for tag, value in _losses(outputs, trainer.accumulate_grad_batches).items():
            if tag not in logged:
                values[tag] = value
        self._rates.clear()
        self._write(values, step)
        self._written_step = step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores that Lightning does not."""
        if not trainer.sanity_checking:
            self._write_scores(trainer, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores that Lightning does not."""
        self._write_scores(trainer, "test")

    def _write_scores(self, trainer: Trainer, stage: str) -> None:
        logged = trainer.logged_metrics
        values = {
            tag: float(value)
            for tag, value in trainer.callback_metrics.items()
            if tag not in logged and _belongs(tag, stage)
        }
        self._write(values, trainer.global_step)
        for sink in self._sinks:
            sink.flush()

    def _write(self, values: Mapping[str, float], step: int) -> None:
        if values:
            for sink in self._sinks:
                sink.scalars(values, step)

    def _is_due(self, trainer: Trainer, step: int) -> bool:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set on construction
        return step == 1 or (step > 0 and step % every == 0)


def _belongs(tag: str, stage: str) -> bool:
    """Whether a tag is one of the rows above, for a validation or test."""
    if tag.startswith("loss/"):
        return tag == f"loss/{stage}" or tag.startswith(f"loss/{stage}/")
    return tag.startswith(("metric/", "class/")) and tag.endswith(f"/{stage}")


def _losses(outputs: Tensor | Mapping[str, Any] | None, accumulated: int) -> dict[str, float]:
    """Loss and terms of a training step, whatever form it returned them in."""
    if not isinstance(outputs, Mapping):
        return {}  # Lightning makes a dict of all that has a loss
    values = {}
    if isinstance(outputs.get("loss"), Tensor):
        # Lightning hands over the loss as it went into backward: divided.
        values["loss/train"] = outputs["loss"].item() * accumulated
    for name, term in (outputs.get("terms") or {}).items():
        values[f"loss/train/{name}"] = torch.as_tensor(term).item()
    return values


def _rates(trainer: Trainer, optimizer: Optimizer) -> dict[str, float]:
    number = f"{trainer.optimizers.index(optimizer)}/" if len(trainer.optimizers) > 1 else ""
    return {
        f"{param}/{number}{group.get('name', f'group {index}')}": get_param(group, param)
        for index, group in enumerate(optimizer.param_groups)
        for param in ("lr", "momentum")
        if has_param(group, param)
    }
