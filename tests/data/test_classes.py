"""Classes, values and colours are accepted in every unambiguous form."""

import json

import numpy as np
import pytest
import torch

from lightning_hparams import MaskFolderData
from lightning_hparams.data.guess import guess_classes, voc_palette
from tests.data.files import save

NAMES = ["ground", "road", "car"]
COLORS = [[0, 0, 0], [200, 10, 0], [0, 0, 255]]


def make(**options):
    return MaskFolderData("images", "masks", class_names=NAMES, **options)


@pytest.mark.parametrize(
    "palette",
    [
        COLORS,
        np.array(COLORS, np.uint8),
        torch.tensor(COLORS, dtype=torch.uint8),
        [tuple(np.uint8(part) for part in color) for color in COLORS],
        {tuple(color): index for index, color in enumerate(COLORS)},
        {tuple(color): NAMES[index] for index, color in enumerate(COLORS)},
        dict(enumerate(COLORS)),
        dict(zip(NAMES, COLORS, strict=True)),
        {", ".join(map(str, color)): index for index, color in enumerate(COLORS)},
        {"#000000": 0, "#c80a00": 1, "#0000FF": 2},
        {tuple(color): 2 - index for index, color in enumerate(COLORS[::-1])},
    ],
)
def test_a_palette_is_accepted_in_every_form(tmp_path, palette):
    path = save(tmp_path / "mask.png", np.array([COLORS], np.uint8))
    data = make(palette=palette)
    assert data.reader(path).tolist() == [[0, 1, 2]]
    again = MaskFolderData(**json.loads(json.dumps(dict(data.hparams))))
    assert again.reader == data.reader


def test_a_palette_with_several_colours_per_class_survives_a_checkpoint():
    palette = {(0, 0, 0): 0, (9, 9, 9): 255, (1, 0, 0): 1, (2, 0, 0): 1, (3, 0, 0): "car"}
    data = make(palette=palette, ignore_index=255)
    again = MaskFolderData(**json.loads(json.dumps(dict(data.hparams))))
    assert again.reader == data.reader


@pytest.mark.parametrize(
    "values",
    [
        {0: 0, 128: 1, 255: 2},
        {"0": 0, "128": 1, "255": 2},
        {np.uint8(0): np.int64(0), np.uint8(128): 1, np.uint8(255): 2},
        {0: "ground", 128: "road", 255: "car"},
        {"ground": 0, "road": 128, "car": 255},
        [0, 128, 255],
        np.array([0, 128, 255], np.uint8),
    ],
)
def test_class_values_are_accepted_in_every_form(tmp_path, values):
    path = save(tmp_path / "mask.png", np.array([[0, 128, 255]], np.uint8))
    assert make(class_values=values).reader(path).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"palette": {(0, 0, 0): 0, (1, 0, 0): 1}}, ValueError, r"no colour for .*\['car'\]"),
        ({"palette": {(0, 0, 0): "bike"}}, ValueError, "must name classes by index or by one of"),
        ({"palette": {(0, 0, 0): 7}}, ValueError, r"\[0, 0, 0\] for 7, but the classes are 0..2"),
        ({"palette": 3}, TypeError, "`palette` must be a list or a dict, got 3"),
        ({"palette": [0.5, 1, 2]}, ValueError, "needs .red, green, blue. of 0..255, got 0.5"),
        (
            {"palette": {"ground": [0, 0, 0], "car": [0, 0, 0]}},
            ValueError,
            "must not repeat a colour",
        ),
        ({"class_values": {0: 0, 128.5: 1}}, TypeError, "`class_values` must be a whole number"),
        ({"class_values": {0: 5}}, ValueError, "maps 0 to 5, but the classes are 0..2"),
        ({"class_values": [0, 1]}, ValueError, "a different value for each of the 3 classes"),
        ({"class_values": {0, 1, 2}}, TypeError, "must be a list or a dict"),
        ({"class_values": {}}, ValueError, "must not be empty"),
    ],
)
def test_invalid_classes_are_refused_with_a_clear_message(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


def test_a_dict_of_class_names_is_refused():
    with pytest.raises(TypeError, match="`class_names` must be a list of names"):
        MaskFolderData("images", "masks", class_names={0: "ground", 1: "road"})


@pytest.mark.parametrize(
    ("values", "given", "expected"),
    [
        ({0, 1}, {}, {"num_classes": 2}),
        ({0, 255}, {"task": "binary"}, {}),
        ({0, 255}, {"class_names": ["ground", "road"]}, {"task": "binary"}),
        ({0, 255}, {"task": "multiclass"}, {"class_values": {0: 0, 255: 1}, "num_classes": 2}),
        ({0, 1, 255}, {"task": "binary"}, {"ignore_index": 255}),
        (set(range(12)), {"ignore_index": 11}, {"num_classes": 11}),
        ({0, 1, 2}, {"class_names": ["a", "b", "c"]}, {}),
        ({0, 5, 20, 255}, {}, {"num_classes": 4, "class_values": {0: 0, 5: 1, 20: 2, 255: 3}}),
    ],
)
def test_arguments_are_inferred_from_mask_values(values, given, expected):
    assert guess_classes(values, given).arguments == expected


def test_values_of_smooth_edges_are_not_taken_for_classes():
    with pytest.raises(ValueError, match="200 different values, too many for classes"):
        guess_classes(set(range(200)), {})


def test_colours_of_pascal_voc_are_recognised(tmp_path):
    colors = np.array([*voc_palette()[:4], [224, 224, 192]], np.uint8)
    for index in range(4):
        save(tmp_path / "images" / f"{index}.png", np.zeros((1, 5, 3), np.uint8))
        save(tmp_path / "masks" / f"{index}.png", colors[None])
    data = MaskFolderData.guessed(tmp_path)
    assert (data.num_classes, data.ignore_index) == (21, 255)
    assert data.reader(tmp_path / "masks" / "0.png").tolist() == [[0, 1, 2, 3, 255]]
    given = MaskFolderData.guessed(tmp_path, palette=colors[:4], num_classes=4, size=None)
    assert given.num_classes == 4


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"palette": COLORS}, 3),
        ({"palette": np.array(COLORS, np.uint8)}, 3),
        ({"palette": COLORS, "ignore_index": 255}, 2),
        ({"palette": COLORS, "ignore_index": 2}, 2),
        ({"palette": COLORS, "ignore_index": 0}, 3),
        ({"palette": COLORS[:2], "ignore_index": 255}, 2),
        ({"palette": {"0, 0, 0": 0, "#c80a00": 1, "0, 0, 255": 1}}, 2),
        ({"palette": {"0, 0, 0": 0, "#c80a00": 1, "0, 0, 255": 9}, "ignore_index": 9}, 2),
        ({"palette": {0: [0, 0, 0], 1: [1, 0, 0], 2: [2, 0, 0]}}, 3),
        ({"class_values": {0: 0, 255: 1}}, 2),
        ({"class_values": {"0": "0", "100": "1", "255": "2"}}, 3),
        ({"class_values": {0: 0, 1: 1, 2: 1, 3: 255}, "ignore_index": 255}, 2),
        ({"class_values": {0: 0, 1: 1, 2: 2}, "ignore_index": 0}, 3),
        ({"class_values": [0, 128, 255]}, 3),
        ({"class_values": [0, 128, 255], "ignore_index": 7}, 3),
    ],
)
def test_the_classes_are_counted_where_colours_or_values_determine_them(given, count):
    data = MaskFolderData("images", "masks", **given)
    assert data.num_classes == count
    assert data.reader == MaskFolderData("images", "masks", num_classes=count, **given).reader


@pytest.mark.parametrize(
    "given",
    [
        {"palette": {"car": "#ff0000", "ground": [0, 0, 0]}},
        {"palette": {"255, 0, 0": "car", "0, 0, 0": "ground", "250, 0, 0": "car"}},
        {"palette": {"#ff0000": "car", "#000000": "ground", "#ffffff": 255}, "ignore_index": 255},
        {"class_values": {"car": 255, "ground": 0}},
        {"class_values": {255: "car", 0: "ground"}},
    ],
)
def test_classes_named_by_colours_or_values_need_no_other_names(given):
    assert MaskFolderData("images", "masks", **given).class_names == ["car", "ground"]


@pytest.mark.parametrize(
    "given",
    [
        {"class_values": {0: 0, 1: 1, 2: 255}},
        {"class_values": {0: 0, 1: 2}},
        {"class_values": {0: "ground", 1: 1}},
        {"palette": {"0, 0, 0": 1, "1, 1, 1": 2}},
    ],
)
def test_classes_with_a_gap_are_not_counted(given):
    with pytest.raises(ValueError, match="give `num_classes`, or `ignore_index` for pixels"):
        MaskFolderData("images", "masks", **given)


def test_a_guess_leaves_the_number_of_classes_to_a_given_palette(tmp_path):
    for name in "abcde":
        save(tmp_path / "images" / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
        save(tmp_path / "masks" / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
    assert MaskFolderData.guessed(tmp_path, palette=COLORS).num_classes == 3
    assert MaskFolderData.guessed(tmp_path, class_values={0: 0, 255: 1}).num_classes == 2


def folder_of_masks(root, count, value, pixels, usual=(0, 255)):
    """Masks of 32 x 32 pixels, half of each usual value; the last has a few pixels of another."""
    for index in range(count):
        mask = np.full((32, 32, *np.shape(usual[0])), usual[0], np.uint8)
        mask[:, 16:] = usual[1]
        if index == count - 1:
            mask.reshape(-1, *np.shape(usual[0]))[:pixels] = value
        save(root / "images" / f"{index}.png", np.full((32, 32, 3), 9 * index, np.uint8))
        save(root / "masks" / f"{index}.png", mask)
    return root


@pytest.mark.parametrize("value", [1, 37, 254])
def test_a_stray_pixel_makes_no_class_of_its_own(tmp_path, value):
    folder = folder_of_masks(tmp_path, 6, value, 2)
    options = rf"class_values={{0: 0, 255: 1, {value}: 2}}"
    if value > 1:  # the index of a class cannot be ignored
        options = rf"ignore_index={value} .* or {options}"
    message = rf"value {value} in 2 of the 1024 pixels of .*5.png \(0.2%\), and in 1 of the 6 masks"
    with pytest.raises(ValueError, match=rf"{message} read, too rare .*: correct .*{options}"):
        MaskFolderData.guessed(folder)
    values = {0: 0, 255: 1, value: 2}
    assert MaskFolderData.guessed(folder, class_values=values).num_classes == 3
    if value > 1:
        ignoring = MaskFolderData.guessed(folder, ignore_index=value)
        assert (ignoring.task, ignoring.ignore_index) == ("binary", value)
        ignoring.setup("fit")


def test_a_stray_pixel_does_not_turn_the_foreground_into_ignored_pixels(tmp_path):
    folder = folder_of_masks(tmp_path, 6, 1, 2)
    with pytest.raises(ValueError, match="ignore_index=255 if 255 marks pixels to ignore"):
        MaskFolderData.guessed(folder, class_names=["ground", "road"])


def test_a_stray_colour_makes_no_class_of_its_own(tmp_path):
    usual = ([0, 0, 0], [10, 20, 30])
    folder = folder_of_masks(tmp_path, 6, [1, 2, 3], 2, usual)
    with pytest.raises(ValueError, match=r"colour \[1, 2, 3\] in 2 .*5.png .*palette="):
        MaskFolderData.guessed(folder)
    palette = [*usual, [1, 2, 3]]
    assert MaskFolderData.guessed(folder, palette=palette, num_classes=3).num_classes == 3


def test_a_rare_class_index_is_pointed_out(tmp_path):
    folder = folder_of_masks(tmp_path, 6, 2, 2, usual=(0, 1))
    with pytest.warns(UserWarning, match=r"value 2, .*5.png .*becomes a class; .*ignore_index=2"):
        data = MaskFolderData.guessed(folder)
    assert data.num_classes == 3
    assert MaskFolderData.guessed(folder, num_classes=3).num_classes == 3


@pytest.mark.parametrize("value", [37, 128])
def test_a_value_of_some_size_is_a_class(tmp_path, value):
    folder = folder_of_masks(tmp_path, 6, value, 32)
    assert MaskFolderData.guessed(folder).num_classes == 3
