import io
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_hparams.render import (
    ERROR_COLORS,
    calibration_picture,
    classification,
    classification_picture,
    confusion,
    confusion_picture,
    detection_picture,
    encode,
    error_map,
    overlay,
    palette,
    panel_size,
    segmentation,
    segmentation_pictures,
    sheet,
    sheets,
    text,
    to_rgb,
)
from lightning_hparams.resize import resized

RED, BLUE, AMBER = (np.array(ERROR_COLORS[n]) for n in ("false positive", "missed", "wrong class"))


def nearest(pixel, colors):
    return min(colors, key=lambda name: np.abs(np.array(colors[name]) - pixel.astype(int)).sum())


# -- to_rgb


def test_uint8_images_are_shown_unchanged():
    image = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    np.testing.assert_array_equal(to_rgb(image), image.permute(0, 2, 3, 1).numpy())


def test_float_images_in_0_to_1_are_scaled():
    image = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert to_rgb(image)[0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32])
def test_images_in_another_range_are_stretched(dtype):
    image = (torch.rand(2, 1, 64, 64) * 40000 - 500).to(dtype)
    picture = to_rgb(image)
    assert picture.dtype == np.uint8
    assert picture.min() == 0
    assert picture.max() == 255
    assert 100 < picture.mean() < 155


@pytest.mark.parametrize(("height", "width"), [(48, 48), (200, 150), (600, 800), (1080, 1920)])
def test_white_stays_white_at_any_size(height, width):
    image = torch.full((1, 3, height, width), 0.4)
    image[..., : height // 3, :] = 1
    size = panel_size(height, width)
    for picture in (to_rgb(image, size=size), to_rgb(resized(image, size))):
        assert set(picture[0, :5].flat) == {255}
        assert set(picture[0, -5:].flat) == {102}


def test_overshoot_of_cubic_interpolation_is_clipped_without_stretching():
    image = torch.full((1, 3, 4, 4), 0.5)
    image[..., 0, 0], image[..., 1, 1] = 1.05, -0.05
    picture = to_rgb(image)[0, ..., 0]
    assert [picture[0, 0], picture[1, 1], picture[2, 2]] == [255, 0, 128]


def test_chosen_channels_of_a_multispectral_image_are_shown():
    image = torch.zeros(1, 6, 2, 2)
    image[:, 4] = 1
    assert to_rgb(image, rgb=(4, 1, 0))[0, 0, 0].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match="`rgb` has channel 6, but images have 6"):
        to_rgb(image, rgb=(6, 1, 0))


def test_sixteen_bit_images_are_stretched_and_nan_is_black():
    image = torch.linspace(1000, 5000, 64 * 64).view(1, 1, 64, 64)
    assert (to_rgb(image.to(torch.uint16)) == to_rgb(image.to(torch.int32))).all()
    image[..., :8] = torch.nan
    picture = to_rgb(image)
    assert (picture[0, :, :8] == 0).all()
    assert picture[0, :, 8:].max() == 255


# -- colours


def test_a_class_keeps_its_colour_whatever_the_number_of_classes():
    assert (palette(100)[:3] == palette(3)).all()


def test_colours_are_distinct():
    assert len(np.unique(palette(150), axis=0)) == 150


@pytest.mark.parametrize("ground", [0, 64, 128, 192, 255])
def test_class_colours_are_distinct_when_blended_over_a_photo(ground):
    below = np.full((1, 1, 20, 3), ground, np.uint8)
    painted = overlay(
        below.repeat(3, 2), np.arange(20, dtype=np.uint8)[None, None].repeat(3, 2), palette(20)
    )
    lab = in_cielab(painted[0, 0, 1::3])  # the interior; borders are opaque
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert distances[np.triu_indices(20, 1)].min() > 10  # 2.3 is just noticeable


def in_cielab(colors):
    """sRGB to CIELAB under D65 (CIE 15:2004)."""
    linear = colors / 255
    linear = np.where(linear > 0.04045, ((linear + 0.055) / 1.055) ** 2.4, linear / 12.92)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(matrix).T / [0.9505, 1, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


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


def test_overlay_equals_a_loop_over_pixels():
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


def test_kinds_of_error_have_their_own_colours():
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
def test_a_picture_has_four_panels_of_visible_size(height, width, channels):
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


def keys_of(monkeypatch, kind, names, background):
    """The kinds of error named in the key of a picture."""
    keys = []
    framed = text.framed
    monkeypatch.setattr(segmentation, "framed", lambda *args: keys.append(args[3]) or framed(*args))
    shape = (1, len(names), 64, 64) if kind == "multilabel" else (1, 64, 64)
    masks = torch.zeros(shape, dtype=torch.uint8)
    segmentation_pictures(torch.rand(1, 3, 64, 64), masks, masks, names, background=background)
    return [entry.text for entry in keys[0]]


@pytest.mark.parametrize(
    ("kind", "classes", "background", "expected"),
    [
        ("binary", 2, 0, ["false positive", "missed"]),
        ("multiclass", 3, 0, ["false positive", "missed", "wrong class"]),
        ("multiclass", 3, None, ["wrong class"]),
        ("multilabel", 1, None, ["false positive", "missed"]),
        ("multilabel", 2, None, ["false positive", "missed", "wrong class"]),
    ],
)
def test_the_key_names_the_errors_that_can_occur(monkeypatch, kind, classes, background, expected):
    names = list("abc")[:classes]
    assert keys_of(monkeypatch, kind, names, background) == expected


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


def test_a_sheet_of_many_pictures_is_no_taller_than_a_browser_shows():
    assert sheet([np.zeros((300, 10, 3), np.uint8)] * 200, 1).shape[0] <= 16_384


def panels_of(images, preds, targets, names, **options):
    (picture,) = segmentation_pictures(images, preds, targets, names, **options)
    return [picture[20 : 20 + 256, k * 262 : k * 262 + 256] for k in range(4)]


def test_a_class_is_not_ignored_for_equalling_the_ignored_value_modulo_256():
    images, mask = torch.full((1, 3, 256, 256), 0.5), torch.full((1, 256, 256), 156)
    names = [f"class {label}" for label in range(171)]
    _, truth, _, errors = panels_of(images, mask - 1, mask, names, ignore_index=-100)
    assert nearest(errors[9, 9], ERROR_COLORS) == "wrong class"
    assert (truth[9, 9] != 128).any()
    mask[:, :99] = -100
    _, truth, _, errors = panels_of(images, mask - 1, mask, names, ignore_index=-100)
    assert (truth[50, 9] == 128).all()
    assert nearest(errors[50, 6], ERROR_COLORS) == "ignored"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.uint16, torch.int64])
@pytest.mark.parametrize("ignore_index", [-1, -255, 257, 2**32 + 1])
def test_an_ignored_value_that_does_not_occur_changes_nothing(dtype, ignore_index):
    mask = torch.tensor([[[0, 1, 1], [1, 2, 2], [0, 2, 1]]])
    inputs = torch.ones(1, 3, 3, 3), mask.roll(1, 2).to(dtype), mask.to(dtype), ["a", "b", "c"]
    (expected,) = segmentation_pictures(*inputs)
    (picture,) = segmentation_pictures(*inputs, ignore_index=ignore_index)
    assert np.array_equal(picture, expected)


def test_large_mask_values_are_not_painted():
    values = torch.tensor([[[0, 1], [2**32 + 1, 2**16 + 1]]])
    (picture,) = segmentation_pictures(torch.zeros(1, 3, 2, 2), values, values, ["a", "b"])
    truth = picture[20:276, 262:518]
    assert (truth[128:] == 0).all()
    assert truth[:128].any()


def test_more_than_255_classes_are_an_error():
    with pytest.raises(ValueError, match="masks of at most 255 classes can be drawn, got 300"):
        segmentation_pictures(*torch.zeros(3, 1, 1, 8, 8).long(), ["a"] * 300)


# -- text


@pytest.fixture
def anew():
    """Clears the caches of fonts and words before and after a test."""
    kept = text._set, text._other_fonts, text._word, text._word_width, text._warn_of_letters
    for looked_up in kept:
        looked_up.cache_clear()
    yield
    for looked_up in kept:
        looked_up.cache_clear()


def same(one, other):
    return one.shape == other.shape and (one == other).all()


def test_names_of_other_languages_can_be_read(anew):
    pytest.importorskip("matplotlib")  # bundles a font that has them
    words = ["Straße", "Strasse", "château", "chateau", "żółw", "zolw", "σκύλος", "σκύλοι"]
    tiles = [text.phrase(word) for word in words]
    assert not any(same(a, b) for i, a in enumerate(tiles) for b in tiles[:i])
    assert same(text.phrase("e\u0301"), text.phrase("\u00e9"))


def test_without_other_fonts_names_lose_their_accents(anew, monkeypatch):
    monkeypatch.setattr(text, "_SYSTEM_FONTS", ())
    monkeypatch.setattr(text.importlib.util, "find_spec", lambda name: None)
    assert same(text.phrase("Straße żółw"), text.phrase("Strasse zolw"))


def test_letters_missing_from_all_fonts_cause_one_warning(anew, monkeypatch):
    monkeypatch.setattr(text, "_SYSTEM_FONTS", ())
    with pytest.warns(UserWarning, match="no font on this machine has all letters of the names"):
        assert text.phrase("\U000f0000").shape[1] > 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text.phrase("\U000f0001")


@pytest.mark.parametrize("shape", [(1500, 200), (400, 60)])
def test_titles_and_legends_of_narrow_pictures_do_not_overlap(shape):
    images, mask = torch.full((1, 3, *shape), 0.5), torch.zeros(1, *shape).long()
    mask[:, :99] = 1
    names = ["a", "a name that is so long that nobody could read it in such a picture at all" * 2]
    (picture,) = segmentation_pictures(images, mask, mask, names)
    gaps = [picture[:, 206 * k - 6 : 206 * k] for k in (1, 2, 3)]
    assert all((gap[:20] == 250).all() for gap in gaps)  # between titles
    assert (gaps[2] == 250).all()  # between legend and key


@pytest.mark.parametrize("letter", ["a", "ab ", "W", "ü", "i" * 50 + " "])
def test_names_of_any_length_are_shortened_quickly(letter):
    name = (letter * 100_000)[:100_000]
    start = time.perf_counter()
    short = text.shortened(name, 200)
    assert time.perf_counter() - start < 1  # 5000 letters used to take 9 s
    assert text.text_width(short) <= 200
    assert short.endswith("...")
    assert text.text_width(name[: len(short) - 2] + "...") > 200  # one more letter does not fit


@pytest.mark.parametrize("letters", ["a", "道路", "u\u0308", "a b"])
def test_pictures_with_names_of_any_length_are_drawn_quickly(letters):
    names = [letters * 25_000, letters * 25_000 + "b"]
    masks = torch.tensor([[0, 1]]).repeat(8, 4)[None]
    box = {"boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]]), "labels": torch.tensor([1])}
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this machine may have no font with these letters
        segmentation_pictures(image[None], masks, masks, names)
        detection_picture(image, {**box, "scores": torch.tensor([0.9])}, box, names)
    assert time.perf_counter() - start < 3


def test_a_shortened_name_keeps_as_many_letters_as_fit():
    assert text.shortened("road", 200) == "road"
    assert text.shortened("", 0) == ""
    assert text.shortened("road", 1) == "..."
    width = text.text_width("roa...")
    assert text.shortened("roads", width) == "roa..."


# -- boxes


def boxes(corners, labels, scores=None):
    made = {"boxes": torch.tensor(corners).view(-1, 4).float(), "labels": torch.tensor(labels)}
    return made if scores is None else {**made, "scores": torch.tensor(scores)}


def detected(pred, target, size=256, **options):
    image = torch.full((3, size, size), 100, dtype=torch.uint8)
    picture = detection_picture(image, pred, target, ["nothing", "a", "b"], **options)
    return picture, picture[20:276, :256], picture[20:276, 262:518]


def shares(panel, box, color):
    """Fraction of the left edge of a box, below its label, that has a colour."""
    edge = panel[box[1] + 20 : box[3], box[0]].astype(int)
    return float((np.abs(edge - np.array(color)).sum(-1) == 0).mean())


def test_a_matched_box_is_solid_in_its_class_colour_in_both_panels():
    box = [40, 60, 200, 180]
    _, truth, guess = detected(boxes([box], [1], [0.9]), boxes([box], [1]))
    for panel in (truth, guess):
        assert shares(panel, box, palette(3)[1]) == 1


def test_false_positives_and_misses_are_dashed_in_their_own_colours():
    false, missed = [20, 40, 110, 120], [130, 140, 230, 240]
    _, truth, guess = detected(boxes([false], [1], [0.9]), boxes([missed], [1]))
    assert 0.4 < shares(guess, false, RED) < 0.8
    assert 0.4 < shares(guess, missed, BLUE) < 0.8
    assert 0.4 < shares(truth, missed, BLUE) < 0.8
    assert shares(truth, false, (100, 100, 100)) == 1


def test_boxes_are_scaled_with_the_image():
    box = [10, 20, 50, 60]
    _, truth, _ = detected(boxes([], [], []), boxes([box], [2]), size=64)
    assert shares(truth, [4 * side for side in box], BLUE) > 0.4


def test_boxes_with_a_low_score_are_left_out():
    _, _, guess = detected(boxes([[20, 40, 110, 120]], [1], [0.2]), boxes([], []))
    assert (guess == 100).all()
    _, _, guess = detected(boxes([[20, 40, 110, 120]], [1], [0.2]), boxes([], []), min_score=0.1)
    assert (guess != 100).any()


@pytest.mark.parametrize("box", [[-50, -50, 400, 400], [0, 0, 256, 256], [255, 255, 256, 256]])
def test_boxes_are_clipped_to_the_image(box):
    picture, truth, _ = detected(boxes([box], [1], [0.9]), boxes([box], [1]))
    assert picture.dtype == np.uint8
    assert (truth != 100).any()


def test_without_boxes_the_image_is_unchanged():
    _, truth, guess = detected(boxes([], [], []), boxes([], []))
    assert (truth == 100).all()
    assert (guess == 100).all()


def test_many_misses_do_not_crowd_out_predictions():
    lost = [[x, y, x + 8, y + 8] for x in range(0, 100, 12) for y in range(0, 100, 12)]
    found = [150, 150, 220, 240]
    _, _, guess = detected(boxes([found], [1], [0.9]), boxes([*lost, found], [1] * 82))
    assert shares(guess, found, palette(3)[1]) == 1


def test_labels_of_many_boxes_do_not_hide_small_boxes():
    small = [[x, 200, x + 8, 208] for x in range(0, 240, 20)]
    _, truth, _ = detected(boxes([], [], []), boxes([*small, [20, 40, 110, 120]], [1] * 13))
    assert (truth[180:198] == 100).all()
    assert (truth[24:38, 22:30] != 100).any()
    _, few, _ = detected(boxes([], [], []), boxes(small[:3], [1] * 3))
    assert (few[184:198] != 100).any()


def test_labels_of_many_boxes_do_not_cover_each_other():
    """The more confident box keeps its label whole."""
    corners = [[20, 60 + 6 * n, 200, 240] for n in range(12)]
    scores = [0.9 - 0.05 * n for n in range(12)]
    *_, many = detected(boxes(corners, [1] * 12, scores), boxes([], []))
    *_, one = detected(boxes(corners[:1], [1], scores[:1]), boxes([], []))
    label = slice(45, 60), slice(20, 80)
    assert (many[label] == one[label]).all()
    assert (many[62, 30:50] == 100).all()  # nothing of the next two boxes' labels below it
    assert (many[64, 30:50] == RED).all()  # that of the fourth


def test_drawing_does_not_modify_its_inputs():
    pred = boxes([[1, 2, 30, 40], [5, 5, 60, 60]], [1, 2], [0.4, 0.8])
    before = {key: value.clone() for key, value in pred.items()}
    detected(pred, boxes([[1, 2, 30, 40]], [1]))
    assert all(torch.equal(before[key], pred[key]) for key in pred)


# -- classes


def classified(pred, target, **options):
    image = torch.full((3, 256, 256), 100, dtype=torch.uint8)
    names = ["cat", "dog", "a bird with quite a long name"]
    return classification_picture(image, torch.tensor(pred), torch.tensor(target), names, **options)


GREEN, VERMILION = (0, 158, 115), (213, 94, 0)


def test_the_frame_is_solid_green_if_right_and_dashed_red_if_wrong():
    right, wrong = classified(1, 1), classified(0, 1)
    assert (right[2, :268] == GREEN).all()
    is_red = (wrong[2, :268] == VERMILION).all(-1)
    assert 0.4 < is_red.mean() < 0.8
    for picture in (right, wrong):
        assert (picture[6:262, 6:262] == 100).all()


def test_an_improbable_true_class_is_shown():
    probs = torch.tensor([0.7, 0.28, 0.02])
    one = classified(0, 2, probs=probs, top_k=1)
    assert one.shape[0] == classified(0, 0, probs=probs, top_k=2).shape[0]


def test_bar_lengths_are_proportional_to_probabilities():
    picture = classified(0, 0, probs=torch.tensor([0.5, 0.25, 0.25]))
    row = picture[270 + 20 + 3, 4:]  # above the letters of the first bar
    paper = (row == 250).all(-1)
    assert paper.argmax() == pytest.approx(0.5 * 264, abs=4)


def test_a_multilabel_prediction_is_right_only_if_all_labels_are():
    assert (classified([1, 0, 1], [1, 0, 1])[2, :268] == GREEN).all()
    assert (classified([1, 0, 1], [1, 1, 1])[2, :268] == VERMILION).all(-1).any()
    assert (classified([0, 0, 0], [0, 0, 0])[2, :268] == GREEN).all()


def test_wrong_labels_are_named_and_have_bars(monkeypatch):
    words = []
    written = classification.write
    monkeypatch.setattr(
        classification, "write", lambda canvas, t, *at: words.append(t) or written(canvas, t, *at)
    )
    probs = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.1, 0.05])
    names = [f"label {label}" for label in range(6)]
    image = torch.rand(3, 256, 256)
    true = torch.tensor([1, 1, 1, 0, 1, 1])
    classification_picture(image, (probs > 0.5).int(), true, names, probs=probs)
    assert "predicted: label 0, label 1, label 2, label 3" in words
    assert [word for word in words if word in names] == [names[i] for i in (0, 1, 2, 3, 4, 5)]


def test_a_caption_adds_a_line_to_a_classification_picture():
    assert classified(0, 0, caption="sample 3").shape[0] == classified(0, 0).shape[0] + 20


# -- confusion matrices


def test_the_colour_of_a_cell_is_its_share_of_the_row():
    counts = torch.tensor([[30, 10], [0, 8]])
    picture = confusion_picture(counts, ["a", "b"])
    cells = picture[-8 - 2 * 44 : -8, -70 - 2 * 44 : -70]
    corners = {
        (row, column): int(cells[44 * row + 2, 44 * column + 2].sum())
        for row in (0, 1)
        for column in (0, 1)
    }
    assert corners[1, 1] < corners[0, 0] < corners[0, 1] < corners[1, 0] == 765


def test_a_class_that_does_not_occur_has_an_empty_row():
    picture = confusion_picture(torch.tensor([[3, 1], [0, 0]]), ["a", "b"])
    row = picture[-8 - 44 : -8, -70 - 2 * 44 : -70]
    assert (row == 235).all()


def shade(picture, row, column):
    cells = picture[-8 - 2 * 44 : -8, -70 - 2 * 44 : -70]
    return cells[44 * row + 2, 44 * column + 2].tolist()


def test_normalised_counts_are_drawn_without_totals():
    counts = torch.tensor([[30, 10], [20, 40]])
    whole, parts = (confusion_picture(c, ["a", "b"]) for c in (counts, counts / 100))
    for row, column in np.ndindex(2, 2):
        assert shade(whole, row, column) == shade(parts, row, column)
    assert (whole[:, -60:] != 250).any()
    assert (parts[:, -60:] == 250).all()  # no totals, since they would be rounded


def test_only_every_nth_of_many_classes_is_labelled():
    picture = confusion_picture(torch.eye(100), ["class"] * 100)
    names = picture[-8 - 800 : -8, 20:60].min(axis=(1, 2)) < 200
    assert 40 <= (np.diff(names.astype(int)) == 1).sum() <= 60


@pytest.mark.parametrize("classes", [1, 2, 10, 21, 100, 256, 1000])
def test_matrices_of_any_size_fit_a_screen(classes):
    counts = torch.randint(0, 10**6, (classes, classes))
    names = [f"class number {label}" for label in range(classes)]
    picture = confusion_picture(counts, names, title="val")
    assert 60 < picture.shape[0] <= 1024
    assert 60 < picture.shape[1] <= 1024


def test_the_number_of_names_must_match_the_matrix():
    with pytest.raises(
        ValueError, match=r"counts must be \(3, 3\) for 3 class names, got \(2, 2\)"
    ):
        confusion_picture(torch.zeros(2, 2), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0"), (950, "950"), (9_999, "9999"), (12_000, "12k"), (99_950, "100k"),
        (999_400, "999k"), (999_999, "1M"), (1_000_000, "1M"), (3_400_000, "3.4M"),
        (12_345_678, "12.3M"), (7.5e8, "750M"), (9.999e8, "1G"), (2e9, "2G"), (5e12, "5000G"),
    ],
)  # fmt: skip
def test_large_counts_have_at_most_five_characters(count, expected):
    assert confusion._short(count) == expected
    assert len(expected) <= 5


def test_row_totals_are_next_to_their_rows(monkeypatch):
    words = []
    written = confusion.write
    monkeypatch.setattr(
        confusion, "write", lambda canvas, t, *at: words.append(t) or written(canvas, t, *at)
    )
    confusion_picture(torch.tensor([[3_400_000, 0], [100, 850]]), ["a", "b"])
    assert [word for word in words if word[:1].isdigit()] == ["3.4M", "950"]


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


def test_a_label_map_becomes_a_lossless_png():
    picture = palette(8)[np.random.default_rng(0).integers(0, 8, (64, 64))]
    encoded = encode(picture)
    assert encoded.suffix == ".png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encoded.data))), picture)


def test_bars_of_a_calibration_diagram_show_the_accuracy():
    counts = torch.zeros(3, 10, dtype=torch.float64)
    counts[:, 9] = torch.tensor([50.0, 100.0, 95.0])  # correct, total, sum of confidences
    picture = calibration_picture(counts, 0.45)
    blue = (picture == (0, 114, 178)).all(-1)
    orange = (picture == (213, 94, 0)).all(-1)
    column = np.flatnonzero(blue.any(0))[3]
    # Half of the diagram's 320 pixels, less the line of perfect calibration; above it, 45 %.
    assert blue[:, column].sum() == pytest.approx(160, abs=4)
    assert orange[:, column].sum() == pytest.approx(144, abs=4)
    empty = calibration_picture(torch.zeros(3, 10), float("nan"))
    assert empty.shape == picture.shape


def test_a_picture_too_long_for_jpeg_becomes_a_png():
    long = np.random.default_rng(0).integers(0, 256, (1, 70_000, 3), dtype=np.uint8)
    assert encode(long).suffix == ".png"
    assert encode(long[:, :60_000]).suffix == ".jpg"


def test_too_many_pictures_for_one_sheet_go_onto_several():
    pictures = [np.full((430, 520, 3), n, np.uint8) for n in range(16)]
    first, second = sheets(pictures, 2)
    assert first.shape == second.shape == (4 * 436 - 6, 2 * 526 - 6, 3)
    assert [first[0, 0, 0], second[0, 0, 0], second[-1, -1, 0]] == [0, 8, 15]
    assert len(sheets(pictures[:1], 2)) == 1
    assert len(sheets([np.zeros((5000, 5000, 3), np.uint8)] * 3, 2)) == 2


def test_a_sheet_of_boxes_is_small_enough_to_load_at_once():
    torch.manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12), (256, 256), mode="bicubic")[0]
    image = (image + 0.03 * torch.randn(3, 256, 256)).clamp(0, 1)
    start = torch.rand(20, 2) * 180
    corners = torch.cat([start, start + 20 + torch.rand(20, 2) * 50], 1)
    found = boxes(corners.tolist(), [1] * 20, [0.5] * 20)
    drawn = [detection_picture(image, found, found, ["a", "b"]) for _ in range(16)]
    assert all(len(encode(one).data) < 450_000 for one in sheets(drawn, 2))
