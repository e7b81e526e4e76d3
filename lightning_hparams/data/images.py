"""Read pictures as image tensors with a given number of channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .pictures import Picture, Pixels, open_picture, turned

__all__ = ["read_image", "to_channels"]


def read_image(path: Path, channels: int, orientation: int | None = None) -> Tensor:
    """Read an image as ``(channels, H, W)``, with its EXIF orientation applied.

    Args:
        path: Image file in a format of :data:`SUFFIXES`.
        channels: 1 for grey, 3 for RGB, or the number of the file's bands.
        orientation: EXIF orientation to apply; None for that of the file.

    Returns:
        uint8, or float32 for files with more than 8 bits: integers are divided by 65535, floating
        point values do not change.

    Raises:
        ValueError: If it cannot be read, has another number of bands, or holds NaN or infinity.
    """
    picture = open_picture(path)
    turn = picture.orientation if orientation is None else orientation
    return to_channels(picture, channels, turn)


def to_channels(picture: Picture, channels: int, orientation: int) -> Tensor:
    """Convert a picture to a tensor ``(channels, H, W)``; see :func:`read_image`."""
    bands = _bands(picture, channels)
    if bands.dtype == bool:
        bands = bands.astype(np.uint8) * 255
    if bands.dtype != np.uint8:
        whole = bands.dtype.kind in "ui"
        # A value that is too large for float32 becomes infinity, which raises below.
        with np.errstate(over="ignore"):
            bands = bands.astype(np.float32)
        if whole:
            bands /= 65535
        elif not np.isfinite(bands.sum(dtype=np.float64)):
            share = f"{1 - np.isfinite(bands).mean():.1%}"
            raise ValueError(
                f"{picture.path} contains NaN or infinity ({share} of values); replace them, or "
                "remove the file"
            )
    if bands.ndim == 2:
        bands = bands[..., None]
    tensor = torch.from_numpy(np.array(turned(bands, orientation).transpose(2, 0, 1), order="C"))
    return tensor.expand(channels, -1, -1).contiguous()


def _bands(picture: Picture, channels: int) -> Pixels:
    """Select or convert bands; returns ``(H, W)`` or ``(H, W, channels)``."""
    pixels, image = picture.pixels, picture.image
    if image is not None and image.mode in ("P", "PA", "1") and channels in (1, 3):
        return np.array(image.convert("L" if channels == 1 else "RGB"))
    bands = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if bands == channels:
        return pixels
    colors = bands - picture.alpha
    if picture.alpha:
        pixels = pixels[..., :-1] if colors > 1 else pixels[..., 0]
    if colors == channels or (colors == 1 and channels == 3):
        return pixels
    if picture.color and colors == 3 and channels == 1:
        if image is not None:
            return np.asarray(image.convert("L"))
        grey: Pixels = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        return grey.astype(pixels.dtype)
    raise ValueError(
        f"{picture.path} has {bands} bands, but in_channels={channels}; pass in_channels={bands}, "
        "or save the required bands only"
    )
