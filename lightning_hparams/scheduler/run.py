"""Progress of a run along its schedule: the steps taken, and the steps expected in total."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lightning import LightningModule, Trainer
from torch.optim import Optimizer

from ..checks import counted
from ..notices import Notices
from ..schedules import Schedule, Span
from .group_values import Change, GroupValues
from .hooked_optimizers import HookedOptimizers
from .rivals import averaging_warning, replacement_warning, rival_warning
from .run_length import LengthState, Position, RunLength, position, time_limit, timed_total
from .step_frequency import Frequency, frequency_warning

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Timer

__all__ = ["OnResume", "ScheduledRun"]

OnResume = Literal["rescale", "continue", "strict"]


class ScheduledRun:
    """Counts the steps of each optimizer, and sets the values for the next one.

    Args:
        name: Name of the callback, for messages.
        shapes: Schedule of each parameter.
        spans: As for :class:`GroupValues`.
        total_steps: As for :class:`RunLength`.
        on_resume: As for :class:`ParamScheduler`.
    """

    def __init__(
        self,
        name: str,
        shapes: Mapping[str, Schedule],
        spans: Callable[[dict[str, Any], int | None], Mapping[str, Span]],
        total_steps: int | Sequence[int] | None,
        on_resume: OnResume,
    ) -> None:
        self._name = name
        self._shapes = shapes
        self._spans = spans
        self._given = total_steps
        self._on_resume = on_resume
        self._length = RunLength(total_steps, name)
        self._steps: list[int] = []
        self._totals: list[int] = []
        self._limits: list[int] = []  # totals, unless a time limit ends the run earlier
        self._left_at = 0  # the Trainer's steps at the end of the previous fit
        self._stopped: LengthState = {}  # state of the length, when the run was stopped
        self._fit: tuple[Trainer, LightningModule] | None = None
        self._counts: Sequence[int] = ()
        self._hooked = HookedOptimizers(name, self._hold, self._count)
        self._values: list[GroupValues] = []
        self._timer: Timer | None = None
        self._started: tuple[list[int], int] = ([], 0)  # our steps, and the Trainer's
        self._kept: list[int] | None = None  # the length of the stopped run
        self._batches = 0
        self._epoch: int | None = None
        self._notices = Notices(name)

    # Before training.

    def begin(
        self, trainer: Trainer, module: LightningModule, loaded: Mapping[str, Any] | None
    ) -> None:
        """Find the progress and the length of the run.

        Args:
            trainer: The trainer of the run.
            module: Its module.
            loaded: :meth:`state_dict` of the stopped run, or None.

        Raises:
            ValueError: If the length cannot be determined, differs under ``on_resume="strict"``, or
                the number of optimizers has changed.
            TypeError: If the steps of an optimizer cannot be counted.
        """
        self._clear()
        self._fit = trainer, module
        self._hooked.hook(trainer.optimizers)
        self._take_up(loaded)
        self._started = list(self._steps), trainer.global_step
        self._timer = time_limit(trainer) if self._given is None else None
        averaging = averaging_warning(trainer, self._name) if "lr" in self._shapes else None
        if averaging is not None:
            self._notices.warn("rival lr", averaging)
        if warning := self._length.unasked(trainer):
            self._notices.warn("length", warning)
        self._limits = self._length.totals(trainer, module, self._steps, position(trainer))
        self._totals = list(self._limits)
        if loaded is not None and self._timer is None:
            self._keep_length(list(loaded["totals"]))

    def lay_out(self, counts: Sequence[int]) -> None:
        """Set the values of the first step, or again after their ranges have changed.

        Args:
            counts: Number of groups of each optimizer before training.
        """
        self._values, self._counts = [], counts
        for index, optimizer in enumerate(self._hooked.optimizers):
            first = sum(counts[:index])
            self._values.append(
                GroupValues(optimizer, self._shapes, self._spans, first, counts[index])
            )
            self._time(index)
            self._values[index].lay_out()
            self._apply(index)

    # During training.

    def at_batch(self, batch_idx: int) -> None:
        """Schedule newly added groups, and adjust to an epoch of another length."""
        fit = self._fit
        assert fit is not None
        self._batches += 1
        if self._epoch != fit[0].current_epoch:
            trainer, module = fit
            if self._epoch is None:
                # Lightning decides after the start of training how to resume within an epoch.
                self._length.load_state_dict(self._stopped)
            self._epoch = trainer.current_epoch
            here = Position(self._epoch, batch_idx, trainer.accumulate_grad_batches)
            if self._kept is None:
                self._limits = self._length.totals(trainer, module, self._steps, here)
            if self._timer is None and self._kept is None and self._totals != self._limits:
                self._totals = list(self._limits)
                for index in range(len(self._values)):
                    self._apply(index)
        if not self._hooked.are(fit[0].optimizers):
            self._follow_replacement(fit[0].optimizers)
        self._hooked.forget_errors()
        for values in self._values:
            if change := values.hold():
                self._warn_of_rival(change)

    def at_epoch_end(self) -> None:
        """Check that each optimizer steps as often as planned."""
        trainer, module = self._current
        stepped = trainer.global_step - self._started[1]
        scales = getattr(trainer.precision_plugin, "scaler", None) is not None
        for index, optimizer in enumerate(self._hooked.optimizers):
            taken = self._steps[index] - self._started[0][index]
            found = Frequency(
                index=index,
                kind=type(optimizer).__name__,
                taken=taken,
                stepped=stepped,
                batches=self._batches,
                total=self._totals[index],
            )
            warning = frequency_warning(
                found,
                is_only=len(self._steps) == 1,
                is_manual=not module.automatic_optimization,
                is_given=self._given is not None,
                is_scaled=scales,
            )
            if warning is not None:
                self._notices.warn("frequency", warning)

    def end(self) -> None:
        """Release the optimizers, which would keep the parameters alive."""
        if self._fit is not None:
            self._left_at = self._fit[0].global_step
        try:
            self._stopped = self._length_state()
        finally:
            self._clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the steps taken and the planned length."""
        return {
            "steps": list(self._steps),
            "totals": list(self._totals),
            "length": dict(self._length_state()),
        }

    # Implementation.

    def _length_state(self) -> LengthState:
        if self._fit is None or self._epoch is None:
            return self._stopped
        return self._length.state_dict(position(self._fit[0], self._epoch))

    @property
    def _current(self) -> tuple[Trainer, LightningModule]:
        assert self._fit is not None
        return self._fit

    def _follow_replacement(self, optimizers: Sequence[Optimizer]) -> None:
        """Schedule the optimizers that have replaced those of the start of training."""
        if len(optimizers) != len(self._steps):
            warning = replacement_warning(self._name, len(self._steps), len(optimizers))
            self._notices.warn("replaced", warning)
            return
        self._hooked.hook(optimizers)
        self.lay_out(self._counts)

    def _clear(self) -> None:
        self._hooked.remove()
        self._values = []
        self._fit = self._timer = self._kept = self._epoch = None
        self._batches = 0
        self._notices.clear()

    def _take_up(self, loaded: Mapping[str, Any] | None) -> None:
        trainer = self._current[0]
        count = len(trainer.optimizers)
        if loaded is not None:
            if len(loaded["steps"]) != count:
                raise ValueError(
                    f"the stopped run had {len(loaded['steps'])} optimizers and this one has "
                    f"{count}, so {self._name} cannot resume it; start a new run from its weights"
                )
            self._steps = list(loaded["steps"])
            self._stopped = loaded.get("length", {})
        elif not (trainer.global_step == self._left_at > 0 and len(self._steps) == count):
            # A new run, or a checkpoint saved without this callback.
            self._steps = [trainer.global_step // count] * count
            self._stopped = {}
        self._length.load_state_dict(self._stopped)

    def _keep_length(self, before: list[int]) -> None:
        """Choose between the checkpoint's length and the current one."""
        if before == self._limits:
            return
        if self._on_resume == "strict":
            raise ValueError(
                f"the stopped run had {before} optimizer steps and this one has {self._limits}; "
                f"{self._name}(on_resume='strict') requires the same length; restore it, or pass "
                "on_resume='rescale' or 'continue'"
            )
        if self._on_resume == "continue" and self._given is None:
            self._totals = self._kept = before

    def _hold(self, index: int) -> None:
        if self._values and (change := self._values[index].hold()):
            self._warn_of_rival(change)

    def _count(self, index: int) -> None:
        self._steps[index] = step = self._steps[index] + 1
        if self._timer is not None:
            self._time(index)
        total = self._totals[index]
        if step > total:
            self._notices.warn(
                "end",
                f"training continues past the {counted(total, 'step')} of the schedule at its "
                "last value; pass total_steps=... for a longer schedule",
            )
        if self._values:
            self._values[index].set(step, total)

    def _time(self, index: int) -> None:
        """Estimate the length of a run that has a time limit."""
        if self._timer is not None and self._steps[index]:
            timed = timed_total(self._current[0], self._timer, self._steps[index])
            self._totals[index] = min(self._limits[index], timed)

    def _apply(self, index: int) -> None:
        """Set the values for the next step."""
        if self._values:
            self._values[index].set(self._steps[index], self._totals[index])

    def _warn_of_rival(self, change: Change) -> None:
        topic = f"rival {change.param}"
        if topic not in self._notices:
            self._notices.warn(topic, rival_warning(*self._current, self._name, change))
