"""Resizing and augmentation of an image and its mask together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import RandomResizedCrop, v2

from ..checks import one_of
from ..resize import resized

__all__ = [
    "STRENGTHS",
    "Augmentation",
    "CropFlipJitter",
    "augmented",
    "check_augment",
    "make_augmentation",
]

STRENGTHS = ("none", "flip", "light", "strong")

# A transform of torchvision's v2, or any function of an image and a mask that can be pickled.
Augmentation: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def augmented(
    image: Tensor, mask: Tensor, augmentation: Augmentation | None
) -> tuple[Tensor, Tensor]:
    """Apply one augmentation to an image ``(I, H, W)`` and its mask ``(..., H, W)``.

    Transforms of torchvision's v2 recognise masks by their type and do not interpolate them.
    """
    if augmentation is None:
        return image, mask
    image, mask = augmentation(tv_tensors.Image(image), tv_tensors.Mask(mask))
    return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def check_augment(augment: bool | str | Augmentation | None) -> str | Augmentation:
    """Check the argument ``augment`` of a data module, and resolve True, False and None.

    >>> check_augment(True), check_augment(False), check_augment("light")
    ('flip', 'none', 'light')

    Raises:
        ValueError: For an unknown strength.
        TypeError: If it cannot be called with an image and a mask.
    """
    if augment is None or augment is False:
        return "none"
    if augment is True:
        return "flip"
    if isinstance(augment, str):
        one_of("augment", augment, STRENGTHS, otherwise="or a transform")
        return augment
    rule = (
        f"`augment` must be True, False, one of {[*STRENGTHS]}, or a function of an image and a "
        f"mask that returns both, such as a transform of torchvision.transforms.v2; got {augment!r}"
    )
    if isinstance(augment, type):
        raise TypeError(f"{rule}; pass an instance of it")
    if not callable(augment):
        raise TypeError(f"{rule}; combine several with v2.Compose([...])")
    if type(augment).__module__.partition(".")[0] in ("albumentations", "albucore"):
        raise TypeError(f"{rule}; wrap it in a function that takes and returns tensors")
    called = augment.forward if isinstance(augment, nn.Module) else augment
    try:
        inspect.signature(called).bind(None, None)
    except TypeError as error:
        raise TypeError(f"{rule}; this one cannot be called like that: {error}") from error
    except ValueError:  # a C function without a signature
        pass
    return augment


def make_augmentation(
    augment: str | Augmentation, size: tuple[int, int] | None
) -> Augmentation | None:
    """Create the transform for a strength; see :class:`~lightning_hparams.MaskFolderData`."""
    if not isinstance(augment, str):
        return augment
    match augment:
        case "none":
            return None
        case "flip":
            flip: Augmentation = v2.RandomHorizontalFlip()
            return flip
        case "light":
            return CropFlipJitter(size, least=0.75, jitter=0.1)
        case _:
            return CropFlipJitter(size)


class CropFlipJitter:
    """Random resized crop, horizontal flip, and change of brightness and contrast.

    None of these creates new pixels, whose class would be unknown.

    Args:
        size: Height and width of the result; None for no crop.
        least: Minimum share of the image to keep, above 0 and at most 1.
        jitter: Maximum relative change of brightness and contrast.
    """

    def __init__(
        self, size: tuple[int, int] | None, *, least: float = 0.5, jitter: float = 0.2
    ) -> None:
        self.size, self.least = size, least
        self.rest = v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(jitter, jitter)])

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Transform a ``tv_tensors.Image`` and a ``tv_tensors.Mask``."""
        if self.size is not None:
            # Aspect ratios around the image's own, so that objects are stretched as in validation.
            shape = image.shape[-1] / image.shape[-2]
            box = RandomResizedCrop.get_params(
                image, [self.least, 1.0], [3 / 4 * shape, 4 / 3 * shape]
            )
            image = tv_tensors.Image(resized(v2.functional.crop(image, *box), self.size))
            mask = tv_tensors.Mask(resized(v2.functional.crop(mask, *box), self.size, mask=True))
        pair: tuple[Tensor, Tensor] = self.rest(image, mask)
        return pair
