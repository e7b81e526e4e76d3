"""Image and mask files: what they hold, and what is wrong with them, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

__all__ = ["MaskReader", "image_size", "read_image"]

Pixels = npt.NDArray[np.int64]

_RGB_BYTES = 65536, 256, 1  # a colour as one number
_SHOWN = 8  # more colours or values than this are not listed in an error


def image_size(path: Path) -> tuple[int, int]:
    """Height and width as seen (EXIF orientation applied), from the file's header alone.

    Raises:
        ValueError: If it is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5  # orientations 5 to 8 lie on their side
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); replace it") from error
    return (width, height) if turned else (height, width)


def read_image(path: Path, channels: int) -> Tensor:
    """Read an image as ``(channels, H, W)``.

    Args:
        path: Any format of Pillow. Transparency is dropped.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8; for files of 16 or 32 bits a pixel float32, 16-bit values divided by 65535 and
        others as they are.

    Raises:
        ValueError: If it cannot be read.
    """
    image = _opened(path)
    if image.mode in {"I;16", "I;16B", "I;16L", "I", "F"}:
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
        palette: Colours of the classes ``(C, 3)`` for masks in RGB; None for masks of indices.
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
        if image.mode in {"RGB", "RGBA"}:
            classes = self._from_colors(path, np.asarray(image.convert("RGB")).astype(np.int64))
        elif self.palette is not None and image.mode != "P":
            raise ValueError(
                f"{path} is no colour image (mode {image.mode}), but palette= is given"
            )
        elif self.palette is not None:
            classes = self._from_colors(path, np.asarray(image.convert("RGB")).astype(np.int64))
        else:
            # A file of mode P holds indices with colours to look at: it is the indices that count.
            classes = self._from_values(path, _whole(path, np.asarray(image)))
        fits = self.ignore_index is None or 0 <= self.ignore_index <= 255
        return torch.from_numpy(classes).to(torch.uint8 if fits else torch.int64)

    def _from_values(self, path: Path, values: Pixels) -> Pixels:
        present, counts = np.unique(values, return_counts=True)
        if path.suffix.lower() in {".jpg", ".jpeg"} and len(present) > 2 * self.num_classes:
            raise ValueError(
                f"{path} has {len(present)} different values for {self.num_classes} classes: JPEG "
                "blurs them; save masks as PNG"
            )
        mapping = dict(self.class_values or {})
        if self.binary and not mapping:
            high = 255 if 255 in present and self.ignore_index != 255 else 1
            mapping = {0: 0, high: 1}
        known = mapping or {index: index for index in range(self.num_classes)}
        if self.ignore_index is not None:
            known = {self.ignore_index: self.ignore_index, **known}
        for value, count in zip(present.tolist(), counts.tolist(), strict=True):
            if value not in known:
                raise ValueError(self._unknown_value(path, value, count / values.size, present))
        if not mapping:
            return values
        classes = np.zeros_like(values)
        for value in present.tolist():
            classes[values == value] = known[value]
        return classes

    def _unknown_value(self, path: Path, value: int, share: float, present: Pixels) -> str:
        text = f"{path} has value {value} ({share:.1%} of pixels), but "
        if self.class_values:
            return f"{text}class_values has only {sorted(self.class_values)}; add it there"
        if self.binary:
            return f"{text}a binary mask holds 0 and 1, or 0 and 255; see class_values="
        text += f"num_classes={self.num_classes}; pass "
        if set(present.tolist()) == {0, 255} and self.num_classes == 2:
            return f"{text}task='binary', or class_values={{0: 0, 255: 1}}"
        if len(present) > _SHOWN:
            return f"{text}ignore_index={value}, or class_values={{value: class, ...}}"
        example = {old: new for new, old in enumerate(present.tolist())}
        return f"{text}ignore_index={value}, or class_values={example} with your classes"

    def _from_colors(self, path: Path, colors: Pixels) -> Pixels:
        codes = colors @ np.array(_RGB_BYTES)
        present = np.unique(codes)
        if self.palette is None:
            shown = [_color(code) for code in present[:_SHOWN].tolist()]
            more = f" and {len(present) - _SHOWN} more" if len(present) > _SHOWN else ""
            raise ValueError(
                f"{path} is a colour image with colours {shown}{more}; pass palette= with the "
                "colour of each class, or masks of class indices"
            )
        palette = np.array(self.palette) @ np.array(_RGB_BYTES)
        unknown = present[~np.isin(present, palette)]
        if len(unknown):
            share = float((codes == unknown[0]).mean())
            raise ValueError(
                f"{path} has colour {_color(int(unknown[0]))} ({share:.1%} of pixels), which is "
                "not in the palette; add it, or save masks without smoothing (PNG)"
            )
        order = np.argsort(palette)
        classes: Pixels = order[np.searchsorted(palette[order], codes)]
        return classes


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); replace it") from error


def _whole(path: Path, values: npt.NDArray[np.generic]) -> Pixels:
    if values.ndim == 3:  # grey with transparency
        values = values[..., 0]
    whole = values.astype(np.int64)
    if not np.array_equal(whole, values):
        raise ValueError(f"{path} holds fractions; save masks as whole numbers")
    return whole


def _color(code: int) -> tuple[int, int, int]:
    return code // 65536, code // 256 % 256, code % 256
