"""Boxes in the format of Pascal VOC."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from ..checks import path_in
from .augment import Augmentation
from .box_checks import BoxPolicy, Objects
from .box_files import Annotated, BoxFileData, BoxFiles, split_annotated
from .classes import spelled_alike
from .files import plain_path
from .layout import split_of, without_kind
from .listing import files_below, folders_called, image_paths
from .pairs import first_names, key_of
from .public import VOC_CLASSES, download_voc, voc_folder
from .splits import found_in, names_of, split_files, split_keys

__all__ = ["VocData", "parse_xml"]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_TRUE = ("1", "1.0", "true", "yes")


class _Annotation(NamedTuple):
    """The content of an XML file."""

    path: Path
    filename: str
    size: tuple[int, int] | None
    names: list[str]  # of each object
    boxes: list[list[float]]
    difficult: list[bool]


class VocData(BoxFileData):
    """Images with boxes in the XML format of Pascal VOC, which labelImg and others write.

    ``setup`` checks all boxes and the headers of all images, and reads ``check_files`` of them
    completely. An error names file, value and remedy; a warning names classes that do not occur,
    and images that are in two splits.

    Args:
        folder: Folder with ``JPEGImages``, ``Annotations`` and, for the splits,
            ``ImageSets/Main/train.txt`` and ``val.txt``. Or any folder of images and XML files with
            the same names, which may be in folders ``train``, ``valid`` and ``test``. Images
            without an XML file are not used.
        class_names: Names of the classes to keep, in the order of their indices; None for all,
            sorted.
        boxes: What to do with boxes without width or height, or outside of their image: ``"raise"``
            an error; ``"clip"`` them at the border; ``"drop"`` them.
        one_based: Whether the first pixel is 1 and the last one is inside the box, as in the files
            of Pascal VOC itself; most programs write the positions of edges, which start at 0.
        val_fraction: Share of the images used for validation, above 0 and below 1; None for the
            splits of the folder, or 0.2 if it has none.
        train_split: Text file with the name of an image per line; needs ``val_split``.
        val_split: The same for validation.
        test_split: The same for test, whose images are removed from the other splits if it is given
            alone. Without a test set, it is the validation set.
        predict_images: Folder of images to predict; None for all of ``folder``.
        size: Height and width ``[H, W]`` to resize to, or one number for both; None for no
            resizing: a batch is then a list of images.
        in_channels: 3 for RGB, 1 for grey, or the number of bands in the files.
        augment: Augmentation of training images; see :class:`~lightning_hparams.CocoData`.
        sampler: ``"random"``, or ``"balanced"``; see :class:`~lightning_hparams.data.VisionData`.
        batch_size: Images per batch.
        num_workers: Number of worker processes.
        check_files: Number of images that ``setup`` reads completely, evenly spread.
        seed: Seed of the random split.

    Objects marked as difficult become ``crowd``, which counts neither as hit nor as miss.

    Raises:
        ValueError: From ``setup`` for files that do not fit, and for arguments out of range.
        FileNotFoundError: From ``setup``, for a folder or file that does not exist.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        class_names: list[str] | None = None,
        boxes: BoxPolicy = "raise",
        one_based: bool = False,
        val_fraction: float | None = None,
        train_split: str | Path | None = None,
        val_split: str | Path | None = None,
        test_split: str | Path | None = None,
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
            val_fraction=0.2 if val_fraction is None else val_fraction,
            seed=seed,
            batch_size=batch_size,
            num_workers=num_workers,
            sampler=sampler,
        )
        self.folder, self.one_based = path_in("folder", folder), one_based
        self.download = False  # as public() may set it
        self.split_files = split_files(train_split, val_split, test_split)
        self._random = val_fraction is not None
        # Plain strings and numbers, so that a checkpoint loads with weights_only=True.
        folder, predict_images = str(folder), plain_path(predict_images)
        train_split, val_split, test_split = map(plain_path, (train_split, val_split, test_split))
        size = None if self.size is None else [*self.size]
        self.save_hyperparameters(
            ignore=[] if isinstance(augment, (bool, str)) else ["augment"], logger=False
        )

    @classmethod
    def public(
        cls, root: str | Path, year: str = "2012", *, download: bool = False, **options: Any
    ) -> VocData:
        """Create the data module for a year of Pascal VOC, 2007 to 2012.

        Args:
            root: Folder that holds, or will hold, ``VOCdevkit``.
            year: The year; only 2007 has a test set.
            download: Download the data if it is not there, in ``prepare_data``, which Lightning
                calls once on each node.
            options: Further arguments.

        Raises:
            FileNotFoundError: If the data is not there, and not to be downloaded.
            ConnectionError: From ``prepare_data``, if it cannot be downloaded.
        """
        folder = voc_folder(root, year)
        known: dict[str, Any] = {"one_based": True}
        if not folder.is_dir():
            if not download:
                raise FileNotFoundError(
                    f"`root`: {folder} is not there; pass download=True, or the folder of VOCdevkit"
                )
            known["class_names"] = VOC_CLASSES  # a task is often made before the data is there
        data = cls(folder, **{**known, **options})
        data.download = download
        return data

    def prepare_data(self) -> None:
        """Download a public data set if it is not there."""
        if self.download:
            download_voc(self.folder)

    def _all_images(self) -> tuple[Path, str]:
        return _images_folder(_root(self.folder)), "folder"

    def _read(self) -> BoxFiles:
        root = _root(self.folder)
        found = _annotations(root)
        if not found:
            raise ValueError(f"`folder`: no XML files of annotations in {root}; check the path")
        counts = Counter(name for _, each in found.values() for name in each.names)
        names = sorted(counts) if self._given is None else self._given
        for name in names:
            if not counts[name]:
                others = {other: counts[other] for other in counts if other not in names}
                _check_spelling(root, name, others)
        if left := [f"{name!r} ({counts[name]})" for name in sorted(counts) if name not in names]:
            rank_zero_info(f"{root}: left out the objects {first_names(left)}")
        paths = {key: path for key, (path, _) in found.items()}
        splits = split_keys(
            dict.fromkeys(paths, ""),
            paths,
            named=None if self._random else split_of(paths),
            lists=self.split_files or ({} if self._random else _lists(root)),
            fraction=self.val_fraction,
            seed=self.seed,
        )
        images = {
            key: Annotated(path, each.size, _objects(each, names, self.one_based))
            for key, (path, each) in found.items()
        }
        return BoxFiles(list(names), split_annotated(images, splits), str(root))


def parse_xml(path: Path) -> Element:
    """Parse an XML file, without entities, with which a small file can fill the memory.

    Raises:
        ValueError: If it is not XML, or declares entities.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise ValueError(f"{path} declares XML entities, which annotations never need; remove them")

    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise ValueError(f"{path} is not an XML file ({error}); correct or remove it") from error
    return builder.close()


def _root(folder: Path) -> Path:
    """Return the folder itself, or that of the only year in a ``VOCdevkit``."""
    if not folder.is_dir():
        raise FileNotFoundError(f"`folder`: {folder} is not a folder; check the path")
    within = folders_called("Annotations", folder)
    if len(within) > 1 and within[0].parent != folder:
        years = first_names([str(path.parent) for path in within])
        raise ValueError(f"`folder`: {folder} holds several sets, {years}; pass one of them")
    return within[0].parent if len(within) == 1 else folder


def _images_folder(root: Path) -> Path:
    # Its siblings hold masks with the same names.
    return root / "JPEGImages" if (root / "JPEGImages").is_dir() else root


def _check_spelling(root: Path, name: str, counts: Mapping[str, int]) -> None:
    """Check that a class without objects is not one that the files spell otherwise."""
    for other, count in counts.items():
        if spelled_alike(other) == spelled_alike(name):
            raise ValueError(
                f"`class_names` has {name!r}, which no object in {root} is called, but {count} are "
                f"called {other!r}; spell it as in the files"
            )


def _lists(root: Path) -> dict[str, Path]:
    folder = root / "ImageSets" / "Main"
    names = {"train": ("train", "trainval"), "validation": ("val",), "test": ("test",)}
    found = {
        split: next((path for file in files if (path := folder / f"{file}.txt").is_file()), None)
        for split, files in names.items()
    }
    if found["validation"] is None and (folder / "trainval.txt").is_file():
        found["train"] = folder / "trainval.txt"
    return {split: path for split, path in found.items() if path is not None}


def _annotations(root: Path) -> dict[str, tuple[Path, _Annotation]]:
    """Find the image of each XML file, and read the files."""
    folder = _images_folder(root)
    files = sorted(path for path in files_below(root) if path.suffix.lower() == ".xml")
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(_annotation, files))
    images: dict[str, Path] = {}
    for path in image_paths(folder, below=True):
        name = key_of(path, folder)
        if name in images:
            raise ValueError(f"{images[name]} and {path} have the same name; remove one")
        images[name] = path
    names = names_of(images)
    # train/labels/1.xml belongs to train/images/1.jpg, even if there is a valid/images/1.jpg.
    shared = Counter(map(without_kind, images))
    counterparts = {short: key for key in images if shared[short := without_kind(key)] == 1}
    found: dict[str, tuple[Path, _Annotation]] = {}
    alone: list[str] = []
    for each in read:
        beside = key_of(each.path, root)  # train/1.xml next to train/1.jpg
        key = beside if beside in images else counterparts.get(without_kind(beside))
        key = key or found_in(each.path.stem, names)
        key = key or (found_in(each.filename, names) if each.filename else None)
        if key is None:
            alone.append(each.path.name)
        elif key in found:
            raise ValueError(
                f"{found[key][1].path} and {each.path} both describe {images[key]}; remove one"
            )
        else:
            found[key] = images[key], each
    if alone:
        raise ValueError(
            f"{first_names(alone)} have no image in {folder}; add the images, or remove the files"
        )
    if spare := len(images) - len(found):
        rank_zero_info(f"{folder}: {spare} of {len(images)} images have no XML file")
    return found


def _annotation(path: Path) -> _Annotation:
    root = parse_xml(path)
    if root.tag != "annotation":
        raise ValueError(
            f"{path} has the root <{root.tag}>, but annotations of Pascal VOC have <annotation>"
        )
    names: list[str] = []
    boxes: list[list[float]] = []
    difficult: list[bool] = []
    for item in root.iterfind("object"):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise ValueError(f"{path}: object {len(names) + 1} has no name; add it")
        names.append(name)
        box = item.find("bndbox")
        if box is None:
            raise ValueError(f"{path}: the object {name!r} has no <bndbox>; add it or remove it")
        boxes.append([_number(path, name, corner, box.findtext(corner)) for corner in _CORNERS])
        difficult.append((item.findtext("difficult") or "").strip().lower() in _TRUE)
    sides = [(root.findtext(f"size/{side}") or "").strip() for side in ("height", "width")]
    size = None
    whole = [re.fullmatch(r"(\d+)([.]0*)?", side) for side in sides]
    if whole[0] and whole[1] and int(whole[0][1]) and int(whole[1][1]):  # some programs write 0
        size = int(whole[0][1]), int(whole[1][1])
    return _Annotation(path, root.findtext("filename") or "", size, names, boxes, difficult)


def _number(path: Path, name: str, corner: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise ValueError(
            f"{path}: the object {name!r} has {corner}={text!r}; it must be a number"
        ) from error


def _objects(annotation: _Annotation, names: Sequence[str], one_based: bool) -> Objects:
    kept = [index for index, name in enumerate(annotation.names) if name in names]
    boxes = np.array(annotation.boxes, dtype=np.float64).reshape(-1, 4)[kept]
    return Objects(
        str(annotation.path),
        boxes - [1, 1, 0, 0] if one_based else boxes,
        np.array([names.index(annotation.names[index]) for index in kept], dtype=np.int64),
        np.array([annotation.difficult[index] for index in kept], dtype=bool),
    )
