"""The scalars of a monitor: written where Lightning does not, and shown on TensorBoard's page."""

from __future__ import annotations

from collections.abc import Mapping

from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..internals import epoch_values
from ..sinks import Sink
from ..tags import BestValues, Stage, Tag, best_tag, charts, writable
from ._attempts import Attempts
from ._log_step import lightning_writes
from ._set_scores import extremes, set_scores

__all__ = ["Scalars"]


class Scalars:
    """What a fit has written so far, of which some goes on and the rest begins anew.

    Args:
        owner: Name of the monitor.
        attempts: Of the monitor, for its warnings.
        max_classes: So many classes of a score have curves.
    """

    def __init__(self, owner: str, attempts: Attempts, max_classes: int) -> None:
        self._owner = owner
        self._attempts = attempts
        self._max_classes = max_classes
        self._told = False
        self.sinks: list[Sink] = []
        self.begin()

    def begin(self) -> None:
        """Begin another fit."""
        self.best = BestValues()
        self._tags: set[str] = set()
        self._charted: set[str] = set()  # of them, those that the page has

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write values under tags that every logger takes."""
        written = {writable(tag): value for tag, value in values.items()}
        for tag in values if written.keys() != values.keys() else ():
            if tag != writable(tag):
                self._attempts.warn(tag, f"{tag!r} cannot be encoded; written as {writable(tag)!r}")
        if written:
            self._tags.update(written)
            for sink in self.sinks:
                sink.scalars(written, step)

    def write_step(self, trainer: Trainer, values: Mapping[str, float], step: int) -> None:
        """Write what Lightning does not, at this step or at the end of the epoch."""
        theirs = epoch_values(trainer)
        if lightning_writes(trainer):  # it passes over the first step
            theirs = theirs | set(trainer.logged_metrics)
        self.write({tag: value for tag, value in values.items() if tag not in theirs}, step)

    def write_set(
        self, trainer: Trainer, stage: Stage, more: Mapping[str, float], step: int
    ) -> None:
        """Write the scores of a validation or test, and ``more``, where the module does not."""
        logged = trainer.logged_metrics
        metrics = {tag: float(value) for tag, value in trainer.callback_metrics.items()}
        values, tables = set_scores(metrics, stage, self._max_classes)
        for table, scores in tables.items():
            self._tell_classes(len(scores))
            columns = extremes(scores)
            for sink in self.sinks:
                sink.table(table, columns, step)
        values = {tag: v for tag, v in {**values, **more}.items() if tag not in logged}
        if stage == "val" and trainer.state.fn == "fit":
            judged = {tag: v for tag, v in metrics.items() if Tag.parse(tag).is_validation}
            values |= {best_tag(tag): best for tag, best in self.best.update(judged).items()}
        self._tags.update(logged)
        self.write(values, step)

    def write_page(self) -> None:
        """Write the layout where there are tags that it does not have yet, of any monitor."""
        for sink in self.sinks:
            tags = self._tags | sink.tags()
            if not tags <= self._charted:
                sink.layout(charts(tags))
        self._charted |= self._tags.union(*(sink.tags() for sink in self.sinks))

    def _tell_classes(self, count: int) -> None:
        if self.sinks and not self._told:
            self._told = True
            rank_zero_info(
                f"{self._owner} writes the scores of {self._max_classes} of {count} "
                "classes, and a table of the best and the worst; pass max_classes= for more"
            )
