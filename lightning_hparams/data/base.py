"""What the data modules have in common: loaders, and images and masks in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..checks import whole_number
from .augment import Augmentation, augmented

__all__ = ["MaskDataset", "SegmentationData"]


class SegmentationData(LightningDataModule):
    """Loaders over datasets of images and masks, which a subclass makes in ``setup``.

    Batches are dicts of :class:`~lightning_hparams.outputs.SegmentationBatch`. ``in_channels``,
    ``num_classes``, ``class_names`` and ``ignore_index`` say what a task needs to know, and so do
    ``mean`` and ``std`` of the images in units of 0..1 where they are known. ``index`` counts from
    the start of each dataset.

    Args:
        batch_size: Images in a batch, at least 1. The last one of an epoch of training is dropped
            if it is not full, since BatchNorm cannot do with one image.
        num_workers: Processes that read and augment; 0 for none.
    """

    in_channels: int
    num_classes: int
    class_names: list[str]
    ignore_index: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None

    def __init__(self, batch_size: int, num_workers: int) -> None:
        super().__init__()
        whole_number("batch_size", batch_size, 1)
        whole_number("num_workers", num_workers, 0)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.train_set: Dataset[dict[str, Any]] | None = None
        self.val_set: Dataset[dict[str, Any]] | None = None
        self.test_set: Dataset[dict[str, Any]] | None = None
        self.predict_set: Dataset[dict[str, Any]] | None = None

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled and augmented."""
        dataset = _required(self.train_set, "train")
        full = len(dataset) >= self.batch_size  # type: ignore[arg-type]  # ours have a length
        return self._loader(dataset, self.batch_size, shuffle=True, drop_last=full)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """In order."""
        return self._loader(_required(self.val_set, "validation"), self.batch_size)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """In order."""
        return self._loader(_required(self.test_set, "test"), self.batch_size)

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """In order."""
        return self._loader(_required(self.predict_set, "predict"), self.batch_size)

    def _loader(
        self,
        dataset: Dataset[dict[str, Any]],
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
    ) -> DataLoader[dict[str, Any]]:
        # By name: Lightning makes some loaders anew with a batch_size of its own.
        return DataLoader(
            dataset,
            batch_size=batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            shuffle=shuffle,
            drop_last=drop_last,
        )


class MaskDataset(Dataset[dict[str, Any]]):
    """Images and masks in memory.

    Args:
        images: uint8 ``(N, I, H, W)``.
        masks: uint8 ``(N, H, W)``, or ``(N, C, H, W)`` for multilabel.
        names: What to call each image.
        augmentation: Of image and mask together; None for none.
    """

    def __init__(
        self,
        images: Tensor,
        masks: Tensor,
        names: Sequence[str],
        augmentation: Augmentation | None = None,
    ) -> None:
        self.images, self.masks, self.names = images, masks, names
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        size = torch.tensor(self.images.shape[-2:])
        image, mask = augmented(self.images[index], self.masks[index], self.augmentation)
        name = self.names[index]
        return {"image": image, "mask": mask, "index": index, "path": name, "size": size}


def _required(dataset: Dataset[dict[str, Any]] | None, what: str) -> Dataset[dict[str, Any]]:
    if dataset is None:
        raise RuntimeError(f"there is no {what} data yet; call setup() first, as a Trainer does")
    return dataset
