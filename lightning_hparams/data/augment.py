"""Resizing and augmentation of an image and its mask together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import RandomResizedCrop, v2

from ..resize import resized

__all__ = ["Augmentation", "CropFlipJitter", "augmented"]

# A transform of torchvision's v2, or any function of an image and a mask that can be pickled.
Augmentation: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]


def augmented(
    image: Tensor, mask: Tensor, augmentation: Augmentation | None
) -> tuple[Tensor, Tensor]:
    """Apply one augmentation to an image ``(I, H, W)`` and its mask ``(..., H, W)``.

    Transforms of torchvision's v2 know a mask by its type, and do not interpolate it.
    """
    if augmentation is None:
        return image, mask
    image, mask = augmentation(tv_tensors.Image(image), tv_tensors.Mask(mask))
    return image.as_subclass(Tensor), mask.as_subclass(Tensor)


class CropFlipJitter:
    """Crop half of the image or more and resize it, mirror it, change brightness and contrast.

    None of this makes pixels out of nothing, whose class nobody would know.

    Args:
        size: Height and width of the result; None for no crop.
    """

    def __init__(self, size: tuple[int, int] | None) -> None:
        self.size = size
        self.rest = v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.2, 0.2)])

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Apply it to a ``tv_tensors.Image`` and a ``tv_tensors.Mask``."""
        if self.size is not None:
            # About the image's own shape, so that objects are stretched as in validation.
            shape = image.shape[-1] / image.shape[-2]
            box = RandomResizedCrop.get_params(image, [0.5, 1.0], [3 / 4 * shape, 4 / 3 * shape])
            image = tv_tensors.Image(resized(v2.functional.crop(image, *box), self.size))
            mask = tv_tensors.Mask(resized(v2.functional.crop(mask, *box), self.size, mask=True))
        pair: tuple[Tensor, Tensor] = self.rest(image, mask)
        return pair
