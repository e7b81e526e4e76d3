"""Resized images and masks stay aligned."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, strategies as st

from lightning_hparams.resize import resized

UNSIGNED = [torch.uint8, torch.uint16, torch.uint32, torch.uint64]
DTYPES = [torch.bool, *UNSIGNED, torch.int64, torch.half, torch.float8_e5m2]


def test_a_resized_mask_and_its_image_stay_aligned():
    ramp = torch.arange(60, dtype=torch.uint8).expand(60, 60)
    mask, image = resized(ramp, (20, 20), mask=True), resized(ramp, (20, 20))
    assert torch.equal(mask[:, 1:-1], image[:, 1:-1])  # a pixel equals the mean of its neighbours


@given(old=st.integers(1, 40), new=st.integers(1, 40))
def test_a_mask_pixel_has_the_value_at_its_centre(old, new):
    """torch's "nearest-exact" rounds in floating point and misses some centres on an edge."""
    ramp = torch.arange(old).expand(old, old)
    centres = [(Fraction(2 * pixel + 1, 2) * old / new) for pixel in range(new)]
    expected = torch.tensor([int(centre) for centre in centres])
    assert torch.equal(resized(ramp, (1, new), mask=True)[0], expected)
    assert torch.equal(resized(ramp.T, (new, 1), mask=True)[:, 0], expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_of_any_type_keep_their_values(dtype):
    mask = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    enlarged = resized(mask, (4, 4), mask=True)
    assert enlarged.dtype == dtype
    assert torch.equal(resized(enlarged, (2, 2), mask=True), mask)
