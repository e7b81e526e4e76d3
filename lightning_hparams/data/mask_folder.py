"""A folder of images and one of masks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from ..checks import in_range, names_in, one_of, whole_number
from ..resize import resized
from .augment import Augmentation, CropFlipJitter, augmented
from .base import SegmentationData
from .masks import ImageHeader, MaskReader, read_header, read_image
from .pairs import check_matched, check_splits, files_by_stem, random_split, read_split

__all__ = ["FileDataset", "MaskFolderData"]

Pair = tuple[Path, Path]


class MaskFolderData(SegmentationData):
    """Images and masks of the same names in two folders, checked before training.

    ``setup`` reads the header of every file, and ``check_files`` images and masks whole; what is
    wrong is named with file, value and remedy. The other files are checked as they are read.

    Args:
        images: Folder of images: PNG, JPEG, TIFF, WebP, BMP; grey, RGB, or grey of 16 bits.
        masks: Folder of masks of the same stems: class indices (also as a palette image), 0 and
            255 for a binary task, or colours with ``palette``.
        class_names: Names of the classes, background included; or give ``num_classes``.
        num_classes: Number of classes, 2..256; 2 for a binary task.
        task: ``"multiclass"``, or ``"binary"`` for masks of 0 and 1, or 0 and 255.
        class_values: Class index of each value in the mask files, where they differ.
        palette: Colour ``[red, green, blue]`` of each class, for masks in colour; where there is
            an ``ignore_index``, its colour may follow as the last.
        mask_suffix: What the stem of a mask has after that of its image, such as ``"_mask"``; with
            it, both may lie in one folder.
        ignore_index: Mask value of pixels that do not count.
        val_fraction: Share of the images that is validation, above 0 and below 1.
        train_split: Text file with a stem a line, instead of a fraction; needs ``val_split``. Then
            files that stand in no split need no partner.
        val_split: Likewise.
        test_split: Likewise; with a fraction, taken out before it. Without it, the test set is the
            validation set.
        predict_images: Folder of images to predict, without masks; None for all of ``images``.
        size: Height and width ``[H, W]`` to resize to, or one number for both; None to leave them.
            Masks are not interpolated. The task predicts at the files' own size all the same.
        in_channels: 3 for RGB, 1 for grey.
        augment: Crop (where ``size`` is given), mirror, and change the brightness of training
            images; or a transform of torchvision's v2 of your own, before they are resized.
        batch_size: Images in a batch; 1 where ``size`` is None and the images differ in theirs.
        num_workers: Processes that read and augment.
        check_files: How many images and masks ``setup`` reads whole, evenly spread; 0 for none.
        seed: Of the split by fraction, which depends on nothing else but the names.

    Raises:
        ValueError: By ``setup``, for files that do not fit, and for arguments out of range.
        FileNotFoundError: By ``setup``, for a folder or file that is not there.
    """

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        *,
        class_names: list[str] | None = None,
        num_classes: int | None = None,
        task: Literal["multiclass", "binary"] = "multiclass",
        class_values: dict[int, int] | None = None,
        palette: list[list[int]] | None = None,
        mask_suffix: str = "",
        ignore_index: int | None = None,
        val_fraction: float = 0.2,
        train_split: str | Path | None = None,
        val_split: str | Path | None = None,
        test_split: str | Path | None = None,
        predict_images: str | Path | None = None,
        size: int | list[int] | None = None,
        in_channels: int = 3,
        augment: bool | Augmentation = True,
        batch_size: int = 8,
        num_workers: int = 2,
        check_files: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        one_of("task", task, ("multiclass", "binary"))
        whole_number("check_files", check_files, 0)
        if ignore_index is not None:
            whole_number("ignore_index", ignore_index)
        if not 0 < val_fraction < 1:
            raise ValueError(f"`0 < val_fraction < 1` must hold, got {val_fraction}; 0.2 is usual")
        if in_channels not in (1, 3):
            raise ValueError(f"`in_channels` must be 1 or 3, got {in_channels}")
        if (train_split is None) != (val_split is None):
            raise ValueError("`train_split` and `val_split` go together; give both or neither")
        # Plain text, so that a checkpoint can be read without trust in its classes.
        images, masks = os.fspath(images), os.fspath(masks)
        train_split, val_split = _text(train_split), _text(val_split)
        test_split, predict_images = _text(test_split), _text(predict_images)
        if class_values is not None:  # JSON knows no numbers as keys
            class_values = {int(value): index for value, index in class_values.items()}
        # Not to the loggers: Lightning refuses a name that the task has too with another value.
        self.save_hyperparameters(
            ignore=[] if isinstance(augment, bool) else ["augment"], logger=False
        )
        self.class_names = _names(class_names, num_classes, task)
        self.num_classes = len(self.class_names)
        _check_class_values(class_values, self.num_classes, ignore_index)
        _check_palette(palette, class_values, self.num_classes, ignore_index)
        self.task, self.ignore_index, self.in_channels = task, ignore_index, in_channels
        self.images, self.masks, self.mask_suffix = Path(images), Path(masks), mask_suffix
        self.val_fraction, self.seed, self.check_files = val_fraction, seed, check_files
        self.split_files = {"train": train_split, "validation": val_split, "test": test_split}
        self.predict_images = None if predict_images is None else Path(predict_images)
        self.size = _height_width(size)
        self.augment = augment
        self.reader = MaskReader(
            self.num_classes,
            binary=task == "binary",
            class_values=class_values,
            palette=palette,
            ignore_index=ignore_index,
        )

    def setup(self, stage: str) -> None:
        """Find the files, check them, and split them."""
        if stage == "predict":
            self._setup_predict()
        elif self.train_set is None:
            self._setup_fit()

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """In order; one by one where the images keep their sizes."""
        dataset = super().predict_dataloader().dataset
        return self._loader(dataset, 1 if self.size is None else self.batch_size)

    def _setup_fit(self) -> None:
        splits = self._splits()
        self._check([pair for pairs in splits.values() for pair in pairs])
        self.train_set = self._dataset(splits["train"], self._augmentation())
        self.val_set = self._dataset(splits["validation"])
        self.test_set = self._dataset(splits.get("test", splits["validation"]))
        counts = ", ".join(f"{len(pairs)} for {name}" for name, pairs in splits.items())
        rank_zero_info(f"{self.images}: images {counts}")

    def _setup_predict(self) -> None:
        if self.predict_images is None:
            images = self._image_files()
        else:
            images = files_by_stem(self.predict_images, "predict_images")
        paths = list(images.values())
        with ThreadPoolExecutor() as pool:
            headers = dict(zip(paths, pool.map(read_header, paths), strict=True))
        if self.size is not None:
            _check_depth(headers)
        self.predict_set = self._dataset([(path, None) for path in paths])

    def _dataset(
        self,
        files: Sequence[tuple[Path, Path | None]],
        augmentation: Augmentation | None = None,
    ) -> FileDataset:
        return FileDataset(files, self.reader, self.in_channels, self.size, augmentation)

    def _image_files(self) -> dict[str, Path]:
        together = self.images.resolve() == self.masks.resolve()
        return files_by_stem(self.images, "images", but=self.mask_suffix if together else "")

    def _splits(self) -> dict[str, list[Pair]]:
        images = self._image_files()
        masks = files_by_stem(self.masks, "masks", ending=self.mask_suffix)
        splits = {
            name: read_split(file, images, masks)
            for name, file in self.split_files.items()
            if file is not None
        }
        if "train" not in splits:
            check_matched(images, masks)
            rest = set(images) - set(splits.get("test", []))
            train, val = random_split(rest, self.val_fraction, self.seed)
            splits = {"train": train, "validation": val, **splits}
        check_splits(splits)
        return {
            name: [(images[stem], masks[stem]) for stem in stems] for name, stems in splits.items()
        }

    def _check(self, pairs: list[Pair]) -> None:
        # Threads, since Pillow decodes outside of the interpreter's lock.
        with ThreadPoolExecutor() as pool:
            found = pool.map(_common_header, pairs)
            headers = {image: header for (image, _), header in zip(pairs, found, strict=True)}
            _check_depth(headers)
            if self.size is None and self.batch_size > 1:
                _check_one_size(headers)
            for _ in pool.map(self._read, _spread(pairs, self.check_files)):
                pass

    def _read(self, pair: Pair) -> None:
        image, mask = pair
        read_image(image, self.in_channels)
        self.reader(mask)

    def _augmentation(self) -> Augmentation | None:
        if not isinstance(self.augment, bool):
            return self.augment
        return CropFlipJitter(self.size) if self.augment else None


class FileDataset(Dataset[dict[str, Any]]):
    """Pairs of image and mask files, or images alone.

    Args:
        files: Image and mask of each sample; None for no mask.
        reader: Reads the masks.
        channels: 1 or 3.
        size: Height and width to resize to; None to leave them.
        augmentation: Of image and mask together, before they are resized.
    """

    def __init__(
        self,
        files: Sequence[tuple[Path, Path | None]],
        reader: MaskReader,
        channels: int,
        size: tuple[int, int] | None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.files = list(files)
        self.reader, self.channels, self.size = reader, channels, size
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_path, mask_path = self.files[index]
        image = read_image(image_path, self.channels)
        about = {"index": index, "path": str(image_path), "size": torch.tensor(image.shape[-2:])}
        if mask_path is None:
            return {"image": image if self.size is None else resized(image, self.size), **about}
        image, mask = augmented(image, self.reader(mask_path), self.augmentation)
        if self.size is not None:
            image, mask = resized(image, self.size), resized(mask, self.size, mask=True)
        return {"image": image, "mask": mask, **about}


def _text(path: str | Path | None) -> str | None:
    return None if path is None else os.fspath(path)


def _names(class_names: list[str] | None, num_classes: int | None, task: str) -> list[str]:
    if class_names is None:
        if task == "binary":
            class_names = ["background", "foreground"]
        elif num_classes is None:
            raise ValueError("`class_names` or `num_classes` is needed: masks do not tell them")
        else:
            whole_number("num_classes", num_classes)
            class_names = [f"class {index}" for index in range(num_classes)]
    class_names = names_in("class_names", class_names)
    if num_classes is not None and num_classes != len(class_names):
        raise ValueError(f"`num_classes` is {num_classes}, but class_names has {len(class_names)}")
    if task == "binary" and len(class_names) != 2:
        raise ValueError(f"a binary task has 2 classes, got class_names={class_names}")
    if len(set(class_names)) < len(class_names):
        raise ValueError(f"`class_names` must differ from each other, got {class_names}")
    in_range("num_classes", len(class_names), 2, 256, remedy="count the background too")
    return class_names


def _check_class_values(
    class_values: dict[int, int] | None, num_classes: int, ignore_index: int | None
) -> None:
    for value, index in (class_values or {}).items():
        if not 0 <= index < num_classes and index != ignore_index:
            raise ValueError(
                f"`class_values` maps {value} to {index}, but the classes are "
                f"0..{num_classes - 1}; use ignore_index for pixels that do not count"
            )


def _check_palette(
    palette: list[list[int]] | None,
    class_values: dict[int, int] | None,
    num_classes: int,
    ignore_index: int | None,
) -> None:
    if palette is None:
        return
    if class_values is not None:
        raise ValueError("`palette` and `class_values` exclude each other; give one of them")
    for color in palette:
        if len(color) != 3 or not all(0 <= part <= 255 for part in color):
            raise ValueError(f"`palette` needs [red, green, blue] of 0..255, got {color}")
    counts = {num_classes, num_classes + (ignore_index is not None)}
    if len(palette) not in counts or len({tuple(color) for color in palette}) < len(palette):
        raise ValueError(
            f"`palette` needs {num_classes} different colours (num_classes), and may have one more "
            f"with an ignore_index; got {len(palette)}: {palette}"
        )


def _height_width(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = list(size) if isinstance(size, Sequence) else [size, size]
    for side in sides:
        whole_number("size", side, 1)
    if len(sides) != 2:
        raise ValueError(f"`size` must be [height, width], or one number for both, got {size}")
    return sides[0], sides[1]


def _common_header(pair: Pair) -> ImageHeader:
    image, mask = pair
    header, size = read_header(image), read_header(mask).size
    if size != header.size:
        raise ValueError(
            f"{mask} is {_pixels(size)}, but {image} is {_pixels(header.size)}; "
            "a mask must have the size of its image"
        )
    return header


def _check_one_size(headers: Mapping[Path, ImageHeader]) -> None:
    examples: dict[tuple[int, int], Path] = {}
    for path, header in headers.items():
        examples.setdefault(header.size, path)
    if len(examples) > 1:
        (one, first), (other, second), *_ = examples.items()
        raise ValueError(
            f"{first} is {_pixels(one)} and {second} is {_pixels(other)}: a batch needs one size; "
            "pass size=, or batch_size=1"
        )


def _check_depth(headers: Mapping[Path, ImageHeader]) -> None:
    examples = {header.deep: path for path, header in headers.items()}
    if len(examples) > 1:
        raise ValueError(
            f"{examples[True]} has more than 8 bits a channel and {examples[False]} has not: their "
            "values do not go together; save all images in one way"
        )


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels (H x W)"


def _spread(pairs: list[Pair], count: int) -> list[Pair]:
    """At most ``count`` of them, evenly spread."""
    return pairs[:: -(-len(pairs) // count)] if count else []
