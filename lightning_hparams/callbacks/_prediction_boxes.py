"""Predicted boxes as a COCO file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from lightning import LightningModule, Trainer
from torch import Tensor

from ..checks import type_name
from ._monitor import module_value
from ._prediction_files import MergedFile, Predicted, listed
from ._rank_parts import replaced

__all__ = ["BoxFile"]


class BoxFile(MergedFile):
    """One COCO file with ``images``, ``categories`` and ``annotations`` that have a ``score``.

    The annotations alone have the form of COCO's results. Images are numbered from 1. The ids of
    the categories are those of the module's ``category_ids``, or else 1..C.
    """

    file_name = "predictions.json"

    def __init__(self, folder: Path, module: LightningModule, trainer: Trainer) -> None:
        super().__init__(folder, module, trainer)
        ids = module_value(module, "category_ids")
        self.category_ids = list(ids) if isinstance(ids, Sequence) else []

    def write(self, predicted: Predicted) -> None:
        """Add the images of a batch."""
        found, sizes = predicted.found["boxes"], predicted.found["sizes"]
        if not isinstance(sizes, Tensor) or sizes.shape != (len(found), 2):
            got = tuple(sizes.shape) if isinstance(sizes, Tensor) else type_name(sizes)
            raise TypeError(
                "PredictionWriter needs 'sizes' (N, 2), the height and width of each image, got "
                f"{got} for {len(found)} images"
            )
        for key, path, name, size, boxes in zip(
            predicted.keys, predicted.paths, predicted.names, listed(sizes), found, strict=True
        ):
            self.rows.add(key, [_file_name(path, name), *size, _columns(boxes)])

    def merge(self, counts: Sequence[int]) -> None:
        """Write the file."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        highest = len(self.class_names) - 1
        for name, height, width, columns in self.rows.rows(counts):
            image = {"id": len(images) + 1, "file_name": name, "width": width, "height": height}
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
