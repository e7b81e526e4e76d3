"""Writes predictions to files as they are produced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from torch import Tensor

from ..checks import described, path_in, writable_folder
from ..notices import Notices
from ._input_files import InputFiles, common_folder, input_files, resolved
from ._prediction_boxes import BoxFile
from ._prediction_files import MergedFile, Predicted, PredictionFiles
from ._prediction_masks import MaskFiles
from ._prediction_tables import LabelTable, ValueTable
from ._two_packages import refuse_other_lightning

__all__ = ["PredictionWriter", "relative_name"]


class PredictionWriter(BasePredictionWriter):
    """Write predictions to a folder, batch by batch.

    Segmentation: the mask of each image as a PNG of class indices, at the size returned by
    ``predict_step`` (that of the image file, for :class:`~lightning_hparams.SegmentationTask`),
    named after its image; subfolders are kept. Viewers show the indices in colours, with class 0 in
    black, and masks of two classes in black and white. A multilabel mask is one PNG per label,
    ``{image}_{label}.png``.

    Classification: one table ``predictions.csv`` with the columns ``path``, ``label`` and
    ``prob_{class}`` for each class; several labels of an image are separated by ``|``. Regression:
    the same with ``path`` and a column for each value. Rows have the order of the dataset.

    Detection: one COCO file ``predictions.json`` with the images, the categories, and the boxes
    with their scores as annotations, in pixels of the image files. The ids of the images are those
    of the annotations for :class:`~lightning_hparams.CocoData` (further numbers for images that
    these lack), or else 1..N; the ids of the categories are the module's ``category_ids``, or else
    1..C.

    Predictions are not kept in memory: ``Trainer.predict`` returns None, as with
    ``return_predictions=False``. Files appear only when complete, so an interrupted run leaves no
    partial ones. Under DDP each process writes its own predictions, and each image is written once;
    for a table, all machines need to share the folder.

    Args:
        folder: Where to write; created if it does not exist.
        probabilities: Write the probabilities ``(C, H, W)`` of masks too, as ``{image}.npy`` in
            float16: 264 MB per image for 11 classes and 12 megapixels.

    A ``predict_step`` returns one of the predictions in :mod:`lightning_hparams.outputs`, or any
    dict with ``masks``, one per image, ``boxes`` and ``sizes``, ``labels`` and ``probs``, or
    ``values``, and ``paths``; or masks alone. Without ``paths``, the batch may have a ``path`` for
    each image.

    Raises:
        TypeError: If a prediction has another form.
        ValueError: If two images would be written to the same file, or if the folder is that of
            the images, or a file of the data would be replaced.
        PermissionError: Before predicting, if the folder cannot be written to.
        RuntimeError: If a table lacks the rows of another machine.
    """

    def __init__(self, folder: str | Path, *, probabilities: bool = False) -> None:
        super().__init__(write_interval="batch")
        self.folder = path_in("folder", folder)
        self.probabilities = probabilities
        self._root: Path | None = None
        self._files: PredictionFiles | None = None  # of the kind of the first prediction
        self._count = 0  # images so far
        self._inputs: frozenset[Path] = frozenset()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse objects of ``pytorch_lightning``."""
        refuse_other_lightning(self, trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the folder, and tell Lightning not to keep predictions."""
        writable_folder("PredictionWriter's folder", self.folder)
        listed = input_files(trainer.predict_dataloaders)
        self._root = common_folder(listed)
        if self._root is not None and self.folder.resolve() == Path(self._root).resolve():
            raise ValueError(
                "PredictionWriter's folder must not be the folder of the images, whose files the "
                f"masks could replace, got {self.folder}; pass another"
            )
        self._inputs = resolved(listed)
        self._refuse_to_replace(listed)
        self._files, self._count = None, 0
        trainer.predict_loop.return_predictions = False

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: object,
        batch_indices: Sequence[int] | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the predictions of a batch."""
        key, found = _form(prediction)
        paths = _paths(found, batch, len(found[key]))
        processes = trainer.world_size
        numbers = range(self._count, self._count + len(paths))  # where no index is known
        indices = batch_indices or [n * processes + trainer.global_rank for n in numbers]
        self._count += len(paths)
        loaders = trainer.predict_dataloaders
        several = isinstance(loaders, Sequence) and len(loaders) > 1
        names = []
        for path, index in zip(paths, indices, strict=True):
            name = relative_name(path, self._root) if path else PurePosixPath(f"{index:06d}")
            names.append(PurePosixPath(str(dataloader_idx)) / name if several else name)
        if self._files is None:
            self._files = self._files_for(key, pl_module, trainer)
        keys = [(dataloader_idx, index) for index in indices]
        self._files.write(Predicted(found, paths, names, keys))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put together what all processes wrote."""
        merged = self._files if isinstance(self._files, MergedFile) else None
        counts = [0 if merged is None else merged.rows.close()] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(counts, counts[0])
        if trainer.is_global_zero and merged is not None:
            merged.merge(counts)
        trainer.strategy.barrier()  # others keep their rows until these have been read
        self._discard()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remove unfinished files."""
        with Notices(type(self).__name__).after_error("remove unfinished files"):
            self._discard()

    def _files_for(self, key: str, module: LightningModule, trainer: Trainer) -> PredictionFiles:
        if key == "masks":
            return MaskFiles(
                self.folder,
                module,
                trainer,
                probabilities=self.probabilities,
                inputs=self._inputs,
            )
        kinds: dict[str, type[MergedFile]] = {"labels": LabelTable, "boxes": BoxFile}
        return kinds.get(key, ValueTable)(self.folder, module, trainer)

    def _refuse_to_replace(self, listed: Sequence[Sequence[InputFiles]] | None) -> None:
        """Check that the mask of no image has the path of a file that the data consists of."""
        folder, several = self.folder.resolve(), listed is not None and len(listed) > 1
        for number, files in enumerate(listed or []):
            base = folder / str(number) if several else folder
            for image, *_ in files:
                name = relative_name(str(image), self._root)
                if (target := base / f"{name}.png") in self._inputs:
                    raise ValueError(
                        f"PredictionWriter's folder: the mask of {image} would replace {target}, "
                        "which is itself a file of the data; pass another folder"
                    )

    def _discard(self) -> None:
        if isinstance(self._files, MergedFile):
            self._files.rows.discard()
        self._files = None


def relative_name(path: str, root: Path | None) -> PurePosixPath:
    """Name a prediction, without extension: by the path below ``root``, or by the file name.

    >>> relative_name("photos/north/1.jpg", Path("photos")).as_posix()
    'north/1'
    >>> relative_name("/elsewhere/../1.jpg", Path("photos")).as_posix()
    '1'
    """
    name = Path(path)
    if root is not None and name.is_relative_to(root):
        name = name.relative_to(root)
    elif name.is_absolute():
        name = Path(name.name)
    parts = [part for part in name.parts if part not in ("..", "")]
    # Remove known extensions only: "slice 1.5 mm" is not a file name.
    stem = PurePosixPath(*parts)
    known = stem.suffix.lower() in Image.registered_extensions()
    return stem.with_suffix("") if known else stem


_FORMS = {  # keys that tell kinds, and others
    "masks": (),
    "boxes": ("sizes",),
    "labels": ("probs",),
    "values": (),
}


def _form(prediction: object) -> tuple[str, Mapping[str, Any]]:
    """Return the key that tells the kind of a prediction, and the prediction as a dict."""
    found = prediction if isinstance(prediction, Mapping) else {"masks": prediction}
    for key, others in _FORMS.items():
        if _has_images(found.get(key)) and all(other in found for other in others):
            return key, found
    raise TypeError(
        "PredictionWriter needs a predict_step that returns masks, or a dict with 'paths' and "
        "'masks', 'boxes' and 'sizes', 'labels' and 'probs', or 'values' (see "
        f"lightning_hparams.outputs), got {described(prediction)}"
    )


def _has_images(value: object) -> bool:
    listed = isinstance(value, (list, tuple)) and all(
        isinstance(each, (Tensor, Mapping)) for each in value
    )
    return isinstance(value, Tensor) or listed


def _paths(found: Mapping[str, Any], batch: object, count: int) -> list[str]:
    paths = found.get("paths")
    if paths is None and isinstance(batch, Mapping):
        paths = batch.get("path")
    return [""] * count if paths is None else list(paths)
