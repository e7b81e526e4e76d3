"""Public data sets by name, downloaded by torchvision."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, OxfordIIITPet, VOCDetection
from torchvision.transforms import v2

from ..checks import as_plain, in_range, one_of, path_in, truth, whole_number
from .augment import Augmentation, make_augmentation
from .base import LabelDataset, VisionData
from .files import FileData, LabelFileDataset, image_headers
from .listing import image_paths
from .splits import stratified_split

__all__ = ["VOC_CLASSES", "Cifar10Data", "OxfordPetData", "download_voc", "voc_folder"]

VOC_CLASSES = [  # in the order of their names
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
]
_SECONDS = 5  # to wait for a server


class Cifar10Data(VisionData):
    """50,000 training and 10,000 test images of 32 x 32 pixels in ten classes (Krizhevsky, 2009).

    Args:
        root: Folder that holds, or will hold, ``cifar-10-batches-py``.
        download: Download the data if it is not there.
        val_fraction: Share of the training images used for validation, above 0 and below 1, the
            same for each class.
        augment: Move training images by up to four pixels and mirror them at random, as in He et
            al., 2016 (section 4.2).
        sampler: ``"random"``, or ``"balanced"``; see :class:`~lightning_hparams.data.VisionData`.
        batch_size: Images per batch.
        num_workers: Number of worker processes, which only augment: the images are in memory.
        seed: Seed of the split.

    Raises:
        FileNotFoundError: From ``setup``, if the data is not there.
        ConnectionError: From ``prepare_data``, if it cannot be downloaded.
    """

    task = "multiclass"
    in_channels = 3
    num_classes = 10

    def __init__(
        self,
        root: str | Path,
        *,
        download: bool = False,
        val_fraction: float = 0.1,
        augment: bool = True,
        sampler: Literal["random", "balanced"] = "random",
        batch_size: int = 128,
        num_workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, sampler)
        val_fraction = as_plain(val_fraction)
        in_range("val_fraction", val_fraction, above=0, below=1, remedy="0.1 is usual")
        augment = truth("augment", augment)
        self.root, self.download, self.augment = path_in("root", root), download, augment
        self.val_fraction, self.seed = val_fraction, whole_number("seed", seed)
        self.class_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog"]
        self.class_names += ["horse", "ship", "truck"]
        self.mean, self.std = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
        root = str(root)  # plain text, so that a checkpoint loads with weights_only=True
        self.save_hyperparameters(logger=False)

    def prepare_data(self) -> None:
        """Download the data if it is not there."""
        if self.download and not (self.root / CIFAR10.base_folder).is_dir():
            _download(CIFAR10.url, self.root, lambda: CIFAR10(self.root, download=True))

    def setup(self, stage: str) -> None:
        """Load the images and split them."""
        if self.train_set is not None:
            return
        _check_there(self.root, CIFAR10.base_folder)
        images, labels = _cifar10(self.root, train=True)
        train, val = stratified_split(labels.tolist(), self.val_fraction, self.seed)
        moved = None
        if self.augment:
            moved = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
        self.train_set = _part(images[train], labels[train], "training image", train, moved)
        self.val_set = _part(images[val], labels[val], "training image", val)
        images, labels = _cifar10(self.root, train=False)
        self.test_set = _part(images, labels, "test image", list(range(len(images))))
        self.predict_set = self.test_set


class OxfordPetData(FileData):
    """7349 photos of cats and dogs of 37 breeds (Parkhi et al., 2012), of different sizes.

    Args:
        root: Folder that holds, or will hold, ``oxford-iiit-pet``.
        target: ``"breed"`` for 37 classes, ``"species"`` for cat and dog.
        download: Download the data if it is not there.
        val_fraction: Share of ``trainval`` used for validation, above 0 and below 1, the same for
            each class. The test set is the one that was published.
        size: Height and width ``[H, W]`` to resize to, or one number for both.
        augment: Augmentation of training images; see :class:`~lightning_hparams.ImageFolderData`.
        sampler: ``"random"``, or ``"balanced"``; see :class:`~lightning_hparams.data.VisionData`.
        batch_size: Images per batch.
        num_workers: Number of worker processes.
        check_files: Number of images that ``setup`` reads completely, evenly spread.
        seed: Seed of the split.

    Raises:
        FileNotFoundError: From ``setup``, if the data is not there.
        ConnectionError: From ``prepare_data``, if it cannot be downloaded.
    """

    task = "multiclass"

    def __init__(
        self,
        root: str | Path,
        *,
        target: Literal["breed", "species"] = "breed",
        download: bool = False,
        val_fraction: float = 0.2,
        size: int | list[int] = 224,
        augment: bool | Literal["none", "flip", "light", "strong"] | Augmentation = True,
        sampler: Literal["random", "balanced"] = "random",
        batch_size: int = 32,
        num_workers: int = 2,
        check_files: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(
            "label",
            size=size,
            in_channels=3,
            augment=augment,
            check_files=check_files,
            val_fraction=val_fraction,
            seed=seed,
            batch_size=batch_size,
            num_workers=num_workers,
            sampler=sampler,
        )
        one_of("target", target, ("breed", "species"))
        self.root, self.target, self.download = path_in("root", root), target, download
        self.folder = self.root / "oxford-iiit-pet"
        root = str(root)  # plain text, so that a checkpoint loads with weights_only=True
        self.save_hyperparameters(
            ignore=[] if isinstance(augment, (bool, str)) else ["augment"], logger=False
        )

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """37 breeds or 2 species."""
        return 37 if self.target == "breed" else 2

    @property
    def class_names(self) -> list[str]:  # type: ignore[override]  # read from the files
        """Names of the classes; reads the lists of images."""
        if self.target == "species":
            return ["cat", "dog"]
        return [name for _, name in sorted({(row[1], row[0]) for row in self._rows("trainval")})]

    def prepare_data(self) -> None:
        """Download the data if it is not there."""
        if self.download and not self.folder.is_dir():
            url = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz"
            _download(url, self.root, lambda: OxfordIIITPet(self.root, download=True))

    def _setup_fit(self) -> None:
        paths, labels = self._files("trainval")
        train, val = stratified_split(labels.tolist(), self.val_fraction, self.seed)
        test_paths, test_labels = self._files("test")
        splits = {
            "train": ([paths[index] for index in train], labels[train]),
            "validation": ([paths[index] for index in val], labels[val]),
            "test": (test_paths, test_labels),
        }
        self._check_images(
            {name: some for name, (some, _) in splits.items()},
            image_headers([path for some, _ in splits.values() for path in some]),
        )
        self.train_set, self.val_set, self.test_set = (
            LabelFileDataset(
                some,
                goals,
                3,
                self.size,
                make_augmentation(self.augment, self.size) if name == "train" else None,
            )
            for name, (some, goals) in splits.items()
        )

    def _images_to_predict(self) -> list[Path]:
        _check_there(self.root, "oxford-iiit-pet")
        return image_paths(self.folder / "images", below=False)

    def _files(self, split: str) -> tuple[list[Path], Tensor]:
        rows = self._rows(split)
        column = 1 if self.target == "breed" else 2
        labels = torch.tensor([int(row[column]) for row in rows])
        return [self.folder / "images" / f"{row[3]}.jpg" for row in rows], labels

    def _rows(self, split: str) -> list[tuple[str, int, int, str]]:
        """Name and index of the breed, index of the species, and name of each image."""
        _check_there(self.root, "oxford-iiit-pet")
        file = self.folder / "annotations" / f"{split}.txt"
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there; delete {self.folder} and download it")
        rows = []
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                name, breed, species, _ = line.split()
                title = " ".join(part.title() for part in name.split("_")[:-1])
                rows.append((title, int(breed) - 1, int(species) - 1, name))
        return rows


def voc_folder(root: str | Path, year: str) -> Path:
    """Return the folder of a year of Pascal VOC.

    Raises:
        ValueError: For an unknown year.
    """
    one_of("year", year, [str(each) for each in range(2007, 2013)])
    return path_in("root", root) / "VOCdevkit" / f"VOC{year}"


def download_voc(folder: Path) -> None:
    """Download a year of Pascal VOC if it is not there.

    Args:
        folder: From :func:`voc_folder`.

    Raises:
        ConnectionError: If it cannot be downloaded.
    """
    root, year = folder.parent.parent, folder.name.removeprefix("VOC")
    if not folder.is_dir():
        for images in ["trainval", *(["test"] if year == "2007" else [])]:
            _download(
                "https://thor.robots.ox.ac.uk",
                root,
                lambda images=images: VOCDetection(root, year, images, download=True),  # type: ignore[misc]
            )


def _cifar10(root: Path, *, train: bool) -> tuple[Tensor, Tensor]:
    try:
        source = CIFAR10(root, train=train)
    except RuntimeError as error:
        raise ValueError(
            f"{root / CIFAR10.base_folder} is damaged ({error}); delete it and pass download=True"
        ) from error
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(source.targets)


def _part(
    images: Tensor,
    labels: Tensor,
    name: str,
    which: list[int],
    augmentation: Augmentation | None = None,
) -> LabelDataset:
    return LabelDataset(images, labels, [f"{name} {index}" for index in which], augmentation)


def _check_there(root: Path, folder: str) -> None:
    if not (root / folder).is_dir():
        raise FileNotFoundError(
            f"`root`: {root} has no folder {folder}; pass download=True, or the folder that holds "
            "it"
        )


def _download(url: str, root: Path, fetch: Callable[[], object]) -> None:
    """Ask the server first: without a network, torchvision would try for minutes.

    Raises:
        ConnectionError: If it does not answer, or the download fails.
    """
    remedy = f"download it where there is a network, and copy it to {root}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # an answer
    except OSError as error:
        raise ConnectionError(
            f"`download=True`: {urlsplit(url).netloc} cannot be reached ({error}); {remedy}"
        ) from error
    try:
        fetch()
    except (OSError, RuntimeError) as error:
        raise ConnectionError(f"`download=True` failed ({error}); {remedy}") from error
