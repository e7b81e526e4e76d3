"""Losses for segmentation, exact in float32 and under autocast: functions, then a weighted module.

The losses of segmentation-models-pytorch 0.6 were measured wrong, so these stand beside them: NaN
under float16 autocast, 8 % gradient error in float32 (``(sum p + sum t - |p - t|) / 2`` cancels on
large sparse masks; here the product ``sum p t`` does not), nothing lost for a wholly wrong
prediction on an empty target, mismatched shapes taken in silence.

All take logits ``(N, C, *S)`` of any floating point type and a target by ``task``:

* ``"multiclass"``: class indices ``(N, *S)`` of any integer type, 0..C-1;
* ``"binary"``: logits ``(N, 1, *S)`` or ``(N, *S)``, target of 0 and 1 as ``(N, *S)`` or
  ``(N, 1, *S)``;
* ``"multilabel"``: target of 0 and 1, shaped like the logits.

They return a scalar in float32 (float64 for float64 logits). Pixels whose target is
``ignore_index`` take no part; it may be one of the classes or not. A batch with no pixel left has
loss 0 and zero gradients.

Against float64, all are within 1e-6 and their gradients within a relative 1e-5. Where a multiclass
prediction is almost right, ``ce``, ``focal`` and ``mse`` have the digits of torch's own softmax.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..checks import in_range, nearest, one_of

__all__ = [
    "LOSSES",
    "WeightedLoss",
    "cross_entropy_loss",
    "dice_loss",
    "focal_loss",
    "focal_tversky_loss",
    "generalized_dice_loss",
    "jaccard_loss",
    "lovasz_loss",
    "mse_loss",
    "tversky_loss",
]

Task: TypeAlias = Literal["multiclass", "binary", "multilabel"]
Reduction: TypeAlias = Literal["batch", "image"]
Absent: TypeAlias = Literal["skip", "penalise"]
Weights: TypeAlias = "Sequence[float] | Tensor | None"
L = TypeVar("L", bound=Callable[..., Tensor])


def _full_precision(loss: L) -> L:
    """Compute in float32 at least, whatever autocast says: sums of pixels overflow float16."""

    @functools.wraps(loss)
    def run(logits: Tensor, target: Tensor, **options: Any) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            exact = logits if logits.dtype == torch.float64 else logits.float()
            return loss(exact, target, **options)

    return cast(L, run)


# -- overlap: one score a class ----------------------------------------------------------------


@_full_precision
def dice_loss(
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
    """1 - Dice coefficient, a mean over classes (Milletari et al., V-Net, arXiv:1606.04797).

    Args:
        logits: See the module.
        target: See the module.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        ignore_index: Target value of pixels to leave out.
        reduction: ``"batch"`` scores a class over all pixels of the batch, ``"image"`` over those
            of each image; the loss is the mean of all scores.
        absent: What a class costs that has no pixel in the target (of the batch, or the image).
            ``"skip"``: nothing, it is left out of the mean. ``"penalise"``: the mean probability
            that pixels are given to it, from 0 to 1. None: ``"skip"`` for multiclass, where they
            cost the classes they are taken from; else ``"penalise"``, since false positives on an
            empty mask would be free.
        class_weights: C weights of the mean, at least 0; for a binary task two (background,
            foreground), which do not change a loss of the foreground alone.
        validate_target: Check the target's values. That makes the CPU wait for a GPU; a caller
            that has checked them may turn it off.

    Returns:
        A scalar in 0..1.

    Raises:
        ValueError: For shapes that do not fit, values outside the classes, unknown names.
        TypeError: For a multiclass target in floating point.

    >>> round(float(dice_loss(torch.tensor([[2.0, -2.0]]), torch.tensor([0]))), 4)
    0.0091
    """
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    return _tversky(given, 0.5, 0.5, reduction, absent)


@_full_precision
def jaccard_loss(
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
    """1 - intersection over union (Rahman & Wang 2016). Arguments as in :func:`dice_loss`."""
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    return _tversky(given, 1.0, 1.0, reduction, absent)


@_full_precision
def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Reduction = "batch",
    absent: Absent | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """1 - Tversky index (Salehi et al., arXiv:1706.05721).

    ``alpha`` weighs false positives and ``beta`` false negatives, both above 0: 0.5 and 0.5 is
    Dice, 1 and 1 Jaccard. All else is as in :func:`dice_loss`.
    """
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    return _tversky(given, alpha, beta, reduction, absent)


@_full_precision
def focal_tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 0.75,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Reduction = "batch",
    absent: Absent | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """``(1 - Tversky index) ** gamma`` (Abraham & Khan, arXiv:1810.07842, whose gamma is 1 / ours).

    ``gamma`` is above 0; below 1 it keeps the gradient of a class that is almost right. All else
    is as in :func:`tversky_loss`.
    """
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    return _tversky(given, alpha, beta, reduction, absent, gamma)


@_full_precision
def generalized_dice_loss(
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
    """1 - Dice of all classes together, each weighed by 1 / its area squared.

    Sudre et al., arXiv:1707.03237. An absent class that is penalised has the largest weight of
    the others. Arguments as in :func:`dice_loss`.
    """
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    sums = _sums(given, reduction)
    weights = torch.where(sums.true > 0, sums.true.clamp_min(1) ** -2.0, 0.0)
    if _penalises(absent, task):
        weights = torch.where(sums.true > 0, weights, weights.amax(-1, keepdim=True))
    weights = weights * _score_weights(given)
    wrong = (weights * (sums.false + sums.missed)).sum(-1, keepdim=True)
    hits = (weights * sums.hits).sum(-1, keepdim=True)
    # One score an image now, as if of a single class that is there if any is.
    together = _Sums(*(value.mean(-1, keepdim=True) for value in sums))
    return _mean_score(wrong / _above_0(2 * hits + wrong), together, absent, task, 1.0)


@_full_precision
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
    """Lovasz extension of the Jaccard loss (Berman et al., arXiv:1705.08790).

    Of the softmax for multiclass, the hinge for binary and multilabel, which is not bounded by 1.
    An absent class that is penalised costs its largest error. Arguments as in :func:`dice_loss`.
    """
    one_of("reduction", reduction, ("batch", "image"))
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    if task == "multiclass":
        true, margin = _one_hot(given.target, given.logits.shape[1]), 0
        probs = given.logits.softmax(1)
        missed = probs.masked_fill(true, 0.0).sum(1, keepdim=True)  # keeps the digits of 1 - p
        errors = torch.where(true, missed, probs)
    else:
        true, margin = given.target == 1, 1
        errors = -_signed(given)  # sorted without their margin, which would take digits
    counted = _counted(given)
    if given.valid is not None:
        valid = given.valid.view(len(true), -1, true.shape[-1])
        # What costs nothing sorts behind all that cost something.
        true, errors = true & valid, errors.masked_fill(~valid, -margin)
    if reduction == "batch":
        true, errors = (x.transpose(0, 1).flatten(1)[None] for x in (true, errors))
        counted = counted.sum(0, keepdim=True)
    errors, order = errors.sort(dim=-1, descending=True)
    slopes = _jaccard_slope(true.gather(-1, order), errors.dtype)
    losses = ((errors + margin).relu() * slopes).sum(-1)
    kept = counted > 0 if _penalises(absent, task) else true.any(-1)
    return _weighted_mean(losses, kept * _score_weights(given))


def _jaccard_slope(true: Tensor, dtype: torch.dtype) -> Tensor:
    """How much the Jaccard loss grows with each further error, from the largest; last dimension.

    Written out for a pixel of the class and for another, since the differences of neighbours,
    about one over the number of pixels, would lose digits.
    """
    hits = true.cumsum(-1)
    total = hits[..., -1:]
    union = total + torch.arange(1, true.shape[-1] + 1, device=true.device) - hits
    left, union = (total - hits).to(dtype), union.to(dtype)
    # If the union is 1 after another pixel, the target is empty: the first error costs it all.
    return torch.where(true | (union == 1), 1.0, left / (union - 1)) / union


class _Sums(NamedTuple):
    """Sums over pixels, ``(G, C)``: a row for each image, or one for all of them.

    None is a difference of the others: ``1 - p`` has no digits left where ``p`` is almost 1.
    """

    hits: Tensor  # of p where the class is
    missed: Tensor  # of 1 - p where the class is
    false: Tensor  # of p where it is not
    true: Tensor  # pixels where the class is
    counted: Tensor  # pixels that take part


def _sums(given: _Given, reduction: str) -> _Sums:
    one_of("reduction", reduction, ("batch", "image"))
    if given.task == "multiclass":
        hits, missed, false, true = _SoftmaxSums.apply(given.logits, given.target, given.valid)
    else:
        here = given.target
        elsewhere = (1 if given.valid is None else given.valid.to(here.dtype)) - here
        probs, rest = given.logits.sigmoid(), (-given.logits).sigmoid()
        hits, missed = (probs * here).sum(-1), (rest * here).sum(-1)
        false, true = (probs * elsewhere).sum(-1), here.sum(-1)
    sums = _Sums(hits, missed, false, true, _counted(given))
    if reduction == "image":
        return sums
    return _Sums(*(value.sum(0, keepdim=True) for value in sums))


class _SoftmaxSums(torch.autograd.Function):
    """Hits, missed, false and true of :class:`_Sums` for multiclass, each ``(N, C)``.

    Autograd would hold three arrays of the size of the logits. Here there is one, of the
    probabilities, which becomes the gradient in place.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own, others = _own_and_others(logits, target, valid)
        counts = torch.ones_like(own) if valid is None else valid.to(own.dtype)
        hits, missed, true = _class_sums((own, others.sum(1), counts), target, logits.shape[1])
        ctx.mark_non_differentiable(true)
        ctx.save_for_backward(logits, target, valid)
        ctx.probs = own, others
        return hits, missed, others.sum(-1), true

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, by_hits: Tensor, by_missed: Tensor, by_false: Tensor, _: Tensor
    ) -> tuple[Tensor, None, None]:
        logits, target, valid = ctx.saved_tensors
        # A second backward pass finds the probabilities turned into the first one's gradient.
        own, others = ctx.probs or _own_and_others(logits, target, valid)
        ctx.probs = None
        missed, rest = others.sum(1), torch.empty_like(own)
        slope = (by_hits - by_missed).gather(1, target)
        # With slopes s by the probabilities p, those by the logits are p_c (s_c - sum_k p_k s_k).
        # An eighth of the images at a time, so that the products take little memory.
        eighth = torch.empty_like(others[: -(-len(others) // 8)])
        parts = (x.split(len(eighth)) for x in (others, by_false[..., None], own * slope, rest))
        for probs, slopes, mean, by_others in zip(*parts, strict=True):
            products = torch.mul(probs, slopes, out=eighth[: len(probs)])
            torch.sum(products, 1, out=by_others)
            mean += by_others
            torch.addcmul(products, probs, mean[:, None], value=-1, out=probs)
        # The same for the true class, where s - p s is s sum_others p.
        others.scatter_(1, target[:, None], missed.mul_(slope).sub_(rest).mul_(own)[:, None])
        return others, None, None


def _own_and_others(logits: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Probability of the true class ``(N, P)`` and of the others ``(N, C, P)``; 0 if ignored."""
    probs = logits.softmax(1)
    if valid is not None:
        probs *= valid[:, None]
    own = probs.gather(1, target[:, None])[:, 0]
    return own, probs.scatter_(1, target[:, None], 0.0)


def _class_sums(values: Sequence[Tensor], target: Tensor, classes: int) -> list[Tensor]:
    """Sums ``(N, C)`` of values ``(N, P)`` over the pixels of each class."""
    if _wants_one_hot(target):
        hot = _one_hot(target, classes)
        return [torch.where(hot, value[:, None], 0.0).sum(-1) for value in values]
    images = torch.arange(len(target), device=target.device)[:, None]
    buckets = (target + classes * images).flatten()
    # In float64: index_add adds one by one, and float32 loses digits over some 2**20 pixels.
    zeros = torch.zeros(len(target) * classes, dtype=torch.float64, device=target.device)
    sums = [zeros.index_add(0, buckets, value.double().flatten()) for value in values]
    return [total.view(-1, classes).to(values[0].dtype) for total in sums]


def _tversky(
    given: _Given,
    alpha: float,
    beta: float,
    reduction: str,
    absent: str | None,
    gamma: float = 1.0,
) -> Tensor:
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        in_range(name, value, above=0.0)
    sums = _sums(given, reduction)
    wrong = alpha * sums.false + beta * sums.missed
    losses = wrong / _above_0(sums.hits + wrong)
    if gamma != 1:
        losses = _above_0(losses) ** gamma  # its slope at 0 may be infinite
    return _mean_score(losses, sums, absent, given.task, _score_weights(given))


def _mean_score(
    losses: Tensor, sums: _Sums, absent: str | None, task: str, weights: Tensor | float
) -> Tensor:
    """Mean of the losses ``(G, C)`` of the classes that are there, or are penalised."""
    kept = sums.true > 0
    if _penalises(absent, task):
        # Of a class without a hit the overlap is 0 and flat; the mean probability has a slope.
        losses = torch.where(kept, losses, sums.false / sums.counted.clamp_min(1))
        kept = sums.counted > 0
    return _weighted_mean(losses, kept * weights)


def _penalises(absent: str | None, task: str) -> bool:
    if absent is None:
        return task != "multiclass"
    one_of("absent", absent, ("skip", "penalise"))
    return absent == "penalise"


# -- pixel by pixel ----------------------------------------------------------------------------


@_full_precision
def cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    class_weights: Weights = None,
    label_smoothing: float = 0.0,
    validate_target: bool = True,
) -> Tensor:
    """Cross entropy: torch's for multiclass, of the sigmoid for binary and multilabel.

    Args:
        logits: As in :func:`dice_loss`.
        target: As in :func:`dice_loss`.
        task: As in :func:`dice_loss`.
        ignore_index: As in :func:`dice_loss`.
        class_weights: C weights, at least 0, of a weighted mean over the pixels, as in torch; for
            a binary task two, of background and foreground pixels; for multilabel one a label.
        label_smoothing: Share of the target spread evenly over the classes, in 0..1 (Szegedy et
            al., arXiv:1512.00567).
        validate_target: As in :func:`dice_loss`.
    """
    in_range("label_smoothing", label_smoothing, 0, 1)
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    weights = _pixel_weights(given)
    if task != "multiclass":
        signed = _signed(given)
        # -(1 - s) log p - s log(1 - p), for s half the smoothing.
        return _weighted_mean(label_smoothing / 2 * signed - F.logsigmoid(signed), weights)
    log_probs = given.logits.log_softmax(1)
    loss = _weighted_mean(-_own(log_probs, given.target), weights)
    if label_smoothing == 0:
        return loss
    spread = log_probs if given.weights is None else log_probs * given.weights[:, None]
    spread = spread.mean(1) if given.valid is None else spread.mean(1) * given.valid
    return (1 - label_smoothing) * loss - label_smoothing * spread.sum() / _above_0(weights.sum())


@_full_precision
def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Cross entropy times ``(1 - p) ** gamma``, p of the truth (Lin et al., arXiv:1708.02002).

    ``gamma`` is at least 0, where it is cross entropy. ``alpha``, of binary and multilabel, is a
    factor of the positive pixels and ``1 - alpha`` of the others, in 0..1 (0.25 in the paper);
    None is 1 for both. All else is as in :func:`cross_entropy_loss`.
    """
    in_range("gamma", gamma, 0.0)
    if alpha is not None:
        in_range("alpha", alpha, 0, 1)
        if task == "multiclass":
            raise ValueError("`alpha` is for binary and multilabel; use `class_weights` here")
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    if task == "multiclass":
        log_true = _own(given.logits.log_softmax(1), given.target)
        other = -torch.expm1(log_true)
    else:
        signed = _signed(given)
        log_true, other = F.logsigmoid(signed), (-signed).sigmoid()
    losses = -log_true * _above_0(other) ** gamma  # its slope at 0 may be infinite
    if alpha is not None:
        losses = losses * torch.where(given.target == 1, alpha, 1 - alpha)
    return _weighted_mean(losses, _pixel_weights(given))


@_full_precision
def mse_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Mean squared difference between probabilities and the one-hot target (Brier 1950), in 0..1.

    For multiclass it is the mean over classes too. All arguments are as in
    :func:`cross_entropy_loss`.
    """
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    if task == "multiclass":
        probs = given.logits.softmax(1)
        # sum (p - t)^2 over the classes, without a one-hot t: the true class and the others.
        own = _own(probs, given.target)
        losses = ((probs**2).sum(1) - own**2 + (1 - own) ** 2) / probs.shape[1]
    else:
        losses = (-_signed(given)).sigmoid() ** 2
    return _weighted_mean(losses, _pixel_weights(given))


# -- what they share ---------------------------------------------------------------------------


class _Given(NamedTuple):
    """Checked input with one dimension of pixels."""

    logits: Tensor  # (N, C, P)
    target: Tensor  # int64 (N, P) if multiclass, else (N, C, P) like the logits; 0 where ignored
    valid: Tensor | None  # bool, shaped like target; None if every pixel takes part
    weights: Tensor | None  # (C,), or (2,) if binary
    task: Task


def _prepare(
    logits: Tensor,
    target: Tensor,
    task: Task,
    ignore_index: int | None,
    class_weights: Weights,
    validate_target: bool,
) -> _Given:
    one_of("task", task, ("multiclass", "binary", "multilabel"))
    logits, target = _shaped(logits, target, task)
    if task == "multiclass" and target.is_floating_point():
        raise TypeError(f"a multiclass target must hold class indices, got {target.dtype}")
    # Not compared as they come: to uint8, -1 is 255 and 300 is 44.
    target = target.long() if task == "multiclass" else target.to(logits.dtype)
    valid = None
    if ignore_index is not None:
        valid = target != ignore_index
        target = target.masked_fill(~valid, 0)
    if validate_target:
        _check_values(target, logits.shape[1] if task == "multiclass" else 2)
    weights = None
    if class_weights is not None:
        weights = _as_weights(class_weights, logits)
        count = 2 if task == "binary" else logits.shape[1]
        if weights.shape != (count,):
            raise ValueError(f"`class_weights` needs {count} values, got {weights.numel()}")
    return _Given(logits, target, valid, weights, task)


def _shaped(logits: Tensor, target: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Logits ``(N, C, P)`` and target ``(N, P)`` or ``(N, C, P)``, or an error with both shapes."""
    shapes = f"logits {tuple(logits.shape)} and target {tuple(target.shape)}"
    if task == "multiclass":
        if logits.ndim < 2 or (logits.shape[0], *logits.shape[2:]) != tuple(target.shape):
            raise ValueError(
                f"a multiclass target must be (N, *S) for logits (N, C, *S), got {shapes}; "
                "resize one of them, or drop a channel dimension of size 1"
            )
        if logits.shape[1] < 2:
            raise ValueError(f"multiclass needs 2 classes or more, got {shapes}; try task='binary'")
        pixels = math.prod(logits.shape[2:])
        return logits.reshape(*logits.shape[:2], pixels), target.reshape(len(target), pixels)
    if task == "binary":
        # (N, *S) and (N, 1, *S) mean the same; which it is, only the other one can tell.
        if logits.ndim == target.ndim + 1 and logits.shape[1] == 1:
            target = target[:, None]
        elif target.ndim == logits.ndim + 1 and target.shape[1] == 1:
            target = target[:, 0]
    if logits.shape != target.shape or logits.ndim < 1 + (task == "multilabel"):
        raise ValueError(
            f"a {task} target must have the shape of the logits, got {shapes}; resize one of them"
        )
    channels = 1 if task == "binary" else logits.shape[1]
    shape = (len(logits), channels, math.prod(logits.shape[1:]) // channels)
    return logits.reshape(shape), target.reshape(shape)


def _check_values(target: Tensor, classes: int) -> None:
    if not target.numel():
        return
    low, high = target.aminmax()
    fine = (low >= 0) & (high < classes)
    if target.is_floating_point():
        fine &= (target == target.round()).all()
    if fine:
        return
    wrong = target.clamp(0, classes - 1).round() != target
    value = float(target[wrong][0])
    share = (wrong if math.isnan(value) else target == value).double().mean().item()
    remedy = "threshold a soft target"
    if value.is_integer():
        remedy = f"pass ignore_index={value:.0f} if these pixels do not count"
    if classes == 2 and value == 255:
        remedy += ", or (target == 255) if they are the foreground"
    raise ValueError(
        f"target has value {value:g} ({share:.2%} of pixels), "
        f"but the classes are 0..{classes - 1}; {remedy}"
    )


def _as_weights(class_weights: Sequence[float] | Tensor, like: Tensor) -> Tensor:
    if isinstance(class_weights, Tensor):
        return class_weights.to(like)  # unread: the CPU would wait for a GPU
    weights = torch.tensor(class_weights, dtype=like.dtype, device="cpu")
    if not ((weights >= 0) & weights.isfinite()).all() or not weights.any():
        raise ValueError(
            "`class_weights` must be finite and at least 0, and one of them above it, "
            f"got {class_weights}"
        )
    return weights.to(like.device)


def _score_weights(given: _Given) -> Tensor | float:
    """Weights of the scores ``(C,)``; a binary task has one score alone."""
    return 1.0 if given.weights is None or given.task == "binary" else given.weights


def _pixel_weights(given: _Given) -> Tensor:
    """What each pixel counts, shaped like the target: 0 if ignored."""
    valid = torch.ones_like(given.target) if given.valid is None else given.valid
    valid = valid.to(given.logits.dtype)
    if given.weights is None:
        return valid
    if given.task == "multilabel":
        return valid * given.weights[:, None]
    return valid * given.weights[given.target.long()]


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / _above_0(weights.sum())


def _above_0(value: Tensor) -> Tensor:
    """Keeps 0 / 0 at 0, and its slope finite, without touching any other quotient."""
    return value.clamp_min(torch.finfo(value.dtype).tiny)


def _counted(given: _Given) -> Tensor:
    """Pixels that take part, of each image and class: ``(N, C)``."""
    images, classes, pixels = given.logits.shape
    if given.valid is None:
        return given.logits.new_full((images, classes), pixels)
    counts = given.valid.view(images, -1, pixels).sum(-1)
    return counts.to(given.logits.dtype).expand(images, classes)


def _signed(given: _Given) -> Tensor:
    """Logits of what is true, for a target of 0 and 1: their sigmoid keeps the digits of 1 - p."""
    return torch.where(given.target == 1, given.logits, -given.logits)


def _own(values: Tensor, target: Tensor) -> Tensor:
    """The value of the true class at each pixel, ``(N, P)``."""
    if _wants_one_hot(values):
        return torch.where(_one_hot(target, values.shape[1]), values, 0.0).sum(1)
    return values.gather(1, target[:, None])[:, 0]


def _wants_one_hot(values: Tensor) -> bool:
    """Scattering adds in no fixed order on CUDA, and an MPS device has no float64 to add in."""
    return torch.are_deterministic_algorithms_enabled() or values.device.type == "mps"


def _one_hot(target: Tensor, classes: int) -> Tensor:
    """Where each class is, ``(N, C, P)``."""
    return target[:, None] == torch.arange(classes, device=target.device)[:, None]


# -- several together --------------------------------------------------------------------------

LOSSES: dict[str, Callable[..., Tensor]] = {
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
    """A sum of losses by name, each times its weight.

    Args:
        losses: A name of :data:`LOSSES`, or names and weights, above 0.
        task: As in :func:`dice_loss`.
        ignore_index: As in :func:`dice_loss`.
        class_weights: As in :func:`dice_loss` and :func:`cross_entropy_loss`.
        loss_args: Further arguments of a loss, by its name.
        validate_target: Check the target's values, once for all losses.

    Raises:
        ValueError: For an unknown loss (with the nearest names) or a value out of range.
        TypeError: For an argument that a loss does not take, or a weight that is no number.

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
        self.weights = _loss_weights(losses)
        self.loss_args = {name: dict(args) for name, args in (loss_args or {}).items()}
        self.task: Task = task
        self.ignore_index = ignore_index
        self.validate_target = validate_target
        for name, args in self.loss_args.items():
            one_of("loss_args", name, self.weights)
            _check_args(name, args)
        weights = None
        if class_weights is not None:
            weights = _as_weights([float(weight) for weight in class_weights], torch.zeros(()))
        self.register_buffer("class_weights", weights, persistent=False)
        self._try_one_pixel()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The weighted sum, a scalar."""
        return self.total(self.terms(logits, target))

    def terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Each loss by name, without its weight."""
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
            validate = False  # the values are the same for all
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of terms."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()

    def extra_repr(self) -> str:
        """What the loss is made of."""
        parts = " + ".join(f"{weight:g} {name}" for name, weight in self.weights.items())
        return f"{parts}, task={self.task!r}, ignore_index={self.ignore_index}"

    def _try_one_pixel(self) -> None:
        """Let an option out of range raise now, not at the first step."""
        classes = 2 if self.class_weights is None else len(self.class_weights)
        logits = torch.zeros(1, 1 if self.task == "binary" else classes, 1, device="cpu")
        target = logits[:, 0].long() if self.task == "multiclass" else logits
        self.terms(logits, target)


def _loss_weights(losses: str | Mapping[str, float]) -> dict[str, float]:
    if isinstance(losses, str):
        losses = {losses: 1.0}
    if not isinstance(losses, Mapping):
        raise TypeError(
            f"`loss` must be a name, or a dict of names and weights, got {losses!r}; "
            "{'ce': 1.0, 'dice': 1.0} is usual"
        )
    if not losses:
        raise ValueError(f"`loss` needs a name at least, got {losses!r}; 'ce' is usual")
    for name, weight in losses.items():
        one_of("loss", name, LOSSES)
        if isinstance(weight, bool) or not isinstance(weight, numbers.Real):
            raise TypeError(f"`loss[{name!r}]` must be a number, its weight, got {weight!r}")
        if not 0 < weight < math.inf:
            raise ValueError(
                f"`0 < loss[{name!r}] < inf` must hold, got {weight!r}; "
                "leave out a loss of weight 0"
            )
    return dict(losses)


def _check_args(name: str, args: Mapping[str, Any]) -> None:
    known = [key for key in inspect.signature(LOSSES[name]).parameters if key not in _SHARED]
    for key, value in args.items():
        if key in _SHARED:
            raise TypeError(f"`loss_args` for {name!r} repeats {key!r}; it is given for all losses")
        if key not in known:
            hint = nearest(key, known) or f"; it takes {known}"
            raise TypeError(f"loss {name!r} takes no argument {key!r}{hint}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"`loss_args[{name!r}][{key!r}]` must be finite, got {value}")
