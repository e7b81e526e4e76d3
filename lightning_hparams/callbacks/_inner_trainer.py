"""One sweep of a range test: an inner Trainer over copies of the user's module and data.

Everything is the user's own (module, optimizers, precision, accumulation, clipping, devices) but
for the learning rate. The inner Trainer has no logger, no checkpoint and no validation, and none of
the user's callbacks but those that are asked for. It shows the module the epoch, the steps and the
length of the user's run, and its data over and over; what a module does at the end of an epoch or
of a run, it does not do here.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import logging
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer

from ..internals import (
    LAST_RATES,
    PARTS,
    ddp_arguments,
    detects_anomalies,
    fit_data,
    resumes_after_preemption,
    run_in_this_process,
    syncs_batchnorm,
    to_device,
    uses_distributed_sampler,
)
from ..isolation import evaluation_mode
from ..optim import has_param, set_param
from ..range_test import Stop, Sweep

__all__ = [
    "Data",
    "NoLogger",
    "Plan",
    "check_trainer",
    "data_of",
    "datamodule_of",
    "optimizer_states",
    "peak_rates",
    "quiet",
    "resumes",
    "run_sweep",
    "scale_rates",
]

_NO_LOSS = 20  # batches in a row without a loss or a step before giving up


@dataclass(frozen=True)
class Data:
    """Where batches come from: loaders, a data module, or (both None) the module itself."""

    train: Any = None
    val: Any = None
    datamodule: LightningDataModule | None = None


@dataclass
class Plan:
    """What a sweep does, and what it finds.

    Args:
        rates: Learning rate of each step; that of the group with the largest one.
        held: Optimizer values held fixed in every group: ``weight_decay`` or ``momentum``.
        val_batches: Batches of validation data behind each point; 0 for the training loss.
        callbacks: Callbacks of the user that run too.
        optimizer_states: Of optimizers in mid-training; empty at the start.
        on_point: Called after each point, for a progress bar.
    """

    rates: Sequence[float]
    held: Mapping[str, float] = field(default_factory=dict)
    val_batches: int = 0
    callbacks: Sequence[Callback] = ()
    optimizer_states: Sequence[dict[str, Any]] = ()
    on_point: Callable[[], None] = lambda: None
    peak: float = math.nan  # found: the largest rate that the module configures


def check_trainer(trainer: Trainer) -> None:
    """Refuse a strategy whose processes each hold a part of the model.

    Raises:
        ValueError: With its name.
    """
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        raise ValueError(
            "a range test runs on one device or under DDP, got strategy "
            f"{type(trainer.strategy).__name__}; run it once on one device "
            "and write the rate into the module"
        )


def datamodule_of(trainer: Trainer) -> LightningDataModule | None:
    """The data module of a fit, if it has one."""
    found: LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
    return found


def data_of(trainer: Trainer) -> Data:
    """The data that ``trainer.fit`` was given."""
    datamodule = datamodule_of(trainer)
    if datamodule is not None:
        return Data(datamodule=datamodule)
    train, val = fit_data(trainer)
    return Data(train=train, val=val)


def resumes(trainer: Trainer) -> bool:
    """Whether a fit that is being set up goes on from a checkpoint.

    The Trainer keeps the path to itself until it reads the file, which comes after the callbacks'
    ``setup``; the argument of its running method is the only place that tells.
    """
    if resumes_after_preemption(trainer):
        return True
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "_run" and frame.f_locals.get("self") is trainer:
            return frame.f_locals["ckpt_path"] is not None
        frame = frame.f_back
    return False


def optimizer_states(trainer: Trainer) -> list[dict[str, Any]]:
    """States of all optimizers, to be copied before another loads them."""
    return [optimizer.state_dict() for optimizer in trainer.optimizers]


def run_sweep(
    module: LightningModule, data: Data, outer: Trainer, plan: Plan, launched: bool
) -> Sweep:
    """Train ``module`` while the rate rises, on a Trainer made for it; changes module and data.

    Args:
        module: A copy, or one that is put back afterwards.
        data: Copies.
        outer: The user's Trainer: settings are read from it.
        plan: What to do.
        launched: Whether the processes of ``outer`` are running (in one of its hooks).

    Raises:
        ValueError: If there is nothing to train with.
        RuntimeError: If no batch gives a loss.
    """
    _mute(module, data.datamodule, launched)
    recorder = _Recorder(plan, data, outer)
    with quiet(), _process_kept(launched):
        inner = _inner_trainer(outer, [recorder, *plan.callbacks], launched)
        try:
            inner.fit(module, train_dataloaders=data.train, datamodule=data.datamodule)
        except _Done:
            pass
        except SystemExit:
            # Lightning turns Ctrl-C into an exit; the Trainer around us must hear of it.
            if isinstance(recorder.exception, KeyboardInterrupt):
                raise recorder.exception from None
            raise
    if not recorder.losses:
        raise ValueError(
            "the range test got no batch: the training loader is empty or limit_train_batches=0"
        )
    return Sweep(recorder.lrs, recorder.losses)


class _Done(BaseException):
    """Leaves the inner Trainer at once, without the hooks of an end."""


def _mute(module: LightningModule, datamodule: LightningDataModule | None, launched: bool) -> None:
    """Replace hooks that belong to a whole run, or to the end of an epoch of one."""
    # Callbacks of the module would stop, save or log; attributes of a copy harm nobody.
    vars(module)["configure_callbacks"] = list
    for hook in ("on_train_epoch_end", "lr_scheduler_step"):
        vars(module)[hook] = _nothing
    if datamodule is not None:
        vars(datamodule)["on_exception"] = vars(datamodule)["teardown"] = _nothing
    if datamodule is not None and launched:
        vars(datamodule)["prepare_data"] = vars(datamodule)["setup"] = _nothing  # has been


class NoLogger(DummyLogger):
    """Takes everything, writes nothing, and has the folders of the logger in whose place it is."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self._dirs = original.save_dir, original.log_dir

    @property
    def save_dir(self) -> Any:
        """Of the original."""
        return self._dirs[0]

    @property
    def log_dir(self) -> Any:
        """Of the original."""
        return self._dirs[1]


def peak_rates(trainer: Trainer) -> list[list[float]]:
    """Configured learning rate of each optimizer's groups: the peak, where a scheduler has one."""
    peaks = [
        [float(group.get("max_lr", group.get("initial_lr", group["lr"]))) for group in groups]
        for groups in (optimizer.param_groups for optimizer in trainer.optimizers)
    ]
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        index = trainer.optimizers.index(scheduler.optimizer)
        highest = getattr(scheduler, "max_lrs", None)  # CyclicLR starts at its base
        if highest is not None:
            peaks[index] = [float(rate) for rate in highest]
        for place, function in enumerate(getattr(scheduler, "lr_lambdas", ())):
            peaks[index][place] *= _highest(function, trainer, config.interval)
    return peaks


def _highest(function: Callable[[int], float], trainer: Trainer, interval: str) -> float:
    """The largest factor of a LambdaLR over the run, looked at in a thousand places at most."""
    steps = trainer.estimated_stepping_batches if interval == "step" else trainer.max_epochs
    if steps is None or not 0 < steps < math.inf:
        return 1.0
    return max(float(function(step)) for step in range(0, int(steps), max(1, int(steps) // 1000)))


def scale_rates(trainer: Trainer, factor: float) -> None:
    """Multiply every rate in the optimizers, their schedulers and our schedule callbacks."""
    for group in (group for one in trainer.optimizers for group in one.param_groups):
        for key in ("lr", "initial_lr", "max_lr", "min_lr"):
            if key in group:
                group[key] *= factor
    for scheduler in _nested(config.scheduler for config in trainer.lr_scheduler_configs):
        for name in ("base_lrs", "max_lrs", LAST_RATES.path):
            if hasattr(scheduler, name):
                setattr(scheduler, name, [rate * factor for rate in getattr(scheduler, name)])
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if hasattr(callback, "follow_range_test"):
            callback.follow_range_test(trainer)


def _nested(schedulers: Iterable[Any]) -> Iterator[Any]:
    """Schedulers, and those that they are made of."""
    for scheduler in schedulers:
        yield scheduler
        yield from _nested(getattr(scheduler, PARTS.path, ()))


class _Recorder(Callback):
    """Sets the rate of each step and notes the loss before it."""

    def __init__(self, plan: Plan, data: Data, outer: Trainer) -> None:
        self.plan = plan
        self.data = data
        self._start = outer.current_epoch, outer.global_step
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.exception: BaseException | None = None
        self._stop = Stop()
        self._ratios: list[list[float]] = []
        self._val: list[Any] = []
        self._window: list[Tensor] = []  # losses since the last step
        self._backward: list[Tensor] = []  # losses of this batch, under manual optimization
        self._before: float | None = None  # validation loss before the step
        self._tried = False
        self._stepped = False
        self._idle = 0
        self._epoch_batches = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take hold of the optimizers, and let the loop run on over any number of epochs."""
        optimizers = [one for one in trainer.optimizers if isinstance(one, Optimizer)]
        if not optimizers or not any(one.param_groups for one in optimizers):
            raise ValueError(
                "configure_optimizers returned no optimizer, so there is no rate to test; "
                "return one"
            )
        assert isinstance(trainer, _InnerTrainer)
        trainer.run_on(*self._start)
        peaks = peak_rates(trainer)
        self.plan.peak = max(itertools.chain.from_iterable(peaks))
        if not self.plan.peak > 0:
            raise ValueError(
                f"the largest learning rate of all parameter groups is {self.plan.peak}; "
                "configure one above 0, the range test scales it"
            )
        self._ratios = [[rate / self.plan.peak for rate in rates] for rates in peaks]
        for config in trainer.lr_scheduler_configs:
            config.frequency = sys.maxsize  # never
            vars(config.scheduler)["step"] = _nothing  # where the module steps by itself
        for optimizer, state in zip(optimizers, self.plan.optimizer_states, strict=False):
            if len(state["param_groups"]) == len(optimizer.param_groups):  # else some came later
                # It would share the tensors of the state with the one that it comes from.
                optimizer.load_state_dict(copy.deepcopy(state))
        for optimizer in optimizers:
            optimizer.register_step_post_hook(self._note_step)
            _hold(optimizer, self.plan.held)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fetch the validation batches, the same for every point."""
        if not self.plan.val_batches:
            return
        batches = itertools.islice(_val_loader(self.data, pl_module), self.plan.val_batches)
        for batch in batches:
            self._val.append(to_device(pl_module, batch))
        if not self._val:
            raise ValueError("stage='val' got no batch: the validation loader is empty")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the rate before the step, for optimizers that read it early."""
        self._epoch_batches += 1
        if not self._window:
            self._set_rates(trainer)
            if self._val:
                self._before = _mean_over_ranks(trainer, self._val_loss(trainer, pl_module))

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Note the loss of a module that steps by itself and need not return it."""
        if not pl_module.automatic_optimization:
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            scale = scaler.get_scale() if scaler is not None else 1.0
            self._backward.append(loss.detach() / scale)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Set the rate once more, after whatever the module has set it to."""
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
        """Close the point, if this batch ended in a step."""
        loss = self._loss(outputs, trainer, pl_module)
        self._backward.clear()
        self._tried |= self._stepped  # a bare torch optimizer tells only afterwards
        if loss is None:
            self._idle += 1
        else:
            self._window.append(loss)
        if self._tried and self._window:
            mean = torch.stack(self._window).mean()
            # A gradient scaler skips a step whose gradients overflow, which says nothing of the
            # rate, or one whose loss is not a number any more, which does.
            is_point = self._stepped or not mean.isfinite()
            self._idle = 0 if is_point else self._idle + 1
            if is_point:
                self._add(trainer, mean)
            self._window = []
        self._tried = self._stepped = False
        if self._idle >= _NO_LOSS:
            raise RuntimeError(
                f"{_NO_LOSS} batches in a row gave the range test no loss and no optimizer step; "
                "training_step must return a loss, or call manual_backward and step"
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the same epoch anew."""
        if not self._epoch_batches:
            raise RuntimeError(
                f"the training data ended after {len(self.losses)} of {len(self.plan.rates)} steps "
                "of the range test and did not start anew; make it of a Dataset, or of an "
                "IterableDataset whose __iter__ begins again"
            )
        self._epoch_batches = 0
        trainer.fit_loop.epoch_progress.current.processed = self._start[0]  # type: ignore[attr-defined]

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Keep what Lightning may turn into an exit."""
        self.exception = exception

    def _add(self, trainer: Trainer, mean: Tensor) -> None:
        loss = _mean_over_ranks(trainer, mean) if self._before is None else self._before
        self.lrs.append(self.plan.rates[len(self.losses)])
        self.losses.append(loss)
        self.plan.on_point()
        if self._stop.add(loss) or len(self.losses) == len(self.plan.rates):
            raise _Done

    def _loss(self, outputs: Any, trainer: Trainer, module: LightningModule) -> Tensor | None:
        """Loss of one batch, as one number on the device."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            # Lightning hands over the loss as it went into backward: divided.
            times = trainer.accumulate_grad_batches if module.automatic_optimization else 1
            return loss.detach().float().mean() * times
        if not self._backward:
            return None
        return torch.stack([one.float().mean() for one in self._backward]).sum()

    def _set_rates(self, trainer: Trainer) -> None:
        rate = self.plan.rates[min(len(self.losses), len(self.plan.rates) - 1)]
        for optimizer, ratios in zip(trainer.optimizers, self._ratios, strict=True):
            for group in optimizer.param_groups[len(ratios) :]:  # unfrozen since
                ratios.append(float(group["lr"]) / self.plan.peak)
            for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
                set_param(group, "lr", rate * ratio)

    def _note_step(self, *_: Any) -> None:
        self._stepped = True

    def _val_loss(self, trainer: Trainer, module: LightningModule) -> Tensor:
        """Mean of what ``validation_step`` returns over the batches kept."""
        vars(module)["log"] = vars(module)["log_dict"] = _nothing  # not in this hook
        losses = []
        validating = trainer.precision_plugin.val_step_context()
        try:
            with evaluation_mode(module), torch.no_grad(), validating:
                module.on_validation_epoch_start()
                for index, batch in enumerate(self._val):
                    losses.append(_validation_loss(module, batch, index))
        finally:
            del vars(module)["log"], vars(module)["log_dict"]
        return torch.stack(losses).mean()


def _validation_loss(module: LightningModule, batch: Any, index: int) -> Tensor:
    taken = len(inspect.signature(module.validation_step).parameters)
    output = module.validation_step(*(batch, index, 0)[:taken])
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        got = sorted(output) if isinstance(output, Mapping) else type(output).__name__
        raise ValueError(
            "stage='val' needs validation_step to return its loss (a tensor, or a dict with "
            f"'loss'), got {got}; return it, or use stage='train'"
        )
    return loss.detach().float().mean()


def _val_loader(data: Data, module: LightningModule) -> Any:
    if data.val is not None:
        loader = data.val
    else:
        owner = module if data.datamodule is None else data.datamodule
        if not is_overridden("val_dataloader", owner):
            raise ValueError(
                "stage='val' needs a validation loader, and there is none; pass one to fit "
                "(val_data= of lr_range_test), or use stage='train'"
            )
        loader = owner.val_dataloader()
    return CombinedLoader(loader).flattened[0]


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


def _inner_trainer(outer: Trainer, callbacks: Sequence[Callback], launched: bool) -> Trainer:
    on_gpu = outer.strategy.root_device.type not in ("cpu", "mps")
    inner = _InnerTrainer(
        accelerator=outer.accelerator,
        devices=outer.device_ids if on_gpu else outer.num_devices,
        num_nodes=outer.num_nodes,
        strategy=_strategy(outer, launched),
        plugins=[copy.deepcopy(outer.precision_plugin)],
        accumulate_grad_batches=_accumulated(outer),
        gradient_clip_val=outer.gradient_clip_val,
        gradient_clip_algorithm=outer.gradient_clip_algorithm,
        detect_anomaly=detects_anomalies(outer),
        sync_batchnorm=syncs_batchnorm(outer.strategy),
        use_distributed_sampler=uses_distributed_sampler(outer),
        reload_dataloaders_every_n_epochs=outer.reload_dataloaders_every_n_epochs,  # type: ignore[attr-defined]
        limit_train_batches=outer.limit_train_batches,
        overfit_batches=outer.overfit_batches,  # type: ignore[attr-defined]
        max_epochs=outer.max_epochs,
        max_steps=outer.max_steps,
        default_root_dir=outer.default_root_dir,
        num_sanity_val_steps=0,
        logger=[NoLogger(logger) for logger in outer.loggers] or False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    inner.limit_val_batches = 0  # overfit_batches would set it
    return inner


def _accumulated(outer: Trainer) -> int:
    """Batches to a step in the present epoch."""
    for callback in outer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(outer.current_epoch)
    return outer.accumulate_grad_batches


class _InnerTrainer(Trainer):
    """Shows the length of the user's run, and does not end with it."""

    _planned: tuple[int, int | float] | None = None
    _epoch: int | None = None

    def run_on(self, epoch: int, step: int) -> None:
        """Start from an epoch and a step of the user's run, and take any number of steps."""
        self._planned = self.max_steps, self.estimated_stepping_batches
        self._epoch = epoch
        loop = self.fit_loop.epoch_loop
        loop.on_run_start = partial(self._start_data, loop.on_run_start)  # type: ignore[method-assign]
        self.fit_loop.epoch_progress.current.processed = epoch  # type: ignore[attr-defined]
        self.fit_loop.epoch_loop.max_steps = -1
        automatic = self.fit_loop.epoch_loop.automatic_optimization
        automatic.optim_progress.optimizer.step.total.completed = step
        self.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = step

    def _start_data(self, start: Callable[[Any], None], fetcher: Any) -> None:
        """Begin with the data anew, which the loop leaves out in an epoch 0."""
        shown, self._epoch = self._epoch, None
        try:
            start(fetcher)
        finally:
            self._epoch = shown

    @property
    def current_epoch(self) -> int:
        """Of the user's run: however often the data start over, the epoch is the same."""
        return super().current_epoch if self._epoch is None else self._epoch

    @property
    def max_steps(self) -> int:
        """Of the user's run."""
        return self.fit_loop.max_steps if self._planned is None else self._planned[0]

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Of the user's run."""
        if self._planned is None:
            return super().estimated_stepping_batches
        return self._planned[1]

    def save_checkpoint(self, *_: Any, **__: Any) -> None:
        """Save nothing."""


def _strategy(outer: Trainer, launched: bool) -> Strategy | str:
    if not isinstance(outer.strategy, DDPStrategy):
        return "auto"
    strategy = DDPStrategy(
        cluster_environment=outer.strategy.cluster_environment,
        process_group_backend=outer.strategy.process_group_backend,
        **ddp_arguments(outer.strategy),
    )
    if launched:
        run_in_this_process(strategy)
    return strategy


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Lightning tells of its Trainer: the outer one says it too."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _process_kept(launched: bool) -> Iterator[None]:
    """Put back what the end of a Trainer changes in its process."""
    world_size = os.environ.get("WORLD_SIZE") if launched else None
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if world_size is not None:
            os.environ["WORLD_SIZE"] = world_size
        if is_main:
            signal.signal(signal.SIGINT, handler)


def _nothing(*_: Any, **__: Any) -> None:
    pass
