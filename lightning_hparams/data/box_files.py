"""Image files with boxes: what the formats of annotations have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import Dataset

from ..checks import one_of
from ..notices import warn_user
from ..outputs import Boxes
from ..resize import resized
from .augment import Augmentation, augmented_boxes, make_augmentation
from .base import Sample
from .box_checks import BoxPolicy, Objects, checked_boxes
from .classes import alike_classes, distinct_names
from .files import FileData, image_headers, image_sample, images_below, path_or_none
from .image_folder import unseen_classes
from .images import to_channels
from .inspection import in_pixels, undecided_turns
from .pairs import first_names
from .pictures import ImageHeader, common_orientation, open_picture

__all__ = ["Annotated", "BoxFileData", "BoxFileDataset", "BoxFiles", "split_annotated"]


class Annotated(NamedTuple):
    """An image file and the objects in it."""

    path: Path
    size: tuple[int, int] | None  # height and width by the annotations
    objects: Objects
    number: int | float | str | None = None  # id in the annotations, of COCO


class BoxFiles(NamedTuple):
    """Images with boxes, in splits, as a format of annotations describes them."""

    names: list[str]
    splits: dict[str, list[Annotated]]
    source: str  # for messages
    category_ids: list[int] | None = None  # of COCO


class BoxFileData(FileData):
    """Loaders of images with boxes; a subclass reads the annotations in ``_read``.

    It names the folder of all images in ``_all_images``.

    Args:
        class_names: Names of the classes to keep, in the order of their indices; None for all.
        boxes: What to do with boxes that do not fit.
        predict_images: Folder of images to predict.
        options: Those of :class:`FileData`.
    """

    task = "detection"

    def __init__(
        self,
        *,
        class_names: Sequence[str] | None,
        boxes: BoxPolicy,
        predict_images: str | Path | None,
        **options: Any,
    ) -> None:
        super().__init__("boxes", **options)
        one_of("boxes", boxes, ("raise", "clip", "drop"))
        self.boxes: BoxPolicy = boxes
        self._given = distinct_names(class_names)
        self.predict_images = path_or_none("predict_images", predict_images)
        self._files: BoxFiles | None = None

    @property
    def class_names(self) -> list[str]:  # type: ignore[override]  # read from the files
        """Names of the classes, without background; reads the annotations if none were given."""
        return self._read_once().names if self._given is None else self._given

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Number of classes, without background."""
        return len(self.class_names)

    def _read(self) -> BoxFiles:
        raise NotImplementedError

    def _all_images(self) -> tuple[Path, str]:
        """Return the folder of all images, and the argument that gave it."""
        raise NotImplementedError

    def _images_to_predict(self) -> list[Path]:
        folder, name = self.predict_images, "predict_images"
        if folder is None:
            folder, name = self._all_images()
        return [*images_below(folder, name).values()]

    def _read_once(self) -> BoxFiles:
        if self._files is None:
            files = self._read()
            if not files.names:
                raise ValueError(
                    f"{files.source}: no object is annotated, and so there are no classes; check "
                    "the annotations"
                )
            self._files = files
        return self._files

    def _turns(self, headers: Mapping[Path, ImageHeader]) -> dict[Path, int]:
        try:
            splits = self._read_once().splits
        except (ValueError, OSError):  # images alone
            return {}
        named = {os.path.abspath(each.path): each for some in splits.values() for each in some}
        known = {path: named.get(os.path.abspath(path)) for path in headers}
        turns = {path: _turn(each, headers[path]) for path, each in known.items() if each}
        return {path: turn for path, turn in turns.items() if turn is not None}

    def _setup_fit(self) -> None:
        files = self._read_once()
        paths = {name: [each.path for each in some] for name, some in files.splits.items()}
        headers = image_headers([path for some in paths.values() for path in some])
        every = [each for some in files.splits.values() for each in some]
        turns, sizes = {}, {}
        for each in every:
            header = headers[each.path]
            size = header.size if each.size is None else each.size
            turn = _turn(each, header)
            if turn is None:
                raise ValueError(
                    f"{each.path} is {in_pixels(header.size)}, but by {each.objects.where} it is "
                    f"{in_pixels(size)}; boxes must be in pixels of the image: use the image that "
                    "was annotated, or correct the size and the boxes"
                )
            turns[each.path], sizes[each.path] = turn, size
        told_sizes = {each.path: (headers[each.path], each.size) for each in every}
        if (warning := undecided_turns(told_sizes)) is not None:
            warn_user(f"{files.source}: {warning}")
        objects, told = checked_boxes(
            [each.objects for each in every],
            [sizes[each.path] for each in every],
            files.names,
            self.boxes,
        )
        if told is not None:
            rank_zero_info(f"{files.source}: {told}")
        found = {each.path: one for each, one in zip(every, objects, strict=True)}
        sets = {
            name: BoxFileDataset(
                [(path, turns[path], found[path]) for path in some],
                self.in_channels,
                self.size,
                make_augmentation(self.augment, self.size) if name == "train" else None,
                len(files.names),
            )
            for name, some in paths.items()
        }
        counts = {name: one.class_counts().sum(0) for name, one in sets.items()}
        if not counts["train"].sum():
            crowds = any(bool(found[path].crowd.any()) for path in paths["train"])
            raise ValueError(
                f"{files.source}: no training image has a box of {first_names(files.names)}"
                f"{', but for crowds or difficult objects' if crowds else ''}; check the "
                "annotations, and class_names= if it is given"
            )
        if (warning := alike_classes(files.names)) is not None:
            warn_user(f"{files.source}: {warning}")
        if (warning := unseen_classes(counts, files.names)) is not None:
            warn_user(f"{files.source}: {warning}")
        self._check_images(paths, headers)
        self.train_set, self.val_set = sets["train"], sets["validation"]
        self.test_set = sets.get("test", self.val_set)


def _turn(each: Annotated, header: ImageHeader) -> int | None:
    """Return the orientation to apply to an image, or None if the annotated size does not fit."""
    size = header.size if each.size is None else each.size
    # Boxes are drawn in a viewer, which turns the image, or on the pixels as stored.
    found = common_orientation((header.stored, header.orientation), (size, 1))
    return None if found is None else found[0]


class BoxFileDataset(Dataset[Sample]):
    """Image files with boxes.

    Args:
        files: Image, EXIF orientation to apply, and objects of each sample.
        channels: 1 for grey, 3 for RGB, or the number of bands in the files.
        size: Height and width to resize to; None for no resizing.
        augmentation: Applied to image and boxes together, before resizing.
        num_classes: Number of classes.
    """

    def __init__(
        self,
        files: Sequence[tuple[Path, int, Objects]],
        channels: int,
        size: tuple[int, int] | None,
        augmentation: Augmentation | None,
        num_classes: int,
    ) -> None:
        self.paths = [path for path, _, _ in files]
        self.turns = [turn for _, turn, _ in files]
        self.targets: list[Boxes] = [
            {
                "boxes": torch.from_numpy(objects.boxes.astype(np.float32)),
                "labels": torch.from_numpy(objects.labels),
                "crowd": torch.from_numpy(objects.crowd),
            }
            for _, _, objects in files
        ]
        self.channels, self.size, self.augmentation = channels, size, augmentation
        self.num_classes = num_classes

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        path = self.paths[index]
        image = to_channels(open_picture(path), self.channels, self.turns[index])
        sample = image_sample(image, index, path)
        image, target = augmented_boxes(image, self.targets[index], self.augmentation)
        if self.size is not None:
            height, width = image.shape[-2:]
            scale = torch.tensor([self.size[1] / width, self.size[0] / height] * 2)
            image = resized(image, self.size)
            target = {**target, "boxes": target["boxes"] * scale}
        return {**sample, "image": image, "target": target}

    def class_counts(self) -> Tensor:
        """Boxes of each class in each image, ``(N, C)``, without those of crowds."""
        return torch.stack(
            [
                torch.bincount(target["labels"][~target["crowd"]], minlength=self.num_classes)
                for target in self.targets
            ]
        )


def split_annotated(
    found: Mapping[str, Annotated], splits: Mapping[str, Sequence[str]]
) -> dict[str, list[Annotated]]:
    """Return the images of each split by key."""
    return {name: [found[key] for key in keys] for name, keys in splits.items()}
