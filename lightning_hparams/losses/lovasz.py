"""The Lovasz extension of the Jaccard loss, from the sorted errors of the pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import one_of
from ._inputs import Absent, Reduction, Task, Weights, full_precision, prepare
from ._pixels import one_hot, penalises, pixel_counts, score_weights, signed_logits, weighted_mean

__all__ = ["lovasz_loss"]


@full_precision
def lovasz_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Reduction = "batch",
    absent: Absent | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Compute the Lovasz extension of the Jaccard loss (Berman et al., arXiv:1705.08790).

    On softmax errors for multiclass; on hinge errors, which can exceed 1, for binary and
    multilabel. An absent class, if penalised, costs its largest error. Arguments as in
    :func:`dice_loss`.
    """
    one_of("reduction", reduction, ("batch", "image"))
    given = prepare(logits, target, task, ignore_index, class_weights, validate_target)
    if task == "multiclass":
        true, margin = one_hot(given.target, given.logits.shape[1]), 0
        probs = given.logits.softmax(1)
        missed = probs.masked_fill(true, 0.0).sum(1, keepdim=True)  # 1 - p, but precise near p = 1
        errors = torch.where(true, missed, probs)
    else:
        true, margin = given.target == 1, 1
        errors = -signed_logits(given)  # without the margin until sorted: adding it costs digits
    counted = pixel_counts(given)
    if given.valid is not None:
        valid = given.valid.view(len(true), -1, true.shape[-1])
        # Ignored pixels cost nothing, so they sort behind all that cost something.
        true, errors = true & valid, errors.masked_fill(~valid, -margin)
    if reduction == "batch":
        true, errors = (x.transpose(0, 1).flatten(1)[None] for x in (true, errors))
        counted = counted.sum(0, keepdim=True)
    errors, order = errors.sort(dim=-1, descending=True)
    slopes = _jaccard_slope(true.gather(-1, order), errors.dtype)
    losses = ((errors + margin).relu() * slopes).sum(-1)
    kept = counted > 0 if penalises(absent, task) else true.any(-1)
    return weighted_mean(losses, kept * score_weights(given))


def _jaccard_slope(true: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the increase of the Jaccard loss with each further error, largest error first.

    Works along the last dimension, with one formula for pixels of the class and one for others:
    subtracting neighbouring losses, about 1 / pixels apart, would lose digits.
    """
    hits = true.cumsum(-1)
    total = hits[..., -1:]
    union = total + torch.arange(1, true.shape[-1] + 1, device=true.device) - hits
    left, union = (total - hits).to(dtype), union.to(dtype)
    # A union of 1 after a pixel of another class means an empty target: the first error costs all.
    return torch.where(true | (union == 1), 1.0, left / (union - 1)) / union
