"""What data modules that read image files have in common."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..checks import as_plain, in_range, path_in, whole_number
from ..notices import warn_user
from ..resize import resized
from .augment import Augmentation, Goal, augmented_image, check_augment
from .base import Sample, VisionData
from .duplicates import repeats, thumbnail
from .images import read_image
from .inspection import check_depth, check_one_size
from .listing import image_paths, unread_images
from .pictures import ImageHeader, read_header

__all__ = [
    "FileData",
    "LabelFileDataset",
    "height_width",
    "image_headers",
    "image_sample",
    "images_below",
    "plain_path",
    "spread_over",
]

T = TypeVar("T")


class FileData(VisionData):
    """Loaders of image files, whose headers are read in ``setup``; the base of those that follow.

    A subclass finds its files in ``_setup_fit``, and in ``_images_to_predict``.

    Args:
        goal: What belongs to each image.
        size: Height and width to resize to, or one number for both; None for no resizing.
        in_channels: 3 for RGB, 1 for grey, or the number of bands in the files.
        augment: Augmentation of training images.
        check_files: Number of files to read completely.
        val_fraction: Share of a random validation set.
        seed: Seed of the random split.
        batch_size: Images per batch.
        num_workers: Number of worker processes.
        sampler: ``"random"`` or ``"balanced"``.
    """

    def __init__(
        self,
        goal: Goal,
        *,
        size: int | list[int] | None,
        in_channels: int,
        augment: bool | str | Augmentation | None,
        check_files: int,
        val_fraction: float,
        seed: int,
        batch_size: int,
        num_workers: int,
        sampler: Literal["random", "balanced"] = "random",
    ) -> None:
        super().__init__(batch_size, num_workers, sampler)
        self.goal = goal
        self.size = height_width(size)
        self.in_channels = whole_number("in_channels", in_channels, 1)
        self.augment = check_augment(augment, goal)
        self.check_files = whole_number("check_files", check_files, 0)
        val_fraction = as_plain(val_fraction)
        in_range("val_fraction", val_fraction, above=0, below=1, remedy="0.2 is usual")
        self.val_fraction = val_fraction
        self.seed = whole_number("seed", seed)

    def setup(self, stage: str) -> None:
        """Find the files, check them, and split them."""
        if stage == "predict":
            paths = self._images_to_predict()
            headers = image_headers(paths)
            if self.size is not None:
                check_depth(headers)
            turned = {path: each for path, each in headers.items() if each.orientation != 1}
            turns = self._turns(turned) if turned else {}
            self.predict_set = LabelFileDataset(
                paths, None, self.in_channels, self.size, turns=turns
            )
        elif self.train_set is None:
            self._setup_fit()

    def predict_dataloader(self) -> DataLoader[Sample]:
        """In order; one by one where the images keep their sizes."""
        dataset = super().predict_dataloader().dataset
        return self._loader(dataset, 1 if self.size is None else self.batch_size)

    def _setup_fit(self) -> None:
        raise NotImplementedError

    def _images_to_predict(self) -> list[Path]:
        raise NotImplementedError

    def _turns(self, headers: Mapping[Path, ImageHeader]) -> dict[Path, int]:
        """Return the orientation of images to predict that is not that of EXIF.

        It is the one that their annotations mean, where there are any: predictions are compared
        with these.
        """
        return {}

    def _check_images(
        self, splits: Mapping[str, Sequence[Path]], headers: Mapping[Path, ImageHeader]
    ) -> None:
        """Check headers, read some images, and warn of those that occur in two splits."""
        check_depth(headers)
        if self.size is None and self.batch_size > 1 and self.goal != "boxes":
            check_one_size(headers)
        paths = [path for paths in splits.values() for path in paths]
        chosen = spread_over(paths, self.check_files)
        with ThreadPoolExecutor() as pool:  # Pillow decodes outside of the interpreter's lock
            small = pool.map(lambda path: thumbnail(read_image(path, self.in_channels)), chosen)
            thumbnails = dict(zip(chosen, small, strict=True))
        if (warning := repeats(splits, thumbnails)) is not None:
            warn_user(warning)
        counts = ", ".join(f"{len(paths)} for {name}" for name, paths in splits.items())
        # Absolute, since the folders of two splits may be given in either way.
        folder = os.path.commonpath([path.absolute().parent for path in paths])
        rank_zero_info(f"{folder}: images {counts}")


class LabelFileDataset(Dataset[Sample]):
    """Image files, each with a label or values, or alone.

    Args:
        paths: Image files.
        goals: int64 labels ``(N,)`` or ``(N, C)``, float32 values ``(N,)`` or ``(N, D)``, or None.
        channels: 1 for grey, 3 for RGB, or the number of bands in the files.
        size: Height and width to resize to; None for no resizing.
        augmentation: Applied to the image before resizing.
        turns: EXIF orientation to apply to some images instead of their own.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        goals: Tensor | None,
        channels: int,
        size: tuple[int, int] | None,
        augmentation: Augmentation | None = None,
        turns: Mapping[Path, int] | None = None,
    ) -> None:
        self.turns = dict(turns or {})
        self.paths, self.goals = list(paths), goals
        self.channels, self.size, self.augmentation = channels, size, augmentation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        path = self.paths[index]
        image = read_image(path, self.channels, self.turns.get(path))
        sample = image_sample(image, index, path)
        image = augmented_image(image, self.augmentation)
        sample["image"] = image if self.size is None else resized(image, self.size)
        if self.goals is not None:
            key = "value" if self.goals.is_floating_point() else "label"
            sample[key] = self.goals[index]
        return sample

    def class_counts(self) -> Tensor:
        """The class of each image ``(N,)``, or its labels ``(N, C)``."""
        if self.goals is None or self.goals.is_floating_point():
            raise TypeError("class_counts() needs classes, and these images have none")
        return self.goals


def image_sample(image: Tensor, index: int, path: Path) -> Sample:
    """Return what a batch holds of any image, with its size before augmentation."""
    return {
        "image": image,
        "index": index,
        "path": str(path),
        "size": torch.tensor(image.shape[-2:]),
    }


def image_headers(paths: Sequence[Path]) -> dict[Path, ImageHeader]:
    """Read the headers of image files.

    Raises:
        ValueError: If one cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(read_header, paths), strict=True))


def images_below(folder: Path, name: str) -> dict[str, Path]:
    """Find the images of a folder and its subfolders by their relative paths.

    Args:
        folder: The folder.
        name: Name of the argument that gave it, for errors.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no images.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"`{name}`: {folder} is not a folder; check the path")
    found = {
        unicodedata.normalize("NFC", path.relative_to(folder).as_posix()): path
        for path in image_paths(folder, below=True)
    }
    unread = unread_images(folder)
    if not found:
        raise ValueError(f"`{name}`: {unread or f'{folder} has no images; check the path'}")
    if unread is not None:
        warn_user(unread)
    return found


def plain_path(path: str | Path | None) -> str | None:
    """Return a path as text, so that a checkpoint loads with ``weights_only=True``."""
    found = path_or_none("path", path)
    return None if found is None else str(found)


def path_or_none(name: str, path: object) -> Path | None:
    """Return a path that may be left out."""
    return None if path is None else path_in(name, path)


def height_width(size: int | list[int] | None) -> tuple[int, int] | None:
    """Return the argument ``size`` of a data module as height and width.

    Raises:
        ValueError: If it has another number of values.
        TypeError: If they are not whole numbers.
    """
    if size is None:
        return None
    plain = size.tolist() if hasattr(size, "tolist") else size
    sides = list(plain) if isinstance(plain, Sequence) else [plain, plain]
    for side in sides:
        whole_number("size", side, 1)
    if len(sides) != 2:
        raise ValueError(f"`size` must be [height, width], or one number for both, got {size}")
    return int(sides[0]), int(sides[1])


def spread_over(items: Iterable[T], count: int) -> list[T]:
    """Select at most ``count`` items, evenly spread."""
    listed = list(items)
    return listed[:: -(-len(listed) // count)] if count and listed else []
