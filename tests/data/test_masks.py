"""Masks are read as class indices from every common format, or their fault is named."""

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from lightning_hparams.data import MaskReader
from tests.data.files import save, save_palette


def test_a_palette_image_is_read_by_its_indices(tmp_path):
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    palette = Image.new("P", (2, 2))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata(indices.flatten().tolist())
    palette.save(tmp_path / "mask.png")
    assert MaskReader(3)(tmp_path / "mask.png").tolist() == indices.tolist()


def test_colours_become_classes(tmp_path):
    colors = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
    classes = np.array([[0, 1, 2], [2, 2, 1]])
    path = save(tmp_path / "mask.png", np.array(colors, np.uint8)[classes])
    assert MaskReader(3, palette=colors)(path).tolist() == classes.tolist()


def test_the_last_colour_of_a_palette_may_mark_ignored_pixels(tmp_path):
    colors = [[0, 0, 0], [255, 0, 0], [224, 224, 192]]
    path = save(tmp_path / "mask.png", np.array(colors, np.uint8)[None])
    assert MaskReader(2, palette=colors, ignore_index=255)(path).tolist() == [[0, 1, 255]]
    assert MaskReader(2, palette=colors, ignore_index=-1)(path).tolist() == [[0, 1, -1]]


def test_grey_values_in_three_channels_are_read_as_values(tmp_path):
    values = np.array([[0, 1], [2, 1]], np.uint8)
    path = save(tmp_path / "mask.png", np.dstack([values] * 3))
    assert MaskReader(3)(path).tolist() == values.tolist()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "I", "F"])
def test_masks_of_every_mode_are_read_by_value(tmp_path, mode):
    values = np.array([[0, 1], [1, 1]], np.uint8)
    if mode == "1":
        image = Image.fromarray(values * 255).convert("1")
    elif mode == "P":
        image = Image.fromarray(values)
        image.putpalette([7, 7, 7, 3, 2, 1])
    elif mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16))
    else:
        image = Image.fromarray(values).convert(mode)
    image.save(tmp_path / "mask.tif")
    with Image.open(tmp_path / "mask.tif") as image:
        assert image.mode == mode
    mask = MaskReader(2)(tmp_path / "mask.tif")
    assert mask.dtype == torch.uint8
    assert mask.tolist() == values.tolist()


@settings(deadline=None, max_examples=30)
@given(
    mapping=st.dictionaries(st.integers(0, 65535), st.integers(0, 4), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_values_are_mapped_one_by_one(tmp_path_factory, mapping, seed):
    rng = np.random.default_rng(seed)
    values = rng.choice(list(mapping), (5, 6)).astype(np.uint16)
    path = save(tmp_path_factory.mktemp("masks") / "mask.png", values)
    expected = np.vectorize(mapping.get)(values)
    read = MaskReader(5, class_values=mapping)(path)
    assert read.tolist() == expected.tolist()


@pytest.mark.parametrize("high", [1, 255])
def test_the_foreground_of_binary_masks_is_1_or_255(tmp_path, high):
    path = save(tmp_path / "mask.png", np.array([[0, high]], np.uint8))
    assert MaskReader(2, binary=True)(path).tolist() == [[0, 1]]


def test_ignored_pixels_keep_their_value(tmp_path):
    path = save(tmp_path / "mask.png", np.array([[0, 1, 255]], np.uint8))
    assert MaskReader(2, ignore_index=255)(path).tolist() == [[0, 1, 255]]
    assert MaskReader(2, binary=True, ignore_index=255)(path).tolist() == [[0, 1, 255]]


def test_a_mask_without_any_known_value_is_named(tmp_path):
    path = save(tmp_path / "mask.png", np.array([[3]], np.uint8))
    with pytest.raises(ValueError, match=r"value 3 \(100.0% of pixels\).* has only \[1000\]"):
        MaskReader(2, class_values={1000: 1})(path)


def test_a_colour_outside_the_palette_is_named(tmp_path):
    path = save(tmp_path / "mask.png", np.array([[[0, 0, 0], [9, 8, 7]]], np.uint8))
    with pytest.raises(ValueError, match=r"has colour \(9, 8, 7\) \(50.0% of pixels\).* add it"):
        MaskReader(2, palette=[[0, 0, 0], [1, 1, 1]])(path)


def test_a_binary_mask_of_0_1_and_255_is_read_as_its_error_says(tmp_path):
    path = save(tmp_path / "a.png", np.array([[0, 1, 1, 255]], np.uint8))
    with pytest.raises(ValueError, match=r"value 255 \(25.0% of pixels\).* pass ignore_index=255"):
        MaskReader(2, binary=True)(path)
    assert MaskReader(2, binary=True, ignore_index=255)(path).tolist() == [[0, 1, 1, 255]]


@pytest.mark.parametrize(
    "dtype", [np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]
)
def test_masks_of_every_type_in_a_tiff_are_read_by_value(tmp_path, dtype):
    values = np.array([[0, 1, 300]], dtype)
    tifffile.imwrite(tmp_path / "mask.tif", values, photometric="minisblack")
    mask = MaskReader(2, class_values={0: 0, 1: 1, 300: 1})(tmp_path / "mask.tif")
    assert mask.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_non_finite_mask_is_named(tmp_path, value):
    tifffile.imwrite(tmp_path / "mask.tif", np.array([[0, 1, value, 1]], np.float32))
    with pytest.raises(ValueError, match=r"mask.tif contains NaN or infinity \(25.0% of pixels\)"):
        MaskReader(2, ignore_index=255)(tmp_path / "mask.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_mask_in_the_alpha_channel_is_detected(tmp_path, mode):
    alpha = np.array([[0, 255, 255]], np.uint8)
    colors = [np.zeros_like(alpha)] * (3 if mode == "RGBA" else 1)
    path = save(tmp_path / "mask.png", np.dstack([*colors, alpha]))
    for reader in (MaskReader(2), MaskReader(2, palette=[[0, 0, 0], [1, 1, 1]])):
        if mode == "LA" and reader.palette:
            continue
        with pytest.raises(ValueError, match=r"mask.png .*seems to be in the alpha channel"):
            reader(path)


def test_an_alpha_channel_next_to_a_mask_does_not_matter(tmp_path):
    values = np.array([[0, 1, 1]], np.uint8)
    alpha = np.array([[0, 255, 7]], np.uint8)
    path = save(tmp_path / "mask.png", np.dstack([values, values, values, alpha]))
    assert MaskReader(2)(path).tolist() == [[0, 1, 1]]


def smoothed(path, size=(64, 64), **options):
    """A disc with smooth edges."""
    x, y = np.meshgrid(*(np.linspace(-1, 1, side) for side in size))
    return save(path, (255 * np.clip(8 * (0.7 - np.hypot(x, y)), 0, 1)).astype(np.uint8), **options)


@pytest.mark.parametrize("ending", ["png", "webp", "bmp"])
def test_smooth_edges_are_named_as_such(tmp_path, ending):
    options = {"quality": 40} if ending == "webp" else {}
    path = smoothed(tmp_path / f"mask.{ending}", **options)
    message = r"(values for 2 classes: |photograph, )smooth edges or a lossy .*save masks as PNG"
    for reader in (MaskReader(2, binary=True), MaskReader(2, class_values={0: 0, 255: 1})):
        with pytest.raises(ValueError, match=message):
            reader(path)


def test_smooth_colours_are_named_as_such(tmp_path):
    grey = np.asarray(Image.open(smoothed(tmp_path / "grey.png")))
    path = save(tmp_path / "mask.png", np.dstack([grey, grey, 0 * grey]))
    with pytest.raises(ValueError, match=r"has \d+ different colours for 2 classes: smooth"):
        MaskReader(2, palette=[[0, 0, 0], [255, 255, 0]])(path)


def test_a_photograph_is_not_offered_a_palette(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"so many suggest a photograph, smooth edges or a lossy"):
        MaskReader(2)(save(tmp_path / "mask.png", photo))


def test_a_mask_with_several_pages_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "mask.tif", np.zeros((4, 6, 8), np.uint8), photometric="minisblack")
    with pytest.raises(ValueError, match=r"mask.tif has 4 bands or pages, but a mask has one"):
        MaskReader(2)(tmp_path / "mask.tif")


def test_a_class_may_have_several_colours(tmp_path):
    path = save_palette(tmp_path / "mask.png", [[0, 1, 2]], [(0, 0, 0), (9, 0, 0), (8, 0, 0)])
    palette = {(0, 0, 0): 0, (9, 0, 0): 1, (8, 0, 0): 1}
    assert MaskReader(2, palette=palette)(path).tolist() == [[0, 1, 1]]
