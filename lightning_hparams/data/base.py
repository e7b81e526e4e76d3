"""Shared by the data modules: loaders, and a dataset of images and masks in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..checks import whole_number
from .augment import Augmentation, augmented

__all__ = ["MaskDataset", "SegmentationData"]


class SegmentationData(LightningDataModule):
    """Loaders for datasets of images and masks, which a subclass creates in ``setup``.

    Batches are :class:`~lightning_hparams.outputs.SegmentationBatch`, with an ``index`` that counts
    from the start of each dataset. A task takes its arguments from ``in_channels``,
    ``num_classes``, ``class_names``, ``ignore_index`` and, if they are known, the ``mean`` and
    ``std`` of the images in units of 0..1.

    Args:
        batch_size: Images per batch, at least 1. An incomplete last training batch is dropped,
            since BatchNorm may fail on a single image.
        num_workers: Number of worker processes; 0 loads in the main process.
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
        self.train_set: Dataset[dict[str, object]] | None = None
        self.val_set: Dataset[dict[str, object]] | None = None
        self.test_set: Dataset[dict[str, object]] | None = None
        self.predict_set: Dataset[dict[str, object]] | None = None

    def train_dataloader(self) -> DataLoader[dict[str, object]]:
        """Training data, shuffled and augmented."""
        dataset = _required(self.train_set, "train")
        full = len(dataset) >= self.batch_size  # type: ignore[arg-type]  # ours have a length
        return self._loader(dataset, self.batch_size, shuffle=True, drop_last=full)

    def val_dataloader(self) -> DataLoader[dict[str, object]]:
        """Validation data, in order."""
        return self._loader(_required(self.val_set, "validation"), self.batch_size)

    def test_dataloader(self) -> DataLoader[dict[str, object]]:
        """Test data, in order."""
        return self._loader(_required(self.test_set, "test"), self.batch_size)

    def predict_dataloader(self) -> DataLoader[dict[str, object]]:
        """Data to predict, in order."""
        return self._loader(_required(self.predict_set, "predict"), self.batch_size)

    def _loader(
        self,
        dataset: Dataset[dict[str, object]],
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
    ) -> DataLoader[dict[str, object]]:
        # Keyword arguments: Lightning re-creates some loaders with its own batch_size.
        return DataLoader(
            dataset,
            batch_size=batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            shuffle=shuffle,
            drop_last=drop_last,
        )


class MaskDataset(Dataset[dict[str, object]]):
    """Images and masks in memory.

    Args:
        images: uint8 ``(N, I, H, W)``.
        masks: uint8 ``(N, H, W)``, or ``(N, C, H, W)`` for multilabel.
        names: Name of each image.
        augmentation: Applied to image and mask together, if given.
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

    def __getitem__(self, index: int) -> dict[str, object]:
        size = torch.tensor(self.images.shape[-2:])
        image, mask = augmented(self.images[index], self.masks[index], self.augmentation)
        name = self.names[index]
        return {"image": image, "mask": mask, "index": index, "path": name, "size": size}


def _required(dataset: Dataset[dict[str, object]] | None, what: str) -> Dataset[dict[str, object]]:
    if dataset is None:
        raise RuntimeError(f"no {what} data yet; call setup() first, as a Trainer does")
    return dataset
