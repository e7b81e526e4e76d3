"""Losses, metrics, class scores, learning rates, norms and curves in the Trainer's loggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from ..checks import names_in, whole_number
from ..internals import log_step
from ..sinks import is_rehearsal, open_sinks
from ..tags import Stage, class_names as names_of
from ._confusion import Confusion
from ._curves import Curves
from ._log_step import (
    is_due,
    pictures_due,
    validations_in,
)
from ._monitor import Monitor, module_value
from ._scalars import Scalars
from ._step_values import group_rates, histograms, losses, norms
from ._two_packages import refuse_other_lightning

__all__ = ["MetricMonitor"]


class MetricMonitor(Monitor):
    """Log losses, class scores, learning rates, norms and curves, one event per step.

    Lightning writes whatever a module logs by ``self.log``; this callback adds the rest, without
    duplicates. It works with any module; the package's tasks provide all rows below. Training
    values are written at the first step and every ``log_every_n_steps`` steps, the others after
    each validation or test, pictures after validations 0, 1, 2, 4, 8, ... and the last one. All use
    the same steps as Lightning's own values, which count from 0: a validation after 100 steps is
    logged at step 99.

    | tag | meaning | unit |
    |---|---|---|
    | `loss/train` | loss of the step, not divided for gradient accumulation | |
    | `loss/train/{term}` | one term of it, unweighted | |
    | `loss/val`, `loss/test` | mean over all images | |
    | `loss/{val,test}/{term}` | one term of it, unweighted | |
    | `metric/{name}/{val,test}` | score over the whole set, such as `miou` | 0..1 |
    | `class/{name}/{class}/{val,test}` | score of one class; NaN if it never occurs | 0..1 |
    | `best/{tag}` | best validation loss or metric so far, also for names like `val_loss` | |
    | `lr/{group}` | learning rate of the step just taken, by group name | |
    | `momentum/{group}` | momentum, or first beta, if the optimizer has one | |
    | `weight_decay/{group}` | weight decay, if the optimizer has one | |
    | `norm/weight/{group}` | Euclidean norm of the group's weights before the step | |
    | `norm/grad/{group}` | Euclidean norm of its gradients before clipping | |
    | `weights/{parameter}`, `grads/{parameter}` | ``histograms=True``: once per epoch | histogram |
    | `confusion/{val,test}` | true vs predicted class, see ``val_counts`` below | picture |
    | `predicted/{val,test}` | predicted vs true values of a regression | picture |
    | `pr/{class}/{val,test}` | ``pr_curves=True``: precision vs recall | curve |
    | `calibration/{val,test}` | ``calibration=True``: accuracy vs confidence | picture |
    | `confidence/{val,test}` | ``calibration=True``: distribution of confidence | histogram |
    | `class_extremes/{name}/{val,test}` | best and worst classes, if not all have curves | table |

    With several optimizers the tags are ``lr/{optimizer}/{group}`` and so on, where optimizers are
    numbered from 0. A group without a name is identified by its index, the second group with the
    same name by ``{name} #2``. The latest rates are added to the Trainer's ``callback_metrics``, so
    ``EarlyStopping(monitor="lr/decoder")`` works. A TensorBoard *custom scalars* page shows
    training and validation in one chart, and all classes of a score in another.

    The confusion matrix comes from the module's metric ``val_counts`` (``test_counts``), whose
    ``compute()`` returns ``(C, C)``, such as torchmetrics'; predicted values from ``val_pairs``,
    our ``ValueCounts``. Precision-recall curves use 101 score bins and the outputs of
    ``validation_step``, see :mod:`lightning_hparams.outputs`; boxes are matched at an IoU of 0.5.
    Calibration is for the most probable class, each label in multilabel tasks, or each box, its
    error in ``metric/calibration_error``. With several dataloaders these use the first one, and
    Lightning appends ``/dataloader_idx_{number}`` to the tags of scores.

    A value that the module itself logs at the end of an epoch is not written again, so
    ``loss/train`` remains a single curve. No error here ends a running training: later outputs in
    an unexpected form are omitted, with a single warning that names them.

    Args:
        max_classes: Maximum number of classes with curves, at least 0; more are reported.
        norms: Write the norms of weights and gradients.
        histograms: Write histograms of all weights and gradients.
        pr_curves: Write precision-recall curves, which takes 0.1 s per batch of 16 x 256 x 256
            pixels and 8 classes on one CPU core.
        calibration: Write how often predictions of each confidence are right.
        class_names: Names for pictures and curves; None for the module's ``class_names`` (an
            attribute or hyperparameter): a list, array, ``Enum``, dict of names and indices, or
            method.

    Raises:
        ValueError: If ``max_classes`` is negative, or a box has a label without a name.
        TypeError: If the output of ``validation_step`` lacks the values for a requested curve.
    """

    def __init__(
        self,
        *,
        max_classes: int = 50,
        norms: bool = True,
        histograms: bool = False,
        pr_curves: bool = False,
        calibration: bool = False,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        max_classes = whole_number("max_classes", max_classes, 0)
        if class_names is not None:
            names_in("class_names", class_names)
        self.max_classes = max_classes
        self.norms = norms
        self.histograms = histograms
        self.class_names = class_names
        self._scalars = Scalars(self._notices, max_classes)
        self._rates: dict[str, float] = {}
        self._norms: dict[str, Tensor] = {}
        self._written_step = -1
        self._histogram_epoch = -1
        self._validations = 0
        self._confusion = Confusion()
        self._curves = Curves(pr_curves=pr_curves, calibration=calibration, max_classes=max_classes)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers and reset the state, before a checkpoint restores it."""
        refuse_other_lightning(self, trainer, pl_module)
        self._sinks = self._scalars.sinks = open_sinks(trainer, type(self).__name__)
        if stage == "fit":
            self._notices.clear()
            self._written_step = self._histogram_epoch = -1
            self._confusion.forget()
            self._scalars.begin()
            self._validations = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue the logs at the step of the checkpoint."""
        self._go_on(trainer)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Record rates and norms now: a scheduler may change the rates before the batch ends."""
        if is_rehearsal(trainer):
            return
        if self.histograms and self._sinks and self._histogram_epoch != trainer.current_epoch:
            self._histogram_epoch = trainer.current_epoch
            with self._notices.attempt("histograms"):
                for tag, counts, edges in histograms(pl_module):
                    self._sinks.histogram(tag, counts, edges, log_step(trainer))
        if is_due(trainer, self._written_step):
            with self._notices.attempt("rates of parameter groups"):
                self._rates |= group_rates(trainer.optimizers, optimizer)
            if self.norms and self._sinks:
                with self._notices.attempt("norms of parameter groups"):
                    self._norms |= norms(trainer.optimizers, optimizer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Write the losses, rates and norms of the step."""
        if not self._rates:
            return  # not due, or no optimizer stepped
        device = trainer.strategy.root_device
        rates = {tag: torch.tensor(value, device=device) for tag, value in self._rates.items()}
        trainer.callback_metrics.update(rates)  # on all ranks, like LearningRateMonitor
        self._written_step = log_step(trainer)
        if self._sinks:
            values = self._rates | {tag: float(value) for tag, value in self._norms.items()}
            found, refused = losses(outputs, trainer.accumulate_grad_batches)
            for key, reason in refused.items():
                self._notices.warn_of_name(
                    "output", key, f"{key} of training_step left out: {reason}"
                )
            self._scalars.write_step(trainer, values | found, self._written_step)
        self._rates, self._norms = {}, {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the curves."""
        self._curves.reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch to the curves; an invalid output raises only during the sanity check."""
        if dataloader_idx or not trainer.loggers or not self._curves.wanted:
            return
        step = "test_step" if trainer.testing else "validation_step"
        given = pl_module, self._names(pl_module), outputs, step
        # Too few names in an argument are an error; those of the module are only looked at.
        told = self._notices.about("class names") if self.class_names is None else None
        if trainer.sanity_checking:
            self._curves.count(*given, told)
            return
        with self._notices.attempt(f"curves of a {_stage(trainer)} set"), self._curves.all():
            self._curves.count(*given, told)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the confusion counts before the module may reset them."""
        if not trainer.sanity_checking:
            with self._notices.attempt("confusion matrix"):
                self._confusion.take(pl_module, _stage(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores that Lightning does not write."""
        if trainer.sanity_checking:
            return
        stage, step = _stage(trainer), log_step(trainer)
        fitting = trainer.state.fn == "fit"
        calibration = self._count_curves(trainer, pl_module, stage, step)
        self._scalars.write_set(trainer, stage, calibration, step)
        self._confusion.hold(stage, step)
        if not fitting or pictures_due(self._validations, validations_in(trainer)):
            self._draw_confusion(pl_module)
        self._validations += fitting
        self._finish_writing(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last validation, however training ended."""
        self._draw_confusion(pl_module)
        self._finish_writing(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Draw and write everything recorded so far."""
        self._draw_confusion(pl_module)
        self._finish_writing(trainer)

    on_test_start = on_validation_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end
    on_test_end = on_validation_end

    def state_dict(self) -> dict[str, Any]:
        """Best values, and the number of validations so far."""
        return {"best": dict(self._scalars.best.values), "validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best values and the number of validations."""
        self._scalars.best.values = dict(state_dict.get("best", {}))
        self._validations = int(state_dict.get("validations", 0))

    def _count_curves(
        self, trainer: Trainer, module: LightningModule, stage: Stage, step: int
    ) -> dict[str, float]:
        """Write the curves, and return their scalars for the caller to write."""
        if not self._curves.wanted or not trainer.loggers:
            return {}
        values: dict[str, float] = {}
        # A collective call on every rank: one that lost a batch must not leave the others waiting.
        if trainer.strategy.reduce_boolean_decision(self._curves.is_whole):
            with self._notices.attempt(f"curves of a {stage} set"):
                values = self._curves.write(self._names(module), stage, step, self._sinks)
        self._curves.reset()
        return values

    def _finish_writing(self, trainer: Trainer) -> None:
        if trainer.state.fn == "fit":
            self._scalars.write_page()
        self._sinks.flush()

    def _draw_confusion(self, module: LightningModule) -> None:
        with self._notices.attempt("confusion matrix"):
            self._confusion.draw(self._names(module), self._sinks)

    def _names(self, module: LightningModule) -> list[str] | None:
        with self._notices.attempt("class_names"):
            return names_of(self.class_names or module_value(module, "class_names"))
        return None


def _stage(trainer: Trainer) -> Stage:
    return "test" if trainer.testing else "val"
