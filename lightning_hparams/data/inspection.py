"""Checks of files before training, as pure functions of headers and counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..checks import counted
from .images import to_channels
from .masks import Color, MaskReader, colors_of_indices
from .pairs import Pair, first_names
from .pictures import ImageHeader, common_orientation, open_picture, read_header

__all__ = [
    "MaskFacts",
    "absent_classes",
    "check_depth",
    "check_one_size",
    "check_palettes",
    "in_pixels",
    "mask_facts",
    "pair_headers",
    "read_pair",
    "turned_alone",
    "undecided_turns",
]


class MaskFacts(NamedTuple):
    """Contents of a mask."""

    counts: npt.NDArray[np.int64]  # pixels of each class
    ignored: int  # pixels of no class
    colors: dict[int, Color]  # of the indices in a palette image


def read_pair(image: Path, mask: Path, channels: int, reader: MaskReader) -> tuple[Tensor, Tensor]:
    """Read an image ``(channels, H, W)`` and its mask ``(H, W)`` with matching orientation.

    Raises:
        ValueError: If one cannot be read, or their sizes differ.
    """
    one, other = open_picture(image), open_picture(mask)
    sizes = [(picture.pixels.shape[0], picture.pixels.shape[1]) for picture in (one, other)]
    how = common_orientation((sizes[0], one.orientation), (sizes[1], other.orientation))
    if how is None:
        raise _sizes_differ(image, sizes[0], mask, sizes[1])
    return to_channels(one, channels, how[0]), reader.read(other, how[1])


def pair_headers(pair: Pair) -> tuple[ImageHeader, ImageHeader]:
    """Read the headers of an image and its mask.

    Raises:
        ValueError: If one cannot be read, or their sizes differ.
    """
    image, mask = pair
    one, other = read_header(image), read_header(mask)
    if not common_orientation(one[:2], other[:2]):
        raise _sizes_differ(image, one.size, mask, other.size)
    return one, other


def mask_facts(path: Path, reader: MaskReader) -> MaskFacts:
    """Read a mask and summarise its contents.

    Raises:
        ValueError: As ``reader``.
    """
    picture = open_picture(path)
    mask = reader.read(picture, 1).reshape(-1)
    inside = mask[(mask >= 0) & (mask < reader.num_classes)]
    counts = torch.bincount(inside.long(), minlength=reader.num_classes).numpy()
    if reader.ignore_index is not None and 0 <= reader.ignore_index < reader.num_classes:
        counts[reader.ignore_index] = 0
    colors = {} if reader.palette is not None else colors_of_indices(picture)
    return MaskFacts(counts, len(mask) - int(counts.sum()), colors)


def absent_classes(
    facts: Mapping[str, Sequence[MaskFacts]], reader: MaskReader, names: Sequence[str], total: int
) -> str | None:
    """Return a warning about classes that occur in no mask, or in no training mask.

    Args:
        facts: Contents of the masks that were read, by split.
        reader: The reader of the masks.
        names: Names of the classes.
        total: Number of masks, including those that were not read.

    Raises:
        ValueError: If all pixels but those of one class are ignored.
    """
    read = sum(map(len, facts.values()))
    if not read:
        return None
    counts = {name: _sum(some, len(names)) for name, some in facts.items()}
    everywhere = sum(counts.values(), np.zeros(len(names), np.int64))
    ignored = sum(fact.ignored for some in facts.values() for fact in some)
    masks = (
        f"the {counted(total, 'mask')}" if read == total else f"the {read} masks read of {total}"
    )
    present = [name for name, count in zip(names, everywhere, strict=True) if count]
    if ignored and len(present) <= 1 and read == total:
        rest = f"only class {present[0]!r} remains" if present else "no pixels remain"
        raise ValueError(
            f"ignore_index={reader.ignore_index} leaves nothing to learn: {rest} in {masks}; omit "
            f"ignore_index if {reader.ignore_index} is a class"
        )
    train = counts.get("train", everywhere)
    ours = [index for index in range(len(names)) if index != reader.ignore_index]
    absent = [names[index] for index in ours if not everywhere[index]]
    untrained = [names[index] for index in ours if everywhere[index] and not train[index]]
    parts = [f"the classes {absent} occur in none of {masks}"] if absent else []
    if untrained and facts.get("train"):
        parts.append(f"the classes {untrained} occur in no training mask that was read")
    if not parts:
        return None
    return f"{', and '.join(parts)}: check class_values=, palette= or the masks"


def check_palettes(found: Mapping[Path, Mapping[int, Color]]) -> str | None:
    """Compare the palettes of mask files.

    Returns:
        A warning if the background is white and the foreground black.

    Raises:
        ValueError: If a colour has different indices in different files.
    """
    index_of: dict[Color, tuple[int, Path]] = {}
    for path, colors in found.items():
        for index, color in colors.items():
            other, first = index_of.setdefault(color, (index, path))
            if index != other and first != path:
                raise ValueError(
                    f"{first} shows index {other} in the colour {list(color)}, and {path} index "
                    f"{index}: the order of their palettes differs; pass palette= with the colour "
                    "of each class, which is then used instead of the index"
                )
    shown = {index: color for color, (index, _) in index_of.items()}
    if shown == {0: (255, 255, 255), 1: (0, 0, 0)}:
        return (
            "the masks show index 0 (background) in white and 1 in black; if white is the "
            "foreground, pass palette=[[0, 0, 0], [255, 255, 255]]"
        )
    return None


def turned_alone(headers: Mapping[Pair, tuple[ImageHeader, ImageHeader]]) -> str | None:
    """Return a warning about files with an EXIF orientation that their counterpart lacks.

    It names only files for which either could be right, since the sizes are the same.
    """
    names = [
        image.name
        for (image, _), (one, other) in headers.items()
        if one.orientation != other.orientation
        if one.stored == other.stored and one.size == other.size
    ]
    if not names:
        return None
    return (
        f"{first_names(names)}: only the image or only the mask has an EXIF orientation; both are "
        "read as stored. If they do not match, remove the orientation from the file"
    )


def undecided_turns(
    images: Mapping[Path, tuple[ImageHeader, tuple[int, int] | None]],
) -> str | None:
    """Return a warning about images whose boxes could refer to the pixels before or after turning.

    Args:
        images: Header of each image, and the height and width by its annotations, if they give any.
    """
    found = [
        path.name
        for path, (header, size) in images.items()
        if header.orientation != 1 and (size is None or header.size == header.stored)
    ]
    if not found:
        return None
    return (
        f"{first_names(found)} have an EXIF orientation, and the size in the annotations does not "
        "show whether it was applied before boxes were drawn; it is applied to images that it "
        "rotates by 90 degrees if they are not square, and not to others. Look at some boxes, and "
        "save the images without an orientation if they do not fit"
    )


def check_one_size(headers: Mapping[Path, ImageHeader]) -> None:
    """Check that all images have the same size, so that they can be batched.

    Raises:
        ValueError: If they do not, with two examples.
    """
    examples: dict[tuple[int, int], Path] = {}
    for path, header in headers.items():
        examples.setdefault(header.size, path)
    if len(examples) > 1:
        (one, first), (other, second), *_ = examples.items()
        raise ValueError(
            f"{first} is {in_pixels(one)} and {second} is {in_pixels(other)}: images in a batch "
            "must have the same size; pass size= to resize all of them"
        )


def check_depth(headers: Mapping[Path, ImageHeader]) -> None:
    """Check that all images have the same kind of values.

    Raises:
        ValueError: If images of 8 bits, of more bits, and of floating point values are mixed.
    """
    examples = {header.depth: path for path, header in headers.items()}
    if len(examples) > 1:
        # "more than 8 bits", "fractions", "8 bits"
        (one, first), (other, second), *_ = sorted(examples.items(), reverse=True)
        less = "does not" if other == "8 bits" else f"contains {other}"
        more = f"has {one} per channel" if one != "fractions" else f"contains {one}"
        raise ValueError(
            f"{first} {more} and {second} {less}: their values have different scales; save all "
            "images in the same format"
        )


def _sum(facts: Iterable[MaskFacts], num_classes: int) -> npt.NDArray[np.int64]:
    return sum((fact.counts for fact in facts), np.zeros(num_classes, np.int64))


def _sizes_differ(
    image: Path, size: tuple[int, int], mask: Path, other: tuple[int, int]
) -> ValueError:
    return ValueError(
        f"{mask} is {in_pixels(other)}, but {image} is {in_pixels(size)}; "
        "a mask must have the size of its image"
    )


def in_pixels(size: tuple[int, int]) -> str:
    """Return height and width as text for an error."""
    return f"{size[0]} x {size[1]} pixels (H x W)"
