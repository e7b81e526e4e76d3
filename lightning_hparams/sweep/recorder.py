"""The callback that sets the rate of each step of a sweep and records the loss."""

from __future__ import annotations

import copy
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.optim import Optimizer

from ..checks import described
from ..internals import to_device
from ..optim import finds_own_rate, has_param, initial_param, set_param, switch_weights
from ..range_test import Stop
from .held_out import HeldOut, hold_out
from .inner_trainer import InnerTrainer, nothing
from .measuring import called, loss_in, measuring
from .peak_rates import RunLength, peak_rates
from .place import Data, Place

__all__ = ["Plan", "Recorder", "SweepDone"]

_NO_LOSS = 20  # batches in a row without a loss or a step before giving up


@dataclass(frozen=True)
class Plan:
    """Settings of a sweep.

    Args:
        rates: Learning rate of each step, for the parameter group with the largest rate.
        held: Optimizer values held fixed in every group: ``weight_decay`` or ``momentum``.
        written: Hyperparameters by name to write before the sweep: ``batch_size``.
        val_batches: Validation batches per step; 0 for the training loss.
        hold_out: Measure the loss of samples that are kept out of training, before and after it.
        callbacks: User callbacks to run too, as copies.
        on_point: Called after each step, for a progress bar.
    """

    rates: Sequence[float]
    held: Mapping[str, float] = field(default_factory=dict)
    written: Mapping[str, float] = field(default_factory=dict)
    val_batches: int = 0
    hold_out: bool = False
    callbacks: Sequence[Callback] = ()
    on_point: Callable[[], None] = lambda: None


class SweepDone(BaseException):
    """Leaves the inner Trainer at once, skipping its end-of-run hooks."""


class Recorder(Callback):
    """Sets the rate of each step and records the loss before it."""

    def __init__(self, plan: Plan, data: Data, place: Place) -> None:
        self.plan = plan
        self.data = data
        self.peak = math.nan  # the largest rate that the module configures
        self.lifts: list[list[float]] = []  # peak / initial rate of each group
        self.length = RunLength()
        self._epoch, self._step = place.epoch, place.trainer.global_step
        self._states = place.optimizer_states()
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.interrupt: KeyboardInterrupt | None = None
        self._stop = Stop()
        self.peaks: list[list[float]] = []  # of each group, per optimizer
        self._ratios: list[list[float]] = []
        self._val: list[Any] = []
        self.held = HeldOut()
        self._window: list[Tensor] = []  # losses since the last step
        self._backward: list[Tensor] = []  # losses of this batch, under manual optimization
        self._before: float | None = None  # validation loss before the step
        self._tried = False
        self._stepped = False
        self._idle = 0
        self._epoch_batches = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the module look up the user's callbacks."""
        assert isinstance(trainer, InnerTrainer)
        trainer.show_callbacks(pl_module)
        if self.plan.hold_out and pl_module.automatic_optimization:
            self.held.batches = hold_out(trainer, pl_module, self.data)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the optimizers and lift the limits on steps and epochs."""
        optimizers = [one for one in trainer.optimizers if isinstance(one, Optimizer)]
        if not optimizers or not any(one.param_groups for one in optimizers):
            raise ValueError(
                "configure_optimizers returned no optimizer, so there is no rate to test; "
                "return one"
            )
        if any(map(finds_own_rate, optimizers)):
            raise ValueError(
                f"the range test needs an optimizer whose steps `lr` sets, got "
                f"{type(optimizers[0]).__name__}, which estimates its rate; leave out LRRangeTest"
            )
        assert isinstance(trainer, InnerTrainer)
        trainer.run_on(self._epoch, self._step)
        self.length = RunLength.of(trainer.estimated_stepping_batches, trainer.max_epochs)
        self._read_peaks(optimizers, trainer)
        for config in trainer.lr_scheduler_configs:
            config.frequency = sys.maxsize  # never
            vars(config.scheduler)["step"] = nothing  # if the module steps it manually
        for optimizer, state in zip(optimizers, self._states, strict=False):
            if len(state["param_groups"]) == len(optimizer.param_groups):  # else some were added
                # Without a copy, it would share tensors with the original optimizer.
                optimizer.load_state_dict(copy.deepcopy(state))
        self._states = []  # of the user's optimizers
        for optimizer in optimizers:
            optimizer.register_step_post_hook(self._note_step)
            _hold(optimizer, self.plan.held)

    def _read_peaks(self, optimizers: Sequence[Optimizer], trainer: Trainer) -> None:
        peaks = peak_rates(optimizers, trainer.lr_scheduler_configs, self.length)
        self.peak = max(itertools.chain.from_iterable(peaks))
        if not self.peak > 0:
            raise ValueError(
                f"the largest learning rate of all parameter groups is {self.peak}; "
                "configure one above 0, the range test scales it"
            )
        self.peaks = peaks
        self._ratios = [[rate / self.peak for rate in rates] for rates in peaks]
        self.lifts = [
            [peak / (initial_param(group, "lr") or peak or 1.0) for peak, group in pairs]
            for pairs in (
                zip(rates, optimizer.param_groups, strict=True)
                for rates, optimizer in zip(peaks, optimizers, strict=True)
            )
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fetch the validation batches, the same for every point."""
        assert isinstance(trainer, InnerTrainer)
        trainer.keep_workers()
        self.held.measure_before(trainer, pl_module)
        if not self.plan.val_batches:
            return
        loader = self.data.val_loader(pl_module)
        if loader is None:
            raise ValueError(
                "stage='val' needs a validation loader, and there is none; pass one to fit "
                "(val_data= of lr_range_test), or use stage='train'"
            )
        batches = itertools.islice(CombinedLoader(loader).flattened[0], self.plan.val_batches)
        for batch in batches:
            self._val.append(to_device(pl_module, batch))
        if not self._val:
            raise ValueError("stage='val' got no batch: the validation loader is empty")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the rate before the step, for optimizers that read it early."""
        self._epoch_batches += 1
        switch_weights(trainer.optimizers, "train")
        if not self._window:
            self._set_rates(trainer)
            if self._val:
                self._before = _mean_over_ranks(trainer, self._val_loss(trainer, pl_module))

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Record the loss under manual optimization, where it need not be returned."""
        if not pl_module.automatic_optimization:
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            scale = scaler.get_scale() if scaler is not None else 1.0
            self._backward.append(loss.detach() / scale)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Set the rate again, in case the module changed it."""
        self._tried = True
        self._set_rates(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Record a point if this batch ended in an optimizer step."""
        loss = self._loss(outputs, trainer, pl_module)
        self._backward.clear()
        self._tried |= self._stepped  # a plain torch optimizer reports only afterwards
        if loss is None:
            self._idle += 1
        else:
            self._window.append(loss)
        if self._tried and self._window:
            mean = torch.stack(self._window).mean()
            # A gradient scaler skips steps whose gradients overflow, which says nothing about the
            # rate, and steps whose loss is not finite, which does.
            is_point = self._stepped or not mean.isfinite()
            self._idle = 0 if is_point else self._idle + 1
            if is_point:
                self._add(trainer, mean, pl_module)
            self._window = []
        self._tried = self._stepped = False
        if self._idle >= _NO_LOSS:
            raise RuntimeError(
                f"{_NO_LOSS} batches in a row gave the range test no loss and no optimizer step; "
                "training_step must return a loss, or call manual_backward and step"
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the same epoch."""
        if not self._epoch_batches:
            raise RuntimeError(
                f"the training data ended after {len(self.losses)} of {len(self.plan.rates)} steps "
                "of the range test and did not start anew; make it of a Dataset, or of an "
                "IterableDataset whose __iter__ begins again"
            )
        self._epoch_batches = 0
        trainer.fit_loop.epoch_progress.current.processed = self._epoch  # type: ignore[attr-defined]

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Keep a KeyboardInterrupt, which Lightning turns into an exit."""
        if isinstance(exception, KeyboardInterrupt):  # other errors would keep its frames alive
            self.interrupt = exception

    def _add(self, trainer: Trainer, mean: Tensor, module: LightningModule) -> None:
        loss = _mean_over_ranks(trainer, mean) if self._before is None else self._before
        self.lrs.append(self.plan.rates[len(self.losses)])
        self.losses.append(loss)
        self.plan.on_point()
        if self._stop.add(loss):
            raise SweepDone
        if len(self.losses) == len(self.plan.rates):
            self.held.measure_after(trainer, module)
            raise SweepDone

    def _loss(self, outputs: Any, trainer: Trainer, module: LightningModule) -> Tensor | None:
        """Loss of one batch as a scalar tensor; None if it has none."""
        loss = loss_in(outputs)
        if loss is not None:
            # Lightning passes the loss divided by the accumulation steps.
            times = trainer.accumulate_grad_batches if module.automatic_optimization else 1
            return loss.detach().float().mean() * times
        if not self._backward:
            return None
        return torch.stack([one.float().mean() for one in self._backward]).sum()

    def _set_rates(self, trainer: Trainer) -> None:
        rate = self.plan.rates[min(len(self.losses), len(self.plan.rates) - 1)]
        for optimizer, ratios in zip(trainer.optimizers, self._ratios, strict=True):
            for group in optimizer.param_groups[len(ratios) :]:  # unfrozen meanwhile
                ratios.append(float(group["lr"]) / self.peak)
            for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
                set_param(group, "lr", rate * ratio)

    def _note_step(self, *_: Any) -> None:
        self._stepped = True

    def _val_loss(self, trainer: Trainer, module: LightningModule) -> Tensor:
        """Mean loss of ``validation_step`` over the kept batches."""
        losses = []
        with measuring(trainer, module), trainer.precision_plugin.val_step_context():
            module.on_validation_epoch_start()
            for index, batch in enumerate(self._val):
                losses.append(_validation_loss(module, batch, index))
        return torch.stack(losses).mean()


def _validation_loss(module: LightningModule, batch: Any, index: int) -> Tensor:
    output = called(module.validation_step, batch, index, 0)
    loss = loss_in(output)
    if loss is None:
        raise ValueError(
            "stage='val' needs validation_step to return its loss (a tensor, or a dict with "
            f"'loss'), got {described(output)}; return it, or use stage='train'"
        )
    return loss.detach().float().mean()


def _mean_over_ranks(trainer: Trainer, loss: Tensor) -> float:
    if trainer.world_size > 1:
        loss = trainer.strategy.reduce(loss, reduce_op="mean")
    return loss.item()


def _hold(optimizer: Optimizer, held: Mapping[str, float]) -> None:
    for group in optimizer.param_groups:
        for key, value in held.items():
            if not has_param(group, key):
                lacks = "neither 'momentum' nor 'betas'" if key == "momentum" else f"no {key!r}"
                raise ValueError(
                    f"param={key!r} cannot be tested: {type(optimizer).__name__} has {lacks} "
                    f"in its parameter groups; it has {sorted(group)}"
                )
            set_param(group, key, value)
