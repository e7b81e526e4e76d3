"""Writes predicted masks to files as they are produced."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from torch import Tensor

from ..checks import described, writable_folder
from ..render import palette
from ..tags import class_names
from ._monitor import module_value
from ._two_packages import refuse_other_lightning

__all__ = ["PredictionWriter", "relative_name"]


class PredictionWriter(BasePredictionWriter):
    """Write the mask of each predicted image to a folder, batch by batch.

    Each mask is a PNG of class indices, at the size returned by ``predict_step`` (that of the image
    file, for :class:`~lightning_hparams.SegmentationTask`), named after its image; subfolders are
    kept. Viewers show the indices in colours, with class 0 in black, and masks of two classes in
    black and white. A multilabel mask is one PNG per label, ``{image}_{label}.png``.

    Predictions are not kept in memory: ``Trainer.predict`` returns None, as with
    ``return_predictions=False``. Files appear only when complete, so an interrupted run leaves no
    partial ones. Under DDP each process writes its own predictions, and each image is written once.

    Args:
        folder: Where to write; created if it does not exist.
        probabilities: Write the probabilities ``(C, H, W)`` too, as ``{image}.npy`` in float16:
            264 MB per image for 11 classes and 12 megapixels.

    A ``predict_step`` returns :class:`~lightning_hparams.outputs.SegmentationPrediction`, or
    any dict with ``masks``, one per image, and ``paths``; or masks alone, if the batch has a
    ``path`` for each.

    Raises:
        TypeError: If a prediction has another form.
        ValueError: If two images would be written to the same file, or if the folder is that of
            the images.
        PermissionError: Before predicting, if the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, *, probabilities: bool = False) -> None:
        super().__init__(write_interval="batch")
        self.folder = Path(folder)
        self.probabilities = probabilities
        self._root: Path | None = None
        self._written: dict[Path, str] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse objects of ``pytorch_lightning``."""
        refuse_other_lightning(self, trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the folder, and tell Lightning not to keep predictions."""
        writable_folder("PredictionWriter's folder", self.folder)
        self._root = _common_folder(trainer.predict_dataloaders)
        if self._root is not None and self.folder.resolve() == Path(self._root).resolve():
            raise ValueError(
                "PredictionWriter's folder must not be the folder of the images, whose files the "
                f"masks could replace, got {self.folder}; pass another"
            )
        self._written = {}
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
        """Write the masks of a batch."""
        masks, paths = _masks_and_paths(prediction, batch)
        indices = list(batch_indices or range(len(masks)))
        probs = _probabilities(prediction) if self.probabilities else []
        loaders = trainer.predict_dataloaders
        several = isinstance(loaders, Sequence) and len(loaders) > 1
        for number, (mask, path) in enumerate(zip(masks, paths, strict=True)):
            if path:
                name = relative_name(path, self._root)
            else:
                name = PurePosixPath(f"{indices[number]:06d}")
            if several:
                name = PurePosixPath(str(dataloader_idx)) / name
            self._write_mask(name, path, mask, pl_module)
            if probs:
                self._write(name, ".npy", path, partial(np.save, arr=probs[number]))

    def _write_mask(
        self, name: PurePosixPath, path: str, mask: Tensor, module: LightningModule
    ) -> None:
        values = mask.detach().cpu().numpy()
        if values.dtype.kind not in "uib" or values.ndim not in (2, 3):
            raise TypeError(
                "PredictionWriter needs masks (H, W) of class indices or (C, H, W) of 0 and 1, "
                f"got {tuple(values.shape)} of {values.dtype}; return them from predict_step as "
                "{'masks': [...], 'paths': [...]}"
            )
        names = class_names(module_value(module, "class_names")) or []
        if values.ndim == 2:
            picture = _picture(values, len(names))
            self._write(name, ".png", path, partial(picture.save, format="PNG"))
            return
        for index, layer in enumerate(values):
            label = names[index] if len(names) == len(values) else str(index)
            ending = f"_{label.replace('/', '_')}.png"
            save = partial(_picture(layer, 2).save, format="PNG")
            self._write(name, ending, path, save)

    def _write(
        self, name: PurePosixPath, ending: str, path: str, save: Callable[[BinaryIO], object]
    ) -> None:
        target = self.folder / name.with_name(name.name + ending)
        other = self._written.setdefault(target, path)
        if other != path:
            raise ValueError(f"{other} and {path} would both be written to {target}; rename one")
        if path and target.resolve() == Path(path).resolve():
            raise ValueError(f"a mask would replace its image {path}; pass another folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            with unfinished.open("wb") as file:
                save(file)
            unfinished.replace(target)
        finally:
            with suppress(OSError):  # must not hide an error of writing
                unfinished.unlink(missing_ok=True)


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


def _common_folder(loaders: object) -> Path | None:
    """The common folder of all the datasets' files, or None if a dataset does not list them."""
    paths: list[str] = []
    for loader in loaders if isinstance(loaders, Sequence) else [loaders]:
        files = getattr(getattr(loader, "dataset", None), "files", None)
        if not isinstance(files, Sequence):
            return None
        first = [file[0] if isinstance(file, tuple) else file for file in files]
        paths += [str(Path(path).parent) for path in first if isinstance(path, (str, Path))]
    return Path(os.path.commonpath(paths)) if paths else None


def _masks_and_paths(prediction: object, batch: object) -> tuple[Sequence[Tensor], Sequence[str]]:
    masks = prediction.get("masks") if isinstance(prediction, Mapping) else prediction
    if not isinstance(masks, (Tensor, list, tuple)) or not all(
        isinstance(mask, Tensor) for mask in masks
    ):
        raise TypeError(
            "PredictionWriter needs a predict_step that returns masks, or a dict with 'masks' and "
            f"'paths', got {described(prediction)}"
        )
    paths = prediction.get("paths") if isinstance(prediction, Mapping) else None
    if paths is None and isinstance(batch, Mapping):
        paths = batch.get("path")
    return list(masks), [""] * len(masks) if paths is None else list(paths)


def _probabilities(prediction: object) -> list[npt.NDArray[np.float16]]:
    probs = prediction.get("probs") if isinstance(prediction, Mapping) else None
    if probs is None:
        raise TypeError("probabilities=True needs 'probs' in what predict_step returns")
    return [one.detach().half().cpu().numpy() for one in probs]


def _picture(values: npt.NDArray[Any], num_classes: int) -> Image.Image:
    """Create an image of class indices, with a palette for viewing."""
    if values.min() < 0 or values.max() > 255:  # out of range for a palette
        return Image.fromarray(values.astype(np.uint16 if values.min() >= 0 else np.int32))
    image = Image.fromarray(values.astype(np.uint8))
    if num_classes <= 2:
        colors = np.repeat(np.array([0, *[255] * 255], np.uint8)[:, None], 3, axis=1)
    else:
        colors = palette(256)
        colors[0] = 0
    image.putpalette(colors.tobytes(), "RGB")
    return image
