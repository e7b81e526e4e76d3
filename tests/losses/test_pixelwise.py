import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from lightning_hparams.losses import (
    binary_cross_entropy_loss,
    cross_entropy_loss,
    focal_loss,
    mse_loss,
)
from tests.losses.reference import TASKS, random_case


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    ignore_index=st.sampled_from([None, 255]),
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
)
def test_cross_entropy_equals_torchs(seed, ignore_index, smoothing, weighted):
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


def test_focal_loss_with_gamma_0_equals_cross_entropy():
    for task in TASKS:
        logits, target = random_case(2, task, 4, 255)
        options = {"task": task, "ignore_index": 255}
        torch.testing.assert_close(
            focal_loss(logits, target, gamma=0.0, **options),
            cross_entropy_loss(logits, target, **options),
        )


def test_binary_class_weights_apply_to_background_and_foreground():
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
def test_binary_and_multilabel_cross_entropy_equal_torchs(task):
    logits, target = random_case(2, task, 3, None)
    soft = 0.8 * target + 0.1
    torch.testing.assert_close(
        cross_entropy_loss(logits, target, task=task, label_smoothing=0.2),
        F.binary_cross_entropy_with_logits(logits, soft),
    )


def test_focal_alpha_works_as_in_the_paper():
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


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_bce_is_that_of_torch_against_one_hot_targets(smoothing):
    logits, target = random_case(3, "multiclass", 4, None)
    ours = binary_cross_entropy_loss(logits, target, label_smoothing=smoothing)
    hot = F.one_hot(target, 4).movedim(-1, 1).float()
    hot = hot * (1 - smoothing) + smoothing / 2
    torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(logits, hot))
