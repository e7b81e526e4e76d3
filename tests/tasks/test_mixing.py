"""MixUp and CutMix: images and losses are mixed by the same shares, for any loss."""

import pytest
import torch
import torch.nn.functional as F

from lightning_hparams.losses import WeightedLoss
from lightning_hparams.tasks._mixing import Mixing


def mixed(mixup, cutmix, images=4, seed=0):
    torch.manual_seed(seed)
    batch = torch.arange(images).float().view(-1, 1, 1, 1).expand(images, 3, 16, 16).clone()
    return Mixing(mixup, cutmix)(batch)


@pytest.mark.parametrize("kind", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("images", [1, 2, 5])
def test_the_share_of_labels_is_that_of_the_pixels(kind, images):
    for seed in range(10):
        found = mixed(*kind, images, seed)
        own = torch.arange(images).float()
        expected = found.share * own + (1 - found.share) * own[found.partner]
        torch.testing.assert_close(found.images.mean((1, 2, 3)), expected)
        assert images == 1 or (found.partner != torch.arange(images)).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_a_mixed_batch_is_that_of_soft_targets(smoothing):
    found, label = mixed(1.0, 0.0), torch.tensor([2, 0, 1, 1])
    logits = torch.randn(4, 3)
    loss = WeightedLoss("ce", loss_args={"ce": {"label_smoothing": smoothing}})
    terms = found.terms(lambda target: loss.terms(logits, target), label)
    hot = F.one_hot(label, 3).float()
    soft = found.share * hot + (1 - found.share) * hot[found.partner]
    expected = F.cross_entropy(logits, soft, label_smoothing=smoothing)
    torch.testing.assert_close(terms["ce"], expected)


def test_a_seed_repeats_the_mixing_and_both_kinds_occur():
    once, again = mixed(1.0, 1.0), mixed(1.0, 1.0)
    assert torch.equal(once.images, again.images)
    uniform = [len(mixed(1.0, 1.0, seed=seed).images[1].unique()) == 1 for seed in range(20)]
    assert 3 < sum(uniform) < 17  # CutMix leaves two values in an image


@pytest.mark.parametrize("kind", [(-0.1, 0.0), (0.0, float("nan"))])
def test_a_parameter_out_of_range_is_refused(kind):
    with pytest.raises(ValueError, match="0 for none"):
        Mixing(*kind)


def test_nothing_is_mixed_by_default():
    assert not Mixing(0.0, 0.0)
