"""Tiles and flips give what whole images give, where the model allows it."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader

from lightning_hparams import SegmentationTask
from lightning_hparams.tasks._tiles import flipped_mean, tile_starts, tiled
from tests.runs import SMALL, quiet_trainer


def pointwise(images):
    return images[:, :2] * 3 - 1


@given(st.integers(1, 300), st.integers(1, 70), st.floats(0, 0.9))
def test_tiles_cover_a_side_and_overlap_as_asked(side, tile, overlap):
    starts = tile_starts(side, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] + min(tile, side) == side
    for a, b in pairwise(starts):
        assert 0 < b - a <= max(1, tile * (1 - overlap))


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 20), st.floats(0, 0.9))
def test_a_model_without_context_gives_the_same_in_tiles(height, width, tile, overlap):
    images = torch.rand(2, 3, height, width)
    found = tiled(pointwise, images, tile, overlap)
    torch.testing.assert_close(found, pointwise(images), rtol=1e-5, atol=1e-5)


def test_an_image_that_a_tile_covers_is_computed_as_a_whole():
    images, seen = torch.rand(1, 3, 20, 30), []
    found = tiled(lambda x: seen.append(x) or pointwise(x), images, 30, 0.25)
    assert seen[0] is images
    assert torch.equal(found, pointwise(images))


def test_the_model_never_sees_more_than_a_tile():
    sizes = []
    images = torch.rand(1, 3, 100, 20)
    tiled(lambda x: sizes.append(tuple(x.shape)) or pointwise(x), images, 32, 0.25)
    assert set(sizes) == {(1, 3, 32, 20)}


def test_the_middle_of_a_tile_counts_more_than_its_border():
    numbers = iter([0.0, 1.0])
    found = tiled(lambda x: torch.full_like(x, next(numbers)), torch.rand(1, 1, 4, 12), 8, 0.5)
    row = found[0, 0, 0]
    assert row[:4].eq(0).all()
    assert row[8:].eq(1).all()
    assert (row[4:8].diff() > 0).all()


def test_flips_average_over_the_image_and_its_mirrors():
    kernel = torch.rand(2, 3, 3, 3)
    images = torch.rand(2, 3, 9, 7)
    found = flipped_mean(lambda x: torch.conv2d(x, kernel, padding=1), images)
    flips = [kernel, kernel.flip(-1), kernel.flip(-2), kernel.flip(-2, -1)]
    expected = torch.conv2d(images, torch.stack(flips).mean(0), padding=1)
    torch.testing.assert_close(found, expected)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return SegmentationTask(num_classes=3, **SMALL).state_dict()


def made(state, **options):
    task = SegmentationTask(num_classes=3, **SMALL, **options)
    task.load_state_dict(state)
    return task.eval()


def test_validation_and_prediction_use_tiles_and_flips(state):
    images, mask = torch.rand(2, 3, 64, 96), torch.zeros(64, 96, dtype=torch.uint8)
    samples = [{"image": image, "mask": mask} for image in images]
    whole, large = made(state), made(state, tile=96)
    small, flips = made(state, tile=32, tile_overlap=0.5), made(state, tta="flips")
    results = []
    for task in (whole, large, small, flips):
        trainer, loader = quiet_trainer(), DataLoader(samples, batch_size=2)
        loss = trainer.validate(task, loader, verbose=False)[0]["loss/val"]
        results.append((loss, trainer.predict(task, loader)[0]["probs"][0]))
    (loss, probs), (same_loss, same_probs), *others = results
    assert same_loss == loss
    assert torch.equal(same_probs, probs)
    for other_loss, other_probs in others:
        assert other_loss != loss
        assert other_probs.shape == probs.shape
        assert 0 < (other_probs - probs).abs().max() < 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tile": 16}, ValueError, "`32 <= tile` must hold, got tile=16; 512 is usual"),
        ({"tile": 64.0}, TypeError, "`tile` must be a whole number"),
        ({"tile_overlap": 0.95}, ValueError, "`0 <= tile_overlap <= 0.9` must hold"),
        ({"tta": "flip"}, ValueError, "did you mean 'flips'"),
    ],
)
def test_arguments_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SegmentationTask(**options)
