"""Images of a batch: checked, and normalised inside the module."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from lightning import LightningModule
from torch import Tensor

from ..checks import in_range
from ..notices import warn_user

__all__ = ["NormalisedInput"]

_UNITS = "give it in units of 0..1"
_WILD = 20.0  # larger values mean that an image was not in 0..1: photographs stay below 3


class NormalisedInput(LightningModule):
    """A module that normalises its images, which are uint8 in 0..255 or floating point in 0..1.

    Args:
        mean: Mean of each image channel, in units of 0..1.
        std: Standard deviation of each image channel, in units of 0..1, above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        for value in mean:
            in_range("mean", value, above=-math.inf, below=math.inf, remedy=_UNITS)
        for value in std:
            in_range("std", value, above=0.0, below=math.inf, remedy=_UNITS)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images ``(N, I, H, W)``, uint8 in 0..255 or floating point in 0..1.

        For images of different sizes see :meth:`normalise_each`.

        Raises:
            ValueError: If the number of channels differs from the task's.
            TypeError: If the images have an integer type other than uint8.
        """
        channels = self.mean.shape[0]
        if images.ndim != 4 or images.shape[1] != channels:
            raise ValueError(
                f"images must be (N, {channels}, H, W), got {tuple(images.shape)}; "
                "pass in_channels= to the task if the images are right"
            )
        return self._scaled(images)

    def normalise_each(self, images: Iterable[Tensor]) -> list[Tensor]:
        """Normalise images ``(I, H, W)`` of different sizes; see :meth:`normalise`."""
        return [self.normalise(image[None] if image.ndim == 3 else image)[0] for image in images]

    def _scaled(self, images: Tensor) -> Tensor:
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255
        elif not images.is_floating_point():
            raise TypeError(f"images must be uint8 or floating point in 0..1, got {images.dtype}")
        return (images.to(self.mean.dtype) - self.mean) / self.std

    def check_images(self, images: Tensor | Sequence[Tensor], paths: Sequence[str] = ()) -> None:
        """Check the values of floating point images ``(N, I, H, W)``, such as the first batch.

        Warns if they do not seem to be in 0..1, but in 0..255, say.

        Args:
            images: A tensor, or one tensor ``(I, H, W)`` for each image.
            paths: Their files, for the message.

        Raises:
            ValueError: If an image holds NaN or infinity, which would make the weights NaN.
        """
        self.check_finite(images, paths)
        batches = [images] if isinstance(images, Tensor) else [image[None] for image in images]
        floats = [batch for batch in batches if batch.is_floating_point()]
        largest = max((float(self.normalise(batch).abs().max()) for batch in floats), default=0.0)
        if largest > _WILD:
            warn_user(
                f"normalised images reach {largest:.0f}: floating point images must "
                "lie in 0..1; divide by 255, or pass them as uint8"
            )

    def check_finite(self, images: Tensor | Sequence[Tensor], paths: Sequence[str] = ()) -> None:
        """Check images for NaN and infinity; see :meth:`check_images`.

        Raises:
            ValueError: If an image holds either; names its path if ``paths`` are given.
        """
        if isinstance(images, Tensor) and _all_finite(images):
            return
        for index, image in enumerate(images):
            # The sum of large values may overflow, so a second look decides.
            if not _all_finite(image) and not bool(image.isfinite().all()):
                where = paths[index] if paths else f"image {index} of the batch"
                raise ValueError(f"{where} holds NaN or infinity; remove or replace it")


def _all_finite(images: Tensor) -> bool:
    """Whether all values are finite, by one sum; large, finite ones may overflow, and look bad."""
    return not images.is_floating_point() or bool(images.sum(dtype=torch.float32).isfinite())
