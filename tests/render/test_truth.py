"""Pictures of true values show the target where it lies in the image, and fit on a sheet."""

import pytest
import torch

from lightning_hparams.render import (
    classification_truth,
    detection_truth,
    palette,
    regression_truth,
    segmentation_truth,
)
from lightning_hparams.render.text import LINE

NAMES = ["background", "a", "b"]


def panel(picture, size):
    return picture[LINE : LINE + size[0], : size[1]]


@pytest.mark.parametrize(
    ("size", "shown"), [((64, 32), (256, 128)), ((100, 100), (200, 200)), ((512, 1024), (128, 256))]
)
def test_panels_have_at_most_256_pixels_a_side(size, shown):
    picture = classification_truth(torch.ones(3, *size), torch.tensor(1), NAMES)
    assert (panel(picture, shown) == 255).all()
    assert (picture[LINE + shown[0] : LINE + shown[0] + 2] != 255).all()


def test_masks_have_the_colour_of_their_class_along_the_border_and_let_the_image_through():
    mask = torch.zeros(64, 64, dtype=torch.long)
    mask[16:48, 16:48] = 2
    shown = panel(segmentation_truth(torch.ones(3, 64, 64), mask, NAMES, background=0), (256, 256))
    assert (shown[:64] == 255).all()  # the background is not painted
    assert (shown[64, 64:192] == palette(3)[2]).all()
    assert (shown[128, 190:192] == palette(3)[2]).all()
    assert (shown[128, 192:] == 255).all()
    assert (palette(3)[2] < shown[128, 128]).any()


def test_overlapping_masks_are_painted_one_over_the_other():
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, :40], masks[1, 24:] = 1, 1
    shown = panel(segmentation_truth(torch.ones(3, 64, 64), masks, ["a", "b"]), (256, 256))
    only_a, both, only_b = (shown[row, 128].tolist() for row in (50, 128, 220))
    assert only_a != both != only_b != only_a


@pytest.mark.parametrize("multilabel", [False, True])
def test_ignored_pixels_are_hatched(multilabel):
    mask = torch.zeros(64, 64, dtype=torch.long)
    mask[:16] = 255
    target = torch.stack([mask, mask]) if multilabel else mask
    kept = {"background": None if multilabel else 0, "ignore_index": 255}
    names = NAMES[:2]
    shown = panel(segmentation_truth(torch.ones(3, 64, 64), target, names, **kept), (256, 256))
    assert 0.2 < (shown[:64] != 255).any(-1).mean() < 0.3
    assert (shown[64:] == 255).all()


def test_boxes_have_the_colour_of_their_class_and_crowds_are_dashed():
    target = {
        "boxes": torch.tensor([[8.0, 8, 24, 24], [32, 32, 60, 60]]),
        "labels": torch.tensor([1, 2]),
        "crowd": torch.tensor([False, True]),
    }
    shown = panel(detection_truth(torch.ones(3, 64, 64), target, NAMES), (256, 256))
    assert (shown[40:96, 32] == palette(3)[1]).all()
    dashes = (shown[140:240, 128] != 255).any(-1)
    assert 0.4 < dashes.mean() < 0.8


def test_an_image_without_boxes_and_one_of_many_values_can_be_drawn():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    few = detection_truth(torch.ones(3, 64, 64), nothing, NAMES)
    many = regression_truth(torch.ones(3, 64, 64), torch.full((100,), 1e8))
    assert many.shape[0] <= few.shape[0] + 7 * LINE  # eight lines at most


def test_an_unlabelled_image_differs_from_one_of_any_class():
    pictures = [
        classification_truth(torch.ones(3, 64, 64), torch.tensor(label), NAMES).tobytes()
        for label in (-1, 0, 1)
    ]
    assert len(set(pictures)) == 3


def test_shares_of_mixed_images_are_written():
    mixed, pure = (
        classification_truth(torch.ones(3, 64, 64), torch.tensor(target), NAMES)
        for target in ([0.7, 0.3, 0.0], [1.0, 0.0, 0.0])
    )
    assert mixed.shape != pure.shape or (mixed != pure).any()
