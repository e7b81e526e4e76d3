"""Losses against plain float64 references, on random cases and on those that peers get wrong."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from lightning_hparams.losses import (
    LOSSES,
    WeightedLoss,
    cross_entropy_loss,
    dice_loss,
    focal_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    lovasz_loss,
    mse_loss,
    segmentation as module,
    tversky_loss,
)

OVERLAP = ["dice", "jaccard", "tversky", "focal_tversky", "generalized_dice"]
BY_CLASS = [*OVERLAP, "lovasz"]
TASKS = ["multiclass", "binary", "multilabel"]


# -- an independent reference: one-hot, float64, one class and one group at a time --------------


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


# -- exact on random cases ----------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.1, 1.0, 3.0, 10.0]),
    task=st.sampled_from(TASKS),
    classes=st.integers(2, 6),
    ignore_index=st.sampled_from([None, 255, -1, -100, 0]),
    reduction=st.sampled_from(["batch", "image"]),
    absent=st.sampled_from(["skip", "penalise"]),
    weighted=st.booleans(),
    deterministic=st.booleans(),
)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_loss_and_gradient_equal_a_float64_reference(
    name, seed, scale, task, classes, ignore_index, reduction, absent, weighted, deterministic
):
    logits, target = random_case(seed, task, classes, ignore_index, scale=scale)
    weights = None
    if weighted and task != "binary":
        weights = [0.5 + k for k in range(logits.shape[1])]
    options = {"reduction": reduction, "absent": absent} if name in BY_CLASS else {}

    def ours(x):
        return LOSSES[name](
            x, target, task=task, ignore_index=ignore_index, class_weights=weights, **options
        )

    def theirs(x):
        return reference(name, x, target, task, ignore_index, weights=weights, **options)

    torch.use_deterministic_algorithms(deterministic)
    try:
        ours32, ours64 = both(ours, logits), both(ours, logits.double())
    finally:
        torch.use_deterministic_algorithms(False)
    expected = both(theirs, logits.double())
    # Lovasz has a kink where two errors are equal, as some probabilities are in float32 alone.
    kinks = name == "lovasz" and task == "multiclass"
    assert_same(ours32, expected, gradient_tolerance=1e-3 if kinks else 1e-5)
    assert_same(ours64, expected, 1e-12, 1e-10)
    assert ours32[0].dtype == torch.float32
    assert ours64[0].dtype == torch.float64


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    ignore_index=st.sampled_from([None, 255]),
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
)
def test_cross_entropy_is_torchs(seed, ignore_index, smoothing, weighted):
    logits, target = random_case(seed, "multiclass", 4, ignore_index)
    weights = [0.2, 1.0, 3.0, 0.5] if weighted else None
    expected = F.cross_entropy(
        logits.double(),
        target,
        weight=torch.tensor(weights).double() if weights else None,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=smoothing,
    )
    ours = cross_entropy_loss(
        logits,
        target,
        ignore_index=ignore_index,
        class_weights=weights,
        label_smoothing=smoothing,
    )
    assert float(ours) == pytest.approx(float(expected), rel=1e-6)


def brute_force_lovasz(errors, true):
    """The Lovasz extension by its definition: the Jaccard set function along the sorted errors."""

    def jaccard(wrong):
        hits = sum(t and i not in wrong for i, t in enumerate(true))
        union = sum(t or i in wrong for i, t in enumerate(true))
        return 1 - hits / union if union else 0.0

    order = sorted(range(len(errors)), key=lambda i: -errors[i])
    total, wrong = 0.0, set()
    for i in order:
        before = jaccard(wrong)
        wrong.add(i)
        total += max(errors[i], 0.0) * (jaccard(wrong) - before)
    return total


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    task=st.sampled_from(TASKS),
    reduction=st.sampled_from(["batch", "image"]),
    ignore_index=st.sampled_from([None, 255]),
)
def test_lovasz_equals_its_definition(seed, task, reduction, ignore_index):
    logits, target = random_case(seed, task, 3, ignore_index, size=3, images=2)
    values = []
    groups = [[0, 1]] if reduction == "batch" else [[0], [1]]
    for group, k in itertools.product(groups, range(logits.shape[1])):
        errors, true = [], []
        for i in group:
            own = target[i] if task == "multiclass" else target[i, k]
            p = logits[i].double().softmax(0)[k] if task == "multiclass" else logits[i, k].double()
            for value, label in zip(p.flatten().tolist(), own.flatten().tolist(), strict=True):
                if label == ignore_index:
                    continue
                here = label == (k if task == "multiclass" else 1)
                if task == "multiclass":
                    errors.append(abs(here - value))
                else:
                    errors.append(1 - value * (1 if here else -1))
                true.append(here)
        if any(true):
            values.append(brute_force_lovasz(errors, true))
    expected = sum(values) / len(values) if values else 0.0
    options = {"reduction": reduction, "ignore_index": ignore_index, "absent": "skip"}
    ours = lovasz_loss(logits, target, task=task, **options)
    assert float(ours) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("reduction", ["batch", "image"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_are_those_of_the_loss(name, task, reduction):
    logits, target = random_case(3, task, 3, 255, size=3, images=2, scale=1.0)
    options = {"reduction": reduction} if name in BY_CLASS else {}
    assert torch.autograd.gradcheck(
        lambda x: LOSSES[name](x, target, task=task, ignore_index=255, **options),
        logits.double().requires_grad_(),
    )


@pytest.mark.parametrize("ignore_index", [None, 255])
def test_a_second_backward_pass_gives_the_same_gradient(ignore_index):
    logits, target = random_case(3, "multiclass", 3, ignore_index)
    logits.requires_grad_()
    loss = dice_loss(logits, target, ignore_index=ignore_index)
    (first,) = torch.autograd.grad(loss, logits, retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(loss, logits)
    assert torch.equal(first, kept)
    assert torch.equal(second, kept)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_deterministic_algorithms_give_the_same_loss_and_gradient(name):
    logits, target = random_case(3, "multiclass", 7, 255, size=100)
    usual = both(lambda x: LOSSES[name](x, target, ignore_index=255), logits)
    torch.use_deterministic_algorithms(True)
    try:
        deterministic = both(lambda x: LOSSES[name](x, target, ignore_index=255), logits)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_same(deterministic, usual)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_order_of_pixels_and_of_classes_does_not_matter(name):
    logits, target = random_case(5, "multiclass", 4, None)
    loss = LOSSES[name](logits, target)
    order = torch.randperm(36)
    shuffled = logits.flatten(2)[..., order], target.flatten(1)[:, order]
    torch.testing.assert_close(LOSSES[name](*shuffled), loss)
    renamed = torch.tensor([2, 0, 3, 1])
    permuted = torch.empty_like(logits)
    permuted[:, renamed] = logits
    torch.testing.assert_close(LOSSES[name](permuted, renamed[target]), loss)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_images_of_any_number_of_dimensions_are_taken(name):
    logits, target = random_case(5, "multiclass", 4, None)
    flat = LOSSES[name](logits.flatten(2), target.flatten(1))
    volume = LOSSES[name](logits.view(3, 4, 2, 3, 6), target.view(3, 2, 3, 6))
    torch.testing.assert_close(flat, LOSSES[name](logits, target))
    torch.testing.assert_close(volume, flat)


# -- exact where float32 or autocast is not enough for peers --------------------------------------


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize(("side", "share"), [(1024, 1e-3), (2048, 1e-4)])
def test_a_large_sparse_mask_is_exact_in_float32(name, side, share):
    logits = torch.randn(2, 1, side, side) - 2
    target = (torch.rand(2, 1, side, side) < share).long()
    ours = both(lambda x: LOSSES[name](x, target, task="binary"), logits)
    expected = both(lambda x: reference(name, x, target, "binary"), logits.double())
    assert_same(ours, expected)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_large_sparse_class_is_exact_in_float32(deterministic):
    logits = torch.randn(1, 3, 2048, 2048)
    target = (torch.rand(1, 2048, 2048) < 1e-4).long()
    torch.use_deterministic_algorithms(deterministic)
    try:
        ours = both(lambda x: dice_loss(x, target), logits)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_same(ours, both(lambda x: reference("dice", x, target, "multiclass"), logits.double()))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("margin", [10.0, 20.0, 60.0])
@pytest.mark.parametrize("name", BY_CLASS)
def test_predictions_that_are_almost_right_keep_their_digits(name, margin, task):
    """Where a probability rounds to 1, what is left of 1 - p is all that there is to learn."""
    logits, target = random_case(0, task, 3, None, scale=0.1)
    hot = F.one_hot(target, 3).movedim(-1, 1) if task == "multiclass" else target
    logits = logits + margin * (hot - 0.5)
    ours = both(lambda x: LOSSES[name](x, target, task=task), logits)
    theirs = both(lambda x: LOSSES[name](x, target, task=task), logits.double())
    torch.testing.assert_close(ours[0].double(), theirs[0], rtol=1e-5, atol=0.0)
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_many_pixels_of_many_classes_are_exact_in_float32(name):
    logits = torch.randn(4, 5, 256, 256)
    target = torch.randint(0, 5, (4, 256, 256))
    ours = both(lambda x: LOSSES[name](x, target), logits)
    assert_same(ours, both(lambda x: reference(name, x, target, "multiclass"), logits.double()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("task", "shape"), [("multiclass", (4, 5, 256, 256)), ("binary", (8, 1, 512, 512))]
)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_half_precision_logits_and_autocast_are_exact(name, task, shape, dtype):
    logits = torch.randn(shape).to(dtype)
    target = torch.randint(0, shape[1] if task == "multiclass" else 2, (shape[0], *shape[2:]))
    truth = both(lambda x: LOSSES[name](x, target, task=task), logits.double())
    with torch.autocast("cpu", dtype):
        autocast = both(lambda x: LOSSES[name](x, target, task=task), logits)
    plain = both(lambda x: LOSSES[name](x, target, task=task), logits)
    for loss, gradient in (autocast, plain):
        assert loss.dtype == torch.float32
        assert gradient.isfinite().all()
        assert float(loss) == pytest.approx(float(truth[0]), abs=1e-5)


def test_a_model_under_autocast_gets_gradients():
    convolution = torch.nn.Conv2d(3, 4, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = convolution(torch.randn(2, 3, 16, 16))
        loss = WeightedLoss(dict.fromkeys(LOSSES, 1.0))(logits, torch.randint(0, 4, (2, 16, 16)))
    loss.backward()
    assert logits.dtype == torch.bfloat16
    assert convolution.weight.grad.isfinite().all()


# -- the cases that were measured wrong elsewhere -------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_lovasz_takes_every_precision(dtype):
    logits, target = random_case(0, "multiclass", 3, None)
    loss, gradient = both(lambda x: lovasz_loss(x, target), logits.to(dtype))
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("absent", ["skip", "penalise"])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_batch_with_every_pixel_ignored_costs_nothing(name, absent, task):
    logits, target = random_case(0, task, 3, None)
    target[:] = 255
    options = {"absent": absent} if name in BY_CLASS else {}
    loss, gradient = both(
        lambda x: LOSSES[name](x, target, task=task, ignore_index=255, **options), logits
    )
    assert loss.shape == ()
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("reduction", ["batch", "image"])
@pytest.mark.parametrize("task", ["binary", "multilabel"])
@pytest.mark.parametrize("name", BY_CLASS)
def test_false_positives_on_an_empty_target_cost_unless_skipped(name, task, reduction):
    wrong = torch.full((2, 1 if task == "binary" else 3, 8, 8), 9.0)
    target = torch.zeros(wrong.shape).long()
    options = {"task": task, "reduction": reduction}
    loss, gradient = both(lambda x: LOSSES[name](x, target, **options), wrong)
    assert loss >= 0.99
    assert (gradient > 0).any()  # the logits go down
    assert LOSSES[name](-wrong, target, **options) < 1e-3
    skipped, flat = both(lambda x: LOSSES[name](x, target, absent="skip", **options), wrong)
    assert skipped == 0
    assert (flat == 0).all()


@pytest.mark.parametrize("name", BY_CLASS)
def test_an_absent_class_of_several_costs_where_asked(name):
    target = torch.zeros(2, 8, 8).long()
    logits = torch.zeros(2, 3, 8, 8)
    logits[:, 2, :4] = 20.0
    skipped = LOSSES[name](logits, target)
    penalised = LOSSES[name](logits, target, absent="penalise")
    assert 0 < skipped < 1
    assert penalised != pytest.approx(float(skipped), abs=1e-3)


@pytest.mark.parametrize("name", BY_CLASS)
def test_an_image_with_every_pixel_ignored_does_not_dilute_the_mean(name):
    logits, target = random_case(0, "binary", 2, None)
    target[0] = 255
    options = {"task": "binary", "ignore_index": 255, "reduction": "image"}
    with_it = LOSSES[name](logits, target, **options)
    torch.testing.assert_close(with_it, LOSSES[name](logits[1:], target[1:], **options))


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("task", TASKS)
def test_a_batch_of_no_image_costs_nothing(name, task):
    logits = torch.zeros(0, 1 if task == "binary" else 3, 4, 4)
    target = torch.zeros((0, 4, 4) if task == "multiclass" else logits.shape).long()
    assert LOSSES[name](logits, target, task=task) == 0


@pytest.mark.parametrize("name", BY_CLASS)
def test_absent_classes_do_not_dilute_the_mean(name):
    target = torch.zeros(2, 8, 8).long()
    logits = torch.zeros(2, 4, 8, 8)
    logits[:, 1] = 60.0  # every pixel is wrong
    assert float(LOSSES[name](logits, target)) == pytest.approx(1.0, abs=1e-6)


def test_a_value_outside_the_classes_is_an_error_with_its_share_and_the_remedy():
    target = torch.zeros(1, 10, 10).long()
    target[0, 0, :3] = 255
    with pytest.raises(
        ValueError, match=r"value 255 \(3.00% of pixels\), but the classes are 0..2; pass ignore_in"
    ):
        dice_loss(torch.zeros(1, 3, 10, 10), target)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_binary_target_of_0_and_255_is_an_error_with_the_remedy(name):
    target = torch.tensor([[[0, 255]]])
    with pytest.raises(ValueError, match=r"value 255 .*\(target == 255\) if they are the foregr"):
        LOSSES[name](torch.zeros(1, 1, 1, 2), target, task="binary")


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize(
    ("task", "logits", "target"),
    [
        ("binary", (1, 1, 64, 64), (1, 32, 128)),
        ("multiclass", (1, 3, 64, 64), (1, 32, 128)),
        ("multiclass", (2, 3, 8, 8), (1, 8, 8)),
        ("multiclass", (2, 3, 8, 8), (2, 1, 8, 8)),
        ("multilabel", (2, 3, 8, 8), (2, 8, 8)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, task, logits, target):
    with pytest.raises(ValueError, match=r"got logits \(.*\) and target \(.*\)"):
        LOSSES[name](torch.zeros(logits), torch.zeros(target).long(), task=task)


@pytest.mark.parametrize(
    "dtype",
    [torch.uint8, torch.uint16, torch.uint32, torch.int8, torch.int16, torch.int32, torch.int64],
)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_masks_of_every_integer_type_are_taken(name, task, dtype):
    logits, target = random_case(1, task, 3, 7)
    loss, expected = (
        LOSSES[name](logits, mask, task=task, ignore_index=7) for mask in (target.to(dtype), target)
    )
    torch.testing.assert_close(loss, expected)


def test_numbers_that_do_not_fit_the_type_of_a_mask_do_not_wrap():
    mask = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    with pytest.raises(ValueError, match="value 255"):
        dice_loss(torch.zeros(1, 2, 1, 2), mask, ignore_index=-1)
    with pytest.raises(ValueError, match="value 255"):
        dice_loss(torch.zeros(1, 1, 1, 2), mask, ignore_index=-1, task="binary")
    assert dice_loss(torch.zeros(1, 300, 1, 2), mask) > 0


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_binary_masks_of_every_form_mean_the_same(name, dtype):
    logits, target = random_case(1, "binary", 2, None)
    expected = LOSSES[name](logits, target, task="binary")
    forms = itertools.product([logits, logits[:, 0]], [target.to(dtype), target[:, 0].to(dtype)])
    for one, other in forms:
        torch.testing.assert_close(LOSSES[name](one, other, task="binary"), expected)


def test_one_channel_for_multiclass_points_to_binary():
    with pytest.raises(ValueError, match="try task='binary'"):
        dice_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4).long())


def test_soft_targets_are_refused():
    with pytest.raises(ValueError, match=r"value 0.5 .* classes are 0..1; threshold"):
        dice_loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[0.5, 1]]]), task="binary")
    with pytest.raises(ValueError, match=r"value nan \(50.00% of pixels\)"):
        dice_loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[math.nan, 1]]]), task="binary")
    with pytest.raises(TypeError, match="must hold class indices, got torch"):
        dice_loss(torch.zeros(1, 2, 1, 2), torch.zeros(1, 1, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "multi"}, "did you mean 'multi"),
        ({"reduction": "mean"}, r"`reduction` must be one of \['batch', 'image'\]"),
        ({"absent": "penalize"}, "did you mean 'penalise'"),
        ({"class_weights": [1.0, 2.0]}, "`class_weights` needs 3 values, got 2"),
        ({"class_weights": [1.0, 2.0, -3.0]}, "finite and at least 0"),
        ({"class_weights": [1.0, 2.0, math.nan]}, "finite and at least 0"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dice_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long(), **options)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_class_weights_count_by_their_ratio_however_small(name, task):
    logits, target = random_case(2, task, 3, 255)
    weights = torch.tensor([1.0, 2.0] if task == "binary" else [1.0, 2.0, 3.0])
    options = {"task": task, "ignore_index": 255}
    small = LOSSES[name](logits, target, class_weights=1e-20 * weights, **options)
    torch.testing.assert_close(
        small, LOSSES[name](logits, target, class_weights=weights, **options)
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("task", TASKS)
def test_a_right_prediction_costs_nothing(name, task):
    logits, target = random_case(2, task, 3, None)
    hot = F.one_hot(target, 3).movedim(-1, 1) if task == "multiclass" else target
    loss, gradient = both(
        lambda x: LOSSES[name](x, target, task=task), 200 * (hot - 0.5).expand_as(logits)
    )
    assert loss < 1e-6
    assert gradient.isfinite().all()


def test_tversky_is_dice_and_jaccard_at_their_weights():
    logits, target = random_case(2, "multiclass", 4, None)
    torch.testing.assert_close(
        tversky_loss(logits, target, alpha=0.5, beta=0.5), dice_loss(logits, target)
    )
    torch.testing.assert_close(
        tversky_loss(logits, target, alpha=1.0, beta=1.0), jaccard_loss(logits, target)
    )


def test_focal_tversky_is_tversky_to_a_power():
    logits, target = random_case(2, "binary", 2, None)
    expected = tversky_loss(logits, target, task="binary") ** 0.5
    torch.testing.assert_close(
        focal_tversky_loss(logits, target, gamma=0.5, task="binary"), expected
    )


def test_focal_loss_is_cross_entropy_at_gamma_0():
    for task in TASKS:
        logits, target = random_case(2, task, 4, 255)
        options = {"task": task, "ignore_index": 255}
        torch.testing.assert_close(
            focal_loss(logits, target, gamma=0.0, **options),
            cross_entropy_loss(logits, target, **options),
        )


def test_binary_class_weights_are_those_of_background_and_foreground():
    logits, target = random_case(2, "binary", 2, None)
    expected = (
        F.binary_cross_entropy_with_logits(
            logits, target.float(), weight=torch.where(target == 1, 3.0, 0.5), reduction="sum"
        )
        / torch.where(target == 1, 3.0, 0.5).sum()
    )
    ours = cross_entropy_loss(logits, target, task="binary", class_weights=[0.5, 3.0])
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_cross_entropy_is_torchs_with_logits(task):
    logits, target = random_case(2, task, 3, None)
    soft = 0.8 * target + 0.1
    torch.testing.assert_close(
        cross_entropy_loss(logits, target, task=task, label_smoothing=0.2),
        F.binary_cross_entropy_with_logits(logits, soft),
    )


def test_focal_alpha_is_the_papers():
    logits, target = random_case(2, "binary", 2, None)
    p = logits.sigmoid()
    p_t = torch.where(target == 1, p, 1 - p)
    alpha_t = torch.where(target == 1, 0.25, 0.75)
    expected = (-alpha_t * (1 - p_t) ** 2 * p_t.log()).mean()
    torch.testing.assert_close(focal_loss(logits, target, alpha=0.25, task="binary"), expected)


def test_mse_lies_in_0_to_1():
    target = torch.zeros(1, 4, 4).long()
    wrong = torch.zeros(1, 2, 4, 4)
    wrong[:, 1] = 50
    assert mse_loss(wrong, target) == 1
    assert mse_loss(-wrong, target) == 0


def test_generalized_dice_weighs_small_and_large_classes_alike():
    target = torch.zeros(1, 100, 100).long()
    target[0, 0, 0] = 1
    missed = torch.zeros(1, 2, 100, 100)
    missed[:, 0] = 20
    assert generalized_dice_loss(missed, target) > 0.99
    assert cross_entropy_loss(missed, target) < 0.01


# -- several together -----------------------------------------------------------------------------


def test_a_weighted_loss_is_the_sum_of_its_parts():
    logits, target = random_case(4, "multiclass", 3, 255)
    loss = WeightedLoss({"ce": 1.0, "dice": 0.5}, ignore_index=255)
    expected = cross_entropy_loss(logits, target, ignore_index=255) + 0.5 * dice_loss(
        logits, target, ignore_index=255
    )
    torch.testing.assert_close(loss(logits, target), expected)
    assert set(loss.terms(logits, target)) == {"ce", "dice"}


def test_arguments_reach_their_loss():
    logits, target = random_case(4, "binary", 2, None)
    loss = WeightedLoss("focal", task="binary", loss_args={"focal": {"gamma": 3.0, "alpha": 0.25}})
    expected = focal_loss(logits, target, task="binary", gamma=3.0, alpha=0.25)
    torch.testing.assert_close(loss(logits, target), expected)


def test_class_weights_follow_the_device_and_stay_out_of_the_checkpoint():
    loss = WeightedLoss("ce", class_weights=[1.0, 2.0])
    assert loss.state_dict() == {}
    assert loss.to(torch.float64).class_weights.dtype == torch.float64


def test_the_values_of_a_target_are_checked_once(monkeypatch):
    checking = WeightedLoss({"ce": 1.0, "dice": 1.0, "focal": 1.0})
    trusting = WeightedLoss("ce", validate_target=False)
    calls = []
    monkeypatch.setattr(module, "_check_values", lambda *args: calls.append(args))
    logits, target = random_case(4, "multiclass", 3, None)
    checking(logits, target)
    assert len(calls) == 1
    trusting(logits, target)
    assert len(calls) == 1


def test_a_weighted_loss_says_what_it_is_made_of():
    loss = WeightedLoss({"ce": 1.0, "dice": 0.5}, ignore_index=255)
    assert repr(loss) == "WeightedLoss(1 ce + 0.5 dice, task='multiclass', ignore_index=255)"


@pytest.mark.parametrize(
    ("losses", "options", "error", "message"),
    [
        ({"dise": 1.0}, {}, ValueError, "did you mean 'dice'"),
        ({}, {}, ValueError, "`loss` needs a name at least"),
        ({"ce": 0.0}, {}, ValueError, r"`0 < loss\['ce'\] < inf` must hold, got 0.0; leave out"),
        ({"ce": math.nan}, {}, ValueError, "must hold, got nan"),
        ({"ce": math.inf}, {}, ValueError, "must hold, got inf"),
        ("ce", {"loss_args": {"dice": {}}}, ValueError, r"`loss_args` must be one of \['ce'\]"),
        ("dice", {"loss_args": {"dice": {"absend": "x"}}}, TypeError, "did you mean 'absent'"),
        ("dice", {"loss_args": {"dice": {"task": "binary"}}}, TypeError, "repeats 'task'"),
        ("dice", {"loss_args": {"dice": {"absent": "non"}}}, ValueError, "`absent` must be one of"),
        ("focal", {"loss_args": {"focal": {"gamma": -1}}}, ValueError, "got gamma=-1"),
        ("focal", {"loss_args": {"focal": {"gamma": math.nan}}}, ValueError, "must be finite"),
        (["ce", "dice"], {}, TypeError, "a name, or a dict of names and weights, got \\['ce'"),
        ({"ce": "1"}, {}, TypeError, r"`loss\['ce'\]` must be a number, its weight, got '1'"),
        ({"ce": True}, {}, TypeError, r"`loss\['ce'\]` must be a number, its weight, got True"),
        ("ce", {"class_weights": [0.0, 0.0]}, ValueError, "and one of them above it"),
        ("ce", {"class_weights": [1.0, -1.0]}, ValueError, "finite and at least 0"),
        ("ce", {"class_weights": torch.tensor([1.0, math.inf])}, ValueError, "finite and at leas"),
        ("ce", {"class_weights": [1.0] * 3, "task": "binary"}, ValueError, "needs 2 values, got 3"),
        ("ce", {"task": "binery"}, ValueError, "did you mean 'binary'"),
    ],
)
def test_what_cannot_be_a_loss_is_refused_at_once(losses, options, error, message):
    with pytest.raises(error, match=message):
        WeightedLoss(losses, **options)
