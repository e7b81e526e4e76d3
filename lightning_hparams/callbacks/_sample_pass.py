"""One pass over a validation or test set, keeping the samples to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from ..internals import log_step
from ..notices import Notices
from ..samples import Batch, DrawOptions, Gallery, Reader
from ..sinks import is_rehearsal
from ._loader_order import LoaderOrder, choose, first_loader, reachable
from ._log_step import validations_in
from ._pictures import Drawing, gathered

__all__ = ["SamplePass", "Wanted"]

_SHARDING = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


@dataclass(frozen=True)
class Wanted:
    """Which samples to keep."""

    select: str | Sequence[int]  # see :func:`~._loader_order.choose`
    num_samples: int
    worst_k: int  # number of worst samples
    chosen: Sequence[int] = ()  # the indices, if already chosen


class SamplePass:
    """Keeps the samples to draw from the batches of one pass.

    Args:
        trainer: Trainer at the start of a validation or test.
        reader: Converts step outputs to batches of samples.
        options: Drawing options.
        wanted: Which samples to keep.
        num_batches: Number of batches of the pass.
        is_due: Whether the schedule asks for this validation.
        is_last: Whether this is known to be the last validation.
        notices: Receives warnings about samples that cannot be kept.
    """

    def __init__(
        self,
        trainer: Trainer,
        reader: Reader,
        options: DrawOptions,
        wanted: Wanted,
        *,
        num_batches: float,
        is_due: bool,
        is_last: bool,
        notices: Notices,
    ) -> None:
        self.trainer, self.reader, self.options = trainer, reader, options
        self.notices = notices
        self.step = "test_step" if trainer.testing else "validation_step"
        loader = first_loader(trainer)
        self.order = LoaderOrder.of(loader, trainer)
        self._rehearsed = not _may_fail(trainer)
        select, chosen, count = wanted.select, wanted.chosen, wanted.num_samples
        per_class = count if select == "per_class" and not chosen else 0
        if not chosen:
            size = reachable(loader, num_batches, trainer.world_size)
            select = "first" if is_rehearsal(trainer) and select != "per_class" else select
            chosen = self._chosen(select, count, size)
        self.gallery = Gallery(
            chosen, per_class=per_class, worst_k=wanted.worst_k, index_of=self.order.index_of
        )
        fitting = trainer.state.fn == "fit"
        # The last validation is always drawn, whatever ends the run. An adapter costs a forward
        # pass, so it is called for a possibly last validation only if the run may stop early.
        may_stop = bool(trainer.early_stopping_callbacks) or not validations_in(trainer)
        will_be_drawn = not fitting or is_last or (is_due and bool(trainer.loggers))
        self.may_be_drawn = will_be_drawn or may_stop or not reader.costs
        self._rates = bool(wanted.worst_k and trainer.loggers) and (
            will_be_drawn or not reader.costs
        )

    def take(self, outputs: object, batch: object, module: LightningModule) -> None:
        """Keep the wanted samples of a batch; before training, raise if they cannot be drawn."""
        made: Batch | None = None
        if not self._rehearsed:
            made = self._read(outputs, batch, module)
            if made is not None:
                self._rehearsed = True
                made.check(self.step)
                made.check_in_dataset(self.step, self.order.dataset_size)
                made.rehearse(
                    rate=bool(self.gallery.worst_k), by_class=bool(self.gallery.per_class)
                )
        if self.trainer.sanity_checking:
            return
        with self.notices.instead_of_errors("keep samples"):
            if made is None and not self._wants(batch):
                return
            made = self._read(outputs, batch, module) if made is None else made
            if made is None:
                return
            if self.order.shuffled and made.indices() is None:
                self.notices.warn(
                    "shuffled",
                    "cannot show the same samples each time: the validation loader shuffles, and "
                    "its batches have no 'index'; turn shuffling off",
                )
            self.gallery.add(made, rate=self._rates)

    def end(self) -> Drawing:
        """Return the kept samples and reset. Collective: must be called on every rank."""
        gallery, self.gallery = self.gallery, Gallery()
        if gallery.per_class:
            gallery.settle(gathered(self.trainer, gallery.classes))
        if self.trainer.world_size > 1:
            ranges = gathered(self.trainer, self.reader.value_range)
            self.reader.value_range = next((each for each in ranges if each is not None), None)
        return Drawing(log_step(self.trainer), gallery, self.options)

    def _chosen(self, select: str | Sequence[int], count: int, size: int | None) -> list[int]:
        strict = not self.trainer.testing and not is_rehearsal(self.trainer)
        try:
            return choose(select, count, size, self.order, strict=strict)
        except ValueError as error:
            if _may_fail(self.trainer):
                raise
            self.notices.failed("choose samples", error)
            return []

    def _wants(self, batch: object) -> bool:
        """Whether to read a batch; if not, it is skipped."""
        if self._rates or not self.reader.costs:
            return True
        count, indices = self.reader.peek(batch)
        if count is None or (indices is None and self.reader.gives_indices):
            return self.may_be_drawn
        indices = self.gallery.next_indices(count) if indices is None else indices
        if self.may_be_drawn and self.gallery.needs(indices):
            return True
        self.gallery.skip(count)
        return False

    def _read(self, outputs: object, batch: object, module: LightningModule) -> Batch | None:
        if self.reader.runs_module and isinstance(self.trainer.strategy, _SHARDING):
            self.notices.warn(
                "sharded",
                "draws no pictures: its adapter runs the module on some processes only, which "
                f"{type(self.trainer.strategy).__name__} does not support; return an output from "
                f"{self.step}, see lightning_hparams.outputs",
            )
            return None
        data: object = getattr(self.trainer, "datamodule", None)
        with self.trainer.precision_plugin.forward_context():
            return self.reader.read(
                outputs,
                batch,
                module,
                self.options,
                self.step,
                normalisation=(getattr(data, "mean", None), getattr(data, "std", None)),
            )


def _may_fail(trainer: Trainer) -> bool:
    """Whether raising is safe: no training is running yet."""
    return bool(trainer.sanity_checking) or trainer.state.fn != "fit" or is_rehearsal(trainer)
