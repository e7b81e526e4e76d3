import math

import numpy as np
import pytest
import torch

from lightning_hparams.losses import (
    WeightedLoss,
    _inputs,
    cross_entropy_loss,
    dice_loss,
    focal_loss,
)
from tests.losses.reference import random_case


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
    monkeypatch.setattr(_inputs, "check_values", lambda *args: calls.append(args))
    logits, target = random_case(4, "multiclass", 3, None)
    checking(logits, target)
    assert len(calls) == 1
    trusting(logits, target)
    assert len(calls) == 1


def test_the_repr_of_a_weighted_loss_lists_its_terms():
    loss = WeightedLoss({"ce": 1.0, "dice": 0.5}, ignore_index=255)
    assert repr(loss) == "WeightedLoss(1 ce + 0.5 dice, task='multiclass', ignore_index=255)"


@pytest.mark.parametrize(
    ("losses", "options", "error", "message"),
    [
        ({"dise": 1.0}, {}, ValueError, "did you mean 'dice'"),
        ({}, {}, ValueError, "`loss` needs at least one name"),
        ({"ce": 0.0}, {}, ValueError, r"`0 < loss\['ce'\] < inf` must hold, got 0.0; leave out"),
        ({"ce": math.nan}, {}, ValueError, "must hold, got nan"),
        ({"ce": math.inf}, {}, ValueError, "must hold, got inf"),
        ("ce", {"loss_args": {"dice": {}}}, ValueError, r"`loss_args` must be one of \['ce'\]"),
        ("dice", {"loss_args": {"dice": {"absend": "x"}}}, TypeError, "did you mean 'absent'"),
        ("dice", {"loss_args": {"dice": {"task": "binary"}}}, TypeError, "repeats 'task'"),
        ("dice", {"loss_args": {"dice": {"absent": "non"}}}, ValueError, "`absent` must be one of"),
        ("focal", {"loss_args": {"focal": {"gamma": -1}}}, ValueError, "got gamma=-1"),
        ("focal", {"loss_args": {"focal": {"gamma": math.nan}}}, ValueError, "must be finite"),
        (["ce", "dice"], {}, TypeError, "a name or a dict of names and weights, got \\['ce'"),
        ({"ce": "1"}, {}, TypeError, r"the weight `loss\['ce'\]` must be a number, got '1'"),
        ({"ce": True}, {}, TypeError, r"the weight `loss\['ce'\]` must be a number, got True"),
        ("ce", {"class_weights": [0.0, 0.0]}, ValueError, "with at least one above 0"),
        ("ce", {"class_weights": [1.0, -1.0]}, ValueError, "finite and at least 0"),
        ("ce", {"class_weights": torch.tensor([1.0, math.inf])}, ValueError, "finite and at leas"),
        ("ce", {"class_weights": [1.0] * 3, "task": "binary"}, ValueError, "needs 2 values, got 3"),
        ("ce", {"task": "binery"}, ValueError, "did you mean 'binary'"),
    ],
)
def test_an_invalid_loss_is_refused_at_once(losses, options, error, message):
    with pytest.raises(error, match=message):
        WeightedLoss(losses, **options)


@pytest.mark.parametrize(
    "weights", [{0: 5.0, 1: 1.0}, {1.0, 5.0}, "51", 5.0, [[5.0, 1.0]], ["5", "1"], [True, False]]
)
def test_class_weights_must_be_an_ordered_list_of_numbers(weights):
    message = "`class_weights` must be a list of numbers, got .*; give one for each class, in the"
    with pytest.raises(TypeError, match=message):
        WeightedLoss("ce", class_weights=weights)
    with pytest.raises(TypeError, match=message):
        dice_loss(torch.zeros(1, 2, 1), torch.zeros(1, 1).long(), class_weights=weights)


@pytest.mark.parametrize(
    "weights",
    [(5.0, 1.0), [5, 1], np.array([5.0, 1.0]), torch.tensor([5.0, 1.0]), list(np.float32([5, 1]))],
)
def test_class_weights_may_come_in_any_kind_of_list(weights):
    assert WeightedLoss("ce", class_weights=weights).class_weights.tolist() == [5.0, 1.0]


def test_casting_the_module_to_low_precision_keeps_the_class_weights():
    loss = WeightedLoss("ce", class_weights=[0.1, 0.3])
    for cast in (loss.bfloat16, loss.half, lambda: loss.to(torch.bfloat16)):
        cast()
        assert torch.equal(loss.class_weights, torch.tensor([0.1, 0.3]))
