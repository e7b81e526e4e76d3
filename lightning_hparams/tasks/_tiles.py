"""Inference on large images, tile by tile, and on flipped images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["flipped_mean", "tile_starts", "tiled"]

_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


def tiled(compute: Callable[[Tensor], Tensor], images: Tensor, tile: int, overlap: float) -> Tensor:
    """Compute logits of images tile by tile; apart from the result, memory depends on a tile only.

    Where tiles overlap, their logits are averaged with weights that fall linearly towards a tile's
    border, where it lacks context.

    Args:
        compute: Returns ``(N, C, h, w)`` for ``(N, I, h, w)``.
        images: ``(N, I, H, W)``. If a tile covers them, they are computed as a whole.
        tile: Height and width of a tile in pixels.
        overlap: Share of a tile that it has in common with the next one, at least, in 0..1.

    Returns:
        Logits ``(N, C, H, W)``, float32 if there are several tiles.
    """
    height, width = images.shape[-2:]
    if height <= tile and width <= tile:
        return compute(images)
    rows, columns = (tile_starts(side, tile, overlap) for side in (height, width))
    high, wide = min(tile, height), min(tile, width)
    weight = _ramp(high, overlap, images)[:, None] * _ramp(wide, overlap, images)
    total, weights = torch.empty(0), torch.zeros(height, width, device=images.device)
    for top in rows:
        for left in columns:
            inside = (..., slice(top, top + high), slice(left, left + wide))
            logits = compute(images[inside]).float()
            if not total.numel():
                total = logits.new_zeros(*logits.shape[:2], height, width)
            total[inside] += logits * weight
            weights[inside] += weight
    return total.div_(weights)


def tile_starts(side: int, tile: int, overlap: float) -> list[int]:
    """Return where tiles start along a side; the last one ends with the side.

    >>> tile_starts(100, 40, 0.25)
    [0, 30, 60]
    >>> tile_starts(30, 40, 0.25)
    [0]
    """
    if side <= tile:
        return [0]
    step = max(1, int(tile * (1 - overlap)))
    count = -(-(side - tile) // step) + 1
    # Spread evenly, so that no two tiles overlap almost entirely.
    return [round(index * (side - tile) / (count - 1)) for index in range(count)]


def flipped_mean(compute: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return the mean logits of images as they are, and flipped either way and both ways."""
    total = torch.zeros(())
    for dims in _FLIPS:
        logits = compute(images.flip(dims)).float().flip(dims)
        total = logits if not dims else total.add_(logits)
    return total.div_(len(_FLIPS))


def _ramp(side: int, overlap: float, like: Tensor) -> Tensor:
    """Return weights along a tile: 1 in the middle, falling to both ends within the overlap."""
    distance = torch.arange(1, side + 1, device=like.device, dtype=torch.float32)
    distance = torch.minimum(distance, distance.flip(0))
    return (distance / max(1.0, overlap * side)).clamp(max=1.0)
