"""Images of any kind -> pictures of a size one can see -> bytes of a file."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .colors import MARGIN, PAPER, Picture

__all__ = ["Encoded", "encode", "is_unit_range", "panel_size", "resized", "sheet", "to_rgb"]

_PANEL = (256, 512)  # panels smaller than this are enlarged, larger ones reduced, in pixels
_OVERSHOOT = 0.1  # of cubic interpolation at an edge from 0 to 1, rounded up
_TALLEST = 16_384  # pixels of a sheet: not all browsers show more
_JPEG_SIDE = 65_500  # pixels, the most that libjpeg writes


@dataclass(frozen=True)
class Encoded:
    """A picture as the bytes of a file."""

    data: bytes
    height: int
    width: int
    suffix: str  # ".jpg" or ".png"


def to_rgb(
    images: Tensor, rgb: Sequence[int] = (0, 1, 2), size: tuple[int, int] | None = None
) -> Picture:
    """Images as pictures.

    Args:
        images: ``(N, I, H, W)``. uint8 stays as it is; floating point in 0..1 is scaled, see
            :func:`is_unit_range`. Anything else (16-bit, multispectral floats) is stretched between
            its 1st and 99th percentile, each image and channel by itself; NaN is black.
        rgb: The channels to show as red, green and blue, where there are three or more.
        size: Height and width of the pictures; None for those of the images.

    Returns:
        ``(N, H, W, 3)``.
    """
    channels = images.shape[1]
    if channels >= 3 and max(rgb) >= channels:
        raise ValueError(f"`rgb` names channel {max(rgb)}, but images have {channels}")
    # Picked before anything else is done to them. Pictures of one channel are repeated at the end.
    shown = [images[:, c].detach() for c in (rgb if channels >= 3 else [0])]
    if images.dtype != torch.uint8:
        shown = [channel.float() for channel in shown]  # 16 bits without a sign have few operations
    picked = torch.stack(shown, 1).cpu()
    if picked.dtype != torch.uint8 and not is_unit_range(picked):
        picked = _stretched(picked)
    if size is not None:
        picked = resized(picked, size, smooth=True)
    if picked.dtype != torch.uint8:
        # An interpolated 1 may be 1.0000002.
        picked = picked.clamp(0, 1).mul(255).round().to(torch.uint8)
    picked = picked.expand(-1, 3, -1, -1)
    pictures: Picture = np.ascontiguousarray(picked.permute(0, 2, 3, 1).numpy())
    return pictures


def is_unit_range(images: Tensor) -> bool:
    """Whether all values lie in 0..1, or as far beyond as cubic interpolation makes them."""
    return bool(((images >= -_OVERSHOOT) & (images <= 1 + _OVERSHOOT)).all())


def _stretched(images: Tensor) -> Tensor:
    flat = images.flatten(2)
    # Some 65536 values are enough for a percentile, and torch's quantile takes no large ones.
    sample = flat[..., :: max(flat.shape[-1] // 65536, 1)]
    low, high = torch.nanquantile(sample, torch.tensor([0.01, 0.99]), dim=-1, keepdim=True)
    low, high = low[..., None], high[..., None]
    stretched: Tensor = (images - low) / (high - low).clamp_min(1e-12)
    return stretched.clamp(0, 1).nan_to_num(0.0)


def panel_size(height: int, width: int) -> tuple[int, int]:
    """Enlarge small images by a whole factor; reduce large ones to what a screen shows."""
    longest = max(height, width)
    if longest <= _PANEL[0]:
        factor = math.ceil(_PANEL[0] / longest)
        return height * factor, width * factor
    scale = min(_PANEL[1] / longest, 1.0)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def resized(images: Tensor, size: tuple[int, int], *, smooth: bool) -> Tensor:
    """Images or masks ``(..., H, W)`` at another size; masks, not smoothed, keep their values."""
    if tuple(images.shape[-2:]) == size:
        return images
    if not smooth:
        rows = torch.arange(size[0], device=images.device) * images.shape[-2] // size[0]
        columns = torch.arange(size[1], device=images.device) * images.shape[-1] // size[1]
        picked: Tensor = images[..., rows[:, None], columns]
        return picked
    scaled: Tensor = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    if images.dtype == torch.uint8:
        scaled = scaled.round().to(torch.uint8)
    return scaled


def sheet(pictures: Sequence[Picture], columns: int) -> Picture:
    """Pictures in rows of ``columns`` or, where that gets too tall, of more; in equal cells."""
    height = max(picture.shape[0] for picture in pictures) + MARGIN
    width = max(picture.shape[1] for picture in pictures) + MARGIN
    columns = min(max(columns, -(-len(pictures) // max(_TALLEST // height, 1))), len(pictures))
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * height - MARGIN, columns * width - MARGIN, 3), PAPER[0], np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * height, place % columns * width
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def encode(picture: Picture, *, quality: int = 85) -> Encoded:
    """Encode a picture ``(H, W, 3)`` as JPEG, or as PNG where that is exact and small.

    Line drawings and label maps compress well without loss; photographs do not, and a PNG of one
    is five times the size, which TensorBoard's writer then checksums in pure Python.
    """
    image = Image.fromarray(picture)
    as_png = image.getcolors(256) is not None or max(image.size) > _JPEG_SIDE
    buffer = io.BytesIO()
    if as_png:
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=quality)
    suffix = ".png" if as_png else ".jpg"
    return Encoded(buffer.getvalue(), picture.shape[0], picture.shape[1], suffix)
