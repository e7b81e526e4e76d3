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
        for step in range(21):
            above = score >= step / 20 - 1e-6
            expected = [
                above & truth,
                above & ~truth,
                ~above & ~truth,
                ~above & truth,
            ]
            assert result[:, label, step].tolist() == [int(part.sum()) for part in expected]


def test_true_boxes_without_a_match_count_as_missed():
    counts = BoxScoreCounts(2, thresholds=3)
    hits = torch.tensor([True, False])
    counts.update(torch.tensor([1, 1]), torch.tensor([0.6, 0.9]), hits, torch.tensor([1, 1, 0]))
    result = counts.compute()
    assert result[:, 1].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1], [2, 2, 3]]
    assert result[3, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.bool])
@pytest.mark.parametrize("ignore_index", [None, -1, 1, 255, 256, 257])
def test_targets_of_every_integer_type_are_binned_alike(dtype, ignore_index):
    probs = torch.rand(2, 2, 3, 40)
    target = torch.randint(0, 2, (2, 3, 40))
    if ignore_index == 255 and dtype != torch.bool:
        target[0] = 255
    for mask in (target, torch.stack([target, target], 1)):
        expected = ScoreCounts(2, thresholds=5, ignore_index=ignore_index)
        expected.update(probs, mask)
        counts = ScoreCounts(2, thresholds=5, ignore_index=ignore_index)
        counts.update(probs, mask.to(dtype))
        assert torch.equal(counts.compute(), expected.compute())


def test_class_255_of_a_uint8_target_is_binned():
    probs = torch.zeros(1, 257, 2)
    counts = ScoreCounts(257, thresholds=2)
    counts.update(probs, torch.tensor([[0, 255]], dtype=torch.uint8))
    positives = counts.compute()[3, :, 1]
    assert positives.nonzero().flatten().tolist() == [0, 255]
