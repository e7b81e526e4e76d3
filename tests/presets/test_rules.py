"""Values from counts: properties over random data."""

import pytest
import torch
from hypothesis import given, strategies as st

from lightning_hparams import DetectionTask
from lightning_hparams.presets import balanced_weights, image_size, level_sizes

counts = st.lists(st.integers(0, 10**9), min_size=2, max_size=30).filter(any)


@given(counts)
def test_rarer_classes_never_weigh_less_and_the_mean_over_samples_is_one(counts):
    weights = balanced_weights(counts).value
    present = [count for count in counts if count]
    if weights is None:
        assert max(present) <= 3 * min(present)
        return
    pairs = sorted(zip(counts, weights, strict=True))
    rising = [weight for count, weight in pairs if count]
    assert rising == sorted(rising, reverse=True)
    assert sum(c * w for c, w in pairs) / sum(counts) == pytest.approx(1)
    assert all(weight == pytest.approx(max(rising)) for count, weight in pairs if not count)


@pytest.mark.parametrize("counts", [[], [5], [0, 0], [-1, 5], [float("nan"), 1]])
def test_counts_without_two_classes_are_refused(counts):
    with pytest.raises(ValueError, match="counts"):
        balanced_weights(counts)


sides = st.integers(1, 5000)


@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=20), st.integers(32, 2048))
def test_an_image_size_fits_encoders_and_the_limit(sizes, largest):
    size, reason = image_size(sizes, largest)
    assert all(side % 32 == 0 and side >= 32 for side in size)
    assert max(size) <= largest + 16
    assert str(largest) in reason


@pytest.mark.parametrize("sizes", [[], [(0, 5)], [(5,)]])
def test_sizes_of_no_image_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes"):
        image_size(sizes)


@given(st.integers(1, 5), st.lists(st.floats(1, 500), min_size=1, max_size=50))
def test_level_sizes_double_from_half_the_stride_to_the_stride(levels, sides):
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in sides])
    sizes = level_sizes(boxes, levels).value
    assert len(sizes) == levels
    for level, size in enumerate(sizes):
        assert size == sizes[0] * 2**level
        stride = 32 / 2 ** (levels - 1 - level)
        assert stride / 2 - 0.05 * 2**level <= size <= stride


@pytest.mark.parametrize("side", [10.0, 70.0, 90.0, 110.0, 500.0])
def test_each_object_is_learnt_by_a_level_of_its_size(side):
    """By torchvision's rule of FCOS, at locations all over the image."""
    sizes = level_sizes(torch.tensor([[0.0, 0.0, side, side]])).value
    assert DetectionTask(num_classes=1, arch_args={"level_sizes": sizes})
    farthest = [side / 2, side / 2 + 1.5 * sizes[0]]  # from the centre, and beside it
    for distance in farthest:
        middle = [(4 * size, 8 * size) for size in sizes[1:-1]]
        bounds = [(0, 8 * sizes[0]), *middle, (4 * sizes[-1], 1e9)]
        assert any(low <= distance <= high for low, high in bounds)
    if 60 < side < 120:  # one of the levels in the middle
        assert any(4 * size <= side / 2 + size <= 8 * size for size in sizes[1:-1])


def test_level_sizes_of_no_boxes_are_refused():
    with pytest.raises(ValueError, match="boxes"):
        level_sizes(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="must be finite"):
        level_sizes(torch.tensor([[0.0, 0.0, float("nan"), 1.0]]))
