"""Boxes in COCO's format."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from ..checks import nearest, one_of, path_in
from .augment import Augmentation
from .box_checks import BoxPolicy, Objects
from .box_files import Annotated, BoxFileData, BoxFiles, split_annotated
from .coco_file import CocoFile, in_order, open_coco, size_of
from .files import plain_path
from .layout import split_word
from .listing import image_paths
from .pairs import first_names
from .splits import check_splits, found_in, names_of, split_keys

__all__ = ["CocoData"]


class CocoData(BoxFileData):
    """Images with boxes in COCO's JSON format.

    Categories become the classes 0..C-1 in the order of their ids, which may be any numbers, and
    are matched between files by name. ``setup`` checks all boxes and the headers of all images, and
    reads ``check_files`` of them completely. An error names file, value and remedy; a warning names
    classes that do not occur, and images that are in two splits.

    Args:
        images: Folder of images. Or, without ``annotations``, a folder with the layout of COCO
            (``annotations/instances_train2017.json`` next to ``train2017``), or with folders
            ``train``, ``valid`` and ``test`` that each hold images and a JSON file.
        annotations: JSON file of the training images.
        val_annotations: The same for validation; without it, images are split at random.
        test_annotations: The same for test; without a test set, it is the validation set.
        val_images: Folder of images for validation; None for ``images``.
        test_images: Folder of images for test; None for ``images``.
        class_names: Names of the categories to keep, in the order of their indices; None for all.
        boxes: What to do with boxes without width or height, or outside of their image: ``"raise"``
            an error; ``"clip"`` them at the border; ``"drop"`` them.
        val_fraction: Share of the images used for validation, above 0 and below 1, unless there are
            annotations for it.
        predict_images: Folder of images to predict; None for all of ``images``.
        size: Height and width ``[H, W]`` to resize to, or one number for both; None for no
            resizing: a batch is then a list of images.
        in_channels: 3 for RGB, 1 for grey, or the number of bands in the files.
        augment: Augmentation of training images; see :class:`~lightning_hparams.MaskFolderData`.
            After 1121 steps of the default detector on 291 images of blood cells, the default
            raised the mAP from 0.555 (flips in both directions) to 0.580, ``"strong"`` to 0.564.
            Boxes of which less than a quarter remains in a crop are left out. Your own transform
            takes an image and a dict of ``boxes`` and ``labels``, and returns both, as those of
            torchvision's v2 do.
        sampler: ``"random"``, or ``"balanced"``; see :class:`~lightning_hparams.data.VisionData`.
        batch_size: Images per batch.
        num_workers: Number of worker processes.
        check_files: Number of images that ``setup`` reads completely, evenly spread.
        seed: Seed of the random split.

    Attributes:
        category_ids: Ids of the classes in the training annotations.
        image_ids: Ids of the images in the annotations by path, for predictions.

    Raises:
        ValueError: From ``setup`` for files that do not fit, and for arguments out of range.
        FileNotFoundError: From ``setup``, for a folder or file that does not exist.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path | None = None,
        *,
        val_annotations: str | Path | None = None,
        test_annotations: str | Path | None = None,
        val_images: str | Path | None = None,
        test_images: str | Path | None = None,
        class_names: list[str] | None = None,
        boxes: BoxPolicy = "raise",
        val_fraction: float = 0.2,
        predict_images: str | Path | None = None,
        size: int | list[int] | None = None,
        in_channels: int = 3,
        augment: bool | Literal["none", "flip", "light", "strong"] | Augmentation = "light",
        sampler: Literal["random", "balanced"] = "random",
        batch_size: int = 8,
        num_workers: int = 2,
        check_files: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(
            class_names=class_names,
            boxes=boxes,
            predict_images=predict_images,
            size=size,
            in_channels=in_channels,
            augment=augment,
            check_files=check_files,
            val_fraction=val_fraction,
            seed=seed,
            batch_size=batch_size,
            num_workers=num_workers,
            sampler=sampler,
        )
        if annotations is None and not val_annotations is test_annotations is None:
            raise ValueError("`val_annotations` and `test_annotations` need annotations=")
        self.images = path_in("images", images)
        files = {
            "train": (images, annotations),
            "validation": (images if val_images is None else val_images, val_annotations),
            "test": (images if test_images is None else test_images, test_annotations),
        }
        self.sources = {
            name: (path_in("images", folder), path_in("annotations", file))
            for name, (folder, file) in files.items()
            if file is not None
        }
        # Plain strings and numbers, so that a checkpoint loads with weights_only=True.
        images, annotations = str(images), plain_path(annotations)
        val_annotations, test_annotations = map(plain_path, (val_annotations, test_annotations))
        val_images, test_images = plain_path(val_images), plain_path(test_images)
        predict_images = plain_path(predict_images)
        size = None if self.size is None else [*self.size]
        self.save_hyperparameters(
            ignore=[] if isinstance(augment, (bool, str)) else ["augment"], logger=False
        )

    @property
    def category_ids(self) -> list[int]:
        """Ids of the classes in the training annotations; reads them."""
        return self._read_once().category_ids or []

    @property
    def image_ids(self) -> dict[str, int | float | str]:
        """Ids of the images in the annotations of all splits, by absolute path; reads them."""
        return {
            os.path.abspath(each.path): each.number
            for some in self._read_once().splits.values()
            for each in some
            if each.number is not None
        }

    def _all_images(self) -> tuple[Path, str]:
        return self.images, "images"

    def _read(self) -> BoxFiles:
        sources = self.sources or _layout(self.images)
        files = {name: open_coco(path) for name, (_, path) in sources.items()}
        train = files["train"]
        by_name = {name: category for category, name in sorted(train.names.items(), key=in_order)}
        names = [*by_name]
        if self._given is not None:
            for name in self._given:
                one_of("class_names", name, names)
            names = self._given
            if left := [name for name in by_name if name not in names]:
                rank_zero_info(f"{train.path}: left out the categories {first_names(left)}")
        splits: dict[str, dict[str, Annotated]] = {}
        for split, (folder, _) in sources.items():
            _check_names(files[split], train)
            splits[split] = _images(files[split], folder, names)
        paths = {
            split: {key: each.path for key, each in some.items()} for split, some in splits.items()
        }
        if "validation" in splits:
            check_splits(paths)
            found = {split: [*some.values()] for split, some in splits.items()}
        else:
            keys = split_keys(
                dict.fromkeys(paths["train"], ""),
                paths["train"],
                named=None,
                lists={},
                fraction=self.val_fraction,
                seed=self.seed,
            )
            found = split_annotated(splits["train"], keys)
            if "test" in splits:
                check_splits(paths)
                found["test"] = [*splits["test"].values()]
        return BoxFiles(names, found, str(train.path), [by_name[name] for name in names])


def _layout(root: Path) -> dict[str, tuple[Path, Path]]:
    """Find the folder of images and the file of annotations for each split."""
    if not root.is_dir():
        raise FileNotFoundError(f"`images`: {root} is not a folder; check the path")
    folders = {
        split: path
        for parent in (root / "images", root)
        if parent.is_dir()
        for path in sorted(parent.iterdir(), reverse=True)
        if path.is_dir() and (split := split_word(path.name))
    }
    found = {}
    for split, folder in folders.items():
        if len(files := sorted(folder.glob("*.json"))) == 1:
            found[split] = (folder, files[0])
    if "train" not in found:
        beside = root / "annotations"
        files = sorted((beside if beside.is_dir() else root).glob("*.json"))
        files = [path for path in files if path.name.startswith("instances")] or files
        found = {
            split: (folders.get(split, root), path)
            for path in files
            if (split := split_word(path.stem))
        }
        if not found and len(files) == 1:
            found = {"train": (root, files[0])}
    if "train" not in found:
        raise ValueError(
            f"`images`: no annotations of training images recognised in {root}, such as "
            "annotations/instances_train.json or train/_annotations.coco.json; pass annotations="
        )
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def _check_names(ours: CocoFile, train: CocoFile) -> None:
    """Check that categories of another split are known in training, if they have boxes."""
    known = set(train.names.values())
    used = Counter(each["category_id"] for some in ours.annotations.values() for each in some)
    for number, name in ours.names.items():
        if name not in known and used[number]:
            raise ValueError(
                f"{ours.path} has {used[number]} boxes of {name!r}, which is not among the "
                f"categories of {train.path}{nearest(name, known)}; names must be the same in both"
            )


def _images(coco: CocoFile, folder: Path, names: Sequence[str]) -> dict[str, Annotated]:
    """Return the images of a file by name, with the objects of the given classes."""
    paths = _paths(coco, folder)
    index_of = {number: names.index(name) for number, name in coco.names.items() if name in names}
    found = {}
    for number, image in coco.images.items():
        kept = [each for each in coco.annotations[number] if each["category_id"] in index_of]
        xywh = np.array([each["bbox"] for each in kept], dtype=np.float64).reshape(-1, 4)
        objects = Objects(
            f"{coco.path}, image {image['file_name']}",
            np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
            np.array([index_of[each["category_id"]] for each in kept], dtype=np.int64),
            np.array([bool(each.get("iscrowd", 0)) for each in kept], dtype=bool),
        )
        size = size_of(coco, image)
        found[paths[number].as_posix()] = Annotated(paths[number], size, objects, number)
    if len(found) < len(coco.images):
        raise ValueError(f"{coco.path} has several images with one file_name; merge them")
    return found


def _paths(coco: CocoFile, folder: Path) -> dict[Any, Path]:
    paths = {number: folder / image["file_name"] for number, image in coco.images.items()}
    missing = [number for number, path in paths.items() if not path.is_file()]
    if not missing:
        return paths
    if not folder.is_dir():
        raise FileNotFoundError(f"`images`: {folder} is not a folder; check the path")
    files = {path.as_posix(): path for path in image_paths(folder, below=True)}
    names = names_of(files)
    for number in missing:
        if (key := found_in(coco.images[number]["file_name"], names)) is not None:
            paths[number] = files[key]
    absent = [path.name for path in paths.values() if not path.is_file()]
    if absent:
        raise FileNotFoundError(
            f"{coco.path} describes {len(coco.images)} images, {len(absent)} of which are not in "
            f"{folder}: {first_names(absent)}; check images="
        )
    return paths
