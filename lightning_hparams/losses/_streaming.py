"""Sums of softmax probabilities by class, in the memory of a single probability array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._pixels import needs_one_hot, one_hot

__all__ = ["SoftmaxSums"]


class _Context(Protocol):
    """The part of autograd's context that is used here, and the probabilities kept on it."""

    probs: tuple[Tensor, Tensor] | None
    saved_tensors: tuple[Tensor, Tensor, Tensor | None]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...

    def mark_non_differentiable(self, *args: Tensor) -> None: ...


class SoftmaxSums(torch.autograd.Function):
    """Four sums per class, each ``(N, C)``.

    Over the pixels of the class: of p, of 1 - p, and (fourth) their number; over the others: of p.

    Plain autograd would keep softmax, one-hot target and their product: three arrays as large as
    the logits, which at 21 classes is most of the memory of a training step. Here only the
    probabilities are kept, and backward turns them into the gradient in place.
    """

    @staticmethod
    def forward(
        ctx: _Context, logits: Tensor, target: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # With the true class kept apart, 1 - p is a sum of small numbers. The difference itself
        # would have no digits left where p is almost 1, which is where training ends up.
        own, others = _own_and_others(logits, target, valid)
        counts = torch.ones_like(own) if valid is None else valid.to(own.dtype)
        hits, missed, true = _class_sums((own, others.sum(1), counts), target, logits.shape[1])
        ctx.mark_non_differentiable(true)
        ctx.save_for_backward(logits, target, valid)
        # Not through save_for_backward: autograd refuses saved tensors that are changed in place.
        ctx.probs = own, others
        return hits, missed, others.sum(-1), true

    @staticmethod
    @once_differentiable
    def backward(
        ctx: _Context, by_hits: Tensor, by_missed: Tensor, by_false: Tensor, _: Tensor
    ) -> tuple[Tensor, None, None]:
        logits, target, valid = ctx.saved_tensors
        # backward overwrites the probabilities with the gradient; a second call, under
        # retain_graph, recomputes them.
        own, others = ctx.probs or _own_and_others(logits, target, valid)
        ctx.probs = None
        missed, rest = others.sum(1), torch.empty_like(own)
        slope = (by_hits - by_missed).gather(1, target)
        # With gradients s with respect to the probabilities p, those with respect to the logits
        # are p_c (s_c - sum_k p_k s_k). One eighth of the images at a time: the products p_k s_k
        # of all images would be a second array as large as the logits.
        eighth = torch.empty_like(others[: -(-len(others) // 8)])
        parts = (x.split(len(eighth)) for x in (others, by_false[..., None], own * slope, rest))
        for probs, slopes, mean, by_others in zip(*parts, strict=True):
            products = torch.mul(probs, slopes, out=eighth[: len(probs)])
            torch.sum(products, 1, out=by_others)
            mean += by_others
            torch.addcmul(products, probs, mean[:, None], value=-1, out=probs)
        # For the true class, s - p s is computed as s times the sum of the other p, for precision.
        others.scatter_(1, target[:, None], missed.mul_(slope).sub_(rest).mul_(own)[:, None])
        return others, None, None


def _own_and_others(logits: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return p of the true class ``(N, P)`` and of the others ``(N, C, P)``; 0 if ignored."""
    probs = logits.softmax(1)
    if valid is not None:
        probs *= valid[:, None]
    own = probs.gather(1, target[:, None])[:, 0]
    return own, probs.scatter_(1, target[:, None], 0.0)


def _class_sums(values: Sequence[Tensor], target: Tensor, classes: int) -> list[Tensor]:
    """Sum values ``(N, P)`` over the pixels of each class, ``(N, C)``."""
    if needs_one_hot(target):
        hot = one_hot(target, classes)
        return [torch.where(hot, value[:, None], 0.0).sum(-1) for value in values]
    images = torch.arange(len(target), device=target.device)[:, None]
    buckets = (target + classes * images).flatten()
    # In float64: index_add adds one by one, and float32 loses digits beyond about 2**20 pixels.
    zeros = torch.zeros(len(target) * classes, dtype=torch.float64, device=target.device)
    sums = [zeros.index_add(0, buckets, value.double().flatten()) for value in values]
    return [total.view(-1, classes).to(values[0].dtype) for total in sums]
