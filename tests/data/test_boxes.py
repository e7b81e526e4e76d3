"""Boxes are checked before training, and move with their image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torchvision.transforms import v2

from lightning_hparams.data import CropFlipJitter, augmented_boxes
from lightning_hparams.data.augment import STRENGTHS, check_augment, make_augmentation
from lightning_hparams.data.box_checks import Objects, checked_boxes

SIZE = (40, 60)
NAN, INF = float("nan"), float("inf")


def objects(*boxes, where="a.xml"):
    count = len(boxes)
    array = np.array(boxes, dtype=float).reshape(-1, 4)
    return Objects(where, array, np.arange(count) % 2, np.zeros(count, bool))


def check(*boxes, policy="raise"):
    found, told = checked_boxes([objects([5, 5, 30, 30]), objects(*boxes, where="b.xml")],
                                [SIZE, SIZE], ["cat", "dog"], policy)  # fmt: skip
    assert found[0].boxes.tolist() == [[5, 5, 30, 30]]
    return found[1].boxes.tolist(), told


@pytest.mark.parametrize("policy", ["raise", "clip", "drop"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_boxes_that_are_not_finite_are_always_an_error(policy, value):
    with pytest.raises(ValueError, match=r"b\.xml: the box .* of 'cat' is not finite; correct"):
        check([1, 2, value, 4], policy=policy)


@pytest.mark.parametrize("policy", ["raise", "clip", "drop"])
def test_boxes_in_shares_of_the_image_are_always_an_error(policy):
    small = [objects([0.1, 0.2, 0.5, 1.0]), objects(), objects([0, 0, 0.4, 0.4])]
    with pytest.raises(ValueError, match=r"\[0.1, 0.2, 0.5, 1\] and all other .* multiply them"):
        checked_boxes(small, [SIZE] * 3, ["cat", "dog"], policy)


def test_one_small_box_among_others_is_not_taken_for_shares():
    assert check([0.1, 0.2, 0.5, 1.0]) == ([[0.1, 0.2, 0.5, 1.0]], None)


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [5, 5, 9, 5], [9, 5, 5, 9], [70, 5, 70, 9]])
def test_boxes_without_width_or_height_are_an_error_or_left_out(box):
    with pytest.raises(ValueError, match=r"b\.xml: .* has no width or height; .* boxes='drop'"):
        check([1, 1, 9, 9], box)
    for policy in ("clip", "drop"):
        kept, told = check([1, 1, 9, 9], box, policy=policy)
        assert kept == [[1, 1, 9, 9]]
        assert told == f"boxes={policy!r}: left out 1 of 3 boxes (b.xml) without width or height"


def test_boxes_outside_of_their_image_are_an_error_cut_or_left_out():
    with pytest.raises(ValueError, match=r"\[50, 5, 61, 9\] .* outside of its image of 40 x 60"):
        check([50, 5, 61, 9])
    boxes = [[50, 5, 61, 9], [-8, -4, 9, 9], [70, 5, 80, 9]]
    assert check(*boxes, policy="clip") == (
        [[50, 5, 60, 9], [0, 0, 9, 9]],
        "boxes='clip': left out 1 of 4 boxes (b.xml) outside of their image; "
        "cut 2 of 4 boxes (b.xml) at the border of their image",
    )
    kept, told = check([1, 1, 9, 9], *boxes, policy="drop")
    assert kept == [[1, 1, 9, 9]]
    assert "left out 3 of 5 boxes (b.xml) outside of their image" in told


@pytest.mark.parametrize("policy", ["raise", "clip", "drop"])
def test_rounding_at_the_border_is_cut_silently(policy):
    assert check([-0.4, 5, 60.3, 9], policy=policy) == ([[0, 5, 60, 9]], None)


@settings(deadline=None)
@given(
    boxes=st.lists(st.lists(st.integers(-90, 90), min_size=4, max_size=4), max_size=6),
    policy=st.sampled_from(["clip", "drop"]),
)
def test_what_is_kept_lies_within_its_image(boxes, policy):
    kept, told = check(*boxes, policy=policy)
    for x1, y1, x2, y2 in kept:
        assert 0 <= x1 < x2 <= 60
        assert 0 <= y1 < y2 <= 40
    good = [b for b in boxes if 0 <= b[0] < b[2] <= 60 and 0 <= b[1] < b[3] <= 40]
    assert all(box in kept for box in good)
    assert (told is None) == (len(good) == len(boxes))


COLORS = torch.tensor([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0]], dtype=torch.uint8)


def scene(seed):
    """Up to four rectangles of their own colours on black, which do not touch each other."""
    rng = np.random.default_rng(seed)
    image = torch.zeros(3, 80, 100, dtype=torch.uint8)
    boxes, labels = [], []
    for label, (top, left) in enumerate([(2, 2), (2, 52), (42, 2), (42, 52)]):
        height, width = rng.integers(8, 36), rng.integers(8, 44)
        y, x = top + rng.integers(0, 37 - height), left + rng.integers(0, 46 - width)
        if rng.random() < 0.8:
            image[:, y : y + height, x : x + width] = COLORS[label][:, None, None]
            boxes.append([x, y, x + width, y + height])
            labels.append(label)
    target = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "crowd": torch.tensor([label == 1 for label in labels], dtype=torch.bool),
    }
    return image, target


def assert_on_objects(image, target, *, blur=2):
    """Within each box is the colour of its label, and around it there is not."""
    height, width = image.shape[-2:]
    assert len(target["boxes"]) == len(target["labels"]) == len(target["crowd"])
    assert target["crowd"].tolist() == [label == 1 for label in target["labels"].tolist()]
    for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
        color = COLORS[label].float()
        assert 0 <= box[0] < box[2] <= width
        assert 0 <= box[1] < box[3] <= height
        pixels = image.float()
        mine = (pixels[color > 0] > 90).all(0) & (pixels[color == 0] < 90).all(0)
        x1, y1, x2, y2 = box
        inner = mine[
            int(y1 + blur) : max(int(y2 - blur), 0), int(x1 + blur) : max(int(x2 - blur), 0)
        ]
        if inner.numel():
            assert inner.float().mean() > 0.99
        rows, columns = torch.where(mine)
        # No pixel of the object lies beyond the box: the objects of a label are one.
        assert rows.min() >= y1 - blur
        assert rows.max() < y2 + blur
        assert columns.min() >= x1 - blur
        assert columns.max() < x2 + blur


def test_nothing_leaves_its_object_in_1000_random_transforms():
    kept = total = 0
    for seed in range(1000):
        torch.manual_seed(seed)
        image, target = scene(seed)
        transform = make_augmentation(STRENGTHS[1 + seed % 3], (64, 64))
        if isinstance(transform, CropFlipJitter):
            transform.rest.transforms[1].contrast = None  # brightness keeps black as it is
        moved, found = augmented_boxes(image, target, transform)
        assert_on_objects(moved, found)
        kept, total = kept + len(found["boxes"]), total + len(target["boxes"])
    assert 0.8 < kept / total < 1


@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomVerticalFlip(1),
        v2.Compose([v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes()]),
        v2.RandomCrop((50, 50), pad_if_needed=True),
        v2.Resize((160, 120)),
        v2.ColorJitter(brightness=0.2),
    ],
)
def test_transforms_of_torchvision_move_boxes_with_the_image(transform):
    for seed in range(40):
        torch.manual_seed(seed)
        moved, found = augmented_boxes(*scene(seed), check_augment(transform, "boxes"))
        assert_on_objects(moved, found, blur=3)


def test_boxes_with_too_little_left_in_a_crop_are_left_out():
    image = torch.zeros(3, 100, 100)
    boxes = torch.tensor([[0.0, 0, 100, 100], [45, 45, 55, 55]])
    target = {"boxes": boxes, "labels": torch.tensor([0, 1])}
    crop = CropFlipJitter((100, 100), least=0.3, least_box=0.8)
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        _, found = augmented_boxes(image, target, crop)
        seen.add(tuple(found["labels"].tolist()))
        assert "crowd" not in found
    assert {(1,), (0, 1)} <= seen  # the large one is cut by small crops, the one in the middle not


def test_images_without_boxes_are_augmented_too():
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    for strength in STRENGTHS:
        image, found = augmented_boxes(
            torch.zeros(3, 30, 40), target, make_augmentation(strength, (20, 20))
        )
        assert found["boxes"].shape == (0, 4)
        assert found["labels"].dtype == torch.int64
        assert image.shape[-2:] == ((20, 20) if strength in ("light", "strong") else (30, 40))


def test_images_of_many_bands_are_jittered_alike():
    image = torch.rand(5, 20, 20)
    moved, _ = augmented_boxes(
        image, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}, CropFlipJitter(None)
    )
    assert moved.shape == (5, 20, 20)
    assert not torch.equal(moved, image)
