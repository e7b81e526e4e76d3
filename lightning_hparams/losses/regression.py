"""Losses of a regression by name, and a weighted sum of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import in_range
from ._pixels import above_0
from .weighted import args_by_loss, check_loss_args, loss_weights, weighted_sum

__all__ = ["REGRESSION_LOSSES", "RegressionLoss"]

_SHARED = ("preds", "target")


def _huber(preds: Tensor, target: Tensor, *, delta: float = 1.0) -> Tensor:
    in_range("delta", delta, above=0.0, remedy="1.0 is usual, in deviations of the targets")
    return F.huber_loss(preds, target, reduction="none", delta=delta)


def _l1(preds: Tensor, target: Tensor) -> Tensor:
    return (preds - target).abs()


def _mse(preds: Tensor, target: Tensor) -> Tensor:
    return (preds - target) ** 2


REGRESSION_LOSSES: dict[str, Callable[..., Tensor]] = {"huber": _huber, "l1": _l1, "mse": _mse}


class RegressionLoss(nn.Module):
    """A weighted sum of losses of predicted values, each a mean over all known targets.

    Args:
        losses: ``"mse"``, ``"l1"`` or ``"huber"``, or a dict of names and weights above 0.
        loss_args: Further arguments of each loss, by its name: ``{"huber": {"delta": 1.0}}``.

    Raises:
        ValueError: For an unknown loss (suggesting similar names) or a value out of range.
        TypeError: For an argument that a loss does not take, or a weight that is not a number.

    >>> loss = RegressionLoss("l1")
    >>> terms = loss.terms(torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0], [torch.nan]]))
    >>> float(loss.total(terms))
    2.0
    """

    def __init__(
        self,
        losses: str | Mapping[str, float] = "mse",
        *,
        loss_args: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.weights = loss_weights(losses, REGRESSION_LOSSES, usual="mse")
        given = args_by_loss(loss_args)
        check_loss_args(given, self.weights, REGRESSION_LOSSES, shared=_SHARED)
        self._losses = {
            name: partial(REGRESSION_LOSSES[name], **given.get(name, {})) for name in self.weights
        }
        self.terms(torch.zeros(1, 1), torch.zeros(1, 1))  # an option out of range raises now

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum, a scalar."""
        return self.total(self.terms(preds, target))

    def terms(self, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return each loss by name, not yet weighted; 0 if no target is known.

        Args:
            preds: ``(N, D)``.
            target: Shaped like ``preds``; NaN means unknown.
        """
        preds = preds if preds.dtype == torch.float64 else preds.float()
        target = target.to(preds.dtype)
        known = ~target.isnan()
        # Before the loss: the gradient of a loss that is NaN is NaN, even where it is multiplied
        # by 0. A prediction of NaN stays one, to be seen, where the target is known.
        filled = torch.where(known, target, preds.detach().nan_to_num())
        kept = torch.where(known, preds, filled)
        count = above_0(known.sum().to(preds.dtype))
        return {name: loss(kept, filled).sum() / count for name, loss in self._losses.items()}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms."""
        return weighted_sum(self.weights, terms)
