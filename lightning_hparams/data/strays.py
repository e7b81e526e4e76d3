"""Find values in masks that are too rare to be classes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

__all__ = ["Stray", "find_strays"]

V = TypeVar("V", bound=Hashable)

_RARE = 1e-4  # share of all pixels below which a value may be a mistake
_FEW = 0.05  # share of the masks, or a single one, ...
_SMALL = 5e-3  # ... with at most this share of their pixels


class Stray(NamedTuple):
    """A rare value, and one of the masks that have it."""

    path: Path
    pixels: int  # with the value, in this mask
    size: int  # all pixels of this mask
    files: int  # masks with the value
    of: int  # masks that were read

    def __str__(self) -> str:
        share = f"{100 * self.pixels / self.size:.1g}%"
        return (
            f"in {self.pixels} of the {self.size} pixels of {self.path} ({share}), and in "
            f"{self.files} of the {self.of} masks read"
        )


def find_strays(masks: Sequence[tuple[Path, Mapping[V, int]]]) -> dict[V, Stray]:
    """Find the values that hardly occur, as those of a slip of the brush or a damaged file.

    These have less than 0.01 % of all pixels, or are in one mask, or one of twenty, with at most
    0.5 % of its pixels.

    Args:
        masks: Each mask, and the number of its pixels with each value.

    >>> whole, slip = {0: 600, 255: 400}, {0: 600, 255: 398, 37: 2}
    >>> strays = find_strays([(Path("a.png"), whole), (Path("b.png"), slip)])
    >>> print(*strays, strays[37])
    37 in 2 of the 1000 pixels of b.png (0.2%), and in 1 of the 2 masks read
    """
    total = sum(sum(counts.values()) for _, counts in masks)
    where: dict[V, list[tuple[Path, Mapping[V, int]]]] = {}
    for path, counts in masks:
        for value in counts:
            where.setdefault(value, []).append((path, counts))
    found = {}
    for value, some in where.items():
        pixels = sum(counts[value] for _, counts in some)
        around = sum(sum(counts.values()) for _, counts in some)
        few = len(some) <= max(1, _FEW * len(masks)) and pixels <= _SMALL * around
        if few or pixels < _RARE * total:
            path, counts = some[0]
            size = sum(counts.values())
            found[value] = Stray(path, counts[value], size, len(some), len(masks))
    return found
