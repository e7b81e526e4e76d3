"""Reports a metric to a search, and stops a trial that is not worth training on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ._idle_hooks import skip_idle_hooks
from ._two_packages import refuse_other_lightning

__all__ = ["TrialPruning"]

Outcome = Literal["", "pruned", "diverged"]


class TrialPruning(Callback):
    """Report a metric after each validation, and stop training when the search says so.

    Works in one process and in several: the process of rank zero reports and decides, and all of
    them stop. The callback only sets ``trainer.should_stop``, so training ends as usual; whoever
    runs the trial then reads ``outcome`` and raises ``optuna.TrialPruned``.

    >>> import optuna
    >>> trial = optuna.create_study().ask()
    >>> def report(step, value):
    ...     trial.report(value, step)
    ...     return trial.should_prune()
    >>> pruning = TrialPruning("metric/accuracy/val", report)

    A metric that is only logged in training is reported at the end of each epoch. The step of a
    report is the epoch; if an epoch has several validations, their count.

    Args:
        metric: Name of the metric as it is logged.
        report: Called in the process of rank zero with a step and the value of the metric; returns
            whether to stop.

    Attributes:
        reports: All values by step; a resumed run has the earlier ones too.
        outcome: ``"pruned"`` if ``report`` stopped the training, ``"diverged"`` if the metric was
            NaN or infinite, and ``""`` otherwise.
    """

    def __init__(self, metric: str, report: Callable[[int, float], bool]) -> None:
        super().__init__()
        skip_idle_hooks(self)
        if not isinstance(metric, str) or not metric:
            raise ValueError(f"`metric` must be the name of a logged metric, got {metric!r}")
        if not callable(report):
            raise TypeError(f"`report` must be a function of step and value, got {report!r}")
        self.metric, self.report = metric, report
        self.reports: dict[int, float] = {}
        self.outcome: Outcome = ""
        self._count = 0  # of validations with the metric
        self._before: Tensor | None = None  # the metric before this validation
        self._last: Tensor | None = None  # the metric as last reported
        self._reported = -1  # last epoch with a report

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start afresh, unless the run goes on from a checkpoint."""
        refuse_other_lightning(self, trainer, pl_module)
        if stage == "fit":
            self.reports, self.outcome = {}, ""
            self._count, self._reported = 0, -1
            self._before = self._last = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a resumed run that was to stop already."""
        if self.outcome:
            _stop(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the metric, to tell that of the validation from an earlier one of training."""
        self._before = trainer.callback_metrics.get(self.metric)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric of the validation."""
        value = trainer.callback_metrics.get(self.metric)
        if trainer.state.fn == "fit" and not trainer.sanity_checking and value is not self._before:
            self._take(trainer, value)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report a metric of training."""
        value = trainer.callback_metrics.get(self.metric)
        if value is not self._last and self._reported < trainer.current_epoch:
            self._take(trainer, value)

    def state_dict(self) -> dict[str, Any]:
        """Return the reports."""
        return {
            "reports": dict(self.reports),
            "outcome": self.outcome,
            "count": self._count,
            "reported": self._reported,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the reports."""
        self.reports = {int(step): float(value) for step, value in state_dict["reports"].items()}
        self._count, self._reported = state_dict["count"], state_dict["reported"]
        self.outcome = state_dict["outcome"]

    def _take(self, trainer: Trainer, found: Tensor | None) -> None:
        if found is None:
            return
        self._last, value = found, float(found)
        often = trainer.val_check_batch < trainer.num_training_batches  # type: ignore[operator]
        step = self._count if often else trainer.current_epoch
        self._count += 1
        self._reported = trainer.current_epoch
        outcome = self._decided(step, value) if trainer.is_global_zero else ""
        outcome = trainer.strategy.broadcast(outcome)
        if outcome != "diverged":
            self.reports[step] = value
        if outcome:
            self.outcome = outcome
            _stop(trainer)

    def _decided(self, step: int, value: float) -> Outcome:
        if not math.isfinite(value):
            return "diverged"
        return "pruned" if self.report(step, value) else ""


def _stop(trainer: Trainer) -> None:
    trainer.should_stop = True
    # The least length of a run, which protects it against early stopping, does not apply.
    trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None
