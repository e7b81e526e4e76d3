"""Check boxes before training, as pure functions of annotations and image sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ..checks import counted
from .pairs import first_names

__all__ = ["BoxPolicy", "Objects", "checked_boxes"]

BoxPolicy: TypeAlias = Literal["raise", "clip", "drop"]
Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

_ROUNDING = 1.0  # pixels that a box may lie outside of its image, less than which is cut silently


class Objects(NamedTuple):
    """The objects in an image, as annotated."""

    where: str  # file, and image if it describes several
    boxes: Floats  # (K, 4) xyxy
    labels: npt.NDArray[np.int64]  # (K,)
    crowd: Flags  # (K,)

    def only(self, kept: Flags) -> Objects:
        """Return some of them."""
        return Objects(self.where, self.boxes[kept], self.labels[kept], self.crowd[kept])


def checked_boxes(
    images: Sequence[Objects],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
    policy: BoxPolicy,
) -> tuple[list[Objects], str | None]:
    """Return the objects within their images, and a sentence about those changed or left out.

    A box that reaches less than a pixel beyond its image is cut in any case: that is rounding.

    Args:
        images: Objects of each image.
        sizes: Height and width of each image.
        names: Names of the classes.
        policy: ``"raise"`` for an error; ``"clip"`` to cut boxes at the border, and leave out those
            of which nothing remains or that have no width or height; ``"drop"`` to leave out both.

    Raises:
        ValueError: For boxes that are not finite or in units of 0..1, and, by policy, for those
            without width or height or outside of the image.
    """
    boxes = [each.boxes for each in images]
    every = np.concatenate([np.zeros((0, 4)), *boxes])
    if len(every) and bool((every <= 1).all()) and bool((every > 0).any()):
        first = next(each for each in images if len(each.boxes))
        raise ValueError(
            f"{first.where}: {_shown(first.boxes[0])} and all other boxes lie within 0..1; they "
            "must be in pixels: multiply them by the width and height of their images"
        )
    # The position of each box: of its image, and within that.
    owners = [(image, row) for image, some in enumerate(boxes) for row in range(len(some))]
    limits = np.array([[width, height] * 2 for height, width in sizes], dtype=np.float64)
    limits = limits.reshape(-1, 4)[[image for image, _ in owners]].reshape(-1, 4)
    _raise_first(
        ~np.isfinite(every).all(1), owners, images, names, "is not finite", "correct or remove it"
    )
    empty = np.asarray((every[:, 2:] <= every[:, :2]).any(1))
    outside = ((every <= -_ROUNDING) | (every >= limits + _ROUNDING)).any(1)
    outside = np.asarray(outside & ~empty)
    inside = every.clip(0, limits)
    gone = ((inside[:, 2:] - inside[:, :2]) < np.minimum(1, every[:, 2:] - every[:, :2])).any(1)
    if policy == "raise":
        fault = "has no width or height"
        remedy = "correct it (corners may be swapped), or pass boxes='drop' to leave such boxes out"
        _raise_first(empty, owners, images, names, fault, remedy)
        _raise_first(
            outside,
            owners,
            images,
            names,
            "lies outside of its image",
            "correct it, or pass boxes='drop' to leave such boxes out or boxes='clip' to cut them "
            "at the border",
            sizes,
        )
    kept = ~empty & ~gone & (~outside if policy == "drop" else True)
    told = []
    reasons = {"without width or height": empty, "outside of their image": ~kept & ~empty}
    for reason, which in reasons.items():
        if which.any():
            told.append(f"left out {_counted(which, owners, images)} {reason}")
    if policy == "clip" and (cut := outside & kept).any():
        told.append(f"cut {_counted(cut, owners, images)} at the border of their image")
    ends = np.cumsum([0, *(len(some) for some in boxes)])
    result = [
        each._replace(boxes=inside[start:end]).only(kept[start:end])
        for each, start, end in zip(images, ends, ends[1:], strict=False)
    ]
    return result, f"boxes={policy!r}: {'; '.join(told)}" if told else None


def _raise_first(
    faulty: Flags,
    owners: Sequence[tuple[int, int]],
    images: Sequence[Objects],
    names: Sequence[str],
    fault: str,
    remedy: str,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> None:
    found = np.flatnonzero(faulty)
    if not len(found):
        return
    image, row = owners[int(found[0])]
    objects = images[image]
    size = "" if sizes is None else f" of {sizes[image][0]} x {sizes[image][1]} pixels (H x W)"
    rest = f" (as do {len(found) - 1} more)" if len(found) > 1 else ""
    raise ValueError(
        f"{objects.where}: the box {_shown(objects.boxes[row])} of "
        f"{names[objects.labels[row]]!r} {fault}{size}{rest}; {remedy}"
    )


def _counted(which: Flags, owners: Sequence[tuple[int, int]], images: Sequence[Objects]) -> str:
    found = [owners[int(index)] for index in np.flatnonzero(which)]
    files = [*dict.fromkeys(images[image].where for image, _ in found)]
    return f"{len(found)} of {counted(len(owners), 'box')} ({first_names(files)})"


def _shown(box: Floats) -> str:
    return (
        str([round(float(value), 2) if value % 1 else int(value) for value in box])
        if bool(np.isfinite(box).all())
        else str(box.tolist())
    )
