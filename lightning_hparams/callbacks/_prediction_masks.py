"""Predicted masks as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from lightning import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from ..render import palette
from ._prediction_files import Predicted, PredictionFiles
from ._rank_parts import replaced

__all__ = ["MaskFiles"]

_INVALID = {*'\\:*?"<>|'}  # in the name of a file, on some systems


class MaskFiles(PredictionFiles):
    """One PNG per image, or per image and label, and its probabilities if asked for.

    Args:
        folder: Where to write.
        module: The module that predicts.
        trainer: The running Trainer.
        probabilities: Whether to write them too.
        inputs: Resolved paths of files that must not be replaced.
    """

    def __init__(
        self,
        folder: Path,
        module: LightningModule,
        trainer: Trainer,
        *,
        probabilities: bool,
        inputs: Collection[Path] = (),
    ) -> None:
        super().__init__(folder, module, trainer)
        self.probabilities = probabilities
        self.inputs = inputs
        self._written: dict[Path, str] = {}

    def write(self, predicted: Predicted) -> None:
        """Write the masks of a batch."""
        probs = _probabilities(predicted.found.get("probs")) if self.probabilities else []
        masks = predicted.found["masks"]
        for number, mask in enumerate(masks):
            name, path = predicted.names[number], predicted.paths[number]
            self._write_mask(name, path, mask)
            if probs:
                self._write(name, ".npy", path, partial(np.save, arr=probs[number]))

    def _write_mask(self, name: PurePosixPath, path: str, mask: Tensor) -> None:
        values = mask.detach().cpu().numpy()
        if values.dtype.kind not in "uib" or values.ndim not in (2, 3):
            raise TypeError(
                "PredictionWriter needs masks (H, W) of class indices or (C, H, W) of 0 and 1, "
                f"got {tuple(values.shape)} of {values.dtype}; return them from predict_step as "
                "{'masks': [...], 'paths': [...]}"
            )
        names = self.class_names
        if values.ndim == 2:
            picture = _picture(values, len(names))
            self._write(name, ".png", path, partial(picture.save, format="PNG"))
            return
        for label, layer in zip(_in_file_names(names, len(values)), values, strict=True):
            ending = f"_{label}.png"
            save = partial(_picture(layer, 2).save, format="PNG")
            self._write(name, ending, path, save)

    def _write(
        self, name: PurePosixPath, ending: str, path: str, save: Callable[[BinaryIO], object]
    ) -> None:
        target = self.folder / name.with_name(name.name + ending)
        other = self._written.setdefault(target, path)
        if other != path:
            raise ValueError(f"{other} and {path} would both be written to {target}; rename one")
        whole = target.resolve()
        if whole in self.inputs or (path and whole == Path(path).resolve()):
            raise ValueError(
                f"the mask of {path} would replace {target}, which is itself a file of the data; "
                "pass another folder"
            )
        replaced(target, save)


def _in_file_names(names: Sequence[str], count: int) -> list[str]:
    """Return the part of a file's name for each label: its name if that is valid, or its index.

    >>> _in_file_names(["road/path", "car", "a:b"], 3), _in_file_names(["a/b", "A_b"], 2)
    (['road_path', 'car', '2'], ['0', '1'])
    """
    plain = [name.replace("/", "_") for name in names]
    # Some file systems do not tell upper case from lower case.
    if len(plain) != count or len({name.casefold() for name in plain}) < count:
        return [str(index) for index in range(count)]
    return [
        name
        if name.isprintable() and not _INVALID & {*name} and len(name.encode()) <= 100
        else str(index)
        for index, name in enumerate(plain)
    ]


def _probabilities(probs: list[Tensor] | None) -> list[npt.NDArray[np.float16]]:
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
