"""Limits that keep a damaged or hostile image file from taking unbounded time or memory."""

from __future__ import annotations

import io
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

__all__ = ["REMEDY", "check_file", "check_size", "check_strips", "limited_header"]

REMEDY = (
    "cut it into tiles, or raise PIL.Image.MAX_IMAGE_PIXELS for trusted files that fit into memory"
)
_LONGEST = 1 << 16  # pixels of a side; JPEG ends there too
_BANDS = 4  # as many values as an image of that many bands with the most pixels
_HEADER_READS = 100_000
_HEADER_BYTES = 8 << 20
_CHUNK_SLACK = 4096  # bytes by which compressed data may exceed the pixels, besides a tenth


def check_file(path: Path) -> None:
    """Check that a path is a regular file.

    Raises:
        ValueError: For a folder, pipe or device: opening a named pipe waits for a writer.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is not a regular file but a folder, pipe or device; remove it")


def check_size(path: Path, width: int, height: int, bands: int = 1) -> None:
    """Check the size that a header claims, before memory is reserved for it.

    Raises:
        ValueError: If the image is too large.
    """
    most = Image.MAX_IMAGE_PIXELS
    size = f"{height} x {width} pixels (H x W)"
    if most is not None and width * height > most:
        raise ValueError(f"{path} has {size}, more than the limit of {most:,}; {REMEDY}")
    if most is not None and width * height * bands > _BANDS * most:
        raise ValueError(
            f"{path} has {size} and {bands} bands or pages, more than the limit of "
            f"{_BANDS * most:,} values; {REMEDY}"
        )
    if max(width, height) > _LONGEST:
        raise ValueError(
            f"{path} has {size}; no side may be longer than {_LONGEST}: cut it into tiles"
        )


def check_strips(path: Path, stored: int, pixels: int) -> None:
    """Check the longest compressed strip or tile of a TIFF against the pixels in it.

    Data that are longer than what they decompress to belong to something else, and could expand to
    a thousand times their length.

    Args:
        path: The file.
        stored: Its bytes in the file.
        pixels: Its bytes when decompressed.

    Raises:
        ValueError: If it is far too long.
    """
    if stored > pixels + pixels // 10 + _CHUNK_SLACK:
        raise ValueError(
            f"{path} stores {stored:,} bytes for a strip of {pixels:,} bytes: it is damaged; "
            "replace or remove it"
        )


@contextmanager
def limited_header(path: Path) -> Iterator[HeaderFile]:
    """Open a file whose header can be only so long, until ``limited`` is set to False."""
    with io.FileIO(path) as raw, HeaderFile(raw) as file:
        file.path = path
        yield file


class HeaderFile(io.BufferedReader):
    """A file that refuses to be read further than a header extends.

    Some of Pillow's plugins look byte by byte for the end of a comment or for a marker, and join
    segments of metadata in a time that grows with the square of their number.
    """

    path = Path()
    limited = True
    _reads = 0
    _bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as usual, and count."""
        data = super().read(size)
        if self.limited:
            self._reads += 1
            # A WebP decoder needs all of the file.
            whole = size is None or size < 0
            self._bytes += 0 if whole else len(data)
            if self._reads > _HEADER_READS or self._bytes > _HEADER_BYTES:
                raise ValueError(
                    f"{self.path} has a header of more than {math.floor(self._bytes / 1e6)} MB in "
                    f"{self._reads:,} parts, such as comments or metadata; save it again without "
                    "them, or remove it"
                )
        return data
