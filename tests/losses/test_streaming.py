"""Softmax sums by class, whose gradients are written by hand."""

import pytest
import torch

from lightning_hparams.losses import dice_loss
from tests.losses.reference import assert_same, both, random_case, reference


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
