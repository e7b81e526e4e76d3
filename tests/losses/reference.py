"""An independent reference: one-hot, float64, one class and one group at a time."""

import itertools

import torch
import torch.nn.functional as F

OVERLAP = ["dice", "jaccard", "tversky", "focal_tversky", "generalized_dice"]
BY_CLASS = [*OVERLAP, "lovasz"]
TASKS = ["multiclass", "binary", "multilabel"]


def reference(
    name, logits, target, task, ignore_index=None, reduction="batch", absent="skip", weights=None
):
    logits = logits.double()
    if task == "multiclass":
        probs = logits.softmax(1)
        hot = torch.stack([(target == c).double() for c in range(logits.shape[1])], 1)
        valid = torch.ones_like(hot) if ignore_index is None else (target != ignore_index)[:, None]
    else:
        probs, hot = logits.sigmoid(), (target == 1).double()
        valid = torch.ones_like(hot) if ignore_index is None else target != ignore_index
    valid = valid.double().expand_as(probs)
    n, c = probs.shape[:2]
    probs, hot, valid = (x.reshape(n, c, -1) for x in (probs, hot, valid))
    weights = [1.0] * c if weights is None else weights
    flat = logits.reshape(n, c, -1)
    if name == "bce":
        return pixelwise("ce", flat, hot, valid, "multilabel", weights)
    if name in ("ce", "focal", "mse"):
        return pixelwise(name, flat, hot, valid, task, weights)
    groups = [slice(None)] if reduction == "batch" else [slice(i, i + 1) for i in range(n)]
    total, parts = 0.0, []
    if name == "generalized_dice":
        for g in groups:
            parts.append(generalized(probs[g], hot[g], valid[g], absent, weights))
        parts = [(1.0, part) for part in parts if part is not None]
    else:
        for g, k in itertools.product(groups, range(c)):
            p, t, v = probs[g, k], hot[g, k], valid[g, k]
            if name == "lovasz":
                errors = (t - p).abs() if task == "multiclass" else 1 - flat[g, k] * (2 * t - 1)
                part = lovasz(errors[v == 1], t[v == 1], absent)
            else:
                sums = (p * v).sum(), (t * v).sum(), (p * t * v).sum(), v.sum()
                part = overlap(name, *sums, absent)
            if part is not None:
                parts.append((weights[k], part))
    for weight, part in parts:
        total = total + weight * part
    norm = sum(weight for weight, _ in parts)
    return total / norm if norm else (logits * 0).sum()


def overlap(name, p, t, hits, pixels, absent):
    if pixels == 0 or (t == 0 and absent == "skip"):
        return None
    if t == 0:
        return p / pixels
    alpha, beta = {"dice": (0.5, 0.5), "jaccard": (1, 1)}.get(name, (0.3, 0.7))
    index = hits / (hits + alpha * (p - hits) + beta * (t - hits))
    return (1 - index) ** 0.75 if name == "focal_tversky" else 1 - index


def lovasz(errors, t, absent):
    """The published algorithm of Berman et al."""
    if len(t) == 0 or (t.sum() == 0 and absent == "skip"):
        return None
    order = errors.argsort(descending=True)
    t = t[order]
    jaccard = 1 - (t.sum() - t.cumsum(0)) / (t.sum() + (1 - t).cumsum(0))
    return errors[order].relu() @ jaccard.diff(prepend=torch.zeros(1, dtype=torch.float64))


def generalized(p, t, v, absent, class_weights):
    areas = (t * v).sum((0, 2))
    if v.sum() == 0 or (areas.sum() == 0 and absent == "skip"):
        return None
    if areas.sum() == 0:
        return (p * v).sum() / v.sum()
    weights = [1 / a**2 if a > 0 else None for a in areas]
    highest = max(w for w in weights if w is not None)
    numerator = denominator = 0.0
    for k, w in enumerate(weights):
        w = (highest if absent == "penalise" else 0.0) if w is None else w
        w = w * class_weights[k]
        numerator = numerator + w * (p[:, k] * t[:, k] * v[:, k]).sum()
        denominator = denominator + w * ((p[:, k] + t[:, k]) * v[:, k]).sum()
    return 1 - 2 * numerator / denominator


def pixelwise(name, logits, hot, valid, task, weights):
    per_class = torch.tensor(weights, dtype=torch.float64)[:, None]
    if task == "multiclass":
        weight = (hot * valid * per_class).sum(1)
        p = logits.softmax(1)
        log_true = (logits.log_softmax(1) * hot).sum(1)
        if name == "mse":
            values = ((p - hot) ** 2).mean(1)
        else:
            true = log_true.exp()
            values = -log_true * ((1 - true) ** 2 if name == "focal" else 1)
    else:
        weight = valid * per_class
        p = logits.sigmoid()
        if name == "mse":
            values = (p - hot) ** 2
        else:
            log_true = F.logsigmoid(torch.where(hot == 1, logits, -logits))
            values = -log_true * ((1 - log_true.exp()) ** 2 if name == "focal" else 1)
    return (values * weight).sum() / weight.sum() if weight.sum() else (logits * 0).sum()


def both(function, logits):
    """Loss and gradient."""
    logits = logits.detach().clone().requires_grad_()
    loss = function(logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient


def assert_same(ours, theirs, loss_tolerance=1e-6, gradient_tolerance=1e-5):
    (loss, gradient), (true_loss, true_gradient) = ours, theirs
    assert abs(float(loss.double() - true_loss)) <= loss_tolerance * max(1, abs(float(true_loss)))
    size = true_gradient.double().norm()
    error = (gradient.double() - true_gradient.double()).norm()
    assert error <= gradient_tolerance * size + 1e-12


def random_case(seed, task, classes, ignore_index, size=6, images=3, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    channels = 1 if task == "binary" else classes
    logits = scale * torch.randn(images, channels, size, size, generator=generator)
    if task == "multiclass":
        target = torch.randint(0, classes, (images, size, size), generator=generator)
    else:
        target = torch.randint(0, 2, logits.shape, generator=generator)
    if ignore_index is not None:
        drop = torch.rand(target.shape, generator=generator) < 0.3
        target[drop] = ignore_index
    return logits, target
