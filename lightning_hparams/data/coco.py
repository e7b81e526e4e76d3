"""Boxes in COCO's format."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from ..checks import nearest, one_of
from .augment import Augmentation
from .box_checks import BoxPolicy, Objects
from .box_files import Annotated, BoxFileData, BoxFiles, split_annotated
from .files import plain_path
from .layout import split_word
from .pairs import first_names, image_paths
from .splits import check_splits, found_in, names_of, split_keys

__all__ = ["CocoData"]


class _Coco(NamedTuple):
    """A file of annotations."""

    path: Path
    names: dict[int, str]  # of the categories by id
    images: dict[Any, dict[str, Any]]  # by id
    annotations: dict[Any, list[dict[str, Any]]]  # by the id of the image


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
        augment: bool | Literal["none", "flip", "light", "strong"] | Augmentation = True,
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
        if annotations is None and (val_annotations or test_annotations):
            raise ValueError("`val_annotations` and `test_annotations` need annotations=")
        self.images = Path(images)
        files = {
            "train": (images, annotations),
            "validation": (val_images or images, val_annotations),
            "test": (test_images or images, test_annotations),
        }
        self.sources = {
            name: (Path(folder), Path(file))
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

    def _images_to_predict(self) -> list[Path]:
        folder = self.predict_images or self.images
        if not folder.is_dir():
            raise FileNotFoundError(f"`predict_images`: {folder} is not a folder; check the path")
        return image_paths(folder, below=True)

    def _read(self) -> BoxFiles:
        sources = self.sources or _layout(self.images)
        files = {name: _open(path) for name, (_, path) in sources.items()}
        train = files["train"]
        by_name = {name: category for category, name in sorted(train.names.items(), key=_in_order)}
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


def _open(path: Path) -> _Coco:
    """Read a JSON file, and check that its parts refer to each other."""
    if not path.is_file():
        raise FileNotFoundError(f"`annotations`: {path} is not a file; check the path")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file ({error}); check the path") from error
    parts = ("images", "annotations", "categories")
    for part in parts:
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise ValueError(
                f"{path} is not in COCO's format, which has the lists {list(parts)}: no {part!r}"
            )
    names: dict[int, str] = {}
    for category in content["categories"]:
        number, name = _get(path, "category", category, "id", "name")
        _check_id(path, "a category", number)
        if number in names or name in names.values():
            raise ValueError(
                f"{path} has two categories with id {number} or the name {name!r}; ids and names "
                "must differ from each other"
            )
        names[number] = str(name)
    images: dict[Any, dict[str, Any]] = {}
    for image in content["images"]:
        number, file_name = _get(path, "image", image, "id", "file_name")
        _check_id(path, "an image", number)
        if not isinstance(file_name, str) or not file_name:
            raise ValueError(
                f"{path}: the image with id {number!r} has file_name {file_name!r}; it must be the "
                "name of a file"
            )
        if number in images:
            raise ValueError(f"{path} has two images with the id {number!r}; ids must differ")
        images[number] = image
    grouped: dict[Any, list[dict[str, Any]]] = {number: [] for number in images}
    for annotation in content["annotations"]:
        image, category, box = _get(
            path, "annotation", annotation, "image_id", "category_id", "bbox"
        )
        about = f"{path}: annotation {annotation.get('id')!r}"
        _check_id(path, "an annotation", image, "image_id")
        _check_id(path, "an annotation", category, "category_id")
        if image not in images:
            raise ValueError(f"{about} has image_id {image!r}, which no image has; remove it")
        if category not in names:
            raise ValueError(
                f"{about} of {images[image]['file_name']} has category_id {category!r}, which is "
                f"not among the categories {first_names([str(each) for each in names])}"
            )
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise ValueError(f"{about} has bbox {box!r:.200}; it must be [x, y, width, height]")
        if annotation.get("iscrowd", 0) not in (0, 1):  # "0" would be true
            raise ValueError(
                f"{about} has iscrowd {annotation['iscrowd']!r:.100}; it must be 0 or 1"
            )
        grouped[image].append(annotation)
    return _Coco(path, names, images, grouped)


def _get(path: Path, kind: str, item: object, *keys: str) -> list[Any]:
    if not isinstance(item, Mapping) or any(key not in item for key in keys):
        shown = repr(item)[:100]
        raise ValueError(f"{path}: each {kind} must have {list(keys)}, got {shown}")
    return [item[key] for key in keys]


def _check_id(path: Path, item: str, number: object, key: str = "id") -> None:
    if isinstance(number, bool) or not isinstance(number, (int, float, str)):
        raise ValueError(
            f"{path}: {item} has {key} {number!r:.100}; it must be a whole number, or text"
        )


def _is_number(value: object) -> bool:
    # JSON has integers of any length, of which no float holds the largest.
    return isinstance(value, (int, float)) and not (isinstance(value, int) and abs(value) > 2**53)


def _in_order(category: tuple[int, str]) -> tuple[bool, int]:
    """Sort ids that are numbers before those that are text."""
    return isinstance(category[0], str), category[0]


def _size(coco: _Coco, image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return height and width by the annotations; None if they are missing or 0."""
    sides = image.get("height"), image.get("width")
    try:
        height, width = (int(side or 0) for side in sides)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{coco.path}: the image {image['file_name']} has height and width {sides}; they must "
            "be whole numbers of pixels"
        ) from error
    return (height, width) if height and width else None


def _check_names(ours: _Coco, train: _Coco) -> None:
    """Check that categories of another split are known in training, if they have boxes."""
    known = set(train.names.values())
    used = Counter(each["category_id"] for some in ours.annotations.values() for each in some)
    for number, name in ours.names.items():
        if name not in known and used[number]:
            raise ValueError(
                f"{ours.path} has {used[number]} boxes of {name!r}, which is not among the "
                f"categories of {train.path}{nearest(name, known)}; names must be the same in both"
            )


def _images(coco: _Coco, folder: Path, names: Sequence[str]) -> dict[str, Annotated]:
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
        size = _size(coco, image)
        found[paths[number].as_posix()] = Annotated(paths[number], size, objects)
    if len(found) < len(coco.images):
        raise ValueError(f"{coco.path} has several images with one file_name; merge them")
    return found


def _paths(coco: _Coco, folder: Path) -> dict[Any, Path]:
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
