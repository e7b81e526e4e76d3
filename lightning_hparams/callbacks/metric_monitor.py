"""Losses, metrics, per-class scores, rates, norms and curves in every logger of the Trainer."""

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
from ..tags import Stage
from ._class_names import class_names as names_of
from ._confusion import Confusion
from ._curves import Curves
from ._log_step import (
    is_due,
    pictures_due,
    validations_in,
)
from ._monitor import Monitor
from ._scalars import Scalars
from ._set_scores import histograms
from ._step_values import group_rates, losses, norms
from ._two_packages import refuse_other_lightning

__all__ = ["MetricMonitor"]


class MetricMonitor(Monitor):
    """Write what training is about, in one event a step, and never what is written already.

    What a module logs for its loggers by ``self.log``, Lightning writes; this adds the rest. Any
    module works; the package's tasks give all of the rows. Training values come at the first step
    and every ``log_every_n_steps`` steps of the Trainer, the others with each validation or test,
    pictures at the validations 0, 1, 2, 4, 8, ... and the last. All of it stands at the steps at
    which Lightning writes its own values: they count from 0, so that a validation after 100 steps
    stands at 99.

    | tag | meaning | unit |
    |---|---|---|
    | `loss/train` | loss of the step, before it is divided for gradient accumulation | |
    | `loss/train/{term}` | one part of it, unweighted | |
    | `loss/val`, `loss/test` | mean over the images | |
    | `loss/{val,test}/{term}` | one part of it, unweighted | |
    | `metric/{name}/{val,test}` | score of the whole set, such as `miou` | 0..1 |
    | `class/{name}/{class}/{val,test}` | score of one class; NaN if it does not occur | 0..1 |
    | `best/{tag}` | best so far of a validation's loss or metric, by a name like `val_loss` too | |
    | `lr/{group}` | learning rate of the step just taken, by group name | |
    | `momentum/{group}` | its momentum, or first beta, where the optimizer has one | |
    | `weight_decay/{group}` | its weight decay, where the optimizer has one | |
    | `norm/weight/{group}` | Euclidean norm of the group's weights before the step | |
    | `norm/grad/{group}` | and of its gradients, before they are clipped | |
    | `weights/{parameter}`, `grads/{parameter}` | ``histograms=True``: once an epoch | histogram |
    | `confusion/{val,test}` | true by predicted class, see ``val_counts`` below | picture |
    | `pr/{class}/{val,test}` | ``pr_curves=True``: precision over recall | curve |
    | `calibration/{val,test}` | ``calibration=True``: right predictions by confidence | picture |
    | `confidence/{val,test}` | ``calibration=True``: how sure the predictions are | histogram |
    | `class_extremes/{name}/{val,test}` | best and worst classes, if not all have curves | table |

    With several optimizers, ``lr/{optimizer}/{group}`` and its like count the optimizers from 0. A
    group without a name is called by its number, the second of a name ``{name} #2``. The rates of
    the last such step are among the Trainer's ``callback_metrics``, so that
    ``EarlyStopping(monitor="lr/decoder")`` works. A page of TensorBoard's *custom scalars* shows
    training and validation in one chart, and all classes of a score in another.

    The confusion matrix is that of a metric called ``val_counts`` (``test_counts``) of the module:
    ours, or any of which ``compute()`` gives ``(C, C)``, as torchmetrics'
    ``MulticlassConfusionMatrix``. Precision-recall curves are counted in 101 bins of the score from
    what ``validation_step`` returns, see :mod:`lightning_hparams.outputs`; boxes at an IoU of 0.5.
    Calibration, with its error in ``metric/calibration_error``, is that of the most probable class,
    of each label of multilabel, or of each box. Of several dataloaders the first one is counted,
    and Lightning puts ``/dataloader_idx_{number}`` behind the tags of scores.

    A value that the module itself logs at the end of an epoch is left to it, so that ``loss/train``
    is one curve. Once training runs, nothing here ends it: what a later batch or step returns in
    another form is left out, with one warning that names it.

    Args:
        max_classes: So many classes get curves of their own, at least 0; one line says if there
            are more.
        norms: Write the norms of weights and gradients.
        histograms: Write histograms of all weights and gradients.
        pr_curves: Count precision-recall curves: 0.1 s a batch of 16 x 256 x 256 pixels and 8
            classes on one CPU core.
        calibration: Count how often the model is right when it is so sure.
        class_names: For pictures and curves; None to ask the module, whose ``class_names`` may be
            a list, an array, an ``Enum``, a dict of names and indices, or a method.

    Raises:
        ValueError: If ``max_classes`` is negative, or boxes have a label without a name.
        TypeError: If ``validation_step`` returns nothing to count for the curves asked for.
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
        whole_number("max_classes", max_classes, 0)
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
        """Open the loggers, and begin anew: a checkpoint's values come after this."""
        refuse_other_lightning(self, trainer, pl_module)
        self._sinks = self._scalars.sinks = open_sinks(trainer, type(self).__name__)
        if stage == "fit":
            self._notices.clear()
            self._written_step = self._histogram_epoch = -1
            self._confusion.forget()
            self._scalars.begin()
            self._validations = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on where the checkpoint was taken."""
        self._go_on(trainer)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Note what this step uses; a scheduler may have changed the rates by its end."""
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
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write the step's losses, rates and norms."""
        if not self._rates:
            return  # not due, or no optimizer stepped
        device = trainer.strategy.root_device
        rates = {tag: torch.tensor(value, device=device) for tag, value in self._rates.items()}
        trainer.callback_metrics.update(rates)  # on all ranks, as Lightning's own monitor does
        self._written_step = log_step(trainer)
        if self._sinks:
            values = self._rates | {tag: float(value) for tag, value in self._norms.items()}
            found, refused = losses(outputs, trainer.accumulate_grad_batches)
            for key, reason in refused.items():
                self._notices.warn(key, f"{key} of training_step left out: {reason}")
            self._scalars.write_step(trainer, values | found, self._written_step)
        self._rates, self._norms = {}, {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from zero."""
        self._curves.reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count scores for the curves: only in a sanity check, what does not fit is an error."""
        if dataloader_idx or not trainer.loggers or not self._curves.wanted:
            return
        step = "test_step" if trainer.testing else "validation_step"
        names = self._names(pl_module)
        if trainer.sanity_checking:
            self._curves.count(pl_module, names, outputs, step)
            return
        with self._notices.attempt(f"curves of a {_stage(trainer)} set"), self._curves.all():
            self._curves.count(pl_module, names, outputs, step)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the confusion counts before the module may reset them."""
        if not trainer.sanity_checking:
            with self._notices.attempt("confusion matrix"):
                self._confusion.take(pl_module, _stage(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores that Lightning does not."""
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
        """Draw the last validation, whichever way training came to its end."""
        self._draw_confusion(pl_module)
        self._finish_writing(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Lose nothing of what there is."""
        self._draw_confusion(pl_module)
        self._finish_writing(trainer)

    on_test_start = on_validation_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end
    on_test_end = on_validation_end

    def state_dict(self) -> dict[str, Any]:
        """The best values, and how often the confusion matrix was drawn."""
        return {"best": dict(self._scalars.best.values), "validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them."""
        self._scalars.best.values = dict(state_dict.get("best", {}))
        self._validations = int(state_dict.get("validations", 0))

    def _count_curves(
        self, trainer: Trainer, module: LightningModule, stage: Stage, step: int
    ) -> dict[str, float]:
        """Write the curves; scalars of them are still to be written."""
        if not self._curves.wanted or not trainer.loggers:
            return {}
        values: dict[str, float] = {}
        # Every rank asks: one that has lost a batch must not leave the others waiting for it.
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
            return names_of(self.class_names or getattr(module, "class_names", None))
        return None


def _stage(trainer: Trainer) -> Stage:
    return "test" if trainer.testing else "val"
