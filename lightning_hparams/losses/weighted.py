"""Losses by name, and a weighted sum of several."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import mapping_in, nearest, one_of
from ._inputs import Task, Weights, as_weights
from .lovasz import lovasz_loss
from .overlap import (
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    tversky_loss,
)
from .pixelwise import binary_cross_entropy_loss, cross_entropy_loss, focal_loss, mse_loss

__all__ = [
    "LOSSES",
    "WeightedLoss",
    "args_by_loss",
    "check_loss_args",
    "loss_weights",
    "weighted_sum",
]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "bce": binary_cross_entropy_loss,
    "ce": cross_entropy_loss,
    "dice": dice_loss,
    "focal": focal_loss,
    "focal_tversky": focal_tversky_loss,
    "generalized_dice": generalized_dice_loss,
    "jaccard": jaccard_loss,
    "lovasz": lovasz_loss,
    "mse": mse_loss,
    "tversky": tversky_loss,
}
_SHARED = ("logits", "target", "task", "ignore_index", "class_weights", "validate_target")


class WeightedLoss(nn.Module):
    """A weighted sum of losses, chosen by name.

    Args:
        losses: A name in :data:`LOSSES`, or a dict of names and weights above 0.
        task: As in :func:`dice_loss`.
        ignore_index: As in :func:`dice_loss`.
        class_weights: As in :func:`dice_loss` and :func:`cross_entropy_loss`.
        loss_args: Further arguments of each loss, by its name.
        validate_target: Check the target's values, once for all losses.

    Raises:
        ValueError: For an unknown loss (suggesting similar names) or a value out of range.
        TypeError: For an argument that a loss does not take, or a weight that is not a number.

    >>> loss = WeightedLoss({"ce": 1.0, "dice": 0.5})
    >>> terms = loss.terms(torch.tensor([[2.0, -2.0]]), torch.tensor([0]))
    >>> {name: round(float(term), 4) for name, term in terms.items()}
    {'ce': 0.0181, 'dice': 0.0091}
    >>> round(float(loss.total(terms)), 4)
    0.0227
    """

    class_weights: Tensor | None

    def __init__(
        self,
        losses: str | Mapping[str, float],
        *,
        task: Task = "multiclass",
        ignore_index: int | None = None,
        class_weights: Weights = None,
        loss_args: Mapping[str, Mapping[str, Any]] | None = None,
        validate_target: bool = True,
    ) -> None:
        super().__init__()
        self.weights = loss_weights(losses, LOSSES)
        self.loss_args = args_by_loss(loss_args)
        self.task: Task = task
        self.ignore_index = ignore_index
        self.validate_target = validate_target
        check_loss_args(self.loss_args, self.weights, LOSSES, shared=_SHARED)
        weights = None
        if class_weights is not None:
            listed = class_weights.tolist() if isinstance(class_weights, Tensor) else class_weights
            weights = as_weights(listed, torch.zeros((), dtype=torch.float32))
        self.register_buffer("class_weights", weights, persistent=False)
        self._try_one_pixel()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WeightedLoss:
        # A bfloat16 module still computes its loss in float32, so the weights keep their precision.
        def moved(weights: Tensor) -> Tensor:
            new = fn(weights)
            return weights.to(new.device) if new.dtype.itemsize < weights.dtype.itemsize else new

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum, a scalar."""
        return self.total(self.terms(logits, target))

    def terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return each loss by name, not yet weighted."""
        terms = {}
        validate = self.validate_target
        for name in self.weights:
            terms[name] = LOSSES[name](
                logits,
                target,
                task=self.task,
                ignore_index=self.ignore_index,
                class_weights=self.class_weights,
                validate_target=validate,
                **self.loss_args.get(name, {}),
            )
            validate = False  # all losses get the same target
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms."""
        return weighted_sum(self.weights, terms)

    def extra_repr(self) -> str:
        """Describe the sum."""
        parts = " + ".join(f"{weight:g} {name}" for name, weight in self.weights.items())
        return f"{parts}, task={self.task!r}, ignore_index={self.ignore_index}"

    def _try_one_pixel(self) -> None:
        """Make an option out of range raise now rather than in the first step."""
        classes = 2 if self.class_weights is None else len(self.class_weights)
        channels = 1 if self.task == "binary" else classes
        logits = torch.zeros(1, channels, 1, dtype=torch.float32, device="cpu")
        target = logits[:, 0].long() if self.task == "multiclass" else logits
        self.terms(logits, target)


def weighted_sum(weights: Mapping[str, float], terms: Mapping[str, Tensor]) -> Tensor:
    """Return the weighted sum of scalars."""
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def loss_weights(
    losses: str | Mapping[str, float], known: Mapping[str, object], usual: str = "ce"
) -> dict[str, float]:
    """Return the weight of each loss by name, after checking names and weights.

    Args:
        losses: A name, or a dict of names and weights.
        known: The known losses by name.
        usual: A usual name, for messages.
    """
    if isinstance(losses, str):
        losses = {losses: 1.0}
    if not isinstance(losses, Mapping):
        example = "{'ce': 1.0, 'dice': 1.0}" if usual == "ce" else f"{usual!r}"
        raise TypeError(
            f"`loss` must be a name or a dict of names and weights, got {losses!r}; "
            f"{example} is usual"
        )
    if not losses:
        raise ValueError(f"`loss` needs at least one name, got {losses!r}; {usual!r} is usual")
    for name, weight in losses.items():
        one_of("loss", name, known)
        if isinstance(weight, bool) or not isinstance(weight, numbers.Real):
            raise TypeError(f"the weight `loss[{name!r}]` must be a number, got {weight!r}")
        if not 0 < weight < math.inf:
            raise ValueError(
                f"`0 < loss[{name!r}] < inf` must hold, got {weight!r}; "
                "leave out a loss of weight 0"
            )
    return dict(losses)


def args_by_loss(loss_args: object) -> dict[str, dict[str, Any]]:
    """Return a copy of the arguments of each loss.

    Raises:
        TypeError: If they are not a dict of dicts.
    """
    given = mapping_in("loss_args", loss_args)
    return {name: mapping_in(f"loss_args[{name!r}]", args) for name, args in given.items()}


def check_loss_args(
    loss_args: Mapping[str, Mapping[str, Any]],
    chosen: Mapping[str, float],
    known: Mapping[str, Callable[..., Tensor]],
    *,
    shared: Sequence[str],
) -> None:
    """Check the names of further arguments of losses.

    Args:
        loss_args: Arguments by loss.
        chosen: The losses that are used, by name.
        known: All losses by name.
        shared: Arguments that all losses get.
    """
    for name, args in loss_args.items():
        one_of("loss_args", name, chosen)
        allowed = [key for key in inspect.signature(known[name]).parameters if key not in shared]
        for key, value in args.items():
            if key in shared:
                raise TypeError(
                    f"`loss_args` for {name!r} repeats {key!r}; it is given for all losses"
                )
            if key not in allowed:
                hint = nearest(key, allowed) or f"; it takes {allowed}"
                raise TypeError(f"loss {name!r} takes no argument {key!r}{hint}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`loss_args[{name!r}][{key!r}]` must be finite, got {value}")
