import io

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_hparams.render import (
    ERROR_COLORS,
    encode,
    error_map,
    overlay,
    palette,
    segmentation_pictures,
    sheet,
    to_rgb,
)

RED, BLUE, AMBER = (np.array(ERROR_COLORS[n]) for n in ("false positive", "missed", "wrong class"))


def nearest(pixel, colors):
    return min(colors, key=lambda name: np.abs(np.array(colors[name]) - pixel.astype(int)).sum())


# -- to_rgb


def test_uint8_images_are_shown_as_they_are():
    image = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    np.testing.assert_array_equal(to_rgb(image), image.permute(0, 2, 3, 1).numpy())


def test_float_images_in_0_to_1_are_scaled():
    image = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert to_rgb(image)[0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32])
def test_images_of_another_range_are_stretched(dtype):
    image = (torch.rand(2, 1, 64, 64) * 40000 - 500).to(dtype)
    picture = to_rgb(image)
    assert picture.dtype == np.uint8
    assert picture.min() == 0
    assert picture.max() == 255
    assert 100 < picture.mean() < 155


def test_chosen_channels_of_a_multispectral_image_are_shown():
    image = torch.zeros(1, 6, 2, 2)
    image[:, 4] = 1
    assert to_rgb(image, rgb=(4, 1, 0))[0, 0, 0].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match="`rgb` names channel 6, but images have 6"):
        to_rgb(image, rgb=(6, 1, 0))


# -- colours


def test_a_class_keeps_its_colour_whatever_the_number_of_classes():
    assert (palette(100)[:3] == palette(3)).all()


def test_colours_are_all_different():
    assert len(np.unique(palette(150), axis=0)) == 150


def test_the_first_colours_differ_under_every_common_colour_blindness():
    # Machado, Oliveira & Fernandes (2009), severity 1.0, on linear RGB.
    simulate = {
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }
    for colors in (palette(8), np.array(list(ERROR_COLORS.values())[:3])):
        linear = (colors / 255) ** 2.2
        for matrix in simulate.values():
            seen = (linear @ np.array(matrix).T).clip(0, 1) ** (1 / 2.2) * 255
            distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
            assert distances[np.triu_indices(len(colors), 1)].min() > 25


# -- overlay and errors


def test_overlay_blends_the_class_colour_and_leaves_hidden_classes_alone():
    picture = np.full((1, 8, 8, 3), 100, np.uint8)
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[0, :, 4:] = 1
    drawn = overlay(picture, mask, palette(2), hidden=[0])
    assert (drawn[0, :, :4] == 100).all()
    blended = 100 + (palette(2)[1].astype(int) - 100) * 115 / 256
    assert np.abs(drawn[0, 4, 6] - blended).max() <= 1
    assert (drawn[0, :, 4] == palette(2)[1]).all()  # the border is opaque


def test_overlay_equals_a_plain_loop_over_pixels():
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)
    masks = generator.integers(0, 4, (2, 9, 7), dtype=np.uint8)
    drawn = overlay(pictures, masks, palette(3), hidden=[1])
    for n, row, column in np.ndindex(masks.shape):
        kind = masks[n, row, column]
        around = [
            masks[n, y, x]
            for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
            if 0 <= y < 9 and 0 <= x < 7
        ]
        below = pictures[n, row, column].astype(int)
        if kind in (1, 3):
            expected = below
        elif any(other != kind for other in around):
            expected = palette(3)[kind]
        else:
            expected = (below * 141 + palette(3)[kind].astype(int) * 115) // 256
        np.testing.assert_array_equal(drawn[n, row, column], expected)


def test_errors_are_told_apart():
    picture = np.full((1, 1, 6, 3), 128, np.uint8)
    target = np.array([[[0, 0, 1, 1, 1, 255]]], np.uint8)
    preds = np.array([[[0, 1, 0, 2, 1, 2]]], np.uint8)
    drawn = error_map(picture, preds, target, background=0, ignore_index=255)[0, 0]
    kinds = {"right": (96, 96, 96), **ERROR_COLORS}
    assert [nearest(pixel, kinds) for pixel in drawn[:5]] == [
        "right",
        "false positive",
        "missed",
        "wrong class",
        "right",
    ]


def test_ignored_pixels_are_hatched():
    shape = (1, 16, 16)
    target = np.full(shape, 255, np.uint8)
    drawn = error_map(
        np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8), target, ignore_index=255
    )
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 2


def test_without_a_background_every_error_is_a_wrong_class():
    picture = np.zeros((1, 1, 2, 3), np.uint8)
    drawn = error_map(
        picture, np.array([[[0, 1]]], np.uint8), np.array([[[1, 1]]], np.uint8), background=None
    )
    assert nearest(drawn[0, 0, 0], ERROR_COLORS) == "wrong class"


# -- whole pictures


@pytest.mark.parametrize(("height", "width"), [(128, 128), (300, 200), (2000, 1000), (1, 1)])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_picture_has_four_panels_of_a_size_one_can_see(height, width, channels):
    images = torch.rand(2, channels, height, width)
    masks = torch.randint(0, 3, (2, height, width))
    pictures = segmentation_pictures(images, masks, masks, ["background", "a", "b"], background=0)
    assert len(pictures) == 2
    longest = max(pictures[0].shape[0], (pictures[0].shape[1] - 18) // 4)
    assert 256 <= longest <= 600


def test_the_panels_of_a_perfect_prediction_are_equal_and_show_no_error():
    images = torch.full((1, 3, 256, 256), 200, dtype=torch.uint8)
    masks = torch.zeros(1, 256, 256, dtype=torch.uint8)
    masks[:, 64:128] = 1
    (picture,) = segmentation_pictures(images, masks, masks, ["background", "a"], background=0)
    panels = [picture[20 : 20 + 256, k * 262 : k * 262 + 256] for k in range(4)]
    assert (panels[0] == 200).all()
    assert (panels[1] == panels[2]).all()
    assert (panels[1] != panels[0]).any()
    assert (panels[3] == panels[3][0, 0]).all()


def test_multilabel_masks_are_drawn():
    images = torch.rand(1, 3, 256, 256)
    target = torch.zeros(1, 2, 256, 256, dtype=torch.uint8)
    target[:, 0, :128], target[:, 1, 64:192] = 1, 1
    preds = target.clone()
    preds[:, 0, 200:] = 1
    (picture,) = segmentation_pictures(images, preds, target, ["a", "b"])
    errors = picture[20 : 20 + 256, 3 * 262 :]
    assert nearest(errors[230, 100], ERROR_COLORS) == "false positive"


def test_a_caption_adds_a_line():
    images, masks = torch.rand(1, 1, 64, 64), torch.zeros(1, 64, 64, dtype=torch.uint8)
    (plain,) = segmentation_pictures(images, masks, masks, ["a"])
    (captioned,) = segmentation_pictures(images, masks, masks, ["a"], captions=["sample 3"])
    assert captioned.shape[0] > plain.shape[0]


def test_many_classes_wrap_into_lines_of_the_legend():
    images = torch.rand(1, 3, 64, 64)
    masks = torch.arange(64 * 64).view(1, 64, 64) % 40
    names = [f"a class with a long name {i}" for i in range(40)]
    (picture,) = segmentation_pictures(images, masks, masks, names)
    assert picture.shape[0] > 20 + 256 + 20 * 10


def test_a_sheet_keeps_the_pixels_of_its_pictures():
    wide, narrow = np.zeros((2, 5, 3), np.uint8), np.zeros((3, 4, 3), np.uint8)
    below = sheet([wide, narrow], 1)
    assert below.shape == (2 * 9 - 6, 5, 3)  # cells of 3 and a margin of 6
    assert (below[:2] == 0).all()
    assert (below[2:9] == 250).all()
    assert (below[9:, :4] == 0).all()
    beside = sheet([wide, narrow], 8)
    assert beside.shape == (3, 2 * 11 - 6, 3)
    assert (beside[:, 11:15] == 0).all()


# -- files


def test_a_photograph_becomes_a_small_jpeg():
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (256, 256), mode="bilinear")
    picture = to_rgb(smooth)[0]
    encoded = encode(picture)
    decoded = np.asarray(Image.open(io.BytesIO(encoded.data)))
    assert encoded.suffix == ".jpg"
    assert (encoded.height, encoded.width) == decoded.shape[:2]
    assert np.abs(decoded.astype(int) - picture).mean() < 3
    assert len(encoded.data) < 30_000


def test_a_label_map_becomes_a_png_without_loss():
    picture = palette(8)[np.random.default_rng(0).integers(0, 8, (64, 64))]
    encoded = encode(picture)
    assert encoded.suffix == ".png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encoded.data))), picture)
