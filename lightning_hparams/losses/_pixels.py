"""Values and weights of single pixels, and the weighted mean that makes a loss of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import one_of
from ._inputs import Given


def signed_logits(given: Given) -> Tensor:
    """Return the logits of the true label, 0 or 1: sigmoid of their negative is a precise 1 - p."""
    return torch.where(given.target == 1, given.logits, -given.logits)


def of_true_class(values: Tensor, target: Tensor) -> Tensor:
    """Select the value of the true class at each pixel, ``(N, P)``."""
    if needs_one_hot(values):
        return torch.where(one_hot(target, values.shape[1]), values, 0.0).sum(1)
    return values.gather(1, target[:, None])[:, 0]


def one_hot(target: Tensor, classes: int) -> Tensor:
    """Return the one-hot target as bool, ``(N, C, P)``."""
    return target[:, None] == torch.arange(classes, device=target.device)[:, None]


def needs_one_hot(values: Tensor) -> bool:
    """Whether to avoid scatter and gather.

    Scattering adds in no fixed order on CUDA, and MPS devices have no float64 to add in.
    """
    return torch.are_deterministic_algorithms_enabled() or values.device.type == "mps"


def pixel_counts(given: Given) -> Tensor:
    """Count the pixels of each image and class that are not ignored, ``(N, C)``."""
    images, classes, pixels = given.logits.shape
    if given.valid is None:
        return given.logits.new_full((images, classes), pixels)
    counts = given.valid.view(images, -1, pixels).sum(-1)
    return counts.to(given.logits.dtype).expand(images, classes)


def pixel_weights(given: Given) -> Tensor:
    """Return the weight of each pixel, shaped like the target: 0 if ignored."""
    valid = torch.ones_like(given.target) if given.valid is None else given.valid
    valid = valid.to(given.logits.dtype)
    if given.weights is None:
        return valid
    if given.task == "multilabel":
        return valid * given.weights[:, None]
    return valid * given.weights[given.target.long()]


def score_weights(given: Given) -> Tensor | float:
    """Return the weights of the scores, ``(C,)``; a binary task has a single score."""
    return 1.0 if given.weights is None or given.task == "binary" else given.weights


def penalises(absent: str | None, task: str) -> bool:
    """Whether a class that is absent from the target is penalised, by default or as asked."""
    if absent is None:
        return task != "multiclass"
    one_of("absent", absent, ("skip", "penalise"))
    return absent == "penalise"


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean, 0 if all weights are 0."""
    # A mask times 1.0 has the default dtype, which Lightning may have set to bfloat16, where a sum
    # of ones stops at 256.
    weights = weights.to(losses.dtype)
    return (losses * weights).sum() / above_0(weights.sum())


def above_0(value: Tensor) -> Tensor:
    """Clamp a divisor so that 0 / 0 is 0 with a finite gradient; other quotients do not change."""
    return value.clamp_min(torch.finfo(value.dtype).tiny)
