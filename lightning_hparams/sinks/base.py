"""What a monitor writes to."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..internals import tag_prefix
from ..provenance import redact
from ..render import Encoded

__all__ = [
    "Domain",
    "Layout",
    "Once",
    "PRCounts",
    "Scalar",
    "Sink",
    "Status",
    "csv_text",
    "file_path",
    "hide_secrets",
    "markdown_table",
    "with_prefix",
]

_PART_BYTES = 120  # of 255 that file systems take: some sinks write more into a name

Scalar: TypeAlias = bool | int | float | str
Domain: TypeAlias = tuple[float, float] | Sequence[Scalar]
"""Values a hyperparameter may take: a tuple ``(low, high)``, or a list of them."""
Layout: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]
"""Category, its charts by title, and for each chart the tags in it, as regular expressions."""
Status: TypeAlias = Literal["finished", "failed", "killed"]


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
    """One place to write to. Monitors call it on rank zero only.

    ``step`` is the one at which Lightning would write now: batches that ended in an optimizer step,
    counted from 0. Everything is drawn and encoded before it gets here, once for all sinks. What a
    place has no room for, it leaves out: that is what a method does here, where a sink does not
    have it.
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
        """Say which tags belong into one chart; the last layout holds."""

    def own_hparams(self) -> None:
        """Let ``hparams`` be the only one to write them: called before Lightning would."""

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """Begin the run's row in the table of hyperparameters.

        Args:
            values: Flat; a name that was written before may have another value now.
            group: Runs of one group share a row; None for a row of its own.
        """

    def columns(self, domains: Mapping[str, Domain | None], metrics: Mapping[str, str]) -> None:
        """Choose the columns of that table, once in a run.

        Args:
            domains: Hyperparameters, and the values that each may take; None for any.
            metrics: Tags of scalars, and what their columns are called.
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

    def finish(self, status: Status) -> None:
        """Say how the run ended. It may be written to, and begun, again."""

    _resumed_at: int | None = None

    def _forget(self, step: int) -> None:
        """What :meth:`resume` does, once in a fit."""


class Once:
    """Lets each value through once: two monitors may write the same tag at the same step."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float | None]] = {}

    def tags(self) -> set[str]:
        """Of all values so far."""
        return set(self._last)

    def __call__(self, values: Mapping[str, float], step: int) -> dict[str, float]:
        """Those of the values that were not the last to be written."""
        last, new = self._last, {}
        for tag, value in values.items():
            written = (step, value if value == value else None)  # NaN is not equal to itself
            if last.get(tag) != written:
                last[tag] = written
                new[tag] = value
        return new


def with_prefix(logger: Any, tag: str) -> str:
    """A scalar's tag as a logger of Lightning calls it."""
    return f"{tag_prefix(logger)}{tag}"


def hide_secrets(logger: Any) -> None:
    """Have a logger of Lightning write hyperparameters without the secrets among them."""
    if "log_hyperparams" not in vars(logger):
        logger.log_hyperparams = partial(_log_hyperparams, logger)


def _log_hyperparams(logger: Any, params: Any, *args: Any, **kwargs: Any) -> None:
    values = _nested(params)
    hidden = redact(values, os.environ)
    type(logger).log_hyperparams(logger, params if hidden == values else hidden, *args, **kwargs)


def _nested(value: Any) -> Any:
    """With plain dicts and lists, in which secrets are looked for."""
    if isinstance(value, Namespace) or (is_dataclass(value) and not isinstance(value, type)):
        value = getattr(value, "__dict__", value)
    if isinstance(value, Mapping):
        return {str(key): _nested(item) for key, item in value.items()}
    return [_nested(item) for item in value] if isinstance(value, (list, tuple)) else value


def file_path(tag: str) -> str:
    """A tag as a path that any file system takes.

    >>> file_path("class/iou/mAP@0.5/val")
    'class/iou/mAP_0_5/val'
    """
    return "/".join(_file_name(part) for part in tag.split("/"))


def _file_name(part: str) -> str:
    name = re.sub(r"[^\w\- ]", "_", part) or "_"
    data = name.encode()
    if len(data) <= _PART_BYTES:
        return name
    digest = hashlib.sha256(part.encode()).hexdigest()[:8]
    return f"{data[: _PART_BYTES - 9].decode(errors='ignore')}_{digest}"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""A table as CSV.

    >>> csv_text(("class", "iou"), [("a,b", 0.5)])
    'class,iou\n"a,b",0.5\n'
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def markdown_table(columns: Mapping[str, Sequence[Any]]) -> str:
    r"""A table by its columns as Markdown.

    >>> print(markdown_table({"class": ["a|b", "c"], "iou": [0.5, 0.25]}))
    | class | iou |
    |---|---|
    | a\|b | 0.5 |
    | c | 0.25 |
    """
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
