"""The scale of the values that a regression predicts, from its training data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Subset

__all__ = ["TargetScaling", "training_values"]

_MOST = 2048  # samples that the scale is computed from


class TargetScaling(nn.Module):
    """Mean, deviation and range of D values, kept in checkpoints in float32.

    Until :meth:`fit`, the mean is 0 and the deviation 1.

    Args:
        num_values: D.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    count: Tensor

    def __init__(self, num_values: int) -> None:
        super().__init__()
        for name, value in (("mean", 0.0), ("std", 1.0), ("low", 0.0), ("high", 1.0)):
            self.register_buffer(name, torch.full((num_values,), value, dtype=torch.float32))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TargetScaling:
        # A bfloat16 module still predicts in float32: values may be large beside their deviation.
        def moved(value: Tensor) -> Tensor:
            new = fn(value)
            return value.to(new.device) if new.dtype.itemsize < value.dtype.itemsize else new

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def is_known(self) -> bool:
        """Whether it has been computed."""
        return bool(self.count > 0)

    def fit(self, values: Tensor) -> None:
        """Compute the scale of values ``(N, D)``, where NaN means unknown.

        Raises:
            ValueError: If one of the D values is never known.
        """
        known = ~values.isnan()
        if not bool(known.any(0).all()):
            which = int((~known.any(0)).nonzero()[0])
            raise ValueError(
                f"value {which} must be known for some training images, got NaN in all "
                f"{len(values)} of them; correct the values, or leave it out"
            )
        if not bool(known.all()):
            rank_zero_warn(
                f"{int((~known).sum())} of {known.numel()} training values are NaN; they count as "
                "unknown, and are left out of loss and scores"
            )
        values = values.double()
        mean = values.nanmean(0)
        std = ((values - mean) ** 2).nanmean(0).sqrt()
        low = torch.where(known, values, torch.inf).amin(0)
        high = torch.where(known, values, -torch.inf).amax(0)
        std = torch.where(std > 1e-6 * mean.abs(), std, 1.0)  # constant values keep their unit
        margin = torch.where(high > low, 0.05 * (high - low), 0.5)
        found = {"mean": mean, "std": std, "low": low - margin, "high": high + margin}
        for name, value in found.items():
            getattr(self, name).copy_(value)
        self.count.fill_(len(values))
        listed = ", ".join(f"{m:.4g} ({s:.3g})" for m, s in zip(mean, std, strict=True))
        rank_zero_info(f"mean (and deviation) of {len(values)} training values: {listed}")

    def scaled(self, values: Tensor) -> Tensor:
        """Convert values ``(N, D)`` to deviations from the mean."""
        return (values.to(self.mean.dtype) - self.mean) / self.std

    def unscaled(self, outputs: Tensor) -> Tensor:
        """Convert outputs of a model to values, in float32 at least."""
        return outputs.to(self.mean.dtype) * self.std + self.mean


def training_values(loader: object, read: Callable[[Any], Tensor]) -> Tensor:
    """Read the values of up to 2048 training samples, evenly spread over their dataset.

    Args:
        loader: The training loader.
        read: Returns the checked values of a batch.
    """
    parts: list[Tensor] = []
    count = 0
    for batch in _batches(loader):
        parts.append(read(batch).detach().cpu())
        count += len(parts[-1])
        if count >= _MOST:
            break
    return torch.cat(parts)


def _batches(loader: Any) -> Iterator[Any]:
    dataset = getattr(loader, "dataset", None)
    plain = isinstance(loader, DataLoader) and loader.batch_size is not None
    if not plain or isinstance(dataset, IterableDataset):
        yield from loader
        return
    size = len(dataset)  # type: ignore[arg-type]
    # In float32, the last index of more than 2**24 samples might not exist.
    places = torch.linspace(0, size - 1, min(size, _MOST), dtype=torch.float64).round()
    some = [int(index) for index in places]
    yield from DataLoader(
        Subset(dataset, some),  # type: ignore[arg-type]
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )
