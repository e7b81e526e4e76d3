"""The files of one kind of prediction: the interface of masks, tables and boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from lightning import LightningModule, Trainer
from torch import Tensor

from ..tags import class_names
from ._monitor import module_value
from ._rank_parts import Key, RankParts

__all__ = ["MergedFile", "Predicted", "PredictionFiles", "listed"]


@dataclass(frozen=True)
class Predicted:
    """The predictions of a batch of N images."""

    found: Mapping[str, Any]  # one of the predictions in lightning_hparams.outputs
    paths: Sequence[str]  # N image files, "" if unknown
    names: Sequence[PurePosixPath]  # N names for files, without suffix
    keys: Sequence[Key]  # N positions, increasing on each rank


class PredictionFiles(ABC):
    """Writes the predictions of a run to a folder.

    Args:
        folder: Where to write.
        module: The module that predicts, for its ``class_names``.
        trainer: The running Trainer.
    """

    def __init__(self, folder: Path, module: LightningModule, trainer: Trainer) -> None:
        self.folder = folder
        self.class_names = class_names(module_value(module, "class_names")) or []

    @abstractmethod
    def write(self, predicted: Predicted) -> None:
        """Write a batch.

        Raises:
            TypeError: If the predictions have another form.
        """


class MergedFile(PredictionFiles):
    """One file for all images, in the order of the dataset, complete at the end of the run."""

    file_name: ClassVar[str]

    def __init__(self, folder: Path, module: LightningModule, trainer: Trainer) -> None:
        super().__init__(folder, module, trainer)
        self.rows = RankParts(folder / self.file_name, trainer.global_rank)

    @abstractmethod
    def merge(self, counts: Sequence[int]) -> None:
        """Write the file, in one process when all have added their last row.

        Args:
            counts: Number of rows of each process.
        """


def listed(values: Tensor) -> list[Any]:
    """Convert a tensor to a list, as float32 if it holds floating point numbers."""
    values = values.detach().cpu()
    found: list[Any] = (values.float() if values.is_floating_point() else values).tolist()
    return found
