"""Images and masks at another size; the image and its mask stay on top of each other."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["resized"]


def resized(image: Tensor, size: tuple[int, int], *, mask: bool = False) -> Tensor:
    """Resize ``(..., H, W)``: smoothly, or a mask to the value at the centre of each new pixel.

    torchvision's v2 takes the corner of the pixel for ``"nearest"``, which moves a mask that is
    made four times smaller by 3/8 of a pixel against its image.

    >>> resized(torch.arange(16).expand(16, 16), (1, 4), mask=True).tolist()
    [[2, 6, 10, 14]]
    """
    image = image.as_subclass(Tensor)
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    if mask:
        # In whole numbers, as "nearest-exact" means it, and for every type.
        rows, columns = (
            (2 * torch.arange(new, device=image.device) + 1) * old // (2 * new)
            for new, old in zip(size, image.shape[-2:], strict=True)
        )
        picked: Tensor = image[..., rows[:, None], columns]
        return picked
    from torchvision.transforms import InterpolationMode, v2  # a second to import

    # torchvision wants a leading dimension.
    bilinear = InterpolationMode.BILINEAR
    result: Tensor = v2.functional.resize(image[None], list(size), bilinear, antialias=True)[0]
    return result
