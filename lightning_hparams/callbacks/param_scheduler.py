"""Schedules for the parameter groups of a user's optimizers, without changing the module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning import Callback, LightningModule, Trainer

from ..checks import as_plain, as_steps, in_range, mapping_in, one_of
from ..notices import Notices
from ..optim import initial_param
from ..scheduler import (
    AveragedWeights,
    ConfiguredValues,
    OnResume,
    ScheduledRun,
    draw_values,
    refuse_endless,
    refuse_rivals,
    restore_momentum,
    scheduled_values,
)
from ..schedules import MomentumCycle, RateBound, Schedule, Span, as_schedule, check_call
from ..sweep import bounds_found
from ._idle_hooks import skip_idle_hooks
from ._two_packages import refuse_other_lightning

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ParamScheduler", "Rates", "Steps"]

Rates = float | Sequence[float] | None
Steps = int | Sequence[int] | None


class ParamScheduler(Callback):
    """Schedule a value of every parameter group, step by step.

    The value depends only on the steps of the optimizer and of the whole run: a run resumed at any
    step continues as if never stopped, and past the end the last value is kept. The schedule scales
    each group's own value, which preserves the ratios between groups. A group added later, e.g. by
    unfreezing, is scheduled from its first step, starting from the value it was added with.

    Scheduled values hold at every step: a value set by anything else in between, such as a manual
    warm-up or weight averaging, is not used, and a warning names what may have set it.

    Steps are counted as the optimizer takes them: those skipped by a gradient scaler do not count,
    and under manual optimization each optimizer has its own count. The length of the run is the
    number of steps taken and remaining, so that a run resumed with another batch size ends where
    its curve ends. Under ``Trainer(max_time=...)`` the length is estimated at each step from the
    duration of the steps so far, so that the schedule ends with the time limit; only then may a
    resumed run differ from one that never stopped.

    Values reconfigured for a resumed run take effect, except a learning rate found by a range test,
    which does not run again: change it with ``max_lr``.

    Optimizers with ``train()`` and ``eval()`` (schedule-free ones, 2405.15682) are in training mode
    for batches only, so that the averaged weights are validated, saved, and left after training.
    The exception is a weights-only checkpoint in the middle of an epoch, for which Lightning calls
    no hook.

    Args:
        schedule: A function ``(step, total) -> multiplier``, its import path, or the name of a
            function in :mod:`lightning_hparams.schedules`.
        param: Key of the parameter groups: lr, weight_decay, ...; ``"momentum"`` falls back
            to ``betas[0]`` if there is no such key.
        total_steps: Optimizer steps in the run, or a list with one number per optimizer; None for
            the number planned by the trainer, with one step per batch under manual optimization.
        schedule_args: Further arguments of the schedule.
        on_resume: What to do if a resumed run differs in length from the stopped one:
            ``"rescale"`` stretches the curve over the new length, ``"continue"`` keeps the old
            curve and then its last value, ``"strict"`` raises before training.
        override: Replace a scheduler configured by the module, instead of raising.

    Raises:
        ValueError: If an argument is out of range, a group lacks the value, or the number of steps
            cannot be determined or has changed under ``on_resume="strict"``.
        RuntimeError: If anything else would set the same value.
        TypeError: If the schedule does not return a number, or an optimizer is not a torch one.
    """

    def __init__(
        self,
        schedule: str | Callable[..., float],
        param: str = "lr",
        total_steps: Steps = None,
        *,
        schedule_args: Mapping[str, object] | None = None,
        on_resume: OnResume = "rescale",
        override: bool = False,
    ) -> None:
        super().__init__()
        skip_idle_hooks(self)
        one_of("on_resume", on_resume, ("rescale", "continue", "strict"))
        if not isinstance(param, str):
            raise TypeError(f"`param` must be a key of the parameter groups, got {param!r}")
        self.param = param
        self.total_steps = as_steps("total_steps", total_steps)
        self.on_resume = on_resume
        self.override = override
        self._shapes: dict[str, Schedule] = {
            param: _shape(schedule, mapping_in("schedule_args", schedule_args))
        }
        self._momentum: MomentumCycle | None = None
        self._loaded: dict[str, Any] | None = None
        self._configured = ConfiguredValues()
        self._tested: list[float] | None = None  # the range test's bounds, if it set the rates
        self._counts: list[int] = []  # configured groups of each optimizer
        self._bounds: dict[str, RateBound] = {}
        self._averaged = AveragedWeights()
        self._run = ScheduledRun(
            type(self).__name__, self._shapes, self._group_spans, self.total_steps, on_resume
        )

    @property
    def state_key(self) -> str:
        """A key per parameter, so that several can be scheduled."""
        return self._generate_state_key(param=self.param)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard the state of an earlier fit; check what is known before a range test runs."""
        refuse_other_lightning(self, trainer, pl_module)
        self._loaded = None
        if stage == "fit":
            _check_planned(self, trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the configured values, before a checkpoint restores its own."""
        name = type(self).__name__
        if not any(getattr(one, "param_groups", None) for one in trainer.optimizers):
            raise ValueError(
                f"{name} has nothing to schedule: configure_optimizers returned no optimizer; "
                "return one, or remove the callback"
            )
        refuse_rivals(trainer, pl_module, name, self.param, set(self._shapes), self.override)
        self._averaged = AveragedWeights(trainer)
        self._configured = ConfiguredValues(trainer.optimizers, self._params_of)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the progress and length of the run, and set the values of its first step."""
        loaded, self._loaded = self._loaded, None
        self._run.begin(trainer, pl_module, loaded)
        if loaded is None:
            tested = bounds_found(trainer) if self.param == "lr" else None
            loaded = {"counts": self._configured.counts(), "tested": tested}
        self._counts, self._tested = list(loaded["counts"]), loaded["tested"]
        self._configured.reapply(trainer.optimizers, tested=self._tested is not None)
        self._lay_out(trainer)

    def follow_range_test(self, trainer: Trainer) -> None:
        """Adopt the rates that a range test has set in the middle of training."""
        if self.param == "lr":
            self._tested = bounds_found(trainer)
            self._lay_out(trainer)

    def own_peak(self) -> Rates:
        """The peak set regardless of a range test; None to follow the range test."""
        return None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Schedule newly added groups."""
        self._run.at_batch(batch_idx)
        self._averaged.switch("train")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that each optimizer steps as often as planned."""
        self._averaged.switch("eval")
        self._run.at_epoch_end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the averaged weights of a schedule-free optimizer."""
        self._averaged.switch("eval")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch a schedule-free optimizer to its averaged weights."""
        self._averaged.switch("eval")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Release the optimizers."""
        self._release(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Release the optimizers."""
        with Notices(type(self).__name__).after_error("release the optimizers"):
            self._release(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the averaged weights of a schedule-free optimizer."""
        self._averaged.save(trainer, checkpoint)

    def state_dict(self) -> dict[str, Any]:
        """Return the steps taken, the planned length, and the origin of the rates."""
        own = {"counts": list(self._counts), "tested": self._tested}
        return {**self._run.state_dict(), **own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore this state at the start of training."""
        if state_dict["steps"]:
            self._loaded = state_dict

    def preview(self, total: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        """Compute the values of every step, without a Trainer.

        Args:
            total: Optimizer steps in the run, at least 1.

        Returns:
            Name of each parameter -> its values (total,), or (total, groups) for a learning rate
            given as a list. Multiples of configured values are shown for a configured value of 1,
            and cycling momentum as for SGD with momentum.
        """
        in_range("total", total, 1, remedy="count optimizer steps")
        group, count = {self.param: 1.0, "momentum": 1.0}, max(self._listed(), 1)
        bounds = self._bound([1.0] * count)
        spans = [self._group_spans(group, index, bounds) for index in range(count)]
        return {
            param: curve if param == "lr" and self._listed() else curve[:, 0]
            for param, curve in scheduled_values(self._shapes, spans, int(total)).items()
        }

    def plot(self, total: int, target: str | Path | Axes | None = None) -> Axes:
        """Plot :meth:`preview`.

        Args:
            total: Optimizer steps in the run, at least 1.
            target: A file to write, axes to draw into, or None for a new figure.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
        """
        return draw_values(self.preview(total), type(self).__name__, target)

    # Overridden by subclasses.

    def _bound(self, rates: Sequence[float]) -> dict[str, RateBound]:
        """Bounds by name, given the configured values of all groups."""
        return {}

    def _span(
        self, group: Mapping[str, Any], index: int | None, bounds: Mapping[str, RateBound]
    ) -> Span:
        """A group's values at schedule 0 and 1; ``index`` is None for a group added later."""
        return 0.0, initial_param(group, self.param)

    def _listed(self) -> int:
        """Number of groups in a list argument, or 0."""
        return 0

    def _params_of(self, group: dict[str, Any]) -> list[str]:
        cycles = self._momentum is not None and self._momentum.cycles(group)
        return [self.param, "momentum"] if cycles else [self.param]

    def _lay_out(self, trainer: Trainer) -> None:
        firsts = zip(trainer.optimizers, self._counts, strict=True)
        groups = [group for optimizer, count in firsts for group in optimizer.param_groups[:count]]
        self._bounds = self._bound([initial_param(group, self.param) for group in groups])
        if self._momentum is not None:
            self._momentum.check_groups(len(groups))
        self._run.lay_out(self._counts)

    def _group_spans(
        self,
        group: Mapping[str, Any],
        index: int | None,
        bounds: Mapping[str, RateBound] | None = None,
    ) -> dict[str, Span]:
        bounds = self._bounds if bounds is None else bounds
        spans = {self.param: self._span(group, index, bounds)}
        if self._momentum is not None and self._momentum.cycles(group, index):
            spans["momentum"] = self._momentum.span(index)
        return spans

    def _release(self, trainer: Trainer) -> None:
        self._averaged = AveragedWeights()
        try:
            self._run.end()
        finally:
            if self._momentum is not None:
                restore_momentum(trainer.optimizers)


def _check_planned(callback: ParamScheduler, trainer: Trainer) -> None:
    """Check what is known without an optimizer: the run ends and no callback is a rival."""
    name = type(callback).__name__
    refuse_endless(trainer, callback.total_steps, name)
    for other in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        shared = set(callback._shapes) & set(getattr(other, "_shapes", ()))
        if isinstance(other, ParamScheduler) and other is not callback and shared:
            raise RuntimeError(
                f"{name} and {type(other).__name__} would both set {' and '.join(shared)}; "
                "remove one of the callbacks"
                + (", or pass cycle_momentum=False" if shared == {"momentum"} else "")
            )


def _shape(schedule: str | Callable[..., float], args: Mapping[str, object]) -> Schedule:
    """Bind the schedule's further arguments, and try it once."""
    shape = partial(as_schedule(schedule), **{key: as_plain(value) for key, value in args.items()})
    check_call(shape)
    return shape
