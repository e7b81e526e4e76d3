"""Errors of a regression, and counts of true and predicted values."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import whole_number
from ._states import CountingMetric

__all__ = ["RegressionErrors", "ValueCounts"]


class RegressionErrors(CountingMetric):
    """Mean absolute error, root of the mean squared error, and R2 of D values.

    torchmetrics' R2Score sums squares, which cancel where the mean of a value is large beside its
    deviation, and none of its errors leaves out unknown values.

    Args:
        num_values: D, at least 1.

    ``update(preds, target)`` takes ``(N, D)``, where a target of NaN is unknown. ``compute()``
    returns ``(3, D)``: MAE, RMSE and R2, NaN where no value is known; R2 is also NaN where all
    true values are equal.

    >>> errors = RegressionErrors(1)
    >>> errors.update(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([[1.0], [2.0], [3.0]]))
    >>> [round(float(score), 3) for score in errors.compute()]
    [0.667, 1.155, -1.0]
    """

    count: Tensor
    mean: Tensor
    squares: Tensor
    absolute: Tensor
    squared: Tensor

    def __init__(self, num_values: int) -> None:
        super().__init__()
        num_values = whole_number("num_values", num_values, 1)
        # None: the states of all ranks are stacked. Means cannot be merged without the counts.
        self.add_state("count", torch.zeros(num_values, dtype=torch.long), dist_reduce_fx=None)
        for name in ("mean", "squares", "absolute", "squared"):
            zeros = torch.zeros(num_values, dtype=torch.float32)
            self.add_state(name, zeros, dist_reduce_fx=None)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        preds, target = preds.float(), target.float()
        known = ~target.isnan()
        errors = torch.where(known, preds - target, 0.0)
        self.absolute = self.absolute + errors.abs().sum(0)
        self.squared = self.squared + (errors**2).sum(0)
        count = known.sum(0)
        mean = target.nansum(0) / count.clamp_min(1)
        squares = torch.where(known, (target - mean) ** 2, 0.0).sum(0)
        self.count, self.mean, self.squares = _merged(
            (self.count, self.mean, self.squares), (count, mean, squares)
        )

    def compute(self) -> Tensor:
        """Return the errors so far, over all ranks."""
        states = self.count, self.mean, self.squares
        absolute, squared = self.absolute, self.squared
        if self.count.ndim == 2:
            ranks = list(zip(*states, strict=True))
            states = ranks[0]
            for other in ranks[1:]:
                states = _merged(states, other)
            absolute, squared = absolute.sum(0), squared.sum(0)
        count, _, squares = states
        unknown = torch.where(count > 0, count.float(), torch.nan)
        r2 = 1 - squared / torch.where(squares > 0, squares, torch.nan)
        return torch.stack([absolute / unknown, (squared / unknown).sqrt(), r2])


def _merged(
    ours: tuple[Tensor, Tensor, Tensor], theirs: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge counts, means and sums of squared deviations (Chan, Golub and LeVeque 1979)."""
    count = ours[0] + theirs[0]
    share = theirs[0].float() / count.clamp_min(1).float()
    apart = theirs[1] - ours[1]
    squares = ours[2] + theirs[2] + apart**2 * ours[0].float() * share
    return count, ours[1] + apart * share, squares


class ValueCounts(CountingMetric):
    """Counts of pairs of a true and a predicted value, in B x B cells, for D values.

    Args:
        num_values: D, at least 1.
        bins: B, at least 2.

    ``update(preds, target)`` takes ``(N, D)``. ``edges``, ``(D, 2)``, are the lowest and the
    highest value of the cells, and have to be set before; values beyond them count in the outer
    cells, pairs with NaN do not count. ``compute()`` returns int64 ``(D, B, B)`` with true values
    as rows.
    """

    counts: Tensor
    edges: Tensor

    def __init__(self, num_values: int, bins: int = 64) -> None:
        super().__init__()
        num_values = whole_number("num_values", num_values, 1)
        bins = whole_number("bins", bins, 2)
        self.num_values, self.bins = num_values, bins
        self.edges = torch.tensor([[0.0, 1.0]] * num_values, dtype=torch.float32)
        shape = (num_values, bins, bins)
        self.add_state("counts", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        edges = self.edges.to(preds.device)
        known = ~(target.isnan() | preds.isnan())
        size = self.bins**2
        rows, columns = (self._cells(values, edges) for values in (target, preds))
        cells = torch.where(known, rows * self.bins + columns, size)
        for value in range(self.num_values):
            found = torch.bincount(cells[:, value], minlength=size + 1)[:size]
            self.counts[value] += found.view(self.bins, self.bins)

    def compute(self) -> Tensor:
        """Return the counts so far, summed over all ranks."""
        return self.counts

    def _cells(self, values: Tensor, edges: Tensor) -> Tensor:
        low, high = edges.T
        cells = (values.float() - low) / (high - low) * self.bins
        # Clamped before the cast: an infinite value has no integer.
        clamped: Tensor = cells.nan_to_num().clamp(0, self.bins - 1)
        return clamped.long()
