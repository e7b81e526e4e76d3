"""What a monitor writes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..render import Encoded

__all__ = ["Domain", "Layout", "PRCounts", "RunStatus", "Scalar", "Sink", "SinkLogger"]

Scalar: TypeAlias = bool | int | float | str
Domain: TypeAlias = tuple[float, float] | Sequence[Scalar]
"""Values a hyperparameter may take: a tuple ``(low, high)``, or a list of them."""
Layout: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]
"""Category, its charts by title, and for each chart the tags in it, as regular expressions."""
RunStatus: TypeAlias = Literal["finished", "failed", "killed"]


@dataclass(frozen=True)
class PRCounts:
    """Binned counts of one class, each ``(T,)``, at ``T >= 2`` thresholds evenly over [0, 1].

    At a threshold of ``t``, what scores ``t`` or more is taken for positive: from left to right
    the positives fall.

    Raises:
        ValueError: If the counts differ in length or there are fewer than two.
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
        """``(T,)`` from 0 to 1."""
        return np.linspace(0, 1, np.size(self.true_positives))

    def rows(self) -> NDArray[np.float64]:
        """True and false positives, true and false negatives, precision, recall: ``(6, T)``.

        Where nothing is taken for positive, precision is 1 (no mistake was made), and recall is 0
        where there is nothing to find.
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

    ``step`` is the step at which Lightning would write now: batches that ended in an optimizer
    step, counted from 0. Everything is drawn and encoded before it gets here, once for all sinks.
    Methods do nothing by default; a sink implements what its backend supports. A method may raise:
    the monitor warns once, the other sinks are written to, and the next call is made again.

    To have monitors write to a backend of your own, give its logger a method
    ``lightning_hparams_sink`` (see :class:`SinkLogger`) that returns a sink:

    >>> class Printing(Sink):
    ...     def scalars(self, values, step):
    ...         print(step, dict(values))
    >>> Printing().scalars({"loss/train": 0.5}, 3)
    3 {'loss/train': 0.5}
    """

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write several values of one step at once; NaN is a value.

        The same value at the same step is written once, whoever writes it.
        """

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """Write a picture, or a figure as ``encode_figure`` makes it; a tag is one over time."""

    def histogram(self, tag: str, counts: ArrayLike, edges: ArrayLike, step: int) -> None:
        """Write how many values fell into each bin: ``counts (B,)`` between ``edges (B + 1,)``."""

    def pr_curve(self, tag: str, counts: PRCounts, step: int) -> None:
        """Write a curve of precision over recall."""

    def text(self, tag: str, text: str, step: int) -> None:
        """Write Markdown."""

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """Write a table by its columns, all of one length."""

    def tags(self) -> set[str]:
        """Of all scalars so far, whoever wrote them; empty where there are no layouts."""
        return set()

    def layout(self, layout: Layout) -> None:
        """Say which tags share a chart; the last layout holds."""

    def own_hparams(self) -> None:
        """Let ``hparams`` be the only one to write them: called before Lightning would."""

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """Begin the run's row in the table of hyperparameters.

        Args:
            values: Flat; a name that was written before may have another value now.
            group: Runs of one group share a row; None for a row of its own.
        """

    def columns(
        self,
        domains: Mapping[str, Domain | None],
        metrics: Mapping[str, str],
        *,
        first: Sequence[str] = (),
    ) -> None:
        """Choose the columns of that table, once in a run.

        Args:
            domains: Hyperparameters, and the values that each may take; None for any.
            metrics: Tags of scalars, and what their columns are called.
            first: Hyperparameters that are shown before others.
        """

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file with the run."""

    def resume(self, step: int) -> None:
        """Forget what was written after ``step``: the run goes on from there.

        Each monitor says so; what the first of them has written since is not to be forgotten.
        """
        if self._resumed_at != step:
            self._resumed_at = step
            self._forget(step)

    def begin_fit(self) -> None:
        """Say that another fit begins, which may be resumed at the same step again."""
        self._resumed_at = None

    def identity(self) -> str | None:
        """What a later process finds the run by, where its logger does not know it."""
        return None

    def adopt(self, identity: str) -> None:
        """Go on with the run of an earlier process, if it can be found."""

    def flush(self, *, wait: bool = False) -> None:
        """Bring everything written so far to where others see it; with ``wait``, be there."""

    def finish(self, status: RunStatus) -> None:
        """Say how the run ended. It may be written to, and begun, again."""

    _resumed_at: int | None = None

    def _forget(self, step: int) -> None:
        """What :meth:`resume` does, once in a fit."""


@runtime_checkable
class SinkLogger(Protocol):
    """A logger of Lightning that says itself what monitors write to."""

    def lightning_hparams_sink(self) -> Sink:
        """A sink for this logger; called once, and shared by all monitors."""
        ...
