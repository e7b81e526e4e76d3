"""Resize images and masks such that they stay aligned."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["resized"]


def resized(image: Tensor, size: tuple[int, int], *, mask: bool = False) -> Tensor:
    """Resize ``(..., H, W)`` bilinearly, or a mask to the value at the centre of each new pixel.

    torchvision's v2 samples at the pixel corner for ``"nearest"``, which shifts a mask reduced by a
    factor of four by 3/8 of a pixel relative to its image.

    >>> resized(torch.arange(16).expand(16, 16), (1, 4), mask=True).tolist()
    [[2, 6, 10, 14]]
    """
    image = image.as_subclass(Tensor)
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    if mask:
        # "nearest-exact" in integer arithmetic, for every dtype; torch 2.6 cannot index uint16 by
        # `image[..., rows, columns]`.
        rows, columns = (
            (2 * torch.arange(new, device=image.device) + 1) * old // (2 * new)
            for new, old in zip(size, image.shape[-2:], strict=True)
        )
        return image.index_select(-2, rows).index_select(-1, columns)
    from torchvision.transforms import InterpolationMode, v2  # takes a second to import

    # torchvision requires a leading dimension.
    bilinear = InterpolationMode.BILINEAR
    result: Tensor = v2.functional.resize(image[None], list(size), bilinear, antialias=True)[0]
    return result
