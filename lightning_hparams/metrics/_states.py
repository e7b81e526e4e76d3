"""What the metrics of this room have in common: states that keep their type, and whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

__all__ = ["CountingMetric", "as_long"]


class CountingMetric(Metric):
    """A metric whose states follow the device of a module, and never its type.

    A sum that is cast to bfloat16, by ``precision="bf16-true"`` or ``module.to(torch.bfloat16)``,
    stops growing at 256 times what is added, and a count that is cast to any floating point type
    stops at some number too. torchmetrics guards ``.half()`` and its like, but not ``.to(dtype)``.
    """

    full_state_update = False

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        def moved(state: Tensor) -> Tensor:
            new = fn(state)
            return new if new.dtype == state.dtype else state.to(new.device)

        return super()._apply(moved, exclude_state)


def as_long(values: Tensor) -> Tensor:
    """Whole numbers in a type that holds all they are compared with: to uint8, 256 is 0."""
    return values.long()
