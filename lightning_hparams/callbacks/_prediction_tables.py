"""Predicted labels and values as tables."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import BinaryIO

from torch import Tensor

from ..sinks import csv_rows
from ._prediction_files import MergedFile, Predicted, listed
from ._rank_parts import replaced

__all__ = ["LabelTable", "ValueTable"]


class _Table(MergedFile):
    """One CSV file with a row per image, whose first column is its path."""

    file_name = "predictions.csv"
    columns: Sequence[str] = ()

    def merge(self, counts: Sequence[int]) -> None:
        """Write the table."""

        def save(file: BinaryIO) -> None:
            # A path may hold bytes that are not UTF-8.
            text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
            text.write(csv_rows([["path", *self.columns]]))
            for row in self.rows.rows(counts):
                text.write(csv_rows([row]))
            text.flush()
            text.detach()

        replaced(self.rows.target, save)

    def _add(self, predicted: Predicted, cells: Sequence[Sequence[str]]) -> None:
        for (loader, index), path, row in zip(predicted.keys, predicted.paths, cells, strict=True):
            self.rows.add((loader, index), [path or str(index), *row])


class LabelTable(_Table):
    """Columns ``path``, ``label`` and ``prob_{class}`` for each class.

    The label is a class name; several labels are separated by ``|``.
    """

    def write(self, predicted: Predicted) -> None:
        """Add the images of a batch."""
        probs, labels = _two_axes(predicted.found, "probs"), predicted.found["labels"]
        names = self.class_names
        if len(names) != probs.shape[1]:
            names = [f"class {index}" for index in range(probs.shape[1])]
        self.columns = ["label", *(f"prob_{name}" for name in names)]
        if not isinstance(labels, Tensor) or len(labels) != len(probs) or labels.ndim > 2:
            raise TypeError(
                "PredictionWriter needs 'labels' (N,) of class indices or (N, C) of 0 and 1, as a "
                f"tensor for each of {len(probs)} images, got {labels!r:.80}"
            )
        cells = []
        for label, row in zip(listed(labels), listed(probs), strict=True):
            present = [label] if labels.ndim == 1 else [n for n, on in enumerate(label) if on]
            cells.append(["|".join(names[n] for n in present), *(f"{p:.6g}" for p in row)])
        self._add(predicted, cells)


class ValueTable(_Table):
    """Columns ``path`` and one for each value, named by the module's ``class_names``."""

    def write(self, predicted: Predicted) -> None:
        """Add the images of a batch."""
        values = _two_axes(predicted.found, "values")
        names = self.class_names
        if len(names) != values.shape[1]:
            names = [f"value {n}" for n in range(values.shape[1])]
            names = ["value"] if len(names) == 1 else names
        self.columns = names
        self._add(predicted, [[f"{v:.9g}" for v in row] for row in listed(values)])


def _two_axes(found: object, key: str) -> Tensor:
    values = found.get(key) if hasattr(found, "get") else None
    if isinstance(values, Tensor) and values.ndim == 1 and key == "values":
        values = values[:, None]
    if not isinstance(values, Tensor) or values.ndim != 2:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"PredictionWriter needs {key!r} as a tensor (N, C), got {got}")
    return values
