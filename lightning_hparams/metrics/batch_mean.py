"""Mean of a value per batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ._states import CountingMetric

__all__ = ["BatchMean"]


class BatchMean(CountingMetric):
    """Mean over images of a value per batch, such as the loss; NaN stays NaN.

    torchmetrics' MeanMetric drops NaN, which hides a diverging model, or (1.9, with
    ``nan_strategy="disable"``) the number of images.

    ``update(value, images)`` takes a scalar and the number of images that it is the mean of.

    >>> metric = BatchMean()
    >>> metric.update(torch.tensor(1.0), 3)
    >>> metric.update(torch.tensor(2.0), 1)
    >>> metric.compute()
    tensor(1.2500)
    """

    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Explicit dtypes: Lightning sets the default one to bfloat16 to build a model in it.
        self.add_state("total", torch.tensor(0.0, dtype=torch.float32), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, value: Tensor, images: int) -> None:
        """Add one batch."""
        self.total += value.float() * images
        self.images += images

    def compute(self) -> Tensor:
        """Return the mean over all images so far, on all ranks."""
        return self.total / self.images
