"""Scalars of a monitor: written unless Lightning writes them, and grouped on a TensorBoard page."""

from __future__ import annotations

from collections.abc import Mapping

from lightning import Trainer

from ..internals import epoch_values
from ..notices import Notices
from ..sinks import Sinks
from ..tags import BestValues, Stage, Tag, best_tag, charts, extremes, set_scores, writable
from ._log_step import lightning_writes

__all__ = ["Scalars"]


class Scalars:
    """Writer of scalars that remembers the tags and best values of a fit.

    Args:
        notices: Notices of the monitor.
        max_classes: Maximum number of classes per score with curves of their own.
    """

    def __init__(self, notices: Notices, max_classes: int) -> None:
        self._notices = notices
        self._max_classes = max_classes
        self.sinks = Sinks()
        self.begin()

    def begin(self) -> None:
        """Reset for another fit."""
        self.best = BestValues()
        self._tags: set[str] = set()
        self._charted: set[str] = set()  # the subset that is on the page

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write values, with tags that every logger accepts."""
        written = {writable(tag): value for tag, value in values.items()}
        for tag in values if written.keys() != values.keys() else ():
            if tag != writable(tag):
                self._notices.warn_of_name(
                    "tag", tag, f"{tag!r} cannot be encoded; written as {writable(tag)!r}"
                )
        if written:
            self._tags.update(written)
            self.sinks.scalars(written, step)

    def write_step(self, trainer: Trainer, values: Mapping[str, float], step: int) -> None:
        """Write the values that Lightning writes neither now nor at the end of the epoch."""
        theirs = epoch_values(trainer)
        if lightning_writes(trainer):  # it skips the first step
            theirs = theirs | set(trainer.logged_metrics)
        self.write({tag: value for tag, value in values.items() if tag not in theirs}, step)

    def write_set(
        self, trainer: Trainer, stage: Stage, more: Mapping[str, float], step: int
    ) -> None:
        """Write the scores of a validation or test, and ``more``, unless the module logs them."""
        logged = trainer.logged_metrics
        metrics = {tag: float(value) for tag, value in trainer.callback_metrics.items()}
        values, tables = set_scores(metrics, stage, self._max_classes)
        for table, scores in tables.items():
            self._report_classes(len(scores))
            self.sinks.table(table, extremes(scores), step)
        values = {tag: v for tag, v in {**values, **more}.items() if tag not in logged}
        if stage == "val" and trainer.state.fn == "fit":
            judged = {tag: v for tag, v in metrics.items() if Tag.parse(tag).is_validation}
            values |= {best_tag(tag): best for tag, best in self.best.update(judged).items()}
        self._tags.update(logged)
        self.write(values, step)

    def write_page(self) -> None:
        """Write the layout if any monitor has new tags."""
        tags = self._tags | self.sinks.tags()
        if not tags <= self._charted:
            self.sinks.layout(charts(tags))
        self._charted |= tags

    def _report_classes(self, count: int) -> None:
        if self.sinks:
            self._notices.info(
                "many classes",
                f"writing the scores of {self._max_classes} of {count} classes, and a table of the "
                "best and worst; pass max_classes= for more",
            )
