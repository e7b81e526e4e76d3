import pytest
import torch

from lightning_hparams.metrics import BoxScoreCounts, ScoreCounts


@pytest.mark.parametrize("by_label", [False, True])
def test_binned_counts_equal_those_of_each_threshold(by_label):
    generator = torch.Generator().manual_seed(1)
    probs = torch.randint(0, 101, (5, 3, 8, 8), generator=generator) / 100
    target = torch.randint(0, 3, (5, 8, 8), generator=generator)
    labels = torch.stack([target == label for label in range(3)], 1).long()
    target[0, :4], labels[0, :, :4] = 255, 255
    counts = ScoreCounts(3, thresholds=21, ignore_index=255)
    for part in (slice(0, 2), slice(2, 5)):
        counts.update(probs[part], (labels if by_label else target)[part])
    result = counts.compute()
    counted = target != 255
    for label in range(3):
        score, truth = probs[:, label][counted], (target == label)[counted]
        for place in range(21):
            above = score >= place / 20 - 1e-6
            expected = [
                above & truth,
                above & ~truth,
                ~above & ~truth,
                ~above & truth,
            ]
            assert result[:, label, place].tolist() == [int(part.sum()) for part in expected]


def test_binned_counts_of_boxes_miss_what_no_box_found():
    counts = BoxScoreCounts(2, thresholds=3)
    hits = torch.tensor([True, False])
    counts.update(torch.tensor([1, 1]), torch.tensor([0.6, 0.9]), hits, torch.tensor([1, 1, 0]))
    result = counts.compute()
    assert result[:, 1].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1], [2, 2, 3]]
    assert result[3, 0].tolist() == [1, 1, 1]
