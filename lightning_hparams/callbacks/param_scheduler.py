"""Schedules on the user's optimizers, without a change to the module."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from torch.optim import Optimizer

from ..checks import in_range, one_of, require, whole_number
from ..notices import Notices
from ..optim import initial_param, keep_initial, set_param
from ..schedules import (
    MomentumCycle,
    RateBound,
    Schedule,
    Span,
    as_schedule,
    check_rates,
    exp_range,
    one_cycle,
    triangular,
    triangular2,
)
from ._idle_hooks import skip_idle_hooks
from ._run_length import planned_steps, time_limit, timed_total

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Cyclic", "OneCycle", "ParamScheduler"]

OnResume = Literal["rescale", "continue", "strict"]
Rates = float | Sequence[float] | None
Steps = int | Sequence[int] | None

_FOOT = 0.25  # of the peak: "set base_lr to 1/3 or 1/4 of max_lr" (1506.01186, section 3.3)


class ParamScheduler(Callback):
    """Let a value of every parameter group follow a schedule, step by step.

    The value is a function of the optimizer's own steps and those of the whole run: a run resumed
    anywhere goes on as if never stopped, and past the end the last value holds. Each group's own
    value is multiplied, so the ratios between groups stay. A group added later, by unfreezing,
    follows from its first step on, from the value that it is added with.

    Steps are counted where the optimizer takes them: one that the gradient scaler skips does not
    count, and under manual optimization each optimizer has its own count. The length of the run
    is what the trainer plans. Under ``Trainer(max_time=...)`` it is estimated at each step from
    the time that the steps so far took, so that the schedule ends when the time does; only then
    a resumed run may differ from one that never stopped.

    A value configured anew for a resumed run takes effect, except a learning rate that came from
    a range test, which does not run again: change that one by ``max_lr``.

    Optimizers that have ``train()`` and ``eval()`` (schedule-free ones, 2405.15682) are in
    training mode for batches only, so that what is validated, saved and left after training are
    the averaged weights; but not in checkpoints of weights alone in the middle of an epoch, of
    which Lightning gives no notice.

    Args:
        schedule: A function ``(step, total) -> multiplier``, or the name of one of
            :mod:`lightning_hparams.schedules`.
        param: Key of the parameter groups: lr, weight_decay, ...; ``"momentum"`` is ``betas[0]``
            where there is no such key.
        total_steps: Optimizer steps in the run, or a list of one number an optimizer; None for
            what the trainer plans, with one step a batch under manual optimization.
        schedule_args: Further arguments of the schedule.
        on_resume: What to do if a resumed run has another length than the one that was stopped:
            ``"rescale"`` stretches the curve over the new length, ``"continue"`` keeps to the
            curve as it was and then holds its last value, ``"strict"`` raises before training.
        override: Take over from a scheduler that the module configures, instead of refusing it.

    Raises:
        ValueError: If an argument is out of its range, a group has no such value, the number of
            steps cannot be known, or it changed under ``on_resume="strict"``.
        RuntimeError: If something else would set the same value.
        TypeError: If the schedule gives no number, or an optimizer is not torch's.
    """

    def __init__(
        self,
        schedule: Schedule | str,
        param: str = "lr",
        total_steps: Steps = None,
        *,
        schedule_args: Mapping[str, Any] | None = None,
        on_resume: OnResume = "rescale",
        override: bool = False,
    ) -> None:
        super().__init__()
        skip_idle_hooks(self)
        one_of("on_resume", on_resume, ("rescale", "continue", "strict"))
        for steps in [total_steps] if isinstance(total_steps, (int, float)) else total_steps or []:
            whole_number("total_steps", steps, 1, remedy="count optimizer steps")
        shape = partial(as_schedule(schedule), **(schedule_args or {}))
        if not isinstance(shape(0, 1000), Real):
            raise TypeError(f"`schedule` must give a number, got {shape(0, 1000)!r} at (0, 1000)")
        self.param = param
        self.total_steps = total_steps
        self.on_resume = on_resume
        self.override = override
        self._shapes: dict[str, Schedule] = {param: shape}
        self._momentum: MomentumCycle | None = None
        self._loaded: dict[str, Any] | None = None
        self._configured: list[list[dict[str, float]]] = []  # optimizer, group, param
        self._tested: list[float] | None = None  # the range test's bounds, if it set the rates
        self._counts: list[int] = []  # configured groups of each optimizer
        self._bounds: dict[str, RateBound] = {}
        self._rows: list[_Rows] = []  # of each optimizer
        self._steps: list[int] = []
        self._totals: list[int] = []
        self._limits: list[int] = []  # totals if no time ends the run before
        self._timer: Timer | None = None
        self._started: list[int] = []  # steps behind when this fit began
        self._batches = 0
        self._depths: list[int] = []  # steps within steps
        self._notices = Notices(type(self).__name__)
        self._hooks: list[Any] = []
        self._schedule_free: list[Any] = []

    @property
    def state_key(self) -> str:
        """One for each parameter, so that several may be scheduled."""
        return self._generate_state_key(param=self.param)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget a fit before this one."""
        self._loaded = None
        self._notices.clear()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the configured values, before a checkpoint puts back those of its own step."""
        if not any(getattr(one, "param_groups", None) for one in trainer.optimizers):
            raise ValueError(
                f"{type(self).__name__} has nothing to schedule: configure_optimizers returned no "
                "optimizer; return one, or leave out the callback"
            )
        self._refuse_rivals(trainer, pl_module)
        self._schedule_free = [
            o for o in trainer.optimizers if hasattr(o, "train") and hasattr(o, "eval")
        ]
        self._configured = [
            [self._keep_initial(group) for group in optimizer.param_groups]
            for optimizer in trainer.optimizers
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the length of the run and the place in it, and set the values of its first step."""
        loaded, self._loaded = self._loaded, None
        optimizers = trainer.optimizers
        self._timer = time_limit(trainer) if self.total_steps is None else None
        self._limits = planned_steps(trainer, pl_module, self.total_steps, type(self).__name__)
        if loaded is None:
            # Also where a trainer goes on, or a checkpoint was made without this callback.
            self._steps = [trainer.global_step // len(optimizers) for _ in optimizers]
            self._counts = [len(groups) for groups in self._configured]
            self._tested = _range_tested(trainer) if self.param == "lr" else None
            self._totals = list(self._limits)
        else:
            self._steps = list(loaded["steps"])
            self._counts = list(loaded["counts"])
            self._tested = loaded["tested"]
            self._totals = self._after_resume(loaded["totals"])
        self._reconfigure(trainer)
        self._bounds = self._bound(self._own_values(trainer))
        self._rows = [_Rows([], 0, {}) for _ in optimizers]
        self._started = list(self._steps)
        self._batches = 0
        self._depths = [0 for _ in optimizers]
        self._hook(trainer)
        for index, optimizer in enumerate(optimizers):
            self._time(trainer, index)
            self._follow(index, optimizer)

    def follow_range_test(self, trainer: Trainer) -> None:
        """Take over the rates that a range test in mid-training has given the groups."""
        if self.param != "lr":
            return
        self._tested = _range_tested(trainer)
        self._bounds = self._bound(self._own_values(trainer))
        for index, optimizer in enumerate(trainer.optimizers):
            self._rows[index] = self._laid_out(index, optimizer.param_groups)
            self._apply(index)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let groups that were added follow."""
        self._batches += 1
        self._depths = [0 for _ in trainer.optimizers]
        for index, optimizer in enumerate(trainer.optimizers):
            self._follow(index, optimizer)
        self._switch("train")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See whether each optimizer steps as often as planned."""
        self._switch("eval")
        if not pl_module.automatic_optimization and self.total_steps is None:
            self._check_frequency()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the averaged weights of a schedule-free optimizer."""
        self._switch("eval")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the averaged weights of a schedule-free optimizer."""
        self._switch("eval")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the optimizers."""
        self._release(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Let go of the optimizers."""
        self._release(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the averaged weights of a schedule-free optimizer."""
        if self._switch("eval"):
            # The checkpoint shares the module's weights, but has a copy of the optimizer's mode.
            states = [trainer.strategy.optimizer_state(o) for o in trainer.optimizers]
            checkpoint["optimizer_states"] = states

    def state_dict(self) -> dict[str, Any]:
        """Steps taken, the length they were to be of, and where the rates came from."""
        return {
            "steps": list(self._steps),
            "totals": list(self._totals),
            "counts": list(self._counts),
            "tested": self._tested,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        if state_dict["steps"]:
            self._loaded = state_dict

    def preview(self, total: int) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """The values of every step, without a Trainer.

        Args:
            total: Optimizer steps in the run, at least 1.

        Returns:
            Name of each parameter -> its values (total,), or (total, groups) of a learning rate
            that is a list. Multiples of what is configured are shown for a configured 1, and a
            momentum that cycles as it would for SGD that has one.
        """
        in_range("total", total, 1, remedy="count optimizer steps")
        group = {self.param: 1.0, "momentum": 1.0}
        bounds = self._bound([1.0] * max(self._listed(), 1))
        spans = [self._group_spans(group, n, bounds) for n in range(max(self._listed(), 1))]
        values = {}
        for param, shape in self._shapes.items():
            heights = np.array([shape(step, total) for step in range(total)])[:, None]
            low, high = np.array([each[param] for each in spans]).T
            curve = low * (1 - heights) + high * heights
            values[param] = curve if param == "lr" and self._listed() else curve[:, 0]
        return values

    def plot(self, total: int, target: str | Path | Axes | None = None) -> Axes:
        """A picture of :meth:`preview`.

        Args:
            total: Optimizer steps in the run, at least 1.
            target: A file to write, axes to draw into, or None for a figure of its own.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
        """
        figures = require("matplotlib.figure", extra="plot")
        figure = figures.Figure(figsize=(6, 3), layout="constrained")
        axes: Axes
        axes = figure.add_subplot() if target is None or isinstance(target, (str, Path)) else target
        for place, (param, values) in enumerate(self.preview(total).items()):
            side = axes if place == 0 else axes.twinx()
            side.plot(values, color=f"C{place}" if values.ndim == 1 else None)
            side.set_ylabel(param, color=f"C{place}")
        axes.set_xlabel("optimizer step")
        axes.set_title(type(self).__name__)
        if isinstance(target, (str, Path)):
            figure.savefig(target)
        return axes

    # What a subclass says otherwise.

    def _bound(self, rates: Sequence[float]) -> dict[str, RateBound]:
        """Bounds by name, given the own values of all configured groups."""
        return {}

    def _span(
        self, group: Mapping[str, Any], place: int | None, bounds: Mapping[str, RateBound]
    ) -> Span:
        """A group's values where the schedule is 0 and 1; place None for a group added later."""
        return 0.0, initial_param(group, self.param)

    def _listed(self) -> int:
        """Number of groups in an argument that is a list, or 0."""
        return 0

    # Before training.

    def _refuse_rivals(self, trainer: Trainer, module: LightningModule) -> None:
        mine = type(self).__name__
        for other in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
            shared = set(self._shapes) & set(getattr(other, "_shapes", ()))
            if isinstance(other, ParamScheduler) and other is not self and shared:
                raise RuntimeError(
                    f"{mine} and {type(other).__name__} would both set {' and '.join(shared)}; "
                    "leave out one of the callbacks"
                    + (", or pass cycle_momentum=False" if shared == {"momentum"} else "")
                )
        for config in trainer.lr_scheduler_configs:
            cycles = getattr(config.scheduler, "cycle_momentum", False)
            if "lr" in self._shapes or ("momentum" in self._shapes and cycles):
                self._take_over(trainer, module, type(config.scheduler).__name__)
                return

    def _take_over(self, trainer: Trainer, module: LightningModule, rival: str) -> None:
        mine = type(self).__name__
        if not self.override:
            raise RuntimeError(
                f"{mine} and {rival} (from configure_optimizers) would both set the "
                f"{self.param.replace('lr', 'learning rate')}; return the optimizer alone, leave "
                f"out the callback, or pass {mine}(override=True)"
            )
        if not module.automatic_optimization:
            raise RuntimeError(
                f"{mine}(override=True) cannot take over from {rival}, which the module steps "
                "itself under manual optimization; return the optimizer alone"
            )
        trainer.strategy.lr_scheduler_configs = []
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                if "max_lr" in group:  # of OneCycleLR; the others keep the configured rate
                    group["initial_lr"] = group["max_lr"]

    def _keep_initial(self, group: dict[str, Any]) -> dict[str, float]:
        params = [self.param]
        if self._momentum is not None and self._momentum.cycles(group):
            params.append("momentum")
        return {param: keep_initial(group, param) for param in params}

    def _after_resume(self, before: Sequence[int]) -> list[int]:
        """The length to use, where a checkpoint had one of its own."""
        if list(before) == self._limits or self._timer is not None:
            return list(self._limits)
        if self.on_resume == "strict":
            raise ValueError(
                f"the run that was stopped had {list(before)} optimizer steps and this one has "
                f"{self._limits}, which {type(self).__name__}(on_resume='strict') does not allow; "
                "give it the same length, or pass on_resume='rescale' or 'continue'"
            )
        if self.on_resume == "continue" and self.total_steps is None:
            return list(before)
        return list(self._limits)

    def _reconfigure(self, trainer: Trainer) -> None:
        """Put what is configured now in the place of what was when the checkpoint was made.

        But not a rate that came from a range test, which has not run again; and groups that were
        added in training, only the checkpoint knows.
        """
        for optimizer, configured in zip(trainer.optimizers, self._configured, strict=True):
            for group, values in zip(optimizer.param_groups, configured, strict=False):
                for param, value in values.items():
                    if param != "lr" or self._tested is None or "initial_lr" not in group:
                        group[f"initial_{param}"] = value

    def _own_values(self, trainer: Trainer) -> list[float]:
        """Own values of all groups that were configured."""
        firsts = zip(trainer.optimizers, self._counts, strict=True)
        groups = [group for optimizer, count in firsts for group in optimizer.param_groups[:count]]
        return [initial_param(group, self.param) for group in groups]

    def _hook(self, trainer: Trainer) -> None:
        self._unhook()
        for index, optimizer in enumerate(trainer.optimizers):
            if not isinstance(optimizer, Optimizer):
                raise TypeError(
                    f"{type(self).__name__} counts the steps of a torch.optim.Optimizer, and "
                    f"{type(optimizer).__name__} is none; schedule it in configure_optimizers"
                )
            before = partial(self._before_step, index)
            after = partial(self._after_step, trainer, index)
            self._hooks.append(optimizer.register_step_pre_hook(before))
            self._hooks.append(optimizer.register_step_post_hook(after))

    # In training.

    def _before_step(self, index: int, optimizer: Optimizer, *_: Any) -> None:
        self._depths[index] += 1
        self._follow(index, optimizer)

    def _after_step(self, trainer: Trainer, index: int, optimizer: Optimizer, *_: Any) -> None:
        self._depths[index] -= 1
        if self._depths[index] > 0:
            return  # torch calls the hooks again for a step that calls that of its parent class
        # A fused optimizer is called even if the scaler found infinities, and skips by itself.
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is not None and found_inf.item():
            return
        self._steps[index] += 1
        self._time(trainer, index)
        if self._steps[index] > self._totals[index]:
            self._notices.warn(
                "end",
                f"training goes on after the {self._totals[index]} steps of the schedule, whose "
                "last value holds from here; pass total_steps=... for a longer one",
            )
        self._apply(index)

    def _time(self, trainer: Trainer, index: int) -> None:
        """Estimate the length of a run that a time ends."""
        if self._timer is not None and self._steps[index]:
            timed = timed_total(trainer, self._timer, self._steps[index])
            self._totals[index] = min(self._limits[index], timed)

    def _follow(self, index: int, optimizer: Optimizer) -> None:
        """See to groups that are new: added, or put there by loading a state."""
        groups, rows = optimizer.param_groups, self._rows[index]
        if groups is not rows.groups or len(groups) != rows.size:
            self._rows[index] = self._laid_out(index, groups)
            self._apply(index)

    def _apply(self, index: int) -> None:
        """Set the values of the coming step."""
        step, total = self._steps[index], self._totals[index]
        for param, rows in self._rows[index].by_param.items():
            height = self._shapes[param](step, total)
            depth = 1 - height
            for group, low, high in rows:
                set_param(group, param, low * depth + high * height)

    def _laid_out(self, index: int, groups: list[dict[str, Any]]) -> _Rows:
        """Between which values each group moves."""
        before = sum(self._counts[:index])
        by_param: dict[str, list[tuple[dict[str, Any], float, float]]] = {}
        for number, group in enumerate(groups):
            self._keep_initial(group)
            place = before + number if number < self._counts[index] else None
            for param, span in self._group_spans(group, place, self._bounds).items():
                by_param.setdefault(param, []).append((group, *span))
        return _Rows(groups, len(groups), by_param)

    def _group_spans(
        self, group: Mapping[str, Any], place: int | None, bounds: Mapping[str, RateBound]
    ) -> dict[str, Span]:
        spans = {self.param: self._span(group, place, bounds)}
        if self._momentum is not None and self._momentum.cycles(group):
            spans["momentum"] = self._momentum.span
        return spans

    def _check_frequency(self) -> None:
        for index, total in enumerate(self._totals):
            taken = self._steps[index] - self._started[index]
            # A gradient scaler skips a few steps; a step every second batch is another plan.
            if not self._batches < 2 * taken <= 2 * self._batches:
                self._notices.warn(
                    "frequency",
                    f"optimizer {index} took {taken} steps in {self._batches} batches, but the "
                    f"schedule counts on one a batch, {total} in all; pass total_steps=[...] with "
                    "the steps of each optimizer",
                )

    def _switch(self, mode: Literal["train", "eval"]) -> bool:
        """Put schedule-free optimizers into a mode; whether there are any."""
        for optimizer in self._schedule_free:
            getattr(optimizer, mode)()
        return bool(self._schedule_free)

    # After training.

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _release(self, trainer: Trainer) -> None:
        self._unhook()
        self._rows = []  # else they would keep the parameters alive
        self._schedule_free = []
        for optimizer in trainer.optimizers if self._momentum is not None else ():
            for group in optimizer.param_groups:
                if "initial_momentum" in group:
                    set_param(group, "momentum", group["initial_momentum"])


class OneCycle(ParamScheduler):
    """Let the learning rate rise to its peak and then fall, once over the whole run.

    The policy of Smith & Topin (1708.07120), :func:`lightning_hparams.schedules.one_cycle`, with
    the arguments and the values of torch's ``OneCycleLR``. After a range test the configured rate
    is the one it suggests, and so is the peak. What holds for :class:`ParamScheduler` holds here.

    The curve of fastai's ``fit_one_cycle`` is that of ``pct_start=0.25, final_div_factor=4e3``.

    Args:
        max_lr: Peak of the group with the largest rate, the others in ratio; a list of one peak a
            group, over all optimizers; None for the rates as configured or found by a range test.
        total_steps: As for :class:`ParamScheduler`.
        pct_start: Share of the run spent rising, in 0..1.
        div_factor: The first step has the peak divided by this.
        final_div_factor: The last step has the first's rate divided by this.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        three_phase: Fall as long as it rose, to the first rate, and on from there.
        cycle_momentum: Let the momentum mirror the rate: ``"auto"`` in groups whose ``momentum``
            is above 0, True in all, where ``betas[0]`` counts, too. In the end it is put back.
        base_momentum: Momentum at the peak of the rate, at least 0.
        max_momentum: Momentum where the rate is low, below 1.
        on_resume: As for :class:`ParamScheduler`.
        override: As for :class:`ParamScheduler`.

    Raises:
        ValueError: If an argument is out of its range, the number of steps cannot be known, or
            the momentum that is to cycle is 0.
        RuntimeError: If something else would set the same values.
    """

    def __init__(
        self,
        max_lr: Rates = None,
        total_steps: Steps = None,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        three_phase: bool = False,
        cycle_momentum: bool | Literal["auto"] = "auto",
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        on_resume: OnResume = "rescale",
        override: bool = False,
    ) -> None:
        shape: dict[str, Any] = {
            "pct_start": pct_start,
            "div_factor": div_factor,
            "final_div_factor": final_div_factor,
            "anneal_strategy": anneal_strategy,
            "three_phase": three_phase,
        }
        super().__init__(
            one_cycle,
            total_steps=total_steps,
            schedule_args=shape,
            on_resume=on_resume,
            override=override,
        )
        check_rates("max_lr", max_lr)
        self.max_lr = max_lr
        self._momentum = MomentumCycle(cycle_momentum, base_momentum, max_momentum)
        self._momentum.check()
        if cycle_momentum:
            # Whatever part of its peak the rate begins and ends with, the momentum is at its top.
            self._shapes["momentum"] = partial(one_cycle, **{**shape, "div_factor": math.inf})

    def _bound(self, rates: Sequence[float]) -> dict[str, RateBound]:
        return {"max_lr": RateBound.among("max_lr", self.max_lr, rates)}

    def _span(
        self, group: Mapping[str, Any], place: int | None, bounds: Mapping[str, RateBound]
    ) -> Span:
        return 0.0, bounds["max_lr"].at(initial_param(group, "lr"), place)

    def _listed(self) -> int:
        return len(self.max_lr) if isinstance(self.max_lr, Sequence) else 0


class Cyclic(ParamScheduler):
    """Let the learning rate swing between two bounds (Smith, 1506.01186), as torch's ``CyclicLR``.

    After a range test it swings between the bounds that this suggests, for the group with the
    largest rate, and the others in ratio. What holds for :class:`ParamScheduler` holds here.

    Args:
        base_lr: Lower bound of the group with the largest rate, the others in ratio; a list of
            one a group, over all optimizers; None for what a range test suggests, or a quarter of
            the upper one (section 3.3 of the paper).
        max_lr: Upper bound, likewise; None for what a range test suggests, or the configured rate.
        total_steps: As for :class:`ParamScheduler`.
        step_size_up: Steps from the lower to the upper bound; None for four cycles in the run,
            which end at the lower one.
        step_size_down: Steps back; None for as many.
        mode: ``"triangular"``, ``"triangular2"`` (each cycle half as high as the one before), or
            ``"exp_range"`` (the height times ``gamma**step``).
        gamma: For ``"exp_range"``, above 0 and at most 1.
        cycle_momentum: As for :class:`OneCycle`.
        base_momentum: Momentum at the upper bound of the rate, at least 0.
        max_momentum: Momentum at the lower bound of the rate, below 1.
        on_resume: As for :class:`ParamScheduler`.
        override: As for :class:`ParamScheduler`.

    Raises:
        ValueError: If an argument is out of its range, the lower bound is above the upper one, the
            number of steps cannot be known, or the momentum that is to cycle is 0.
        RuntimeError: If something else would set the same values.
    """

    def __init__(
        self,
        base_lr: Rates = None,
        max_lr: Rates = None,
        total_steps: Steps = None,
        step_size_up: float | None = None,
        step_size_down: float | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        cycle_momentum: bool | Literal["auto"] = "auto",
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        on_resume: OnResume = "rescale",
        override: bool = False,
    ) -> None:
        modes: dict[str, Schedule] = {
            "triangular": triangular,
            "triangular2": triangular2,
            "exp_range": partial(exp_range, gamma=gamma),
        }
        one_of("mode", mode, modes)
        super().__init__(
            modes[mode],
            total_steps=total_steps,
            schedule_args={
                "base": 0.0,
                "step_size_up": step_size_up,
                "step_size_down": step_size_down,
            },
            on_resume=on_resume,
            override=override,
        )
        check_rates("base_lr", base_lr)
        check_rates("max_lr", max_lr)
        self.base_lr = base_lr
        self.max_lr = max_lr
        self._momentum = MomentumCycle(cycle_momentum, base_momentum, max_momentum)
        self._momentum.check()
        if cycle_momentum:
            self._shapes["momentum"] = self._shapes["lr"]

    def _bound(self, rates: Sequence[float]) -> dict[str, RateBound]:
        base, top = self.base_lr, self.max_lr
        if self._tested is not None and top is None:
            base, top = self._tested[0] if base is None else base, self._tested[1]
        return {
            "base_lr": RateBound.among("base_lr", base, rates),
            "max_lr": RateBound.among("max_lr", top, rates),
        }

    def _span(
        self, group: Mapping[str, Any], place: int | None, bounds: Mapping[str, RateBound]
    ) -> Span:
        own = initial_param(group, "lr")
        top = bounds["max_lr"].at(own, place)
        if bounds["base_lr"].asked is None:
            return top * _FOOT, top
        base = bounds["base_lr"].at(own, place)
        in_range("base_lr", base, 0.0, top, remedy="it is the lower bound, max_lr the upper")
        return base, top

    def _listed(self) -> int:
        lists = [rates for rates in (self.base_lr, self.max_lr) if isinstance(rates, Sequence)]
        return len(lists[0]) if lists else 0


class _Rows(NamedTuple):
    """The groups of an optimizer, and for each parameter those that have it, and their spans."""

    groups: list[dict[str, Any]]
    size: int
    by_param: dict[str, list[tuple[dict[str, Any], float, float]]]


def _range_tested(trainer: Trainer) -> list[float] | None:
    """The bounds of a range test that set the learning rate, from whichever callback has one."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set on construction
        result: Any = getattr(callback, "result", None)
        if getattr(result, "status", None) not in ("ok", "no_divergence"):
            continue
        if getattr(callback, "apply", True) and getattr(callback, "param", "lr") == "lr":
            return [float(result.base_lr), float(result.max_lr)]
    return None
