"""Convert images to pictures of a visible size, arrange them on sheets, and encode them."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checks import counted
from ..resize import resized
from .colors import MARGIN, PAPER, Picture

__all__ = [
    "Encoded",
    "ValueRange",
    "encode",
    "guess_range",
    "panel_size",
    "sheet",
    "sheets",
    "to_rgb",
    "value_extremes",
]

_PANEL = (256, 512)  # panels smaller than this are enlarged, larger ones reduced, in pixels
_OVERSHOOT = 0.1  # of cubic interpolation at an edge from 0 to 1, rounded up
_DARK = 32.0  # a batch in 0..255 is rarely this dark, so another range is likelier
_TALLEST = 16_384  # height limit of some browsers in pixels
_SHEET_PIXELS = 2_000_000  # about 0.4 MB as JPEG
_LARGE = 1_500_000  # pixels from which on a lower JPEG quality suffices
_JPEG_SIDE = 65_500  # limit of libjpeg in pixels


@dataclass(frozen=True)
class Encoded:
    """A picture encoded as an image file."""

    data: bytes
    height: int
    width: int
    suffix: str  # ".jpg" or ".png"


@dataclass(frozen=True)
class ValueRange:
    """The values shown as black and white: one pair, or one per channel."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def is_unit(self) -> bool:
        """Whether the range is 0..1."""
        return self == UNIT

    @classmethod
    def normalised(cls, mean: Sequence[float], std: Sequence[float]) -> ValueRange:
        """The range of images in 0..1 after normalisation by mean and standard deviation.

        >>> ValueRange.normalised([0.5], [0.25])
        ValueRange(low=(-2.0,), high=(2.0,))
        """
        pairs = list(zip(mean, std, strict=True))
        return cls(tuple(-m / s for m, s in pairs), tuple((1 - m) / s for m, s in pairs))

    def scaled(self, images: Tensor, rgb: Sequence[int], channels: int) -> Tensor:
        """Scale images ``(N, 3, H, W)`` or ``(N, 1, H, W)`` to 0..1; NaN becomes 0.

        Args:
            images: The channels to show.
            rgb: Indices of these channels.
            channels: Total number of channels of the original images.

        Raises:
            ValueError: If the range has a different number of channels.
        """
        if len(self.low) not in (1, channels):
            raise ValueError(
                f"`mean` and `std` have {counted(len(self.low), 'value')}, but images have "
                f"{counted(channels, 'channel')}; pass one value per channel"
            )
        low, high = (
            torch.tensor(edge if len(edge) == 1 else [edge[c] for c in rgb]).view(-1, 1, 1)
            for edge in (self.low, self.high)
        )
        return ((images - low) / (high - low)).clamp(0, 1).nan_to_num(0.0)


UNIT, BYTES = ValueRange((0.0,), (1.0,)), ValueRange((0.0,), (255.0,))


def to_rgb(
    images: Tensor,
    rgb: Sequence[int] = (0, 1, 2),
    size: tuple[int, int] | None = None,
    value_range: ValueRange | None = None,
) -> Picture:
    """Convert images to RGB pictures.

    Args:
        images: ``(N, I, H, W)``; uint8 values are kept.
        rgb: Channels to show as red, green and blue, if there are at least three.
        size: Height and width of the pictures; None for those of the images.
        value_range: Value range of images of other types; None to guess it, see
            :func:`guess_range`. NaN is black.

    Returns:
        ``(N, H, W, 3)``.
    """
    channels = images.shape[1]
    picked = _picked(images, rgb)
    if picked.dtype != torch.uint8:
        value_range = value_range or guess_range(picked)
        shown = rgb if channels >= 3 else (0,)
        picked = value_range.scaled(picked.cpu().float(), shown, channels)
    picked = picked.cpu()
    if size is not None:
        picked = resized(picked, size)
    if picked.dtype != torch.uint8:
        # Interpolation can turn 1 into 1.0000002.
        picked = picked.clamp(0, 1).mul(255).round().to(torch.uint8)
    picked = picked.expand(-1, 3, -1, -1)
    pictures: Picture = np.ascontiguousarray(picked.permute(0, 2, 3, 1).numpy())
    return pictures


def _picked(images: Tensor, rgb: Sequence[int]) -> Tensor:
    """The channels to show ``(N, 3, H, W)``; with fewer than three, the first ``(N, 1, H, W)``."""
    channels = images.shape[1]
    if channels >= 3 and max(rgb) >= channels:
        raise ValueError(f"`rgb` has channel {max(rgb)}, but images have {channels} channels")
    return torch.stack([images[:, c].detach() for c in (rgb if channels >= 3 else [0])], 1)


def value_extremes(
    images: Sequence[Tensor] | Tensor, rgb: Sequence[int] = (0, 1, 2)
) -> tuple[float, float]:
    """The lowest and highest finite value of the shown channels; 0 and 1 if there is none."""
    values = [each for each in _finite(images, rgb) if len(each)]
    if not values:
        return 0.0, 1.0
    return min(float(each.min()) for each in values), max(float(each.max()) for each in values)


def guess_range(images: Sequence[Tensor] | Tensor, rgb: Sequence[int] = (0, 1, 2)) -> ValueRange:
    """Guess the common value range of images ``(I, H, W)``.

    The ranges 0..1, -1..1, 0..255 and 0..65535 are recognized by the extreme values. Otherwise the
    range is from the 1st percentile, or 0 if no value is negative, to the 99th. All channels share
    one range, to preserve hues.
    """
    if len(images) == 0 or images[0].dtype == torch.uint8:
        return BYTES
    whole = not images[0].is_floating_point()
    low, high = value_extremes(images, rgb)
    slack = 0 if whole else _OVERSHOOT
    if -slack <= low and high <= 1 + slack:
        return UNIT
    if -1 - slack <= low and high <= 1 + slack:
        return ValueRange((-1.0,), (1.0,))
    if -255 * slack <= low and high <= 255 * (1 + slack) and (whole or high > _DARK):
        return BYTES
    if whole and low >= 0 and high >= 2**14:
        return ValueRange((0.0,), (65_535.0,))
    return _percentiles(images, rgb, low)


def _percentiles(images: Sequence[Tensor] | Tensor, rgb: Sequence[int], low: float) -> ValueRange:
    # 65536 values per image are enough, and torch.quantile accepts at most 16 million.
    values = [each[:: max(len(each) // 65_536, 1)] for each in _finite(images[:64], rgb)]
    few = torch.cat(values)
    bottom, top = few.quantile(few.new_tensor([0.01, 0.99])).tolist() if len(few) else (0.0, 1.0)
    bottom = 0.0 if low >= 0 else bottom
    return ValueRange((bottom,), (top if top > bottom else bottom + 1,))


def _finite(images: Sequence[Tensor] | Tensor, rgb: Sequence[int]) -> Iterator[Tensor]:
    for image in images:
        values = _picked(image[None], rgb).float().flatten()
        yield values[values.isfinite()]


def panel_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a panel: small images enlarged by an integer, large ones reduced."""
    longest = max(height, width)
    if longest <= _PANEL[0]:
        factor = math.ceil(_PANEL[0] / longest)
        return height * factor, width * factor
    scale = min(_PANEL[1] / longest, 1.0)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def sheet(pictures: Sequence[Picture], columns: int) -> Picture:
    """Arrange pictures in a grid; more columns are used if the sheet would be too tall."""
    height = max(picture.shape[0] for picture in pictures) + MARGIN
    width = max(picture.shape[1] for picture in pictures) + MARGIN
    columns = min(max(columns, -(-len(pictures) // max(_TALLEST // height, 1))), len(pictures))
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * height - MARGIN, columns * width - MARGIN, 3), PAPER[0], np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * height, index % columns * width
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def sheets(pictures: Sequence[Picture], columns: int) -> list[Picture]:
    """Distribute pictures evenly over sheets that are each small enough to load at once.

    Args:
        pictures: At least one picture.
        columns: Number of pictures per row.
    """
    area = max(p.shape[0] + MARGIN for p in pictures) * max(p.shape[1] + MARGIN for p in pictures)
    count = -(-len(pictures) * area // _SHEET_PIXELS)
    each = -(-len(pictures) // count)
    each = -(-each // columns) * columns  # whole rows
    return [
        sheet(pictures[start : start + each], columns) for start in range(0, len(pictures), each)
    ]


def encode(picture: Picture, *, quality: int | None = None) -> Encoded:
    """Encode a picture as JPEG, or losslessly as PNG if it has at most 256 colours.

    Line drawings and label maps compress well without loss. A photograph as PNG is five times the
    size, and TensorBoard's writer computes its checksum in pure Python.

    Args:
        picture: ``(H, W, 3)``.
        quality: JPEG quality in 1..95; None for 85, or 75 above 1.5 megapixels.
    """
    image = Image.fromarray(picture)
    as_png = image.getcolors(256) is not None or max(image.size) > _JPEG_SIDE
    buffer = io.BytesIO()
    if as_png:
        image.save(buffer, "PNG", compress_level=1)
    else:
        is_large = picture.shape[0] * picture.shape[1] > _LARGE
        image.save(buffer, "JPEG", quality=quality or (75 if is_large else 85))
    suffix = ".png" if as_png else ".jpg"
    return Encoded(buffer.getvalue(), picture.shape[0], picture.shape[1], suffix)
