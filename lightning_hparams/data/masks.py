"""Image and mask files: what they hold, and what is wrong with them, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

__all__ = ["ImageHeader", "MaskReader", "read_header", "read_image"]

Pixels = npt.NDArray[np.integer[Any]]

_DEEP = {"I;16", "I;16B", "I;16L", "I", "F"}  # Pillow's modes of more than 8 bits a channel
_VALUES = _DEEP | {"1", "L", "LA", "P", "PA"}  # modes of one value a pixel
_JPEG = {".jpg", ".jpeg"}
_SHOWN = 8  # more colours or values than this are not listed in an error
_ORIENTATION = 0x0112  # the EXIF tag


class ImageHeader(NamedTuple):
    """What a file says of its image before its pixels."""

    size: tuple[int, int]  # height and width as seen, with the EXIF orientation applied
    deep: bool  # more than 8 bits a channel: read as float32, not as uint8


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image file alone.

    Raises:
        ValueError: If it is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Pillow decodes a whole PNG to look for EXIF data behind the pixels.
            look = image.format != "PNG" or "exif" in image.info
            turned = look and image.getexif().get(_ORIENTATION, 1) >= 5  # 5 to 8 lie on their side
            return ImageHeader((width, height) if turned else (height, width), image.mode in _DEEP)
    except Exception as error:  # a broken file can raise almost anything in a decoder
        raise _unreadable(path, error) from error


def read_image(path: Path, channels: int) -> Tensor:
    """Read an image as ``(channels, H, W)``.

    Args:
        path: Any format of Pillow. Transparency is dropped.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8; float32 for grey files of more than 8 bits: whole numbers are divided by 65535, and
        fractions stay as they are.

    Raises:
        ValueError: If it cannot be read.
    """
    image = _opened(path)
    if image.mode in _DEEP:
        pixels = torch.from_numpy(np.asarray(image).astype(np.float32))
        if image.mode != "F":
            pixels = pixels / 65535
        return pixels.expand(channels, -1, -1).contiguous()
    array = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(array).reshape(*array.shape[:2], channels).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class MaskReader:
    """Reads mask files as class indices, and says which file holds something else.

    Args:
        num_classes: Classes, the background included.
        binary: Masks of two values, 0 and 1 or 0 and 255.
        class_values: Class index of each value in the files; None if they are the same.
        palette: Colour of each class ``(C, 3)`` for masks in RGB, and after them that of pixels
            that do not count, if there are any; None for masks of indices.
        ignore_index: Class index, or value if ``class_values`` lacks it, of pixels that do not
            count.
    """

    num_classes: int
    binary: bool = False
    class_values: Mapping[int, int] | None = None
    palette: Sequence[Sequence[int]] | None = None
    ignore_index: int | None = None

    def __call__(self, path: Path) -> Tensor:
        """Read a mask ``(H, W)``: uint8, or int64 if ``ignore_index`` does not fit.

        Raises:
            ValueError: For a value that is no class, a colour image without a palette, a lossy
                file, or one that cannot be read; with the file, the value and the remedy.
        """
        image = _opened(path)
        if self.palette is None:
            found = _values(path, image)
            classes = self._classes_by_value(found)
        else:
            found = _colors(path, image)
            classes = self._classes_by_color(self.palette)
        # In the dtype of the pixels, which then need not be converted; others cannot occur.
        limits = np.iinfo(found.dtype)
        possible = [key for key in sorted(classes) if limits.min <= key <= limits.max]
        known = np.array(possible, dtype=found.dtype)
        places = np.searchsorted(known[1:], found, side="right")  # of the last one <= the value
        strange = known[places] != found if possible else np.ones(found.shape, dtype=bool)
        if strange.any():
            raise ValueError(f"{path} {self._complaint(path, found, int(found[strange].min()))}")
        fits = all(0 <= index <= 255 for index in classes.values())
        table = np.array([classes[key] for key in possible], np.uint8 if fits else np.int64)
        return torch.from_numpy(table[places])

    def _classes_by_value(self, values: Pixels) -> dict[int, int]:
        ignored = {} if self.ignore_index is None else {self.ignore_index: self.ignore_index}
        if self.class_values:
            return {**ignored, **self.class_values}
        if self.binary:
            high = 255 if self.ignore_index != 255 and (values == 255).any() else 1
            return {**ignored, 0: 0, high: 1}
        return {**ignored, **{index: index for index in range(self.num_classes)}}

    def _classes_by_color(self, palette: Sequence[Sequence[int]]) -> dict[int, int]:
        indices = [*range(self.num_classes)]
        if self.ignore_index is not None:
            indices.append(self.ignore_index)
        return {_code(color): index for color, index in zip(palette, indices, strict=False)}

    def _complaint(self, path: Path, found: Pixels, value: int) -> str:
        present = np.unique(found).tolist()
        if self.binary and present == [0, 1, 255]:
            value = 255  # the foreground is 1 then, and 255 the usual value of what does not count
        if path.suffix.lower() in _JPEG and len(present) > 2 * self.num_classes:
            return (
                f"has {len(present)} different values for {self.num_classes} classes: JPEG blurs "
                "them; save masks as PNG"
            )
        share = f"({(found == value).mean():.1%} of pixels)"
        if self.palette is not None:
            return (
                f"has colour {_color(value)} {share}, which is not in the palette; add it, or "
                "save masks without smoothing"
            )
        if self.class_values:
            return (
                f"has value {value} {share}, but class_values has only "
                f"{sorted(self.class_values)}; add it there"
            )
        if self.binary:
            return (
                f"has value {value} {share}, but a binary mask holds 0 and 1, or 0 and 255; pass "
                f"ignore_index={value}, or {_mapping(present, 2)}"
            )
        text = f"has value {value} {share}, but num_classes={self.num_classes}; pass "
        if self.num_classes == 2 and present == [0, 255]:
            return f"{text}task='binary', or class_values={{0: 0, 255: 1}}"
        if self.num_classes <= present[-1] < 2 * self.num_classes:
            text += f"num_classes={present[-1] + 1}, "
        return f"{text}ignore_index={value}, or {_mapping(present, self.num_classes)}"


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # a broken file can raise almost anything in a decoder
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read as an image ({error}); replace or remove it")


def _values(path: Path, image: Image.Image) -> Pixels:
    """The one value of each pixel, also where a file repeats it in three channels."""
    if image.mode in _VALUES:
        # A file of mode P holds indices with colours to look at: it is the indices that count.
        values = np.asarray(image)
        if values.ndim == 3:  # with transparency
            values = values[..., 0]
        if values.dtype.kind == "u":
            return values
        whole: Pixels = values.astype(np.int32)
        if not np.array_equal(whole, values):
            raise ValueError(f"{path} holds fractions; save masks as whole numbers")
        return whole
    codes = _colors(path, image)
    grey: Pixels = codes & 255
    if np.array_equal(grey * _code((1, 1, 1)), codes):
        return grey
    present = np.unique(codes)
    shown = [_color(code) for code in present[:_SHOWN].tolist()]
    more = f" and {len(present) - _SHOWN} more" if len(present) > _SHOWN else ""
    raise ValueError(
        f"{path} is a colour image with colours {shown}{more}; pass palette= with the colour of "
        "each class, or masks of class indices"
    )


def _colors(path: Path, image: Image.Image) -> Pixels:
    """The colour of each pixel as one number."""
    if image.mode in _VALUES - {"P"}:
        raise ValueError(
            f"{path} is no colour image (mode {image.mode}), but palette= is given; leave it out "
            "for masks of class indices"
        )
    channels = np.asarray(image.convert("RGB")).astype(np.int32)
    codes: Pixels = channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]
    return codes


def _code(color: Sequence[int]) -> int:
    red, green, blue = color
    return red << 16 | green << 8 | blue


def _color(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def _mapping(present: list[int], num_classes: int) -> str:
    if len(present) > num_classes:
        return "class_values={value: class, ...}"
    example = {value: index for index, value in enumerate(present)}
    return f"class_values={example} with your classes"
