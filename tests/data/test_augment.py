"""Image and mask are augmented together, and an invalid ``augment=`` is refused at once."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torchvision import transforms as v1
from torchvision.transforms import v2

from lightning_hparams import BrainTissueData, MaskFolderData
from lightning_hparams.data import CropFlipJitter, augmented
from lightning_hparams.data.augment import STRENGTHS, augmented_image, make_augmentation


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_the_default_augmentation_makes_no_new_class(seed):
    torch.manual_seed(seed)
    mask = torch.randint(1, 5, (40, 48), dtype=torch.uint8)
    image = torch.randint(0, 256, (3, 40, 48), dtype=torch.uint8)
    image, moved = augmented(image, mask, CropFlipJitter((32, 32)))
    assert image.shape == (3, 32, 32)
    assert moved.shape == (32, 32)
    assert set(moved.unique().tolist()) <= {1, 2, 3, 4}


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_the_default_augmentation_keeps_the_mask_on_the_image(seed):
    """Image and mask hold the same ramp, so they must agree at every pixel."""
    torch.manual_seed(seed)
    ramp = torch.arange(256, dtype=torch.uint8).expand(200, 256)
    transform = CropFlipJitter((64, 64))
    transform.rest = v2.RandomHorizontalFlip()  # brightness would change what is compared
    image, mask = augmented(ramp.expand(3, -1, -1), ramp, transform)
    difference = (image[0].float() - mask.float())[:, 1:-1]  # smoothing ends at the border
    assert difference.abs().max() <= 3  # of at most 4 values a pixel
    assert difference.mean().abs() <= 0.6


def test_the_default_crop_has_about_the_aspect_ratio_of_the_image():
    columns = torch.arange(200, dtype=torch.uint8).expand(100, 200)
    rows = torch.arange(100, dtype=torch.uint8)[:, None].expand(100, 200)
    for _ in range(20):
        picture = torch.stack([columns, rows, rows])
        _, mask = augmented(picture, picture, CropFlipJitter((100, 200)))
        width, height = (float(one.max()) - float(one.min()) + 1 for one in mask[:2])
        assert 0.5 * 0.99 <= width * height / 20_000 <= 1.01
        assert 3 / 4 * 0.97 <= width / height / 2 <= 4 / 3 * 1.03


@pytest.mark.parametrize("strength", STRENGTHS)
def test_each_strength_keeps_image_and_mask_together(strength):
    ramp = torch.arange(64, dtype=torch.uint8).expand(64, 64)
    transform = make_augmentation(strength, (64, 64))
    if isinstance(transform, CropFlipJitter):
        transform.rest = v2.RandomHorizontalFlip()  # brightness would change what is compared
    moved = set()
    for _ in range(20):
        image, mask = augmented(ramp.expand(3, -1, -1), ramp, transform)
        assert image.shape == (3, 64, 64)
        assert (image[0].float() - mask.float())[:, 2:-2].abs().max() <= 1.5
        moved.add(mask.numpy().tobytes())
    least = {"none": 1, "flip": 2, "light": 15, "strong": 15}[strength]
    assert least <= len(moved) <= {"none": 1, "flip": 2}.get(strength, 20)


def test_light_crops_keep_more_of_the_image_than_strong_ones():
    columns = torch.arange(200, dtype=torch.uint8).expand(200, 200)
    picture = torch.stack([columns, columns.T, columns])

    def smallest(strength):
        shares = []
        for _ in range(60):
            _, mask = augmented(picture, picture, make_augmentation(strength, (200, 200)))
            spans = [float(one.max()) - float(one.min()) + 1 for one in mask[:2]]
            shares.append(spans[0] * spans[1] / 40_000)
        return min(shares)

    assert smallest("strong") < 0.6
    assert smallest("light") > 0.72


def one_argument(image):
    return image


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        ([v2.RandomHorizontalFlip()], TypeError, r"combine several with v2.Compose"),
        ({"flip": 0.5}, TypeError, "`augment` must be True, False, one of"),
        ("flipp", ValueError, "did you mean 'flip'"),
        (1, TypeError, "got 1; combine"),
        (v2.RandomHorizontalFlip, TypeError, "pass an instance of it"),
        (one_argument, TypeError, "cannot be called like that"),
        (v1.Compose([v1.RandomHorizontalFlip()]), TypeError, "cannot be called like that"),
        (v1.RandomHorizontalFlip(), TypeError, "cannot be called like that"),
    ],
)
def test_invalid_augmentations_are_refused_at_once(augment, error, message):
    with pytest.raises(error, match=message):
        MaskFolderData("images", "masks", num_classes=2, augment=augment)


@pytest.mark.parametrize(
    "augment",
    [
        None,
        True,
        "strong",
        v2.Compose([v2.RandomHorizontalFlip()]),
        v2.RandomVerticalFlip(0.5),
        lambda image, mask: (image, mask),
    ],
)
def test_valid_augmentations_are_accepted(augment):
    data = MaskFolderData("images", "masks", num_classes=2, augment=augment)
    assert data.augment in ("none", "flip", "strong", augment)


def test_a_true_or_false_argument_does_not_accept_a_strength():
    with pytest.raises(TypeError, match="`augment` must be True or False, got 'strong'"):
        BrainTissueData(augment="strong")


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_values_beyond_0_and_1_change_like_those_within(channels):
    """Such as elevations, which a file of floating point values holds."""
    ramp = torch.linspace(0.2, 0.6, 32 * 32).reshape(1, 32, 32).expand(channels, -1, -1)
    for seed in range(5):
        moved = []
        for image in (ramp, ramp * 1000, ramp * -1000):
            torch.manual_seed(seed)
            moved.append(augmented_image(image, make_augmentation("strong", None)))
        assert not torch.equal(moved[0], ramp)
        torch.testing.assert_close(moved[1], moved[0] * 1000, rtol=1e-3, atol=0.1)
        torch.testing.assert_close(moved[2], -moved[1])
