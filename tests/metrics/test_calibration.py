import pytest
import torch
from hypothesis import given, settings, strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from lightning_hparams.metrics import CalibrationCounts, calibration_error, confidences


@given(st.integers(0, 10**6), st.integers(1, 20), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_calibration_error_equals_torchmetrics(seed, bins, by_label):
    generator = torch.Generator().manual_seed(seed)
    counts = CalibrationCounts(bins)
    if by_label:
        probs = torch.rand(3, 1, 8, 8, generator=generator)
        target = torch.randint(0, 2, (3, 1, 8, 8), generator=generator)
        # torchmetrics' binary error uses the probability of 1, ours that of the predicted side.
        sides = torch.stack([1 - probs, probs], 1).flatten(2)
        expected = multiclass_calibration_error(sides, target.flatten(1), 2, n_bins=bins)
    else:
        probs = torch.randn(6, 4, 8, generator=generator).softmax(1)
        target = torch.randint(0, 4, (6, 8), generator=generator)
        target[0, :3] = 255
        expected = multiclass_calibration_error(probs, target, 4, n_bins=bins, ignore_index=255)
    for part in (slice(0, 2), slice(2, None)):
        counts.update(*confidences(probs[part], target[part], ignore_index=255))
    assert float(calibration_error(counts.compute())) == pytest.approx(float(expected), abs=1e-5)


def test_confidences_leave_out_unlabelled_pixels():
    probs = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.4, 0.6]])
    found = confidences(probs, torch.tensor([0, -100, 0]))
    assert torch.equal(found[0], confidences(probs, torch.tensor([0, 255, 0]))[0])
    assert found[0].tolist() == pytest.approx([0.9, 0.6])
    assert found[1].tolist() == [True, False]
    counts = CalibrationCounts(4)
    counts.update(torch.tensor([float("nan"), 0.0, 1.0, 0.25]), torch.tensor([True] * 4))
    assert counts.compute()[1].tolist() == [3, 0, 0, 1]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16])
@pytest.mark.parametrize("ignore_index", [None, -1, 255, 256])
def test_confidences_do_not_depend_on_the_integer_type(dtype, ignore_index):
    probs = torch.rand(4, 256, 6)
    target = torch.randint(0, 255, (4, 6))
    target[0, :3] = 255
    expected = confidences(probs, target, ignore_index=ignore_index)
    found = confidences(probs, target.to(dtype), ignore_index=ignore_index)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(found[0]) == 24 - (3 if ignore_index == 255 else 0)
