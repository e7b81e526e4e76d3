"""Values that depend on the data: each from counts, by a published rule, with its reason.

Like nnU-Net (Isensee et al. 2021, arXiv:1904.08128), which derives what it can from the training
data instead of searching for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import in_range, numbers_in, whole_number
from .preset import Chosen

__all__ = ["balanced_weights", "image_size", "level_sizes", "weights_by_counts"]

_EVEN = 3.0  # the ratio of counts up to which weights change little but the noise
_STRIDE = 32  # encoders halve an image five times
_UNITS = 8.5  # the middle of the 6 to 12 units that a level learns, by their ratio


def balanced_weights(counts: Sequence[float]) -> Chosen:
    """Choose class weights from the number of samples, pixels or boxes of each class.

    The weight of a class is the square root of the median count over its own: between no weights
    and median frequency balancing (Eigen & Fergus 2015, arXiv:1411.4734, section 4.3.3), which
    gives the rarest classes so much weight that the frequent ones suffer. The weights have a mean
    of 1 over the samples, so that losses and learning rates stay comparable. A class that does not
    occur has the weight of the rarest that does.

    Args:
        counts: At least two numbers that are not negative, with one above 0.

    Returns:
        A list of weights, or None if no class is more than three times as frequent as another.

    Raises:
        ValueError: If there are no counts, or a negative one.

    >>> balanced_weights([100, 90, 110]).value
    >>> [round(weight, 2) for weight in balanced_weights([900, 100, 100]).value]
    [0.73, 2.2, 2.2]
    """
    given = numbers_in("counts", counts)
    for count in given:
        in_range("counts", count, 0.0, below=math.inf)
    present = sorted(count for count in given if count)
    if len(given) < 2 or not present:
        raise ValueError(f"`counts` needs two classes or more, and one that occurs, got {given}")
    ratio = present[-1] / present[0]
    if ratio <= _EVEN:
        return Chosen(None, f"no weights: the most frequent class is {ratio:.1f} times the rarest")
    return Chosen(
        weights_by_counts(given, largest=math.inf),
        f"the most frequent class is {ratio:.0f} times the rarest: square roots of inverse counts",
    )


def weights_by_counts(counts: Sequence[float], largest: float = 10.0) -> list[float]:
    """Return a weight for each class: the square root of its inverse frequency.

    The inverse frequency itself lets a few pixels of a rare class outweigh the rest; its square
    root is a compromise (as for the sampling in Mahajan et al., arXiv:1805.00932, section 2.2).
    The mean weight of a sample is 1, so that the loss keeps its scale. A class that does not occur
    has the weight of the rarest one that does.

    Args:
        counts: Pixels, labels or boxes of each class, not all 0.
        largest: Largest weight as a multiple of the smallest: a few samples should not decide what
            is learned.

    >>> weights_by_counts([100, 100])
    [1.0, 1.0]
    >>> [round(weight, 3) for weight in weights_by_counts([400, 100, 0])]
    [0.833, 1.667, 1.667]
    """
    present = [count for count in counts if count > 0]
    most, fewest = max(present), min(present)
    raw = [min((most / (count or fewest)) ** 0.5, largest) for count in counts]
    mean = sum(count * weight for count, weight in zip(counts, raw, strict=True)) / sum(counts)
    return [weight / mean for weight in raw]


def image_size(sizes: Sequence[Sequence[int]], largest: int = 512) -> Chosen:
    """Choose a height and width from those of the training images: their medians.

    Both are rounded to multiples of 32, which encoders need, after scaling the longer side down to
    ``largest`` if it is above.

    Args:
        sizes: Height and width of each image.
        largest: Longest side in pixels, at least 32.

    Returns:
        The list ``[height, width]``.

    Raises:
        ValueError: If there are no sizes, or one is not two positive numbers.

    >>> image_size([(480, 640), (480, 640), (100, 100)]).value
    [384, 512]
    """
    whole_number("largest", largest, _STRIDE)
    for size in sizes:
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"`sizes` must be pairs of height and width above 0, got {size}")
    if not sizes:
        raise ValueError("`sizes` must hold the size of one image or more, got none")
    medians = torch.tensor([list(size) for size in sizes]).median(0).values.tolist()
    scale = min(1.0, largest / max(medians))
    chosen = [max(_STRIDE, round(side * scale / _STRIDE) * _STRIDE) for side in medians]
    height, width = medians
    reason = f"median image of {height} x {width}; at most {largest}, in multiples of {_STRIDE}"
    return Chosen(chosen, reason)


def level_sizes(boxes: Tensor, levels: int = 4) -> Chosen:
    """Choose the ``level_sizes`` of the detector ``"fcos"`` from the training boxes.

    They are units of length, not sizes of objects: a level learns objects of about 6 to 12 units.
    Each unit is twice the one before, as in FCOS (Tian et al. 2019, arXiv:1904.01355, section 3.2),
    so that no object falls between two levels. The median box, by the square root of its area, gets
    to the middle of the levels, as far as each unit lies between half the stride of its level and
    the stride: with less, locations are too far apart for small objects.

    Args:
        boxes: ``(K, 4)`` xyxy in pixels of the image as the model sees it: after ``size``.
        levels: Number of levels, at least 1; ``"fcos"`` takes up to 4, with the strides 4, 8, 16
            and 32 or the last of them.

    Returns:
        A rising list of units in pixels, for
        ``DetectionTask(arch_args={"level_sizes": level_sizes(boxes).value})``.

    Raises:
        ValueError: If there are no boxes, or one is not finite.

    >>> level_sizes(torch.tensor([[0, 0, side, side] for side in (30, 60, 200)])).value
    [2.5, 5.0, 10.0, 20.0]
    >>> level_sizes(torch.tensor([[0, 0, 20, 20]]), levels=3).value
    [4.0, 8.0, 16.0]
    """
    whole_number("levels", levels, 1)
    if boxes.ndim != 2 or boxes.shape[-1] != 4 or not len(boxes):
        raise ValueError(f"`boxes` must be (K, 4) with a box or more, got {tuple(boxes.shape)}")
    if not bool(boxes.isfinite().all()):
        raise ValueError("`boxes` must be finite; leave out those that hold NaN or infinity")
    corners = boxes.double()
    sides = (corners[:, 2:] - corners[:, :2]).clamp_min(0).prod(1).sqrt()
    median = float(sides.median())
    middle = _UNITS * 2 ** ((levels - 1) / 2)
    finest = _STRIDE / 2 ** (levels - 1)
    first = round(min(max(median / middle, finest / 2), finest), 1)
    return Chosen(
        [first * 2**level for level in range(levels)],
        f"{len(boxes)} boxes with a median of {median:.0f} pixels; a level learns about 6 to 12 "
        "times its size",
    )
