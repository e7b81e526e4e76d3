"""Values from counts: properties over random data."""

import pytest
import torch
from hypothesis import given, strategies as st

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
def test_level_sizes_rise_and_lie_among_the_boxes(levels, sides):
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in sides])
    sizes = level_sizes(boxes, levels).value
    assert len(sizes) == levels
    assert sizes == sorted(sizes)
    assert min(sides) - 0.1 <= sizes[0]
    assert sizes[-1] <= max(sides) + 0.1


def test_level_sizes_of_no_boxes_are_refused():
    with pytest.raises(ValueError, match="boxes"):
        level_sizes(torch.zeros(0, 4))
