"""Losses for segmentation, exact in float32 and under autocast: functions, then a weighted module.

The losses of segmentation-models-pytorch 0.6 were measured wrong, so these stand beside them: NaN
under float16 autocast, 8 % gradient error in float32 (``(sum p + sum t - |p - t|) / 2`` cancels on
large sparse masks; here the product ``sum p t`` does not), nothing lost for a wholly wrong
prediction on an empty target, mismatched shapes taken in silence.

All take logits ``(N, C, *S)`` and a target by ``task``:

* ``"multiclass"``: class indices ``(N, *S)`` of any integer type, 0..C-1;
* ``"binary"``: logits ``(N, 1, *S)`` or ``(N, *S)``, target of 0 and 1 as ``(N, *S)`` or
  ``(N, 1, *S)``;
* ``"multilabel"``: target of 0 and 1, shaped like the logits.

They return a scalar in float32 (float64 for float64 logits). Pixels whose target is
``ignore_index`` take no part; it may be one of the classes or not. A batch with no pixel left has
loss 0 and zero gradients.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .checks import in_range, nearest, one_of

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
Weights: TypeAlias = "Sequence[float] | Tensor | None"
L = TypeVar("L", bound=Callable[..., Tensor])

_TASKS = ("multiclass", "binary", "multilabel")
_EPSILON = 1e-7  # keeps 0 / 0 finite; any class that is there has a denominator of 0.3 or more


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
    reduction: Literal["batch", "image"] = "batch",
    absent: Literal["skip", "penalise"] = "skip",
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """1 - Dice coefficient, a mean over classes (Milletari et al., V-Net, arXiv:1606.04797).

    Args:
        logits: See the module; any floating point type.
        target: See the module.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        ignore_index: Target value of pixels to leave out.
        reduction: ``"batch"`` scores a class over all pixels of the batch, ``"image"`` over those
            of each image, and takes the mean.
        absent: What a class without a pixel in the target (of the batch, or of the image) costs.
            ``"skip"``: nothing, it is left out of the mean. So an empty binary mask teaches
            nothing: add ``ce``, or choose ``"penalise"``: the mean probability that the class is
            given, from 0 to 1.
        class_weights: C weights of the mean, at least 0; for a binary task two (background,
            foreground), which do not change a loss of the foreground alone.
        validate_target: Check the target's values. That takes a synchronisation on a GPU; a
            caller that has checked them may turn it off.

    Returns:
        A scalar in 0..1.

    Raises:
        ValueError: For shapes that do not fit, values outside the classes, unknown names.
        TypeError: For a multiclass target in floating point.

    >>> round(float(dice_loss(torch.tensor([[2.0, -2.0]]), torch.tensor([0]))), 4)
    0.0091
    """
    index, sums = _tversky_index(
        logits, target, 0.5, 0.5, task, ignore_index, reduction, class_weights, validate_target
    )
    return _mean_over_classes(1 - index, sums, absent, class_weights, task)


@_full_precision
def jaccard_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Literal["batch", "image"] = "batch",
    absent: Literal["skip", "penalise"] = "skip",
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """1 - intersection over union (Rahman & Wang 2016). Arguments as in :func:`dice_loss`."""
    index, sums = _tversky_index(
        logits, target, 1.0, 1.0, task, ignore_index, reduction, class_weights, validate_target
    )
    return _mean_over_classes(1 - index, sums, absent, class_weights, task)


@_full_precision
def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Literal["batch", "image"] = "batch",
    absent: Literal["skip", "penalise"] = "skip",
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """1 - Tversky index (Salehi et al., arXiv:1706.05721): false pixels and missed ones weighed.

    Args:
        logits: As in :func:`dice_loss`, like all that is not named here.
        target: As in :func:`dice_loss`.
        alpha: Weight of false positives, above 0. 0.5 and 0.5 is Dice, 1 and 1 is Jaccard.
        beta: Weight of false negatives, above 0.
        task: As in :func:`dice_loss`.
        ignore_index: As in :func:`dice_loss`.
        reduction: As in :func:`dice_loss`.
        absent: As in :func:`dice_loss`.
        class_weights: As in :func:`dice_loss`.
        validate_target: As in :func:`dice_loss`.
    """
    index, sums = _tversky_index(
        logits, target, alpha, beta, task, ignore_index, reduction, class_weights, validate_target
    )
    return _mean_over_classes(1 - index, sums, absent, class_weights, task)


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
    reduction: Literal["batch", "image"] = "batch",
    absent: Literal["skip", "penalise"] = "skip",
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """``(1 - Tversky index) ** gamma`` (Abraham & Khan, arXiv:1810.07842, whose gamma is 1 / ours).

    ``gamma`` is above 0; below 1 it keeps the gradient of a class that is almost right. All else
    is as in :func:`tversky_loss`.
    """
    in_range("gamma", gamma, above=0.0)
    index, sums = _tversky_index(
        logits, target, alpha, beta, task, ignore_index, reduction, class_weights, validate_target
    )
    focused = (1 - index).clamp_min(_EPSILON) ** gamma  # the slope at 0 would be infinite
    return _mean_over_classes(focused, sums, absent, class_weights, task)


@_full_precision
def generalized_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Literal["batch", "image"] = "batch",
    absent: Literal["skip", "penalise"] = "skip",
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """1 - Dice of all classes together, each weighed by 1 / its area squared.

    Sudre et al., arXiv:1707.03237. An absent class with ``"penalise"`` has the largest of the
    other classes' weights. Arguments as in :func:`dice_loss`.
    """
    sums = _sums(logits, target, task, ignore_index, reduction, class_weights, validate_target)
    one_of("absent", absent, ("skip", "penalise"))
    present = sums.true > 0
    weights = torch.where(present, sums.true.clamp_min(1) ** -2.0, 0.0)
    if absent == "penalise":
        weights = torch.where(present, weights, weights.amax(-1, keepdim=True))
    weights = weights * _as_weights(class_weights, task, sums.true)
    hits, area = (weights * sums.hits).sum(-1), (weights * (sums.predicted + sums.true)).sum(-1)
    losses = 1 - 2 * hits / area.clamp_min(torch.finfo(area.dtype).tiny)
    # One loss a group now, as if of a single class that is there if anything is.
    together = _Sums(*(value.mean(-1, keepdim=True) for value in sums))
    return _mean_over_classes(losses[:, None], together, absent, None, task)


class _Sums(NamedTuple):
    """Sums over pixels: ``(G, C)`` for G images, or one group of all of them."""

    hits: Tensor  # of p t
    predicted: Tensor  # of p
    true: Tensor  # of t
    counted: Tensor  # pixels that take part; (G, 1) if they are the same for all classes


def _sums(
    logits: Tensor,
    target: Tensor,
    task: Task,
    ignore_index: int | None,
    reduction: str,
    class_weights: Weights,
    validate_target: bool,
) -> _Sums:
    one_of("reduction", reduction, ("batch", "image"))
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    sums = _multiclass_sums(given) if task == "multiclass" else _label_sums(given)
    if reduction == "image":
        return sums
    return _Sums(*(value.sum(0, keepdim=True) for value in sums))


def _multiclass_sums(given: _Given) -> _Sums:
    counted = _counted(given)
    if _wants_one_hot(given.logits):
        hot = _one_hot(given)
        probs = given.logits.softmax(1)
        if given.valid is not None:
            probs = probs * given.valid[:, None]
        return _Sums((probs * hot).sum(-1), probs.sum(-1), hot.sum(-1), counted)
    images, classes, _ = given.logits.shape
    buckets = given.target + classes * torch.arange(images, device=given.target.device)[:, None]
    if given.valid is not None:
        buckets = torch.where(given.valid, buckets, images * classes)  # one more, for the ignored
    true = torch.bincount(buckets.flatten(), minlength=images * classes + 1)[:-1]
    hits, predicted = _SoftmaxSums.apply(given.logits, given.target, buckets, given.valid)
    return _Sums(hits, predicted, true.view(images, classes).to(hits.dtype), counted)


class _SoftmaxSums(torch.autograd.Function):
    """Sums of the probabilities of each class, over the pixels of that class and over all.

    With a gradient of its own, since autograd's would hold three arrays of the size of the logits
    at once; this one makes the probabilities again and turns them into the gradient in place.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, buckets: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(logits, target, valid)
        images, classes, _ = logits.shape
        probs = logits.softmax(1)
        if valid is not None:
            probs *= valid[:, None]
        # In float64: index_add adds one by one, and float32 loses digits over some 2**20 pixels.
        picked = probs.gather(1, target[:, None]).double().flatten()
        empty = picked.new_zeros(images * classes + 1)
        hits = empty.index_add_(0, buckets.flatten(), picked)[:-1]
        return hits.view(images, classes).to(logits.dtype), probs.sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_hits: Tensor, by_predicted: Tensor) -> tuple[Tensor | None, ...]:
        logits, target, valid = ctx.saved_tensors
        probs = logits.softmax(1)
        # The slope by p is by_predicted, and by_hits more at the true class. Through the softmax,
        # p_c (slope_c - sum_k p_k slope_k).
        extra = probs.gather(1, target[:, None])[:, 0] * by_hits.gather(1, target)
        mean = torch.einsum("nc,ncp->np", by_predicted, probs) + extra
        for image, slope, of_image in zip(probs, by_predicted, mean, strict=True):
            image *= slope[:, None] - of_image
        probs.scatter_add_(1, target[:, None], extra[:, None])
        if valid is not None:
            probs *= valid[:, None]
        return probs, None, None, None


def _label_sums(given: _Given) -> _Sums:
    probs = given.logits.sigmoid()
    target = given.target.to(probs.dtype)
    if given.valid is not None:
        probs, target = probs * given.valid, target * given.valid
    counted = _counted(given)
    return _Sums((probs * target).sum(-1), probs.sum(-1), target.sum(-1), counted)


def _counted(given: _Given) -> Tensor:
    """Pixels of each image that take part: ``(N, 1)``, or ``(N, C)`` for multilabel."""
    if given.valid is None:
        images, _, pixels = given.logits.shape
        return given.logits.new_full((images, 1), pixels)
    return (
        given.valid.view(len(given.valid), -1, given.logits.shape[-1])
        .sum(-1)
        .to(given.logits.dtype)
    )


def _tversky_index(
    logits: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    task: Task,
    ignore_index: int | None,
    reduction: str,
    class_weights: Weights,
    validate_target: bool,
) -> tuple[Tensor, _Sums]:
    """``hits / (hits + alpha false + beta missed)`` as ``(G, C)``; Dice at 1/2, 1/2."""
    in_range("alpha", alpha, above=0.0)
    in_range("beta", beta, above=0.0)
    sums = _sums(logits, target, task, ignore_index, reduction, class_weights, validate_target)
    area = (1 - alpha - beta) * sums.hits + alpha * sums.predicted + beta * sums.true
    return sums.hits / area.clamp_min(_EPSILON), sums


def _mean_over_classes(
    losses: Tensor, sums: _Sums, absent: str, class_weights: Weights, task: Task
) -> Tensor:
    one_of("absent", absent, ("skip", "penalise"))
    present = sums.true > 0
    counted = sums.counted.expand_as(losses)
    if absent == "penalise":
        # 1 - hits / area is 1 with no slope if nothing can be hit; the mean probability has one.
        losses = torch.where(present, losses, sums.predicted / counted.clamp_min(1))
        present = counted > 0
    weights = present * _as_weights(class_weights, task, losses)
    return (losses * weights).sum() / weights.sum().clamp_min(_EPSILON)


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
    weights = _pixel_weights(given, class_weights, task)
    if task != "multiclass":
        soft = given.target.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(given.logits, soft, reduction="none")
        return _weighted_mean(losses, weights)
    log_probs = given.logits.log_softmax(1)
    loss = _weighted_mean(-_pick(log_probs, given), weights)
    if label_smoothing == 0:
        return loss
    spread = (log_probs * _as_weights(class_weights, task, log_probs).view(-1, 1)).mean(1)
    if given.valid is not None:
        spread = spread * given.valid
    smooth = -spread.sum() / weights.sum().clamp_min(_EPSILON)
    return (1 - label_smoothing) * loss + label_smoothing * smooth


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
    """Cross entropy times ``(1 - p) ** gamma`` (Lin et al., arXiv:1708.02002), p of the truth.

    Args:
        logits: As in :func:`dice_loss`.
        target: As in :func:`dice_loss`.
        gamma: At least 0; 0 is cross entropy.
        alpha: Binary and multilabel: factor of the positive pixels, ``1 - alpha`` of the others,
            in 0..1; the paper's 0.25. None for 1 and 1.
        task: As in :func:`dice_loss`.
        ignore_index: As in :func:`dice_loss`.
        class_weights: As in :func:`cross_entropy_loss`.
        validate_target: As in :func:`dice_loss`.
    """
    in_range("gamma", gamma, 0.0)
    if alpha is not None:
        in_range("alpha", alpha, 0, 1)
        if task == "multiclass":
            raise ValueError("`alpha` is for binary and multilabel; use `class_weights` here")
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    weights = _pixel_weights(given, class_weights, task)
    if task == "multiclass":
        log_true = _pick(given.logits.log_softmax(1), given)
        other = -torch.expm1(log_true)
    else:
        signed = torch.where(given.target == 1, given.logits, -given.logits)
        log_true, other = F.logsigmoid(signed), torch.sigmoid(-signed)
    losses = -log_true * other.clamp_min(torch.finfo(other.dtype).tiny) ** gamma
    if alpha is not None:
        losses = losses * torch.where(given.target == 1, alpha, 1 - alpha)
    return _weighted_mean(losses, weights)


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

    For multiclass it is the mean over classes too. ``class_weights`` weigh the pixels as in
    :func:`cross_entropy_loss`; all else is as in :func:`dice_loss`.
    """
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    weights = _pixel_weights(given, class_weights, task)
    if task != "multiclass":
        difference = given.logits.sigmoid() - given.target.to(logits.dtype)
        return _weighted_mean(difference**2, weights)
    probs = given.logits.softmax(1)
    # sum (p - t)^2 over the classes, without a one-hot t: the true class apart from the others.
    true = _pick(probs, given)
    others = (probs**2).sum(1) - true**2
    return _weighted_mean((others + (1 - true) ** 2) / probs.shape[1], weights)


@_full_precision
def lovasz_loss(
    logits: Tensor,
    target: Tensor,
    *,
    task: Task = "multiclass",
    ignore_index: int | None = None,
    reduction: Literal["batch", "image"] = "batch",
    absent: Literal["skip", "penalise"] = "skip",
    class_weights: Weights = None,
    validate_target: bool = True,
) -> Tensor:
    """Lovasz extension of the Jaccard loss (Berman et al., arXiv:1705.08790).

    Of the softmax for multiclass, the hinge for binary and multilabel, which is not bounded by 1.
    An absent class with ``"penalise"`` costs its largest error. Arguments as in :func:`dice_loss`.
    """
    one_of("reduction", reduction, ("batch", "image"))
    one_of("absent", absent, ("skip", "penalise"))
    given = _prepare(logits, target, task, ignore_index, class_weights, validate_target)
    if task == "multiclass":
        true = _one_hot(given, dtype=torch.bool)
        errors = (true.to(logits.dtype) - given.logits.softmax(1)).abs()
    else:
        true = given.target == 1
        errors = 1 - torch.where(true, given.logits, -given.logits)
    valid = None
    if given.valid is not None:
        valid = given.valid[:, None] if given.valid.ndim == 2 else given.valid
        # No error sorts last and weighs nothing, so ignored pixels need not be taken out.
        true, errors = true & valid, errors.masked_fill(~valid, 0.0)
    if reduction == "batch":
        true, errors = (x.transpose(0, 1).flatten(1)[None] for x in (true, errors))
    order = errors.detach().argsort(-1, descending=True)
    slope = _jaccard_slope(true.gather(-1, order)).to(errors.dtype)
    losses = (errors.gather(-1, order).relu() * slope).sum(-1)
    kept = true.any(-1)
    if absent == "penalise":
        kept = torch.ones_like(kept)
    weights = kept * _as_weights(class_weights, task, losses)
    return (losses * weights).sum() / weights.sum().clamp_min(_EPSILON)


def _jaccard_slope(true: Tensor) -> Tensor:
    """How much the Jaccard loss grows with each further error, from the largest; last dimension.

    In float64: the slopes are differences of neighbours, about one over the number of pixels.
    """
    hits = true.cumsum(-1)
    total = hits[..., -1:]
    false = torch.arange(1, true.shape[-1] + 1, device=true.device) - hits
    jaccard = 1 - (total - hits).double() / (total + false)
    return torch.cat([jaccard[..., :1], jaccard.diff(dim=-1)], dim=-1)


# -- what they share ---------------------------------------------------------------------------


class _Given(NamedTuple):
    """Checked input with one dimension of pixels."""

    logits: Tensor  # (N, C, P)
    target: Tensor  # (N, P) int64 if multiclass, else (N, C, P); 0 where ignored
    valid: Tensor | None  # bool, shaped like target; None if every pixel takes part


def _prepare(
    logits: Tensor,
    target: Tensor,
    task: Task,
    ignore_index: int | None,
    class_weights: Weights,
    validate_target: bool,
) -> _Given:
    one_of("task", task, _TASKS)
    logits, target = _shaped(logits, target, task)
    classes = logits.shape[1] if task == "multiclass" else 2
    if validate_target:
        _check_values(target, classes, ignore_index, task)
    if class_weights is not None:
        _check_weights(class_weights, 2 if task == "binary" else logits.shape[1])
    if task == "multiclass":
        target = target.long()
    valid = None
    if ignore_index is not None:
        valid = target != ignore_index
        target = target.masked_fill(~valid, 0)
    return _Given(logits, target, valid)


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
        return logits.reshape(*logits.shape[:2], -1), target.reshape(len(target), -1)
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
    shape = (len(logits), channels, -1)
    return logits.reshape(shape), target.reshape(shape)


def _check_values(target: Tensor, classes: int, ignore_index: int | None, task: Task) -> None:
    if target.is_floating_point():
        if task == "multiclass":
            raise TypeError(f"a multiclass target must hold class indices, got {target.dtype}")
        wrong = (target != 0) & (target != 1)
    else:
        wrong = (target < 0) | (target >= classes)
    if ignore_index is not None:
        wrong &= target != ignore_index
    if not wrong.any():
        return
    value = target[wrong][0].item()
    share = (target == value).double().mean().item()
    remedy = f"pass ignore_index={value:g} if these pixels do not count"
    if classes == 2 and value == 255:
        remedy += ", or (target == 255) if they are the foreground"
    raise ValueError(
        f"target has value {value:g} ({share:.2%} of pixels), "
        f"but the classes are 0..{classes - 1}; {remedy}"
    )


def _check_weights(class_weights: Sequence[float] | Tensor, count: int) -> None:
    if len(class_weights) != count:
        raise ValueError(f"`class_weights` needs {count} values, got {len(class_weights)}")


def _as_weights(class_weights: Weights, task: Task, like: Tensor) -> Tensor:
    """Weights of the scores ``(C,)``; 1 if there are none, or for a binary task's one class."""
    if class_weights is None or task == "binary":
        return like.new_ones(())
    return torch.as_tensor(class_weights, dtype=like.dtype, device=like.device)


def _pixel_weights(given: _Given, class_weights: Weights, task: Task) -> Tensor:
    """What each pixel counts, shaped like the target: 0 if ignored."""
    valid = torch.ones_like(given.target) if given.valid is None else given.valid
    valid = valid.to(given.logits.dtype)
    if class_weights is None:
        return valid
    weights = torch.as_tensor(class_weights, dtype=valid.dtype, device=valid.device)
    if task == "multilabel":
        return valid * weights[:, None]
    return valid * weights[given.target.long()]


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum().clamp_min(_EPSILON)


def _pick(values: Tensor, given: _Given) -> Tensor:
    """The value of the true class at each pixel, ``(N, P)``."""
    if _wants_one_hot(values):
        return (values * _one_hot(given)).sum(1)
    return values.gather(1, given.target[:, None])[:, 0]


def _wants_one_hot(values: Tensor) -> bool:
    """Scattering adds in no fixed order on CUDA, and an MPS device has no float64 to add in."""
    return torch.are_deterministic_algorithms_enabled() or values.device.type == "mps"


def _one_hot(given: _Given, dtype: torch.dtype | None = None) -> Tensor:
    """Target ``(N, C, P)``; all 0 where ignored."""
    classes = torch.arange(given.logits.shape[1], device=given.target.device)[:, None]
    hot = given.target[:, None] == classes
    if given.valid is not None:
        hot = hot & given.valid[:, None]
    return hot.to(dtype or given.logits.dtype)


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

_SHARED = ("task", "ignore_index", "class_weights", "validate_target")


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
        ValueError: For an unknown loss (with the nearest names) or a weight out of range.
        TypeError: For an argument that a loss does not take.

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
        one_of("task", task, _TASKS)
        self.weights = {losses: 1.0} if isinstance(losses, str) else dict(losses)
        self.loss_args = {name: dict(args) for name, args in (loss_args or {}).items()}
        if not self.weights:
            raise ValueError(f"`loss` needs a name at least, got {losses!r}; 'ce' is usual")
        for name, weight in self.weights.items():
            one_of("loss", name, LOSSES)
            in_range(f"loss[{name!r}]", weight, above=0.0, remedy="leave out a loss of weight 0")
        for name, args in self.loss_args.items():
            one_of("loss_args", name, self.weights)
            _check_args(name, args)
        self.task = task
        self.ignore_index = ignore_index
        self.validate_target = validate_target
        values = None if class_weights is None else torch.as_tensor(class_weights).float()
        if values is not None and not bool(((values >= 0) & values.isfinite()).all()):
            raise ValueError(f"`class_weights` must be finite and at least 0, got {class_weights}")
        self.register_buffer("class_weights", values, persistent=False)

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


def _check_args(name: str, args: Mapping[str, Any]) -> None:
    known = [key for key in inspect.signature(LOSSES[name]).parameters if key not in _SHARED]
    known = known[2:]  # without logits and target
    for key, value in args.items():
        if key in _SHARED:
            raise TypeError(f"`loss_args` for {name!r} repeats {key!r}; it is given for all losses")
        if key not in known:
            hint = nearest(key, known) or f"; it takes {known}"
            raise TypeError(f"loss {name!r} takes no argument {key!r}{hint}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"`loss_args[{name!r}][{key!r}]` must be finite, got {value}")
