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

__all__ = ["balanced_weights", "image_size", "level_sizes"]

_EVEN = 3.0  # the ratio of counts up to which weights change little but the noise
_STRIDE = 32  # encoders halve an image five times


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
    median = float(torch.tensor(present, dtype=torch.float64).median())
    weights = [math.sqrt(median / (count or present[0])) for count in given]
    mean = sum(w * c for w, c in zip(weights, given, strict=True)) / sum(given)
    return Chosen(
        [weight / mean for weight in weights],
        f"the most frequent class is {ratio:.0f} times the rarest: square roots of inverse counts",
    )


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


def level_sizes(boxes: Tensor, levels: int = 3) -> Chosen:
    """Choose the object size of each level of a feature pyramid from the training boxes.

    The sizes split the square roots of the areas into parts of the same number, like the clusters
    of YOLO9000 (Redmon & Farhadi 2017, arXiv:1612.08242, section 2), so that each level has
    objects to learn from.

    Args:
        boxes: ``(K, 4)`` xyxy in pixels of the image as the model sees it.
        levels: Number of levels, at least 1.

    Returns:
        A rising list of sizes in pixels.

    Raises:
        ValueError: If there are no boxes.

    >>> level_sizes(torch.tensor([[0, 0, s, s] for s in (10, 20, 30, 40, 50, 60)])).value
    [18.3, 35.0, 51.7]
    """
    whole_number("levels", levels, 1)
    if boxes.ndim != 2 or boxes.shape[-1] != 4 or not len(boxes):
        raise ValueError(f"`boxes` must be (K, 4) with a box or more, got {tuple(boxes.shape)}")
    corners = boxes.double()
    sides = (corners[:, 2:] - corners[:, :2]).clamp_min(0).prod(1).sqrt()
    middles = (torch.arange(levels, dtype=torch.float64) + 0.5) / levels
    chosen = sides.quantile(middles).tolist()
    return Chosen(
        [round(size, 1) for size in chosen],
        f"{len(boxes)} boxes of {sides.min():.0f} to {sides.max():.0f} pixels, in {levels} parts",
    )
