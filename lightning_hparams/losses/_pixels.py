"""What a loss takes from each pixel, what it weighs, and the weighted mean of all."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import one_of
from ._inputs import Given


def signed_logits(given: Given) -> Tensor:
    """Logits of what is true, for a target of 0 and 1: their sigmoid keeps the digits of 1 - p."""
    return torch.where(given.target == 1, given.logits, -given.logits)


def of_true_class(values: Tensor, target: Tensor) -> Tensor:
    """The value of the true class at each pixel, ``(N, P)``."""
    if wants_one_hot(values):
        return torch.where(one_hot(target, values.shape[1]), values, 0.0).sum(1)
    return values.gather(1, target[:, None])[:, 0]


def one_hot(target: Tensor, classes: int) -> Tensor:
    """Where each class is, ``(N, C, P)``."""
    return target[:, None] == torch.arange(classes, device=target.device)[:, None]


def wants_one_hot(values: Tensor) -> bool:
    """Scattering adds in no fixed order on CUDA, and an MPS device has no float64 to add in."""
    return torch.are_deterministic_algorithms_enabled() or values.device.type == "mps"


def pixel_counts(given: Given) -> Tensor:
    """Pixels that take part, of each image and class: ``(N, C)``."""
    images, classes, pixels = given.logits.shape
    if given.valid is None:
        return given.logits.new_full((images, classes), pixels)
    counts = given.valid.view(images, -1, pixels).sum(-1)
    return counts.to(given.logits.dtype).expand(images, classes)


def pixel_weights(given: Given) -> Tensor:
    """What each pixel counts, shaped like the target: 0 if ignored."""
    valid = torch.ones_like(given.target) if given.valid is None else given.valid
    valid = valid.to(given.logits.dtype)
    if given.weights is None:
        return valid
    if given.task == "multilabel":
        return valid * given.weights[:, None]
    return valid * given.weights[given.target.long()]


def score_weights(given: Given) -> Tensor | float:
    """Weights of the scores ``(C,)``; a binary task has one score alone."""
    return 1.0 if given.weights is None or given.task == "binary" else given.weights


def penalises(absent: str | None, task: str) -> bool:
    if absent is None:
        return task != "multiclass"
    one_of("absent", absent, ("skip", "penalise"))
    return absent == "penalise"


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    # Of the losses' type: a mask times 1.0 has the default one, in which Lightning may have put
    # bfloat16, where a sum of ones stops at 256.
    weights = weights.to(losses.dtype)
    return (losses * weights).sum() / above_0(weights.sum())


def above_0(value: Tensor) -> Tensor:
    """Keeps 0 / 0 at 0, and its slope finite, without touching any other quotient."""
    return value.clamp_min(torch.finfo(value.dtype).tiny)
