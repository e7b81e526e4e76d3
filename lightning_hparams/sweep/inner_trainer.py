"""The Trainer of a sweep: it mirrors the user's Trainer without side effects.

The module sees the epoch, step count and length of the user's run; the data repeat as needed.
It does not log, save or validate, and runs only the callbacks passed to it. A module can still read
from its trainer whatever has no side effects: folders, callbacks by type, validation loaders,
metrics, and attributes set by the user.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from ..internals import (
    ddp_arguments,
    detects_anomalies,
    run_in_this_process,
    syncs_batchnorm,
    uses_distributed_sampler,
)
from .place import Data, Place
from .stand_ins import CallbackStandIn, NoLogger

__all__ = ["InnerTrainer", "nothing"]


class InnerTrainer(Trainer):
    """Mirrors the user's Trainer and trains for any number of steps."""

    _planned: tuple[int, int | float] | None = None
    _epoch: int | None = None
    callbacks: list[Callback]
    _place: Place | None = None
    _data = Data()
    _val_loaders: Any = None

    @classmethod
    def like(cls, place: Place, data: Data, callbacks: Sequence[Callback]) -> InnerTrainer:
        """Create a Trainer with the settings of the user's.

        Args:
            place: The user's run, including its Trainer.
            data: The copied data to train with.
            callbacks: Callbacks to run.
        """
        outer = place.trainer
        on_gpu = outer.strategy.root_device.type not in ("cpu", "mps")
        inner = cls(
            accelerator=outer.accelerator,
            devices=outer.device_ids if on_gpu else outer.num_devices,
            num_nodes=outer.num_nodes,
            strategy=_strategy(outer, place.launched),
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
            log_every_n_steps=outer.log_every_n_steps,  # type: ignore[attr-defined]
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
        inner.callbacks = list(callbacks)  # without those that installed packages add to Trainers
        inner._place, inner._data = place, data
        return inner

    def show_callbacks(self, module: LightningModule) -> None:
        """Let the module look up the user's callbacks; called after the Trainer ran ``setup``.

        Args:
            module: The module in training, which copies of the callbacks refer to.
        """
        assert self._place is not None
        memo = {id(self._place.trainer): self, id(self._place.module): module}
        users = self._place.trainer.callbacks  # type: ignore[attr-defined]
        shown: list[Any] = [CallbackStandIn(callback, memo) for callback in users]
        self.callbacks = [*self.callbacks, *shown]

    def run_on(self, epoch: int, step: int) -> None:
        """Start at an epoch and step of the user's run, without a limit on steps."""
        self._planned = self.max_steps, self.estimated_stepping_batches
        self._epoch = epoch
        loop = self.fit_loop.epoch_loop
        loop.on_run_start = partial(self._start_data, loop.on_run_start)  # type: ignore[method-assign]
        self.fit_loop.epoch_progress.current.processed = epoch  # type: ignore[attr-defined]
        loop.max_steps = -1
        loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step
        loop.manual_optimization.optim_step_progress.total.completed = step

    def keep_workers(self) -> None:
        """Keep the worker processes of the loaders when the data restart."""
        loaders = self.train_dataloader
        for loader in [] if loaders is None else CombinedLoader(loaders).flattened:
            if isinstance(loader, DataLoader) and loader.num_workers > 0:
                vars(loader)["persistent_workers"] = True  # cannot be set any other way

    def let_go(self) -> None:
        """Drop every reference that the Trainer holds.

        Trainer, loops, strategy and module refer to each other, so without this they and the copy
        of the model would live until the garbage collector runs.
        """
        loops = (self.fit_loop, self.fit_loop.epoch_loop)
        for part in (*loops, self.strategy, self):
            vars(part).clear()

    def _start_data(self, start: Callable[[Any], None], fetcher: Any) -> None:
        """Restart the data, which the loop would skip in epoch 0."""
        shown, self._epoch = self._epoch, None
        try:
            start(fetcher)
        finally:
            self._epoch = shown

    # Properties that mirror the user's Trainer.

    @property
    def current_epoch(self) -> int:
        """Epoch of the user's run; it stays the same when the data restart."""
        return super().current_epoch if self._epoch is None else self._epoch

    @property
    def max_steps(self) -> int:
        """``max_steps`` of the user's run."""
        return self.fit_loop.max_steps if self._planned is None else self._planned[0]

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Expected optimizer steps of the user's run."""
        if self._planned is None:
            return super().estimated_stepping_batches
        return self._planned[1]

    @property
    def val_dataloaders(self) -> Any:
        """Validation loaders of the user, created on first access."""
        if self._val_loaders is None and self._place is not None and self._epoch is not None:
            self._val_loaders = self._data.val_loader(self.lightning_module)
        return self._val_loaders

    @property
    def num_val_batches(self) -> list[int | float]:
        """Validation batches per loader in the user's run."""
        loaders = self.val_dataloaders
        if loaders is None or self._place is None:
            return []
        limit = self._place.trainer.limit_val_batches
        return [_limited(loader, limit) for loader in CombinedLoader(loaders).flattened]

    @property
    def callback_metrics(self) -> Any:
        """Metrics of the sweep and of the user's run so far."""
        return {**self._metrics("callback_metrics"), **super().callback_metrics}

    @property
    def logged_metrics(self) -> Any:
        """Logged metrics of the sweep and of the user's run so far."""
        return {**self._metrics("logged_metrics"), **super().logged_metrics}

    def _metrics(self, name: str) -> dict[str, Any]:
        if self._place is None or self._epoch is None:
            return {}
        return copy.deepcopy(dict(getattr(self._place.trainer, name)))

    def __getattr__(self, name: str) -> Any:
        """Attributes that the user set on the Trainer (copied) or defined in a subclass."""
        place = vars(self).get("_place")
        if place is None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name not in vars(place.trainer):
            made = inspect.getattr_static(type(place.trainer), name)
            return made.__get__(self, type(self)) if hasattr(made, "__get__") else made
        memo: dict[int, Any] = {id(place.trainer): self, id(place.module): self.lightning_module}
        value = copy.deepcopy(vars(place.trainer)[name], memo)
        setattr(self, name, value)
        return value

    def save_checkpoint(self, *_: Any, **__: Any) -> None:
        """Do nothing: a sweep saves no checkpoints."""


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


def _accumulated(outer: Trainer) -> int:
    """Batches per optimizer step in the current epoch."""
    for callback in outer.callbacks:  # type: ignore[attr-defined]  # set on construction
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(outer.current_epoch)
    return outer.accumulate_grad_batches


def _limited(loader: Any, limit: float | None) -> float:
    """Number of batches of a validation loader under ``limit_val_batches``."""
    try:
        count: float = len(loader)
    except TypeError:
        count = float("inf")
    if limit is None or (isinstance(limit, float) and limit == 1.0):
        return count
    return min(count, limit) if isinstance(limit, int) else int(count * limit)


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing; replaces hooks that must not run."""
