"""Predicted boxes as a COCO file."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from lightning import LightningModule, Trainer
from torch import Tensor

from ..checks import counted, type_name
from ._monitor import module_value
from ._prediction_files import MergedFile, Predicted, listed
from ._rank_parts import replaced

__all__ = ["BoxFile", "image_numbers"]

Id: TypeAlias = "int | float | str"


class BoxFile(MergedFile):
    """One COCO file with ``images``, ``categories`` and ``annotations`` that have a ``score``.

    The annotations alone have the form of COCO's results. The ids of the images are those that the
    data module has in ``image_ids`` by absolute path, or else 1..N; those of the categories are the
    module's ``category_ids``, or else 1..C.
    """

    file_name = "predictions.json"

    def __init__(self, folder: Path, module: LightningModule, trainer: Trainer) -> None:
        super().__init__(folder, module, trainer)
        ids = module_value(module, "category_ids")
        self.category_ids = list(ids) if isinstance(ids, Sequence) else []
        self.image_ids: Mapping[str, Id] = {}
        # Reads annotations, which a folder of images to predict need not have.
        with suppress(OSError, ValueError):
            found = getattr(getattr(trainer, "datamodule", None), "image_ids", None)
            self.image_ids = found if isinstance(found, Mapping) else {}

    def write(self, predicted: Predicted) -> None:
        """Add the images of a batch."""
        found, sizes = predicted.found["boxes"], predicted.found["sizes"]
        if not isinstance(sizes, Tensor) or sizes.shape != (len(found), 2):
            got = tuple(sizes.shape) if isinstance(sizes, Tensor) else type_name(sizes)
            raise TypeError(
                "PredictionWriter needs 'sizes' (N, 2), the height and width of each image, got "
                f"{got} for {counted(len(found), 'image')}"
            )
        for key, path, name, size, boxes in zip(
            predicted.keys, predicted.paths, predicted.names, listed(sizes), found, strict=True
        ):
            number = self.image_ids.get(os.path.abspath(path)) if path else None
            self.rows.add(key, [number, _file_name(path, name), *size, _columns(boxes)])

    def merge(self, counts: Sequence[int]) -> None:
        """Write the file."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        highest = len(self.class_names) - 1
        rows = list(self.rows.rows(counts))
        numbers = image_numbers([row[0] for row in rows])
        for number, (_, name, height, width, columns) in zip(numbers, rows, strict=True):
            image = {"id": number, "file_name": name, "width": width, "height": height}
            images.append(image)
            for (x1, y1, x2, y2), label, score in zip(*columns, strict=True):
                highest = max(highest, label)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image["id"],
                        "category_id": label,  # for now
                        "bbox": [_shortest(side) for side in (x1, y1, x2 - x1, y2 - y1)],
                        "area": _shortest((x2 - x1) * (y2 - y1)),
                        "iscrowd": 0,
                        "score": _shortest(score),
                    }
                )
        ids, names = self.category_ids, self.class_names
        if len(ids) <= highest:
            ids = list(range(1, highest + 2))
        if len(names) <= highest:
            names = [f"class {index}" for index in range(highest + 1)]
        for annotation in annotations:
            annotation["category_id"] = ids[annotation["category_id"]]
        categories = [{"id": id, "name": name} for id, name in zip(ids, names, strict=False)]
        whole = {"images": images, "categories": categories, "annotations": annotations}

        def save(file: BinaryIO) -> None:
            file.write(json.dumps(whole).encode())

        replaced(self.rows.target, save)


def image_numbers(ids: Sequence[Id | None]) -> list[Id]:
    """Return an id for each image: the given ones, and the next whole numbers for the others.

    If two of the given ids are the same, images are numbered from 1.

    >>> image_numbers([7, None, 3, None]), image_numbers([7, None, 7])
    ([7, 8, 3, 9], [1, 2, 3])
    """
    given = [each for each in ids if each is not None]
    if len(set(given)) < len(given):
        return list(range(1, len(ids) + 1))
    highest = max((int(each) for each in given if not isinstance(each, str)), default=0)
    following = itertools.count(max(highest, 0) + 1)
    return [next(following) if each is None else each for each in ids]


def _file_name(path: str, name: PurePosixPath) -> str:
    """The path below the folder of all images, with its extension."""
    suffix = Path(path).suffix
    return str(name) if name.suffix == suffix else f"{name}{suffix}"


def _shortest(value: float) -> float:
    """The float32 with the fewest digits, 0.9 rather than 0.8999999761581421."""
    return float(str(np.float32(value)))


def _columns(boxes: object) -> list[list[Any]]:
    keys = ("boxes", "labels", "scores")
    if not isinstance(boxes, Mapping) or not all(isinstance(boxes.get(k), Tensor) for k in keys):
        got = sorted(boxes) if isinstance(boxes, Mapping) else type_name(boxes)
        raise TypeError(
            "PredictionWriter needs a dict of tensors 'boxes' (K, 4), 'labels' and 'scores' for "
            f"each image, got {got}"
        )
    return [listed(boxes[key]) for key in keys]
