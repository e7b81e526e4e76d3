"""Inputs that losses accept and inputs that they refuse."""

import itertools
import math

import pytest
import torch

from lightning_hparams.losses import LOSSES, dice_loss
from tests.losses.reference import TASKS, random_case


def test_a_value_outside_the_classes_raises_with_its_share_and_a_remedy():
    target = torch.zeros(1, 10, 10).long()
    target[0, 0, :3] = 255
    with pytest.raises(
        ValueError, match=r"value 255 \(3.00% of pixels\), but the classes are 0..2; pass ignore_in"
    ):
        dice_loss(torch.zeros(1, 3, 10, 10), target)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_binary_target_of_0_and_255_raises_with_a_remedy(name):
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
def test_mismatched_shapes_are_refused(name, task, logits, target):
    with pytest.raises(ValueError, match=r"got logits \(.*\) and target \(.*\)"):
        LOSSES[name](torch.zeros(logits), torch.zeros(target).long(), task=task)


@pytest.mark.parametrize(
    "dtype",
    [torch.uint8, torch.uint16, torch.uint32, torch.int8, torch.int16, torch.int32, torch.int64],
)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_masks_of_every_integer_type_are_accepted(name, task, dtype):
    logits, target = random_case(1, task, 3, 7)
    loss, expected = (
        LOSSES[name](logits, mask, task=task, ignore_index=7) for mask in (target.to(dtype), target)
    )
    torch.testing.assert_close(loss, expected)


def test_an_ignore_index_outside_the_range_of_the_mask_type_does_not_wrap_around():
    mask = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    with pytest.raises(ValueError, match="value 255"):
        dice_loss(torch.zeros(1, 2, 1, 2), mask, ignore_index=-1)
    with pytest.raises(ValueError, match="value 255"):
        dice_loss(torch.zeros(1, 1, 1, 2), mask, ignore_index=-1, task="binary")
    assert dice_loss(torch.zeros(1, 300, 1, 2), mask) > 0


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_binary_masks_of_any_shape_and_type_give_the_same_loss(name, dtype):
    logits, target = random_case(1, "binary", 2, None)
    expected = LOSSES[name](logits, target, task="binary")
    forms = itertools.product([logits, logits[:, 0]], [target.to(dtype), target[:, 0].to(dtype)])
    for one, other in forms:
        torch.testing.assert_close(LOSSES[name](one, other, task="binary"), expected)


def test_multiclass_logits_with_one_channel_raise_and_suggest_binary():
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ignored", [65535, -70000, 257, 255])
def test_an_ignore_index_is_compared_as_a_target_of_low_precision_stores_it(dtype, ignored):
    logits, target = torch.randn(1, 1, 2, 2), torch.tensor([[[0.0, 1.0], [1.0, ignored]]])
    options = {"task": "binary", "ignore_index": ignored}
    expected = dice_loss(logits, target, **options)
    torch.testing.assert_close(dice_loss(logits, target.to(dtype), **options), expected)


def test_complex_values_are_refused():
    real = torch.zeros(1, 1, 2, 2)
    with pytest.raises(TypeError, match=r"logits must be real, got torch.complex64"):
        dice_loss(real + 1j, real, task="binary")
    with pytest.raises(TypeError, match=r"target must be real, got torch.complex64"):
        dice_loss(real, real + 1j, task="binary")
