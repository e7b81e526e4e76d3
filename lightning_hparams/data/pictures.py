"""Read image files without loss: every band at full depth, or an error that names the file.

Pillow reads most files. It would keep only the upper 8 bits of 16-bit colours, the first of several
pages, and three of four bands, so those files are read by tifffile or unpacked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile

from .limits import REMEDY, check_file, check_size, check_strips, limited_header

__all__ = [
    "SUFFIXES",
    "ImageHeader",
    "Picture",
    "Pixels",
    "common_orientation",
    "open_picture",
    "read_header",
    "turned",
]

Pixels = npt.NDArray[Any]

SUFFIXES = frozenset(
    {".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tif", ".tiff", ".webp"}
)
# Without a list, Pillow tries every plugin: its EPS plugin starts Ghostscript.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "PPM")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 0x0112  # the EXIF tag
_ALPHA = (1, 2)  # values of TIFF's ExtraSamples; 0 is a band of another kind
_DEEP = {"I;16", "I;16B", "I;16L", "I", "F"}  # Pillow's modes of more than 8 bits a band
_SHOWN_AS = {"CMYK", "YCbCr", "LAB", "HSV"}  # modes that are colours in other coordinates


class ImageHeader(NamedTuple):
    """Properties of an image from the header of its file."""

    stored: tuple[int, int]  # height and width
    orientation: int  # of EXIF; 1 for as stored
    depth: str  # "8 bits", "more than 8 bits" or "fractions"
    bands: int  # alpha included
    mode: str  # Pillow's, "" for a file that it cannot read whole
    palette: bytes | None  # colours of the indices, where it has indices

    @property
    def size(self) -> tuple[int, int]:
        """Height and width after applying the EXIF orientation."""
        height, width = self.stored
        return (width, height) if self.orientation >= 5 else self.stored  # 5 to 8 are rotated


@dataclass(frozen=True)
class Picture:
    """An image that was read from a file; ``image`` is None if not by Pillow."""

    path: Path
    image: Image.Image | None
    pixels: Pixels  # (H, W), or (H, W, B); indices of a palette image
    alpha: bool  # whether the last band is transparency
    color: bool  # whether the first three bands are red, green and blue
    orientation: int
    lossy: bool  # whether its format changes values


def read_header(path: Path) -> ImageHeader:
    """Read only the header of an image file.

    Raises:
        ValueError: If :func:`open_picture` cannot read the image.
    """
    try:
        check_file(path)
        if _is_tiff(path):
            with tifffile.TiffFile(path) as file:
                page = _Tiff(path, file)
                if not page.by_pillow:
                    return page.header
        with _opened(path) as image:
            width, height = image.size
            palette = image.getpalette("RGB") if image.mode in ("P", "PA") else None
            return ImageHeader(
                (height, width),
                _orientation(image),
                _depth(path, image),
                len(image.getbands()),
                image.mode,
                None if palette is None else bytes(palette),
            )
    except Exception as error:  # a broken file can raise almost anything in a decoder
        raise _refusal(path, error) from error


def open_picture(path: Path) -> Picture:
    """Read an image file as it is stored.

    Raises:
        ValueError: If it cannot be read completely and without loss.
    """
    try:
        check_file(path)
        if _is_tiff(path):
            with tifffile.TiffFile(path) as file:
                page = _Tiff(path, file)
                if not page.by_pillow:
                    return page.read()
        with _opened(path) as image:
            lossy = image.format in ("JPEG", "MPO", "WEBP")
            orientation = _orientation(image)
            if _png_depth(path, image) == 16 and image.mode not in _DEEP:
                return _deep_png(path, orientation)
            image.load()
            shown = image.convert("RGB") if image.mode in _SHOWN_AS else image
            bands = shown.getbands()
            return Picture(
                path,
                shown,
                np.asarray(shown),
                bands[-1] in ("A", "a"),
                len(bands) >= 3,
                orientation,
                lossy,
            )
    except Exception as error:  # a broken file can raise almost anything in a decoder
        raise _refusal(path, error) from error


def common_orientation(
    image: tuple[tuple[int, int], int], mask: tuple[tuple[int, int], int]
) -> tuple[int, int] | None:
    """Return the orientations to apply to an image and its mask so that they fit, or None.

    Masks usually have no EXIF orientation. One drawn in a viewer has the size after the image's
    orientation is applied; one computed from the pixels has the stored size. If both stored sizes
    are equal but the orientations differ, neither is applied.

    Args:
        image: Stored height and width of the image, and its EXIF orientation.
        mask: The same for the mask.

    Returns:
        The orientation to apply to each, or None if they do not fit.

    >>> common_orientation(((6, 8), 6), ((8, 6), 1)), common_orientation(((6, 8), 6), ((6, 8), 1))
    ((6, 1), (1, 1))
    """
    (one, first), (other, second) = image, mask
    if one == other:
        return (first, second) if first == second else (1, 1)
    seen = [
        size[::-1] if orientation >= 5 else size
        for size, orientation in ((one, first), (other, second))
    ]
    return (first, second) if seen[0] == seen[1] else None


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation to ``(H, W, ...)``.

    >>> turned(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


class _Tiff:
    """A TIFF file with a single image."""

    def __init__(self, path: Path, file: tifffile.TiffFile) -> None:
        series = [one for one in file.series if not one.keyframe.is_reduced]
        if len(series) != 1:
            raise ValueError(
                f"{path} has {len(series)} images of different kinds; save each in its own file"
            )
        self.path = path
        self.series, self.page = series[0], series[0].keyframe
        axes = self.series.axes
        where = [axes.index("Y"), axes.index("X")]
        self.order = [*where, *(axis for axis in range(len(axes)) if axis not in where)]
        shape = [int(self.series.shape[axis]) for axis in self.order]
        self.height, self.width, self.bands = shape[0], shape[1], int(np.prod(shape[2:]))
        check_size(path, self.width, self.height, self.bands)
        if np.dtype(self.series.dtype).kind == "c":
            raise ValueError(
                f"{path} holds complex numbers; save their magnitude, or both parts as bands"
            )
        self.alpha = any(int(kind) in _ALPHA for kind in self.page.extrasamples)
        self.photometric = tifffile.PHOTOMETRIC(self.page.photometric).name
        self.color = self.photometric == "RGB"
        tag = self.page.tags.get(_ORIENTATION)
        value = 1 if tag is None else int(tag.value)
        self.orientation = value if value in range(1, 9) else 1  # some programs write 0

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow reads it completely; it supports compressions that tifffile lacks."""
        colors = self.bands - self.alpha
        bits, kind = self.page.bitspersample, np.dtype(self.page.dtype)
        known = bits in (1, 8) and kind.kind in "ub" and colors in (1, 3)
        known |= bits == 8 and self.bands == 4 and self.photometric == "SEPARATED"
        deep = kind.kind + str(kind.itemsize) in ("u2", "i4", "f4") and bits in (16, 32)
        known |= deep and self.bands == 1 and self.photometric == "MINISBLACK"
        one = self.page.samplesperpixel == self.bands  # False for a stack of pages
        # Pillow applies a TIFF's orientation itself, but image and mask must be turned together.
        return one and known and self.orientation == 1

    @property
    def header(self) -> ImageHeader:
        kind = np.dtype(self.series.dtype)
        depth = "fractions" if kind.kind == "f" else "8 bits"
        if kind.kind in "ui" and (kind.itemsize > 1 or kind.kind == "i"):
            depth = "more than 8 bits"
        size = (self.height, self.width)
        return ImageHeader(size, self.orientation, depth, self.bands, "", None)

    def read(self) -> Picture:
        if self.photometric not in ("MINISBLACK", "MINISWHITE", "RGB"):
            raise ValueError(
                f"{self.path} is a TIFF with photometric {self.photometric} and "
                f"{self.page.bitspersample} bits; save it as RGB or grayscale"
            )
        self._check_strips()
        try:
            pixels = self.series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            how = tifffile.COMPRESSION(self.page.compression).name
            raise ValueError(
                f"{self.path} is compressed with {how}; run: "
                "pip install 'lightning-hparams[tiff]', or save it uncompressed or as deflate"
            ) from error
        pixels = pixels.transpose(self.order).reshape(self.height, self.width, self.bands)
        if pixels.dtype == bool:
            pixels = pixels.astype(np.uint8) * 255
        if self.photometric == "MINISWHITE" and pixels.dtype.kind == "u":
            pixels = np.iinfo(pixels.dtype).max - pixels
        pixels = pixels[..., 0] if self.bands == 1 else pixels
        return Picture(
            self.path, None, pixels, self.alpha, self.color, self.orientation, lossy=False
        )

    def _check_strips(self) -> None:
        page = self.page
        if page.compression == tifffile.COMPRESSION.NONE:
            return
        pixels = int(np.prod(page.chunks)) * np.dtype(page.dtype).itemsize
        counts = [
            count for one in self.series.pages if one is not None for count in one.databytecounts
        ]
        check_strips(self.path, max(counts, default=0), pixels)


def _refusal(path: Path, error: Exception) -> ValueError:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ValueError(f"{path} is too large to be read ({error}); {REMEDY}")
    if isinstance(error, ValueError) and str(error).startswith(str(path)):
        return error
    if isinstance(error, UnidentifiedImageError):  # its message shows the open file
        error = ValueError(f"its content is none of {', '.join(_FORMATS)}")
    return ValueError(f"{path} cannot be read as an image ({error}); replace or remove it")


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _TIFF


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with limited_header(path) as file, Image.open(file, formats=_FORMATS) as image:
        file.limited = False
        _check_image(path, image)
        yield image


def _check_image(path: Path, image: Image.Image) -> None:
    check_size(path, *image.size)
    # Further images in a JPEG (MPO) are previews and depth maps from a phone camera.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ValueError(f"{path} is an animation of {frames} images; save each in its own file")
    if isinstance(image, PpmImageFile) and image.mode == "RGB" and image.tile:
        args = image.tile[0].args
        if isinstance(args, tuple) and isinstance(args[-1], int) and args[-1] > 255:
            raise ValueError(f"{path} has colours of more than 8 bits; save it as PNG or TIFF")


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # files with any other are read by tifffile
    # Pillow would decode the whole PNG to look for EXIF data after the pixels.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    value = image.getexif().get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _png_depth(path: Path, image: Image.Image) -> int:
    if image.format != "PNG":
        return 8
    with path.open("rb") as file:
        return file.read(25)[24]  # in the chunk IHDR, which comes first


def _depth(path: Path, image: Image.Image) -> str:
    if image.mode == "F":
        return "fractions"
    deep = image.mode in _DEEP or _png_depth(path, image) == 16
    return "more than 8 bits" if deep else "8 bits"


def _deep_png(path: Path, orientation: int) -> Picture:
    """Read a PNG with several bands of 16 bits, of which Pillow keeps only the upper 8."""
    with path.open("rb") as file:
        bands = {2: 3, 4: 2, 6: 4}[file.read(26)[25]]  # from the header's colour type
    if bands == 2:  # as many bytes per pixel as four bands of 8 bits
        high, low = np.split(_png_bytes(path, "RGBA").reshape(-1, 2, 2), 2, axis=2)
        with _opened(path) as image:
            width, height = image.size
        high, low = (part.reshape(height, width, 2) for part in (high, low))
    else:
        name = "RGB" if bands == 3 else "RGBA"
        # The unpacker for little-endian values takes the second of two bytes.
        high, low = (_png_bytes(path, f"{name};16{order}") for order in "BL")
    pixels = high.astype(np.uint16) << 8 | low
    return Picture(path, None, pixels, bands in (2, 4), bands >= 3, orientation, lossy=False)


def _png_bytes(path: Path, raw_mode: str) -> Pixels:
    """Decode the pixels of a PNG with another unpacker than Pillow would choose."""
    with _opened(path) as image:
        assert isinstance(image, PngImageFile)
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.array(image)
