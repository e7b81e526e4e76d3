"""Read mask files as class indices, with errors that name the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from .pictures import Picture, Pixels, open_picture, turned

__all__ = ["Color", "MaskReader", "color_of", "colors_of_indices", "mask_colors", "mask_values"]

Color: TypeAlias = tuple[int, int, int]

_SHOWN = 8  # more colours or values than this are not listed in an error
_SAVED = "save masks as PNG, drawn without anti-aliasing and resized without interpolation"


@dataclass(frozen=True)
class MaskReader:
    """Reads mask files as class indices, and refuses files that hold anything else.

    Args:
        num_classes: Number of classes, including the background.
        binary: Masks have two values, 0 and 1 or 0 and 255.
        class_values: Class index of each value in the files; None if they are equal.
        palette: Colour of each class ``(C, 3)`` for masks in RGB, optionally followed by that of
            ignored pixels; or the class of each colour; None for masks of indices.
        ignore_index: Class index of ignored pixels, or their value if ``class_values`` lacks it.
    """

    num_classes: int
    binary: bool = False
    class_values: Mapping[int, int] | None = None
    palette: Sequence[Sequence[int]] | Mapping[Color, int] | None = None
    ignore_index: int | None = None

    def __call__(self, path: Path) -> Tensor:
        """Read a mask ``(H, W)``: uint8, or int64 if ``ignore_index`` does not fit.

        Raises:
            ValueError: For a value that is not a class, a colour image without a palette, a lossy
                file, or one that cannot be read; with file, value and remedy.
        """
        picture = open_picture(path)
        return self.read(picture, picture.orientation)

    def read(self, picture: Picture, orientation: int) -> Tensor:
        """Like ``__call__``, for an opened file and a given EXIF orientation."""
        if self.palette is None:
            found = mask_values(picture)
            classes = self._classes_by_value(found)
        else:
            found = mask_colors(picture)
            classes = self._classes_by_color(self.palette)
        # In the dtype of the pixels, to avoid converting them; other values cannot occur.
        limits = np.iinfo(found.dtype)
        possible = [key for key in sorted(classes) if limits.min <= key <= limits.max]
        known = np.array(possible, dtype=found.dtype)
        positions = np.searchsorted(known[1:], found, side="right")  # of the last one <= the value
        strange = known[positions] != found if possible else np.ones(found.shape, dtype=bool)
        if strange.any():
            problem = self._complaint(picture, found, int(found[strange].min()))
            raise ValueError(f"{picture.path} {problem}")
        fits = all(0 <= index <= 255 for index in classes.values())
        table = np.array([classes[key] for key in possible], np.uint8 if fits else np.int64)
        return torch.from_numpy(np.ascontiguousarray(turned(table[positions], orientation)))

    def _classes_by_value(self, values: Pixels) -> dict[int, int]:
        ignored = {} if self.ignore_index is None else {self.ignore_index: self.ignore_index}
        if self.class_values:
            return {**ignored, **self.class_values}
        if self.binary:
            high = 255 if self.ignore_index != 255 and (values == 255).any() else 1
            return {**ignored, 0: 0, high: 1}
        return {**ignored, **{index: index for index in range(self.num_classes)}}

    def _classes_by_color(
        self, palette: Sequence[Sequence[int]] | Mapping[Color, int]
    ) -> dict[int, int]:
        if isinstance(palette, Mapping):
            return {_code(color): index for color, index in palette.items()}
        indices = [*range(self.num_classes)]
        if self.ignore_index is not None:
            indices.append(self.ignore_index)
        return {_code(color): index for color, index in zip(palette, indices, strict=False)}

    def _complaint(self, picture: Picture, found: Pixels, value: int) -> str:
        present = np.unique(found).tolist()
        if self.binary and present == [0, 1, 255]:
            value = 255  # then the foreground is 1, and 255 is the usual value to ignore
        share = f"({(found == value).mean():.1%} of pixels)"
        expected = self._expected()
        many = 2 * expected if picture.lossy else 2 * expected + 2 * _SHOWN
        if len(present) > many:
            what = "colours" if self.palette is not None else "values"
            return (
                f"has {len(present)} different {what} for {expected} classes: smooth edges or a "
                f"lossy format (JPEG, WebP) add some; {_SAVED}"
            )
        if self.palette is not None:
            return (
                f"has colour {color_of(value)} {share}, which is not in the palette; add it, or "
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

    def _expected(self) -> int:
        given = self.palette if self.palette is not None else self.class_values
        return max(self.num_classes, len(given or ()))


def mask_values(picture: Picture) -> Pixels:
    """Return the value of each pixel, even if a file repeats it in three channels.

    Raises:
        ValueError: For a colour image, fractions, or a mask in the alpha channel.
    """
    pixels = _without_alpha(picture)
    if pixels.ndim == 2:
        return _whole(picture.path, pixels)
    if not picture.color or pixels.shape[-1] != 3:
        raise ValueError(
            f"{picture.path} has {pixels.shape[-1]} bands or pages, but a mask has one; save "
            "only the one with the classes"
        )
    grey: Pixels = pixels[..., 0]
    if (pixels[..., 1] == grey).all() and (pixels[..., 2] == grey).all():
        return _whole(picture.path, grey)
    codes = np.unique(_codes(pixels))
    shown = [color_of(code) for code in codes[:_SHOWN].tolist()]
    more = f" and {len(codes) - _SHOWN} more" if len(codes) > _SHOWN else ""
    advice = "pass palette= with the colour of each class, or masks of class indices"
    if len(codes) > 256 or picture.lossy:
        advice = f"so many suggest a photograph, smooth edges or a lossy format; {_SAVED}"
    raise ValueError(f"{picture.path} is a colour image with colours {shown}{more}; {advice}")


def mask_colors(picture: Picture) -> Pixels:
    """Return the colour of each pixel as a number, ``red << 16 | green << 8 | blue``.

    Raises:
        ValueError: For an image without colours.
    """
    image = picture.image
    if image is not None and image.mode in ("P", "PA"):
        return _codes(np.asarray(image.convert("RGB")))
    pixels = _without_alpha(picture)
    if not picture.color or pixels.dtype != np.uint8 or pixels.shape[-1] != 3:
        mode = "several bands" if image is None else f"mode {image.mode}"
        raise ValueError(
            f"{picture.path} is not a colour image ({mode}), but palette= is given; leave it out "
            "for masks of class indices"
        )
    return _codes(pixels)


def colors_of_indices(picture: Picture) -> dict[int, Color]:
    """Return the colours of the indices that occur in a palette image; {} for other images."""
    image = picture.image
    if image is None or image.mode != "P":
        return {}
    colors = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
    present = np.flatnonzero(np.bincount(picture.pixels.reshape(-1), minlength=256))
    return {
        index: (int(red), int(green), int(blue))
        for index in present.tolist()
        if index < len(colors)
        for red, green, blue in [colors[index]]
    }


def _without_alpha(picture: Picture) -> Pixels:
    """Drop the alpha channel; raise if it seems to hold the mask."""
    pixels = picture.pixels
    if not picture.alpha:
        return pixels
    alpha, pixels = pixels[..., -1], pixels[..., :-1]
    if (pixels == pixels[:1, :1]).all() and (alpha != alpha[:1, :1]).any():
        raise ValueError(
            f"{picture.path} has one colour everywhere, and its mask seems to be in the alpha "
            "channel; save that channel as a grayscale image"
        )
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _whole(path: Path, values: Pixels) -> Pixels:
    if values.dtype.kind in "ui":
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    finite = np.isfinite(values)
    if not finite.all():
        raise ValueError(
            f"{path} contains NaN or infinity ({1 - finite.mean():.1%} of pixels); save masks as "
            "integers, with a separate value for pixels to ignore, and pass that as ignore_index="
        )
    whole: Pixels = values.astype(np.int64)
    if not np.array_equal(whole, values):
        raise ValueError(f"{path} contains fractions; save masks as whole numbers")
    return whole


def _codes(colors: Pixels) -> Pixels:
    channels = colors.astype(np.int32)
    codes: Pixels = channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]
    return codes


def _code(color: Sequence[int]) -> int:
    red, green, blue = (int(part) for part in color)  # numpy's uint8 would overflow
    return red << 16 | green << 8 | blue


def color_of(code: int) -> Color:
    """Return red, green and blue of a colour code from :func:`mask_colors`."""
    return code >> 16, code >> 8 & 255, code & 255


def _mapping(present: list[int], num_classes: int) -> str:
    if len(present) > num_classes:
        return "class_values={value: class, ...}"
    example = {value: index for index, value in enumerate(present)}
    return f"class_values={example} with your classes"
