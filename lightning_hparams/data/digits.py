"""Scikit-learn's handwritten digits, which come in a package."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import v2

from ..checks import as_plain, in_range, require, truth, whole_number
from ..resize import resized
from .base import LabelDataset, VisionData
from .splits import stratified_split

__all__ = ["DigitsData", "digit_images"]

_TEST = 0.2  # share of each digit


class DigitsData(VisionData):
    """1797 handwritten digits of 43 writers, from scikit-learn (Alpaydin and Kaynak, 1998).

    Real and offline: grey images of 8 x 8 pixels, enlarged to ``size``. A fifth of each digit is
    the test set, the same for every ``seed``; the others are split into train and validation, with
    the same share of each digit.

    Args:
        batch_size: Images per batch.
        size: Height and width in pixels, at least 8.
        val_fraction: Share of the other images used for validation, above 0 and below 1.
        augment: Turn (up to 10 degrees), move and scale (up to a tenth) training images at random.
            Digits must not be mirrored.
        sampler: ``"random"``, or ``"balanced"``; see :class:`~lightning_hparams.data.VisionData`.
        num_workers: Number of worker processes, which only augment: the images are in memory.
        seed: Seed of the split.

    Raises:
        ModuleNotFoundError: From ``setup``, without scikit-learn, which the extra ``examples``
            installs.
    """

    task = "multiclass"
    in_channels = 1
    num_classes = 10

    def __init__(
        self,
        batch_size: int = 32,
        size: int = 32,
        val_fraction: float = 0.2,
        augment: bool = True,
        sampler: Literal["random", "balanced"] = "random",
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, sampler)
        self.size = whole_number("size", size, 8)
        val_fraction = as_plain(val_fraction)
        in_range("val_fraction", val_fraction, above=0, below=1, remedy="0.2 is usual")
        augment = truth("augment", augment)
        self.seed = whole_number("seed", seed)
        self.save_hyperparameters(logger=False)  # see MaskFolderData
        self.class_names = [str(digit) for digit in range(10)]
        self.mean, self.std = [0.31], [0.33]  # of all images, enlarged to 32 x 32 pixels
        self.val_fraction, self.augment = val_fraction, augment

    def setup(self, stage: str) -> None:
        """Load the digits and split them."""
        if self.train_set is not None:
            return
        images, labels = digit_images(self.size)
        rest, test = stratified_split(labels.tolist(), _TEST, seed=0)
        train, val = stratified_split(labels[rest].tolist(), self.val_fraction, self.seed)
        moved = None
        if self.augment:
            moved = v2.RandomAffine(
                10, (0.1, 0.1), (0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR
            )

        def part(which: list[int], augmentation: v2.Transform | None = None) -> LabelDataset:
            names = [f"digit {index}" for index in which]
            return LabelDataset(images[which], labels[which], names, augmentation)

        self.train_set = part([rest[index] for index in train], moved)
        self.val_set = part([rest[index] for index in val])
        self.test_set = self.predict_set = part(test)


def digit_images(size: int) -> tuple[Tensor, Tensor]:
    """Return the images, uint8 ``(1797, 1, size, size)``, and their digits, int64 ``(1797,)``."""
    digits = require("sklearn.datasets", extra="examples").load_digits()
    grey = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)  # of 0..16
    images = resized(grey, (size, size)).round().to(torch.uint8)
    return images, torch.from_numpy(digits.target).long()
