"""Image files for tests, in formats that Pillow does not write."""

import struct
import zlib

import numpy as np
from PIL import Image


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def save_palette(path, indices, colors):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(indices, np.uint8))
    image.putpalette([part for color in colors for part in color])
    image.save(path)
    return path


def save_png(path, values, *, color_type=2, width=None, height=None, compressed=None):
    """Save a 16-bit PNG, or one whose header claims more pixels than it has."""
    shape = np.shape(values)
    height, width = height or shape[0], width or shape[1]
    rows = np.asarray(values).astype(">u2").reshape(shape[0], -1)
    data = compressed or zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )
    return path


def oriented(path, array, orientation):
    """Save a file with an EXIF orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path
