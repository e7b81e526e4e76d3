import pytest
import torch

from lightning_hparams.losses import (
    LOSSES,
    cross_entropy_loss,
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    tversky_loss,
)
from tests.losses.reference import OVERLAP, random_case


def test_tversky_equals_dice_and_jaccard_at_their_weights():
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


def test_generalized_dice_weighs_small_and_large_classes_alike():
    target = torch.zeros(1, 100, 100).long()
    target[0, 0, 0] = 1
    missed = torch.zeros(1, 2, 100, 100)
    missed[:, 0] = 20
    assert generalized_dice_loss(missed, target) > 0.99
    assert cross_entropy_loss(missed, target) < 0.01


@pytest.mark.parametrize("name", OVERLAP)
@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_an_empty_target_costs_the_mean_probability_even_of_a_few_pixels(name, pixels):
    logits, target = torch.randn(1, 3, 2, 4), torch.full((1, 3, 2, 4), 255)
    target.flatten()[:pixels] = 0  # all of the first label
    options = {"task": "multilabel", "ignore_index": 255}
    expected = logits.sigmoid().flatten()[:pixels].mean()
    torch.testing.assert_close(LOSSES[name](logits, target, **options), expected)
