"""The interface that monitors write to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..render import Encoded

__all__ = ["Domain", "Layout", "PRCounts", "RunStatus", "Scalar", "Sink", "SinkLogger"]

Scalar: TypeAlias = bool | int | float | str
Domain: TypeAlias = tuple[float, float] | Sequence[Scalar]
"""Values a hyperparameter may take: a tuple ``(low, high)`` or a list of values."""
Layout: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]
"""Maps categories to chart titles, and each chart title to regular expressions of tags."""
RunStatus: TypeAlias = Literal["finished", "failed", "killed"]


@dataclass(frozen=True)
class PRCounts:
    """Counts of one class, each ``(T,)``, at ``T >= 2`` evenly spaced thresholds in [0, 1].

    At a threshold ``t``, scores of at least ``t`` are predicted positive, so the positives fall
    from left to right.

    Raises:
        ValueError: If the counts differ in length or have fewer than two values.
    """

    true_positives: ArrayLike
    false_positives: ArrayLike
    true_negatives: ArrayLike
    false_negatives: ArrayLike

    def __post_init__(self) -> None:
        shapes = [np.shape(counts) for counts in self._counts()]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0][0] < 2:
            raise ValueError(
                f"the four counts must have one shape (T,) with T >= 2, got {shapes}; count at "
                "the thresholds np.linspace(0, 1, T)"
            )

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """The thresholds ``(T,)``, from 0 to 1."""
        return np.linspace(0, 1, np.size(self.true_positives))

    def rows(self) -> NDArray[np.float64]:
        """Return TP, FP, TN, FN, precision and recall as ``(6, T)``.

        Precision is 1 where nothing is predicted positive; recall is 0 without positive targets.
        """
        tp, fp, tn, fn = (np.asarray(counts, dtype=np.float64) for counts in self._counts())
        precision = np.divide(tp, tp + fp, out=np.ones_like(tp), where=tp + fp > 0)
        recall = np.divide(tp, tp + fn, out=np.zeros_like(tp), where=tp + fn > 0)
        return np.stack([tp, fp, tn, fn, precision, recall])

    def _counts(self) -> tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]:
        return (
            self.true_positives,
            self.false_positives,
            self.true_negatives,
            self.false_negatives,
        )


class Sink:
    """Where monitors write: a table, a folder, a tracking server. Called on rank zero only.

    ``step`` is the step that Lightning logs at: batches that ended in an optimizer step, counted
    from 0. Pictures are drawn and encoded once for all sinks. Methods do nothing by default; a
    sink implements what its backend supports. A method may raise: the monitor warns once, the
    other sinks are still written to, and later calls are made as usual.

    To make monitors write to your own backend, give its logger a method
    ``lightning_hparams_sink`` (see :class:`SinkLogger`) that returns a sink:

    >>> class Printing(Sink):
    ...     def scalars(self, values, step):
    ...         print(step, dict(values))
    >>> Printing().scalars({"loss/train": 0.5}, 3)
    3 {'loss/train': 0.5}
    """

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write several values of one step at once; NaN is written too.

        If several monitors write the same value at the same step, it is written once.
        """

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """Write a picture, or a figure from ``encode_figure``; a tag holds one picture per step."""

    def histogram(self, tag: str, counts: ArrayLike, edges: ArrayLike, step: int) -> None:
        """Write a histogram: ``counts (B,)`` of values between ``edges (B + 1,)``."""

    def pr_curve(self, tag: str, counts: PRCounts, step: int) -> None:
        """Write a precision-recall curve."""

    def text(self, tag: str, text: str, step: int) -> None:
        """Write Markdown."""

    def table(self, tag: str, columns: Mapping[str, Sequence[object]], step: int) -> None:
        """Write a table, given its columns of equal length."""

    def tags(self) -> set[str]:
        """Return the tags of all scalars so far; empty if the backend has no chart layouts."""
        return set()

    def layout(self, layout: Layout) -> None:
        """Set which tags share a chart; a later layout replaces an earlier one."""

    def own_hparams(self) -> None:
        """Prevent Lightning from writing hyperparameters itself; called before it would."""

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """Begin the run's row in the table of hyperparameters.

        Args:
            values: Flat; a name written before may have a new value.
            group: Runs of one group share a row; None for a separate row.
        """

    def columns(
        self,
        domains: Mapping[str, Domain | None],
        metrics: Mapping[str, str],
        *,
        first: Sequence[str] = (),
    ) -> None:
        """Choose the columns of the hyperparameter table, once per run.

        Without ``domains`` and ``metrics``, the table shows every value that any run has, also if
        Lightning's logger recorded a choice.

        Args:
            domains: Values that each hyperparameter may take; None for any.
            metrics: Column title of each scalar's tag.
            first: Hyperparameters shown before others.
        """

    def artifact(self, path: Path) -> None:
        """Store a copy of a file with the run."""

    def resume(self, step: int) -> None:
        """Discard what was written after ``step``, where the run resumes.

        Every monitor calls this. Only the first call of a fit has an effect, so that values written
        since are kept.
        """
        if self._resumed_at != step:
            self._resumed_at = step
            self._forget(step)

    def begin_fit(self) -> None:
        """Start another fit, which may resume at the same step again."""
        self._resumed_at = None

    def identity(self) -> str | None:
        """Return a key for :meth:`adopt`, if the logger does not restore the run itself."""
        return None

    def adopt(self, identity: str) -> None:
        """Continue the run of an earlier process, if it can be found."""

    def flush(self, *, wait: bool = False) -> None:
        """Make everything written so far visible to others; with ``wait``, block until it is."""

    def finish(self, status: RunStatus) -> None:
        """Record how the run ended. It may be written to or started again."""

    _resumed_at: int | None = None

    def _forget(self, step: int) -> None:
        """Implement :meth:`resume`; called once per fit."""


@runtime_checkable
class SinkLogger(Protocol):
    """A Lightning logger that provides the sink for monitors."""

    def lightning_hparams_sink(self) -> Sink:
        """Return the sink for this logger; called once and shared by all monitors."""
        ...
