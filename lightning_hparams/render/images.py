"""Images of any kind -> pictures of a size one can see -> bytes of a file."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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
_DARK = 32.0  # images of 0..255 whose highest value is below this are rarer than another range
_TALLEST = 16_384  # pixels of a sheet: not all browsers show more
_SHEET_PIXELS = 2_000_000  # about 0.4 MB as a JPEG
_LARGE = 1_500_000  # pixels of a picture of which only a part is looked at closely
_JPEG_SIDE = 65_500  # pixels, the most that libjpeg writes


@dataclass(frozen=True)
class Encoded:
    """A picture as the bytes of a file."""

    data: bytes
    height: int
    width: int
    suffix: str  # ".jpg" or ".png"


@dataclass(frozen=True)
class ValueRange:
    """The values that are shown as black and as full brightness: one each, or one a channel."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def is_unit(self) -> bool:
        """Whether it is 0..1."""
        return self == UNIT

    @classmethod
    def normalised(cls, mean: Sequence[float], std: Sequence[float]) -> ValueRange:
        """Of images in 0..1 from which a mean was subtracted, divided by a deviation.

        >>> ValueRange.normalised([0.5], [0.25])
        ValueRange(low=(-2.0,), high=(2.0,))
        """
        pairs = list(zip(mean, std, strict=True))
        return cls(tuple(-m / s for m, s in pairs), tuple((1 - m) / s for m, s in pairs))

    def scaled(self, images: Tensor, rgb: Sequence[int], channels: int) -> Tensor:
        """Images ``(N, 3, H, W)`` or ``(N, 1, H, W)`` in 0..1; NaN is black.

        Args:
            images: The channels that are shown.
            rgb: Which those are.
            channels: As many as the images have in all.

        Raises:
            ValueError: If the range is of another number of channels.
        """
        if len(self.low) not in (1, channels):
            raise ValueError(
                f"`mean` and `std` have {len(self.low)} values, but images have {channels} "
                "channels; pass one a channel"
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
    """Images as pictures.

    Args:
        images: ``(N, I, H, W)``; uint8 stays as it is.
        rgb: The channels to show as red, green and blue, where there are three or more.
        size: Height and width of the pictures; None for those of the images.
        value_range: Of images of another type; None to tell it by their values, see
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
        # An interpolated 1 may be 1.0000002.
        picked = picked.clamp(0, 1).mul(255).round().to(torch.uint8)
    picked = picked.expand(-1, 3, -1, -1)
    pictures: Picture = np.ascontiguousarray(picked.permute(0, 2, 3, 1).numpy())
    return pictures


def _picked(images: Tensor, rgb: Sequence[int]) -> Tensor:
    """The channels to show ``(N, 3, H, W)``, or the first of fewer than three ``(N, 1, H, W)``."""
    channels = images.shape[1]
    if channels >= 3 and max(rgb) >= channels:
        raise ValueError(f"`rgb` names channel {max(rgb)}, but images have {channels}")
    return torch.stack([images[:, c].detach() for c in (rgb if channels >= 3 else [0])], 1)


def value_extremes(
    images: Sequence[Tensor] | Tensor, rgb: Sequence[int] = (0, 1, 2)
) -> tuple[float, float]:
    """The lowest and the highest finite value of the channels shown; 0 and 1 if there is none."""
    values = [each for each in _finite(images, rgb) if len(each)]
    if not values:
        return 0.0, 1.0
    return min(float(each.min()) for each in values), max(float(each.max()) for each in values)


def guess_range(images: Sequence[Tensor] | Tensor, rgb: Sequence[int] = (0, 1, 2)) -> ValueRange:
    """Tell by the values of images ``(I, H, W)`` which range they have, all of them together.

    A range of 0..1, -1..1, 0..255 or 0..65535 is known by its extremes; another one is from the 1st
    percentile, or 0 where nothing is below, to the 99th. It is one for all channels, so that
    colours keep their hue.
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
    # Some 65536 values an image are enough, and torch's quantile takes at most 16 million.
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
    """Enlarge small images by a whole factor; reduce large ones to what a screen shows."""
    longest = max(height, width)
    if longest <= _PANEL[0]:
        factor = math.ceil(_PANEL[0] / longest)
        return height * factor, width * factor
    scale = min(_PANEL[1] / longest, 1.0)
    return max(round(height * scale), 1), max(round(width * scale), 1)


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


def sheets(pictures: Sequence[Picture], columns: int) -> list[Picture]:
    """Pictures on as many sheets as it takes for each to load at once, evenly filled.

    Args:
        pictures: At least one.
        columns: As many side by side.
    """
    area = max(p.shape[0] + MARGIN for p in pictures) * max(p.shape[1] + MARGIN for p in pictures)
    count = -(-len(pictures) * area // _SHEET_PIXELS)
    each = -(-len(pictures) // count)
    each = -(-each // columns) * columns  # whole rows
    return [
        sheet(pictures[start : start + each], columns) for start in range(0, len(pictures), each)
    ]


def encode(picture: Picture, *, quality: int | None = None) -> Encoded:
    """Encode a picture ``(H, W, 3)`` as JPEG, or as PNG where that is exact and small.

    Args:
        picture: ``(H, W, 3)``.
        quality: Of a JPEG in 1..95; None for 85, or 75 of more than a megapixel and a half.

    Line drawings and label maps compress well without loss; photographs do not, and a PNG of one
    is five times the size, which TensorBoard's writer then checksums in pure Python.
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
