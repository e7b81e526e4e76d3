"""An evaluation counts each sample once."""

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from lightning_hparams.losses import WeightedLoss
from lightning_hparams.metrics import ConfusionCounts
from lightning_hparams.tasks._evaluation import Evaluation

LOSS = WeightedLoss({"ce": 1.0, "dice": 0.5})


def evaluated(loader, logits, target, size):
    evaluation = Evaluation(LOSS.weights, counts=ConfusionCounts(3))
    for _ in range(2):  # the second pass starts from zero
        evaluation.start(loader)
        for part, true in zip(logits.split(size), target.split(size), strict=True):
            kept = evaluation.take(len(part))
            if kept:
                part, true = part[:kept], true[:kept]
                evaluation.counts.update(part.argmax(1), true)
                terms = LOSS.terms(part, true)
                evaluation.add_losses({"total": LOSS.total(terms), **terms}, kept)
    return evaluation


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_samples_that_another_process_evaluates_too_are_left_out(size):
    logits, target = torch.randn(3, 3, 4, 4), torch.randint(0, 3, (3, 4, 4))
    sampler = DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False)
    loader = DataLoader(range(5), batch_size=size, sampler=sampler)
    assert list(sampler) == [1, 3, 0]
    ours = evaluated(loader, logits, target, size)
    expected = evaluated(None, logits[:2], target[:2], size)
    assert torch.equal(ours.counts.compute(), expected.counts.compute())
    for name, value in expected.losses().items():
        assert float(ours.losses()[name]) == pytest.approx(float(value), rel=1e-6)


def test_without_repeated_samples_all_of_them_count():
    logits, target = torch.randn(3, 3, 4, 4), torch.randint(0, 3, (3, 4, 4))
    evaluation = evaluated(DataLoader(range(3), 2), logits, target, 2)
    assert evaluation.counts.compute().sum() == 3 * 16
    parts = [float(LOSS(logits[a:b], target[a:b])) for a, b in ((0, 2), (2, 3))]
    assert float(evaluation.losses()["total"]) == pytest.approx((2 * parts[0] + parts[1]) / 3)
