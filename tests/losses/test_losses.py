"""Promises of all losses, held against plain float64 references on random and on hard cases."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from lightning_hparams.losses import LOSSES, WeightedLoss
from tests.losses.reference import BY_CLASS, TASKS, assert_same, both, random_case, reference


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


@pytest.mark.parametrize("reduction", ["batch", "image"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_pass_gradcheck(name, task, reduction):
    logits, target = random_case(3, task, 3, 255, size=3, images=2, scale=1.0)
    options = {"reduction": reduction} if name in BY_CLASS else {}
    assert torch.autograd.gradcheck(
        lambda x: LOSSES[name](x, target, task=task, ignore_index=255, **options),
        logits.double().requires_grad_(),
    )


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
def test_images_may_have_any_number_of_dimensions(name):
    logits, target = random_case(5, "multiclass", 4, None)
    flat = LOSSES[name](logits.flatten(2), target.flatten(1))
    volume = LOSSES[name](logits.view(3, 4, 2, 3, 6), target.view(3, 2, 3, 6))
    torch.testing.assert_close(flat, LOSSES[name](logits, target))
    torch.testing.assert_close(volume, flat)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize(("side", "share"), [(1024, 1e-3), (2048, 1e-4)])
def test_a_large_sparse_mask_is_exact_in_float32(name, side, share):
    logits = torch.randn(2, 1, side, side) - 2
    target = (torch.rand(2, 1, side, side) < share).long()
    ours = both(lambda x: LOSSES[name](x, target, task="binary"), logits)
    expected = both(lambda x: reference(name, x, target, "binary"), logits.double())
    assert_same(ours, expected)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("margin", [10.0, 20.0, 60.0])
@pytest.mark.parametrize("name", BY_CLASS)
def test_almost_right_predictions_stay_precise(name, margin, task):
    """Where a probability rounds to 1, the remaining 1 - p is the whole training signal."""
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
def test_an_absent_class_among_several_costs_if_penalised(name):
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
def test_a_batch_without_images_costs_nothing(name, task):
    logits = torch.zeros(0, 1 if task == "binary" else 3, 4, 4)
    target = torch.zeros((0, 4, 4) if task == "multiclass" else logits.shape).long()
    assert LOSSES[name](logits, target, task=task) == 0


@pytest.mark.parametrize("name", BY_CLASS)
def test_absent_classes_do_not_dilute_the_mean(name):
    target = torch.zeros(2, 8, 8).long()
    logits = torch.zeros(2, 4, 8, 8)
    logits[:, 1] = 60.0  # every pixel is wrong
    assert float(LOSSES[name](logits, target)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_only_the_ratio_of_class_weights_matters_however_small_they_are(name, task):
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


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_default_dtype_does_not_matter(name, task):
    """Lightning sets it to bfloat16 under ``precision="bf16-true"``."""
    logits, target = random_case(6, task, 3, 255, size=2, images=300)
    options = {"reduction": "image", "absent": "penalise"} if name in BY_CLASS else {}
    if name == "focal" and task != "multiclass":
        options["alpha"] = 0.3
    if task != "binary":
        options["class_weights"] = [1.1, 1.2, 1.3]
    options |= {"task": task, "ignore_index": 255}
    expected = LOSSES[name](logits, target, **options)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = LOSSES[name](logits, target, **options)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
