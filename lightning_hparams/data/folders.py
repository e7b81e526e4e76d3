"""A folder of images and one of masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from ..checks import in_range, one_of
from .base import Augmentation, SegmentationData, augmented
from .masks import MaskReader, image_size, read_image

__all__ = ["FileDataset", "MaskFolderData"]

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_LISTED = 5

Pair = tuple[Path, Path]


class MaskFolderData(SegmentationData):
    """Images and masks of the same names in two folders, checked before training.

    ``setup`` reads the header of every file and the values of the first ``check_masks`` masks; what
    is wrong is named with file, value and remedy. Later masks are checked as they are read.

    Args:
        images: Folder of images: PNG, JPEG, TIFF, WebP, BMP; grey, RGB, or 16 bits.
        masks: Folder of masks of the same stems: class indices (also as a palette image), 0 and
            255 for a binary task, or colours with ``palette``.
        class_names: Names of the classes, background included; or give ``num_classes``.
        num_classes: Number of classes; 2 for a binary task.
        task: ``"multiclass"``, or ``"binary"`` for masks of 0 and 1, or 0 and 255.
        class_values: Class index of each value in the mask files, where they differ.
        palette: Colour ``[red, green, blue]`` of each class, for masks in colour.
        mask_suffix: What the stem of a mask has after that of its image, such as ``"_mask"``.
        ignore_index: Mask value of pixels that do not count.
        val_fraction: Share of the images that is validation, above 0 and below 1.
        train_split: Text file with a stem a line, instead of a fraction; needs ``val_split``.
        val_split: Likewise.
        test_split: Likewise; taken out of a split by fraction first.
        predict_images: Folder of images without masks.
        size: Height and width ``[H, W]`` to resize to, or one number for both; None to leave them.
            Masks are not interpolated. The task predicts at the files' own size all the same.
        in_channels: 3 for RGB, 1 for grey.
        augment: Mirror, crop (where ``size`` is given) and change the brightness of training
            images; or a transform of torchvision's v2 of your own.
        batch_size: Images in a batch; 1 where ``size`` is None and the images differ in theirs.
        num_workers: Processes that read and augment.
        check_masks: How many masks to read in ``setup``, at least 1.
        seed: Of the split by fraction, which depends on nothing else but the names.

    Raises:
        ValueError: By ``setup``, for files that do not fit, and for arguments out of range.
        FileNotFoundError: By ``setup``, for a folder or file that is not there.
    """

    def __init__(
        self,
        images: str,
        masks: str,
        *,
        class_names: list[str] | None = None,
        num_classes: int | None = None,
        task: Literal["multiclass", "binary"] = "multiclass",
        class_values: dict[int, int] | None = None,
        palette: list[list[int]] | None = None,
        mask_suffix: str = "",
        ignore_index: int | None = None,
        val_fraction: float = 0.2,
        train_split: str | None = None,
        val_split: str | None = None,
        test_split: str | None = None,
        predict_images: str | None = None,
        size: int | list[int] | None = None,
        in_channels: int = 3,
        augment: bool | Augmentation = True,
        batch_size: int = 8,
        num_workers: int = 2,
        check_masks: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        one_of("task", task, ("multiclass", "binary"))
        in_range("check_masks", check_masks, 1)
        if not 0 < val_fraction < 1:
            raise ValueError(f"`0 < val_fraction < 1` must hold, got {val_fraction}; 0.2 is usual")
        if in_channels not in (1, 3):
            raise ValueError(f"`in_channels` must be 1 or 3, got {in_channels}")
        if (train_split is None) != (val_split is None):
            raise ValueError("`train_split` and `val_split` go together; give both or neither")
        self.save_hyperparameters(ignore=["augment"])
        self.class_names = _names(class_names, num_classes, task)
        self.num_classes = len(self.class_names)
        _check_mapping(class_values, palette, self.num_classes, ignore_index)
        self.task, self.ignore_index, self.in_channels = task, ignore_index, in_channels
        self.images, self.masks, self.mask_suffix = Path(images), Path(masks), mask_suffix
        self.val_fraction, self.seed, self.check_masks = val_fraction, seed, check_masks
        self.splits = (train_split, val_split, test_split)
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
            paths = self._predict_paths()
            self.predict_set = FileDataset(
                [(path, None) for path in paths], self.reader, self.in_channels, self.size
            )
            return
        if self.train_set is not None:
            return
        pairs = _pairs(self.images, self.masks, self.mask_suffix)
        train, val, test = self._split(pairs)
        self._check(pairs)
        self.train_set = self._files(train, self._augmentation())
        self.val_set = self._files(val)
        self.test_set = self._files(test or val)
        rank_zero_info(
            f"{self.images}: {len(train)} images to train on, {len(val)} to validate"
            + (f", {len(test)} to test" if test else "")
        )

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """In order; one by one where the images keep their sizes."""
        if self.predict_set is None:
            self.setup("predict")
        assert self.predict_set is not None
        return self._loader(self.predict_set, 1 if self.size is None else self.batch_size)

    def _files(self, pairs: list[Pair], augmentation: Augmentation | None = None) -> FileDataset:
        return FileDataset(pairs, self.reader, self.in_channels, self.size, augmentation)

    def _predict_paths(self) -> list[Path]:
        if self.predict_images is None:
            pairs = _pairs(self.images, self.masks, self.mask_suffix)
            return [image for image, _ in pairs.values()]
        return list(_by_stem(self.predict_images, "predict_images").values())

    def _split(self, pairs: dict[str, Pair]) -> tuple[list[Pair], list[Pair], list[Pair]]:
        train, val, test = (_read_split(path, pairs) for path in self.splits)
        if train is None or val is None:
            rest = [stem for stem in pairs if stem not in set(test or [])]
            order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(self.seed))
            count = round(len(rest) * self.val_fraction)
            shuffled = [rest[index] for index in order.tolist()]
            train, val = sorted(shuffled[count:]), sorted(shuffled[:count])
        for name, stems in (("train", train), ("validation", val)):
            if not stems:
                raise ValueError(
                    f"{self.images}: no image is left for {name} of {len(pairs)}; "
                    "change val_fraction or the split files"
                )
        _check_overlap({"train": train, "validation": val, "test": test or []})
        return (
            [pairs[stem] for stem in train],
            [pairs[stem] for stem in val],
            [pairs[stem] for stem in test or []],
        )

    def _check(self, pairs: dict[str, Pair]) -> None:
        sizes: dict[tuple[int, int], Path] = {}
        for image, mask in pairs.values():
            size, other = image_size(image), image_size(mask)
            if size != other:
                raise ValueError(
                    f"{mask} is {other[0]} x {other[1]} pixels (H x W), but {image} is "
                    f"{size[0]} x {size[1]}; a mask must have the size of its image"
                )
            sizes.setdefault(size, image)
        if len(sizes) > 1 and self.size is None and self.batch_size > 1:
            (one, first), (two, second) = list(sizes.items())[:2]
            raise ValueError(
                f"{first} is {one[0]} x {one[1]} pixels (H x W) and {second} {two[0]} x {two[1]}: "
                "a batch needs one size; pass size=, or batch_size=1"
            )
        for _, mask in list(pairs.values())[: self.check_masks]:
            self.reader(mask)

    def _augmentation(self) -> Augmentation | None:
        if not isinstance(self.augment, bool):
            return self.augment
        if not self.augment:
            return None
        # Nothing here makes pixels out of nothing, whose class nobody would know.
        steps: list[Any] = [v2.RandomHorizontalFlip(), v2.ColorJitter(0.2, 0.2)]
        if self.size is not None:
            steps.append(v2.RandomResizedCrop(self.size, scale=(0.5, 1.0), antialias=True))
        composed: Augmentation = v2.Compose(steps)
        return composed


class FileDataset(Dataset[dict[str, Any]]):
    """Pairs of image and mask files, or images alone.

    Args:
        files: Image and mask of each sample; None for no mask.
        reader: Reads the masks.
        channels: 1 or 3.
        size: Height and width to resize to; None to leave them.
        augmentation: Of image and mask together, after resizing.
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
        sample: dict[str, Any] = {
            "index": index,
            "path": str(image_path),
            "size": torch.tensor(image.shape[-2:]),
        }
        image = self._resized(image, InterpolationMode.BILINEAR)
        if mask_path is None:
            return {"image": image, **sample}
        mask = self._resized(self.reader(mask_path)[None], InterpolationMode.NEAREST_EXACT)[0]
        image, mask = augmented(image, mask, self.augmentation)
        return {"image": image, "mask": mask, **sample}

    def _resized(self, image: Tensor, how: InterpolationMode) -> Tensor:
        if self.size is None:
            return image
        resized: Tensor = v2.functional.resize(image, list(self.size), how, antialias=True)
        return resized


def _names(class_names: list[str] | None, num_classes: int | None, task: str) -> list[str]:
    if class_names is None:
        if task == "binary":
            class_names = ["background", "foreground"]
        elif num_classes is None:
            raise ValueError("`class_names` or `num_classes` is needed: masks do not tell them")
        else:
            class_names = [f"class {index}" for index in range(num_classes)]
    if num_classes is not None and num_classes != len(class_names):
        raise ValueError(f"`num_classes` is {num_classes}, but class_names has {len(class_names)}")
    if task == "binary" and len(class_names) != 2:
        raise ValueError(f"a binary task has 2 classes, got class_names={class_names}")
    return list(class_names)


def _check_mapping(
    class_values: dict[int, int] | None,
    palette: list[list[int]] | None,
    num_classes: int,
    ignore_index: int | None,
) -> None:
    for value, index in (class_values or {}).items():
        if not 0 <= index < num_classes and index != ignore_index:
            raise ValueError(
                f"`class_values` maps {value} to {index}, but the classes are "
                f"0..{num_classes - 1}; use ignore_index for pixels that do not count"
            )
    if palette is not None and len({tuple(color) for color in palette}) != num_classes:
        raise ValueError(
            f"`palette` needs {num_classes} different colours (num_classes), got {palette}"
        )


def _height_width(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    in_range("size", min(height, width), 1)
    return height, width


def _by_stem(folder: Path, name: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"`{name}`: {folder} is no folder; check the path")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ValueError(f"`{name}`: {folder} holds no image; known are {sorted(_SUFFIXES)}")
    counts = Counter(path.stem for path in paths)
    twice = [path.name for path in paths if counts[path.stem] > 1]
    if twice:
        raise ValueError(
            f"`{name}`: {folder} has files of the same stem: {_first(twice)}; "
            "which one is meant? remove the others"
        )
    return {path.stem: path for path in paths}


def _pairs(images: Path, masks: Path, mask_suffix: str) -> dict[str, Pair]:
    """Image and mask by stem, in the order of the stems."""
    by_image = _by_stem(images, "images")
    by_mask = {
        stem.removesuffix(mask_suffix): path for stem, path in _by_stem(masks, "masks").items()
    }
    alone = [path.name for stem, path in by_image.items() if stem not in by_mask]
    spare = [path.name for stem, path in by_mask.items() if stem not in by_image]
    if alone or spare:
        parts = [f"images without a mask: {_first(alone)}"] if alone else []
        parts += [f"masks without an image: {_first(spare)}"] if spare else []
        raise ValueError(
            f"{images} ({len(by_image)} images) and {masks} ({len(by_mask)} masks) do not match: "
            f"{'; '.join(parts)}; rename or remove them, or see mask_suffix="
        )
    return {stem: (path, by_mask[stem]) for stem, path in by_image.items()}


def _read_split(file: str | None, pairs: dict[str, Pair]) -> list[str] | None:
    if file is None:
        return None
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"split file {path} does not exist; check the path")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    stems = [stem for stem in lines if stem]
    unknown = [stem for stem in stems if stem not in pairs]
    if unknown:
        raise ValueError(
            f"{path} names {_first(unknown)}, of which there is no image; "
            "a line holds a file name without its ending"
        )
    return list(dict.fromkeys(stems))


def _check_overlap(splits: dict[str, list[str]]) -> None:
    names = list(splits)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            common = sorted(set(splits[one]) & set(splits[other]))
            if common:
                raise ValueError(
                    f"{_first(common)} are in both the {one} and the {other} split; "
                    "remove them from one"
                )


def _first(names: list[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
