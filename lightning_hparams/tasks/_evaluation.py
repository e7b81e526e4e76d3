"""Scores and mean losses over a whole validation or test set, for every kind of task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, cast

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torchmetrics import Metric

from ..metrics import BatchMean
from ..outputs import TrainingOutput
from ..presets import weights_by_counts
from ..tags import Stage, tag
from ._class_weights import counts_if_any, counts_of_training
from ._data_classes import check_count, check_ignored, check_same, listed, named, renamed
from ._loaders import counted_samples
from .base import VisionTask

__all__ = ["EvaluatedTask", "Evaluation", "Scores"]

_TRAIN_LOSS = tag("loss", stage="train")


class Scores(NamedTuple):
    """Scores of a whole set. The keys must not depend on the data: they are the same on each rank.

    A score without a value, such as that of a class that does not occur, is NaN.
    """

    whole: Mapping[str, Tensor]  # by name
    by_class: Mapping[str, Mapping[str, Tensor]]  # by name and class name


class Evaluation(nn.Module):
    """Metrics and mean losses of one stage, with each sample counted once.

    For each batch, :meth:`take` returns how many of its samples to count. The task updates its
    metrics with these, and adds the losses of these.

    Args:
        terms: Names of the losses, besides ``total``.
        metrics: Empty metrics, which become attributes.
    """

    def __init__(self, terms: Iterable[str], **metrics: Metric) -> None:
        super().__init__()
        self.means = nn.ModuleDict({name: BatchMean() for name in ("total", *terms)})
        for name, metric in metrics.items():
            self.add_module(name, metric)
        self._left: int | None = None  # number of samples still to count; None for all

    def start(self, loader: object) -> None:
        """Reset, and prepare for the samples of a loader."""
        self._left = counted_samples(loader)
        # Reset at the start, not at the end: Trainer.validate runs in inference mode, and states
        # created there cannot be updated in a later fit.
        for module in self.modules():
            if isinstance(module, Metric):
                module.reset()

    def take(self, samples: int) -> int:
        """Return how many of the next samples to count; another process evaluates the others."""
        if self._left is None:
            return samples
        taken = min(samples, self._left)
        self._left -= taken
        return taken

    def add_losses(self, losses: Mapping[str, Tensor], samples: int) -> None:
        """Add the mean losses of a number of samples: ``total``, and each term by name."""
        for name, mean in self._means():
            mean.update(losses[name], samples)

    def losses(self) -> dict[str, Tensor]:
        """Return the means over all samples: ``total``, and each term by name."""
        return {name: mean.compute() for name, mean in self._means()}

    def _means(self) -> Iterator[tuple[str, BatchMean]]:
        for name, mean in self.means.items():
            yield name, cast(BatchMean, mean)


class EvaluatedTask(VisionTask):
    """A task with an :class:`Evaluation` for each stage.

    A subclass sets ``val_evaluation`` and ``test_evaluation``, adds batches to them in its steps,
    and overrides :meth:`scores`.
    Logged are ``loss/{stage}``, ``metric/{name}/{stage}``, and, for callbacks only,
    ``loss/{stage}/{term}`` and ``class/{name}/{class name}/{stage}``.
    """

    main_score: ClassVar[str]  # which one of the scores the progress bar shows
    num_classes: int
    class_names: list[str]
    loss: nn.Module
    weighs_if_counted = False  # whether classes have weights by default, if the data counts them
    may_rename = True  # whether it may have names of its own for the classes of the data
    _counted = False  # whether the class weights are those of the data
    # What describes the classes and a data module has too, by attribute; None if it was not given.
    class_facts: Mapping[str, Sequence[object] | None] = MappingProxyType({})

    def setup(self, stage: str) -> None:
        """Check that the data has the classes of this task, or take over what depends on it.

        These are the names of the classes and their weights.
        """
        super().setup(stage)
        self._match_classes(stage)
        counts = self._counts_for_weights(stage)
        if counts is not None:
            ignored = self.hparams.get("ignore_index")
            used = [0 if index == ignored else count for index, count in enumerate(counts)]
            self.set_class_weights(weights_by_counts(used if any(used) else counts))
            listed = zip(self.class_names, self._class_weights, counts, strict=True)
            table = ", ".join(f"{name} {weight:.3g} ({count})" for name, weight, count in listed)
            rank_zero_info(
                "class_weights, the square root of the inverse frequency in the training data, by "
                f"class (and its count): {table}"
            )
            self._counted = True

    def _match_classes(self, stage: str) -> None:
        data = getattr(self.attached_trainer(), "datamodule", None)
        if data is None or stage == "predict":
            return
        for name, given in self.class_facts.items():
            ours, theirs = listed(given), listed(getattr(data, name, None))
            if name == "class_names":
                ours, theirs = named(ours), named(theirs)
            if ours is not None:
                if not (self.may_rename and theirs is not None and renamed(ours, theirs)):
                    check_same(name, ours, theirs)
            elif stage == "fit" and theirs is not None and len(theirs) == len(getattr(self, name)):
                setattr(self, name, theirs)
                self.class_facts = {**self.class_facts, name: theirs}
        self.match_targets(data)

    def match_targets(self, data: object) -> None:
        """Check that this task can learn the targets of a data module."""
        check_count(self.num_classes, getattr(data, "num_classes", None))
        ignored = getattr(data, "ignore_index", None)
        check_ignored(getattr(self, "ignore_index", None), ignored, self.num_classes)

    def _counts_for_weights(self, stage: str) -> list[int] | None:
        """How often each class occurs in the training data; None if weights do not follow it."""
        given = self.hparams.get("class_weights")
        if given is None and self.weighs_if_counted and stage == "fit":
            return counts_if_any(self.trainer, self.num_classes)
        # Once trained, validation does not need the training data.
        if given != "auto" or stage == "predict" or (self._counted and stage != "fit"):
            return None
        return counts_of_training(self.trainer, self.num_classes)

    def set_class_weights(self, weights: list[float]) -> None:
        """Give the loss a weight for each class.

        A subclass overrides it if its ``loss`` has no buffer ``class_weights``.
        """
        self._class_weights = weights
        like = self.mean
        self.loss.class_weights = torch.tensor(weights, dtype=torch.float32, device=like.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the classes that the task was trained with, and their weights.

        A loaded task needs no training data then.
        """
        super().on_save_checkpoint(checkpoint)
        if "hyper_parameters" not in checkpoint:
            return
        kept = {**checkpoint["hyper_parameters"], **self.class_facts}
        if self._counted:
            kept["class_weights"] = self._class_weights
        checkpoint["hyper_parameters"] = kept

    def pass_training(
        self, images: Tensor | Sequence[Tensor], paths: Sequence[str], batch_idx: int, *inputs: Any
    ) -> Any:
        """Call the task with a training batch; its values are checked as long as it is cheap.

        Args:
            images: The images of the batch.
            paths: Their files, if known.
            batch_idx: Number of the batch in the epoch.
            inputs: What to call the task with.
        """
        self._two_weights.see(inputs, self)
        if batch_idx == 0 and self.current_epoch == 0:
            self.check_images(images, paths)
            return self.first_pass(*inputs)
        if self.checks_values(images[0]):
            self.check_finite(images, paths)
        return self(*inputs)

    def checks_values(self, tensor: Tensor) -> bool:
        """Whether values may be read: that synchronises with a GPU, so there only in epoch 0."""
        return tensor.device.type == "cpu" or self.current_epoch == 0

    def training_output(
        self, loss: Tensor, terms: Mapping[str, Tensor], samples: int
    ) -> TrainingOutput:
        """Log the loss of a training batch, and return what monitors draw."""
        self.log(_TRAIN_LOSS, loss.detach(), prog_bar=True, batch_size=samples)
        return {"loss": loss, "terms": {name: term.detach() for name, term in terms.items()}}

    def scores(self, stage: Stage) -> Scores:
        """Compute the scores of a stage from its evaluation."""
        raise NotImplementedError

    def evaluation(self, stage: Stage) -> Evaluation:
        """Return the evaluation of a stage."""
        evaluation: Evaluation = getattr(self, f"{stage}_evaluation")
        return evaluation

    def on_validation_epoch_start(self) -> None:
        """Reset the evaluation."""
        self.evaluation("val").start(self.trainer.val_dataloaders)

    def on_test_epoch_start(self) -> None:
        """Reset the evaluation."""
        self.evaluation("test").start(self.trainer.test_dataloaders)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole validation set."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the whole test set."""
        self._log_scores("test")

    def _log_scores(self, stage: Stage) -> None:
        scores = self.scores(stage)
        for name, mean in self.evaluation(stage).losses().items():
            total = name == "total"
            loss_tag = tag("loss", label="" if total else name, stage=stage)
            to_loggers = None if total else False  # None: if there is a logger
            self.log(loss_tag, mean, logger=to_loggers, prog_bar=total, sync_dist=True)
        for name, value in scores.whole.items():
            metric_tag = tag("metric", name, stage=stage)
            self.log(metric_tag, value, prog_bar=name == self.main_score, sync_dist=True)
        for name, by_class in scores.by_class.items():
            tags = {tag("class", name, label, stage): v for label, v in by_class.items()}
            self.log_dict(tags, logger=False, sync_dist=True)
