"""Losses, metrics, per-class scores, rates, norms and curves in every logger of the Trainer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import Metric

from ..checks import names_in, whole_number
from ..internals import log_step
from ..optim import get_param, group_norms, has_param
from ..render import confusion_picture, encode
from ..sinks import Sink, open_sinks
from ..tags import BestValues, Stage, Tag, best_tag, charts
from ._curves import Curves
from ._idle_hooks import skip_idle_hooks
from ._log_step import (
    is_due,
    lightning_writes,
    pictures_due,
    resume_sinks,
    validations_in,
)

__all__ = ["MetricMonitor"]

_HISTOGRAM_BINS = 64
_EXTREMES = 10


class MetricMonitor(Callback):
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
    | `norm/weight/{group}` | Euclidean norm of the group's weights before the step | |
    | `norm/grad/{group}` | and of its gradients, before they are clipped | |
    | `weights/{parameter}`, `grads/{parameter}` | ``histograms=True``: once an epoch | histogram |
    | `confusion/{val,test}` | true by predicted class, see ``val_counts`` below | picture |
    | `pr/{class}/{val,test}` | ``pr_curves=True``: precision over recall | curve |
    | `calibration/{val,test}` | ``calibration=True``: right predictions by confidence | picture |
    | `confidence/{val,test}` | ``calibration=True``: how sure the predictions are | histogram |
    | `class_extremes/{name}/{val,test}` | best and worst classes, if not all have curves | table |

    With several optimizers, ``lr/{optimizer}/{group}`` and its like count the optimizers from 0. A
    group without a name is called by its number. A page of TensorBoard's *custom scalars* shows
    training and validation in one chart, and all classes of a score in another.

    The confusion matrix is that of a metric called ``val_counts`` (``test_counts``) of the module:
    ours, or any of which ``compute()`` gives ``(C, C)``, as torchmetrics'
    ``MulticlassConfusionMatrix``. Precision-recall curves are counted in 101 bins of the score from
    what ``validation_step`` returns, see :mod:`lightning_hparams.outputs`; boxes at an IoU of 0.5.
    Calibration, with its error in ``metric/calibration_error``, is that of the most probable class,
    of each label of multilabel, or of each box. Of several dataloaders the first one is counted,
    and Lightning puts ``/dataloader_idx_{number}`` behind the tags of scores.

    Args:
        max_classes: So many classes get curves of their own, at least 0; one line says if there
            are more.
        norms: Write the norms of weights and gradients.
        histograms: Write histograms of all weights and gradients.
        pr_curves: Count precision-recall curves: 0.1 s a batch of 16 x 256 x 256 pixels and 8
            classes on one CPU core.
        calibration: Count how often the model is right when it is so sure.
        class_names: For pictures and curves; None to ask the module.

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
        skip_idle_hooks(self)
        whole_number("max_classes", max_classes, 0)
        if class_names is not None:
            names_in("class_names", class_names)
        self.max_classes = max_classes
        self.norms = norms
        self.histograms = histograms
        self.class_names = class_names
        self._sinks: list[Sink] = []
        self._best = BestValues()
        self._rates: dict[str, float | Tensor] = {}
        self._written_step = -1
        self._histogram_epoch = -1
        self._validations = 0
        self._counts: Tensor | None = None  # confusion counts of the validation just ended
        self._pending: tuple[Tensor, int] | None = None  # counts that are not drawn yet, and step
        self._curves = Curves(pr_curves=pr_curves, calibration=calibration, max_classes=max_classes)
        self._tags: set[str] = set()  # of all scalars so far
        self._charted: set[str] = set()  # of them, those that the layout has
        self._told = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers, and begin anew: a checkpoint's values come after this."""
        self._sinks = open_sinks(trainer, type(self).__name__)
        if stage == "fit":
            self._written_step = self._histogram_epoch = -1
            self._pending = None
            self._tags, self._charted = set(), set()
            self._best, self._validations = BestValues(), 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on where the checkpoint was taken."""
        resume_sinks(trainer, self._sinks)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Note what this step uses; a scheduler may have changed the rates by its end."""
        if not self._sinks:
            return
        if self.histograms and self._histogram_epoch != trainer.current_epoch:
            self._histogram_epoch = trainer.current_epoch
            self._write_histograms(pl_module, log_step(trainer))
        if is_due(trainer, self._written_step):
            self._rates.update(_rates(trainer, optimizer))
            if self.norms:
                self._rates.update(_norms(trainer, optimizer))

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
        values = {tag: float(value) for tag, value in self._rates.items()}
        self._rates.clear()
        logged = trainer.logged_metrics
        writes = lightning_writes(trainer)  # it passes over the first step
        for tag, value in _losses(outputs, trainer.accumulate_grad_batches).items():
            if tag not in logged or not writes:
                values[tag] = value
        self._written_step = log_step(trainer)
        self._write(values, self._written_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from zero."""
        self._counts = None
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
        """Count scores for the curves."""
        if dataloader_idx == 0 and trainer.loggers:
            step = "test_step" if trainer.testing else "validation_step"
            self._curves.count(pl_module, self._names(pl_module), outputs, step)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the confusion counts before the module may reset them."""
        if not trainer.sanity_checking:
            self._counts = _confusion_counts(pl_module, "val")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores that Lightning does not."""
        if trainer.sanity_checking:
            return
        step = log_step(trainer)
        self._write_scores(trainer, "val", step)
        self._curves.write(self._names(pl_module), "val", step, self._sinks)
        fitting = trainer.state.fn == "fit"
        self._pending = None if self._counts is None else (self._counts, step)
        if not fitting or pictures_due(self._validations, validations_in(trainer)):
            self._draw_pending(pl_module, "val")
        self._validations += fitting
        self._finish_writing(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last validation, whichever way training came to its end."""
        self._draw_pending(pl_module, "val")
        self._finish_writing(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Lose nothing of what there is."""
        self._draw_pending(pl_module, "val")
        self._finish_writing(trainer)

    on_test_start = on_validation_start
    on_test_batch_end = on_validation_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the confusion counts before the module may reset them."""
        self._counts = _confusion_counts(pl_module, "test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores that Lightning does not."""
        step = log_step(trainer)
        self._write_scores(trainer, "test", step)
        self._curves.write(self._names(pl_module), "test", step, self._sinks)
        self._pending = None if self._counts is None else (self._counts, step)
        self._draw_pending(pl_module, "test")
        self._finish_writing(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The best values, and how often the confusion matrix was drawn."""
        return {"best": dict(self._best.values), "validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them."""
        self._best.values = dict(state_dict.get("best", {}))
        self._validations = int(state_dict.get("validations", 0))

    # -- scalars

    def _write_scores(self, trainer: Trainer, stage: Stage, step: int) -> None:
        logged = trainer.logged_metrics
        metrics = {tag: float(value) for tag, value in trainer.callback_metrics.items()}
        values = {tag: value for tag, value in metrics.items() if _belongs(tag, stage)}
        for table, scores in _class_scores(metrics, stage).items():
            shown = list(scores.values())[: self.max_classes]
            values |= {tag: metrics[tag] for tag in shown}
            if len(scores) > self.max_classes:
                self._write_extremes(table, {k: metrics[t] for k, t in scores.items()}, step)
        values = {tag: value for tag, value in values.items() if tag not in logged}
        if stage == "val" and trainer.state.fn == "fit":
            judged = {tag: v for tag, v in metrics.items() if Tag.parse(tag).is_validation}
            values |= {best_tag(tag): best for tag, best in self._best.update(judged).items()}
        self._tags.update(logged)
        self._write(values, step)

    def _write_extremes(self, table: str, scores: Mapping[str, float], step: int) -> None:
        """The best and the worst of classes that are too many to look at."""
        if self._sinks and not self._told:
            self._told = True
            rank_zero_info(
                f"{type(self).__name__} writes the scores of {self.max_classes} of {len(scores)} "
                "classes, and a table of the best and the worst; pass max_classes= for more"
            )
        known = [(value, label) for label, value in scores.items() if not math.isnan(value)]
        order = sorted(known, reverse=True)
        if len(order) > 2 * _EXTREMES:
            order = [*order[:_EXTREMES], *order[-_EXTREMES:]]
        columns = {
            "class": [label for _, label in order],
            "score": [f"{value:.4f}" for value, _ in order],
        }
        for sink in self._sinks:
            sink.table(table, columns, step)

    def _write(self, values: Mapping[str, float], step: int) -> None:
        if values:
            self._tags.update(values)
            for sink in self._sinks:
                sink.scalars(values, step)

    def _finish_writing(self, trainer: Trainer) -> None:
        if trainer.state.fn == "fit":
            self._write_layout()
        for sink in self._sinks:
            sink.flush()

    def _write_layout(self) -> None:
        """As soon as there are tags of training and validation, and again if there are more."""
        for sink in self._sinks:
            tags = self._tags | sink.tags()  # of other monitors, too
            if not tags <= self._charted:
                sink.layout(charts(tags))
        self._charted |= self._tags.union(*(sink.tags() for sink in self._sinks))

    # -- curves and pictures

    def _write_histograms(self, module: LightningModule, step: int) -> None:
        for name, parameter in module.named_parameters():
            for tag, values in (("weights", parameter.detach()), ("grads", parameter.grad)):
                if values is None or not bool(values.isfinite().all()):
                    continue
                low, high = (float(edge) for edge in torch.aminmax(values.float()))
                if low == high:
                    low, high = low - 0.5, high + 0.5
                # torch.histc does the same, but not on CUDA with Trainer(deterministic=True).
                places = (values.float().flatten() - low) * (_HISTOGRAM_BINS / (high - low))
                places = places.long().clamp_(0, _HISTOGRAM_BINS - 1)
                counts = torch.bincount(places, minlength=_HISTOGRAM_BINS).cpu().numpy()
                edges = torch.linspace(low, high, _HISTOGRAM_BINS + 1).numpy()
                for sink in self._sinks:
                    sink.histogram(f"{tag}/{name}", counts, edges, step)

    def _draw_pending(self, module: LightningModule, stage: Stage) -> None:
        if self._pending is None or not self._sinks:
            return
        counts, step = self._pending
        self._pending = None
        names = self._names(module) or []
        if len(names) != len(counts):
            names = [f"class {index}" for index in range(len(counts))]
        encoded = encode(confusion_picture(counts, names))
        for sink in self._sinks:
            sink.image(str(Tag("confusion", stage=stage)), encoded, step)

    def _names(self, module: LightningModule) -> Sequence[str] | None:
        return self.class_names or getattr(module, "class_names", None)


def _belongs(tag: str, stage: Stage) -> bool:
    """Whether a tag is a loss or a metric of the rows above, for a validation or test."""
    parsed = Tag.parse(tag)
    of_stage = parsed.stage == stage and not (parsed.ending or parsed.best)
    return of_stage and parsed.kind in ("loss", "metric")


def _class_scores(metrics: Iterable[str], stage: Stage) -> dict[str, dict[str, str]]:
    """For each score of classes, the tag of its table, and the tags of classes by their names."""
    found: dict[str, dict[str, str]] = {}
    for text in metrics:
        tag = Tag.parse(text)
        if tag.kind == "class" and tag.stage == stage and not (tag.ending or tag.best):
            table = Tag("class_extremes", tag.name, stage=stage, loader=tag.loader)
            found.setdefault(str(table), {})[tag.label] = text
    return found


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


def _by_group(trainer: Trainer, optimizer: Optimizer) -> list[tuple[str, Mapping[str, Any]]]:
    """Each parameter group of an optimizer, after what it is called in a tag."""
    number = f"{trainer.optimizers.index(optimizer)}/" if len(trainer.optimizers) > 1 else ""
    return [
        (f"{number}{group.get('name', f'group {index}')}", group)
        for index, group in enumerate(optimizer.param_groups)
    ]


def _rates(trainer: Trainer, optimizer: Optimizer) -> dict[str, float]:
    return {
        f"{param}/{name}": get_param(group, param)
        for name, group in _by_group(trainer, optimizer)
        for param in ("lr", "momentum")
        if has_param(group, param)
    }


def _norms(trainer: Trainer, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"norm/{kind}/{name}": norm
        for name, group in _by_group(trainer, optimizer)
        for kind, norm in group_norms(group).items()
    }


def _confusion_counts(module: LightningModule, stage: str) -> Tensor | None:
    """Counts ``(C, C)`` of the module's own metric, over all ranks: each of them must come here."""
    metric = getattr(module, f"{stage}_counts", None)
    if not isinstance(metric, Metric):
        return None
    with warnings.catch_warnings():
        # Of a metric that a module did not use this time; all ranks must ask even so.
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        counts = metric.compute()
    if not isinstance(counts, Tensor) or counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        return None
    counts = counts.cpu()
    return counts if bool(counts.sum() > 0) else None
