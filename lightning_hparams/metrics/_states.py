"""Shared by the metrics: states that keep their type, and casts that do not wrap around."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

__all__ = ["CountingMetric", "as_long"]


class CountingMetric(Metric):
    """A metric whose states follow the device of their module but never its dtype.

    A sum in bfloat16 (``precision="bf16-true"``, ``module.to(torch.bfloat16)``) stops growing at
    256 times the summand, and a count in any floating point type stops somewhere too. torchmetrics
    guards against ``.half()`` and the like, but not against ``.to(dtype)``.
    """

    full_state_update = False

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        def moved(state: Tensor) -> Tensor:
            new = fn(state)
            return new if new.dtype == state.dtype else state.to(new.device)

        return super()._apply(moved, exclude_state)


def as_long(values: Tensor) -> Tensor:
    """Cast integers to int64, so that comparisons do not wrap around: in uint8, 256 is 0."""
    return values.long()
