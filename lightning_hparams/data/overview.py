"""What the data of a data module look like: counts, sizes, duplicates, values, classes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from lightning import LightningDataModule
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader

from .base import CountedDataset
from .files import spread_over
from .images import read_image
from .pictures import read_header

__all__ = ["ImageFacts", "SplitSurvey", "Survey", "image_facts", "same_images", "survey"]

_LOADERS = {"train": "train_dataloader", "validation": "val_dataloader", "test": "test_dataloader"}
_SETS = {"train": "train_set", "validation": "val_set", "test": "test_set"}


class ImageFacts(NamedTuple):
    """What a look at one image shows.

    Attributes:
        size: Height and width.
        digest: Equal for equal images.
        finite: Whether it is free of NaN and infinity.
        constant: Whether all its values are the same.
    """

    size: tuple[int, int]
    digest: bytes
    finite: bool
    constant: bool


_NO_IMAGE = "it has no tensor of an image"


class SplitSurvey(NamedTuple):
    """What the data of one split look like.

    Attributes:
        samples: Their number; None if the dataset does not know it.
        sizes: How many images have each height and width: of all files, or of the samples read.
        classes: How often each class occurs, as its dataset counts them: images, pixels or boxes;
            None for data without classes.
        images: What was read, by name.
        unreadable: Why an image could not be read, by name.
    """

    samples: int | None
    sizes: Counter[tuple[int, int]]
    classes: dict[str, int] | None
    images: dict[str, ImageFacts]
    unreadable: dict[str, str]

    @property
    def is_without_images(self) -> bool:
        """Whether its samples could be read, but none has an image."""
        return not self.images and {*self.unreadable.values()} == {_NO_IMAGE}


class Survey(NamedTuple):
    """What the data of a data module look like.

    Attributes:
        splits: By ``"train"``, ``"validation"`` and ``"test"``, as far as there are any.
        shared: Splits that are the same dataset, as validation and test often are.
        repeated: Pairs of equal images, each as split and name.
    """

    splits: dict[str, SplitSurvey]
    shared: list[tuple[str, str]]
    repeated: list[tuple[str, str]]


def survey(data: LightningDataModule, limit: int = 500) -> Survey:
    """Look at the data of a data module after its ``setup``, without changing it.

    Args:
        data: Any data module; of this package's, files are read as they are on disk, of others,
            samples as their datasets return them.
        limit: Maximum number of images to read in each split, evenly spread.
    """
    found: dict[str, object] = {}
    shared = []
    for name, dataset in _datasets(data):
        same = next((other for other, known in found.items() if known is dataset), None)
        if same is None:
            found[name] = dataset
        else:
            shared.append((same, name))
    names = getattr(data, "class_names", None)
    splits = {name: _split(dataset, names, limit) for name, dataset in found.items()}
    images = {name: split.images for name, split in splits.items()}
    return Survey(splits, shared, same_images(images))


def image_facts(image: Tensor) -> ImageFacts:
    """Look at an image ``(..., H, W)``.

    >>> image_facts(torch.zeros(3, 4, 5))[:1]
    ((4, 5),)
    """
    values = image.detach().cpu().contiguous()
    digest = hashlib.sha256(str((values.dtype, *values.shape)).encode())
    digest.update(values.view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    height, width = values.shape[-2:] if values.ndim > 1 else (1, *values.shape)
    finite = not values.is_floating_point() or bool(values.isfinite().all())
    constant = values.numel() > 0 and bool((values == values.flatten()[0]).all())
    return ImageFacts((int(height), int(width)), digest.digest(), finite, constant)


def same_images(images: Mapping[str, Mapping[str, ImageFacts]]) -> list[tuple[str, str]]:
    """Return pairs of equal images as ``"split: name"``: each with the first one it equals.

    Constant images are left out, since all black ones are equal.
    """
    first: dict[bytes, str] = {}
    pairs = []
    for split, some in images.items():
        for name, facts in some.items():
            if facts.constant:
                continue
            known = first.setdefault(facts.digest, f"{split}: {name}")
            if known != f"{split}: {name}":
                pairs.append((known, f"{split}: {name}"))
    return pairs


def _datasets(data: LightningDataModule) -> Iterator[tuple[str, object]]:
    if any(getattr(data, name, None) is not None for name in _SETS.values()):
        for split, name in _SETS.items():
            if (dataset := getattr(data, name, None)) is not None:
                yield split, dataset
        return
    for split, name in _LOADERS.items():
        try:
            loader = getattr(data, name)()
        except (MisconfigurationException, NotImplementedError):
            continue  # the module has no such data
        if isinstance(loader, (list, tuple)):
            loader = loader[0] if loader else None
        if isinstance(loader, DataLoader):
            yield split, loader.dataset


def _split(dataset: object, names: Sequence[str] | None, limit: int) -> SplitSurvey:
    count = len(dataset) if hasattr(dataset, "__len__") else None
    classes = _class_counts(dataset, names)
    unreadable: dict[str, str] = {}
    paths = _paths(dataset)
    images: dict[str, ImageFacts] = {}
    if paths is not None:
        channels = int(getattr(dataset, "channels", 3))
        chosen = spread_over(paths, limit)
        with ThreadPoolExecutor() as pool:  # Pillow decodes outside of the interpreter's lock
            read = pool.map(lambda path: _attempt(lambda: read_image(path, channels)), chosen)
            sizes = Counter(size for size in pool.map(_header_size, paths) if size is not None)
            for path, result in zip(chosen, read, strict=True):
                _take(str(path), result, images, unreadable)
        return SplitSurvey(count, sizes, classes, images, unreadable)
    for index in spread_over(range(count or 0), limit):
        name, result = _sample(dataset, index)
        _take(name, result, images, unreadable)
    sizes = Counter(facts.size for facts in images.values())
    return SplitSurvey(count, sizes, classes, images, unreadable)


def _take(
    name: str,
    result: Tensor | str,
    images: dict[str, ImageFacts],
    unreadable: dict[str, str],
) -> None:
    if isinstance(result, str):
        unreadable[name] = result
    else:
        images[name] = image_facts(result)


def _paths(dataset: object) -> list[Path] | None:
    paths = getattr(dataset, "paths", None)
    if isinstance(paths, list) and paths and all(isinstance(path, Path) for path in paths):
        return paths
    return None


def _header_size(path: Path) -> tuple[int, int] | None:
    try:
        return read_header(path).size
    except (ValueError, OSError):
        return None  # its error is that of reading it


def _attempt(read: Callable[[], Tensor | None]) -> Tensor | str:
    """An image, or the reason why there is none."""
    try:
        found = read()
    except Exception as error:  # of the user's dataset: whatever it is, it is the finding
        return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return _NO_IMAGE if found is None else found


def _sample(dataset: object, index: int) -> tuple[str, Tensor | str]:
    """Name and image of a sample: before augmentation where the dataset has its images."""
    stored, names = getattr(dataset, "images", None), getattr(dataset, "names", None)
    if isinstance(stored, Tensor) and isinstance(names, Sequence):
        return str(names[index]), stored[index]
    return f"sample {index}", _attempt(lambda: _image_of(dataset[index]))  # type: ignore[index]


def _image_of(sample: object) -> Tensor | None:
    """The image in a sample: by its key, or the first tensor with height and width."""
    if isinstance(sample, Mapping):
        parts = [sample["image"]] if "image" in sample else [*sample.values()]
    else:
        parts = [*sample] if isinstance(sample, (list, tuple)) else [sample]
    return next((part for part in parts if isinstance(part, Tensor) and part.ndim >= 2), None)


def _class_counts(dataset: object, names: Sequence[str] | None) -> dict[str, int] | None:
    if not isinstance(dataset, CountedDataset):
        return None
    try:
        counts = dataset.class_counts()
    except TypeError:  # numbers rather than classes
        return None
    if counts.ndim == 1:
        counts = torch.bincount(counts, minlength=len(names or ()))
    else:
        counts = counts.sum(0)
    listed = [int(count) for count in counts]
    known = list(names or ())
    if len(known) != len(listed):
        known = [f"class {index}" for index in range(len(listed))]
    return dict(zip(known, listed, strict=True))
