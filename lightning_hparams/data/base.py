"""Shared by the data modules: loaders, batches, and datasets in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ..checks import one_of, whole_number
from ..plain_hparams import PlainHparams
from .augment import Augmentation, augmented, augmented_image
from .balance import BalancedSampler

__all__ = [
    "CountedDataset",
    "LabelDataset",
    "MaskDataset",
    "Sample",
    "SegmentationData",
    "VisionData",
    "collate",
]

Sample: TypeAlias = dict[str, object]


@runtime_checkable
class CountedDataset(Protocol):
    """A dataset that knows which classes its samples contain."""

    def class_counts(self) -> Tensor:
        """Return the class of each sample ``(N,)``, or how often it has each class ``(N, C)``."""


class VisionData(PlainHparams, LightningDataModule):
    """Loaders for datasets of images, which a subclass creates in ``setup``.

    Batches are those of :mod:`lightning_hparams.outputs`, with an ``index`` that counts from the
    start of each dataset. A task takes its arguments from ``in_channels``, ``num_classes`` (or
    ``num_values`` for a regression), ``class_names``, ``task`` and, if they are known, the ``mean``
    and ``std`` of the images in units of 0..1.

    Args:
        batch_size: Images per batch, at least 1. An incomplete last training batch is dropped,
            since BatchNorm may fail on a single image.
        num_workers: Number of worker processes; 0 loads in the main process.
        sampler: ``"random"`` shows each training image once per epoch; ``"balanced"`` shows images
            of rare classes more often, so that all classes occur equally often. Images with several
            classes are weighted such that each class occurs in equally many images, as far as that
            is possible.
    """

    in_channels: int
    num_classes: int
    class_names: list[str]
    ignore_index: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None

    def __init__(
        self,
        batch_size: int,
        num_workers: int,
        sampler: Literal["random", "balanced"] = "random",
    ) -> None:
        super().__init__()
        batch_size = whole_number("batch_size", batch_size, 1)
        num_workers = whole_number("num_workers", num_workers, 0)
        one_of("sampler", sampler, ("random", "balanced"))
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.sampler = sampler
        self.train_set: Dataset[Sample] | None = None
        self.val_set: Dataset[Sample] | None = None
        self.test_set: Dataset[Sample] | None = None
        self.predict_set: Dataset[Sample] | None = None

    @property
    def num_values(self) -> int:
        """Number of values of an image.

        Raises:
            AttributeError: If the task is not a regression.
        """
        task = getattr(self, "task", None)
        if task != "regression":
            raise AttributeError(f"`num_values` is for task='regression', got {task!r}")
        return len(self.class_names)

    def class_counts(self) -> list[int]:
        """Count the classes in the training set: pixels, images with a label, or boxes.

        Pixels and boxes of no class are not counted.

        Raises:
            RuntimeError: Before ``setup``.
            TypeError: If the training set has no classes, as in a regression.
        """
        counts = _counts(_required(self.train_set, "train"), "class_counts()")
        if counts.ndim == 1:
            counts = torch.bincount(counts, minlength=self.num_classes)
        else:
            counts = counts.sum(0)
        return [int(count) for count in counts]

    def train_dataloader(self) -> DataLoader[Sample]:
        """Training data, shuffled and augmented."""
        dataset = _required(self.train_set, "train")
        ranks = (1, 0)
        if self.trainer is not None:
            ranks = self.trainer.world_size, self.trainer.global_rank
        # Each process gets a part, and would have no batch at all if its only one were dropped.
        part = -(-len(dataset) // ranks[0])  # type: ignore[arg-type]  # ours have a length
        full = part >= self.batch_size
        if self.sampler == "random":
            return self._loader(dataset, self.batch_size, shuffle=True, drop_last=full)
        counts = _counts(dataset, "sampler='balanced'")
        balanced = BalancedSampler(counts, *ranks)
        return self._loader(dataset, self.batch_size, sampler=balanced, drop_last=full)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Validation data, in order."""
        return self._loader(_required(self.val_set, "validation"), self.batch_size)

    def test_dataloader(self) -> DataLoader[Sample]:
        """Test data, in order."""
        return self._loader(_required(self.test_set, "test"), self.batch_size)

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Data to predict, in order."""
        return self._loader(_required(self.predict_set, "predict"), self.batch_size)

    def _loader(
        self,
        dataset: Dataset[Sample],
        batch_size: int,
        *,
        shuffle: bool = False,
        sampler: BalancedSampler | None = None,
        drop_last: bool = False,
    ) -> DataLoader[Sample]:
        # Keyword arguments: Lightning re-creates some loaders with its own batch_size.
        return DataLoader(
            dataset,
            batch_size=batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            shuffle=shuffle,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=collate,
        )


class SegmentationData(VisionData):
    """Loaders for datasets of images and masks; see :class:`VisionData`.

    Batches are :class:`~lightning_hparams.outputs.SegmentationBatch`. A task also takes the
    ``ignore_index``.
    """


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Combine samples into a batch; boxes stay a list, as do images of different sizes.

    >>> boxes = [{"boxes": torch.zeros(count, 4)} for count in (0, 2)]
    >>> batch = collate([{"image": torch.zeros(3, 8, 8), "target": target} for target in boxes])
    >>> batch["image"].shape, [len(target["boxes"]) for target in batch["target"]]
    (torch.Size([2, 3, 8, 8]), [0, 2])
    """
    kept = {"target"} if "target" in samples[0] else set()
    if kept and len({sample["image"].shape for sample in samples}) > 1:  # type: ignore[attr-defined]
        kept.add("image")
    batch: dict[str, Any] = default_collate(
        [{key: value for key, value in sample.items() if key not in kept} for sample in samples]
    )
    return {key: [s[key] for s in samples] if key in kept else batch[key] for key in samples[0]}


class MaskDataset(Dataset[Sample]):
    """Images and masks in memory.

    Args:
        images: uint8 ``(N, I, H, W)``.
        masks: uint8 ``(N, H, W)``, or ``(N, C, H, W)`` for multilabel.
        names: Name of each image.
        augmentation: Applied to image and mask together, if given.
        num_classes: Number of classes, to count them; None for the largest one in the masks.
    """

    def __init__(
        self,
        images: Tensor,
        masks: Tensor,
        names: Sequence[str],
        augmentation: Augmentation | None = None,
        num_classes: int | None = None,
    ) -> None:
        self.images, self.masks, self.names = images, masks, names
        self.augmentation = augmentation
        self.num_classes = num_classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        size = torch.tensor(self.images.shape[-2:])
        image, mask = augmented(self.images[index], self.masks[index], self.augmentation)
        name = self.names[index]
        return {"image": image, "mask": mask, "index": index, "path": name, "size": size}

    def class_counts(self) -> Tensor:
        """Pixels of each class in each mask, ``(N, C)``."""
        if self.masks.ndim == 4:
            return self.masks.sum((2, 3), dtype=torch.int64)
        count = self.num_classes or int(self.masks.max()) + 1
        return torch.stack([(self.masks == index).sum((1, 2)) for index in range(count)], 1)


class LabelDataset(Dataset[Sample]):
    """Images in memory, with a class each.

    Args:
        images: uint8 ``(N, I, H, W)``.
        labels: int64 ``(N,)``.
        names: Name of each image.
        augmentation: Applied to the image, if given.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        names: Sequence[str],
        augmentation: Augmentation | None = None,
    ) -> None:
        self.images, self.labels, self.names = images, labels, names
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = augmented_image(self.images[index], self.augmentation)
        return {
            "image": image,
            "label": self.labels[index],
            "index": index,
            "path": self.names[index],
            "size": torch.tensor(self.images.shape[-2:]),
        }

    def class_counts(self) -> Tensor:
        """The class of each image, ``(N,)``."""
        return self.labels


def _counts(dataset: Dataset[Sample], what: str) -> Tensor:
    if not isinstance(dataset, CountedDataset):
        raise TypeError(
            f"{what} needs the classes of the training set, but {type(dataset).__name__} does not "
            "count them; give it a method class_counts() that returns the class of each sample, "
            "or a matrix (N, C)"
        )
    return dataset.class_counts()


def _required(dataset: Dataset[Sample] | None, what: str) -> Dataset[Sample]:
    if dataset is None:
        raise RuntimeError(f"no {what} data yet; call setup() first, as a Trainer does")
    return dataset
