"""Images are matched with their masks in common folder layouts."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lightning_hparams import MaskFolderData
from lightning_hparams.data.layout import find_layout
from lightning_hparams.data.pairs import files_by_key, pattern_of
from lightning_hparams.data.source import PairSource
from tests.data.files import save

# The small images of these tests are often the same.
pytestmark = pytest.mark.filterwarnings("ignore:images in train are in another split too")

GREY = np.zeros((4, 4), np.uint8)


def make(root, *names):
    for name in names:
        save(root / name, GREY)
    return root


def found(source):
    """Splits as the names of their pairs, relative to the common folder."""
    return {
        split: sorted(f"{image.name} {mask.name}" for image, mask in pairs.values())
        for split, pairs in source.splits().items()
    }


THREE = {
    "train": ["1.png 1.png", "2.png 2.png"],
    "validation": ["3.png 3.png"],
    "test": ["4.png 4.png"],
}
SPLITS = {"train": "12", "val": "3", "test": "4"}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}/{}.png", "{}annot/{}.png"),
        ("{}/images/{}.png", "{}/masks/{}.png"),
        ("{}/img/{}.png", "{}/label/{}.png"),
        ("images/{}/{}.png", "labels/{}/{}.png"),
        ("{}_images/{}.png", "{}_masks/{}.png"),
        ("data/{}/images/{}.png", "data/{}/gt/{}.png"),
        ("leftImg8bit/{}/ulm/{}.png", "gtFine/{}/ulm/{}.png"),
        ("JPEGImages/{}/{}.png", "SegmentationClass/{}/{}.png"),
    ],
)
def test_folders_of_splits_are_read_as_they_are(tmp_path, image, mask):
    for split, numbers in SPLITS.items():
        make(tmp_path, *(form.format(split, n) for n in numbers for form in (image, mask)))
    assert found(PairSource(tmp_path)) == THREE


@pytest.mark.parametrize("names", [("training", "validation", "testing"), ("Train", "Valid", "Te")])
def test_split_folders_may_have_other_names(tmp_path, names):
    for name, numbers in zip(names, SPLITS.values(), strict=True):
        make(tmp_path, *(f"{name}/{kind}/{n}.png" for n in numbers for kind in ("images", "masks")))
    splits = found(PairSource(tmp_path))
    assert splits["train"] == THREE["train"]
    assert splits["validation"] == THREE["validation"]
    assert ("test" in splits) == (names[2] == "testing")  # "Te" is none


def test_without_a_validation_folder_part_of_training_is_used(tmp_path):
    for number in range(10):
        make(tmp_path, f"train/images/{number}.png", f"train/masks/{number}.png")
    make(tmp_path, "test/images/0.png", "test/masks/0.png")
    splits = PairSource(tmp_path, val_fraction=0.3).splits()
    assert {name: len(pairs) for name, pairs in splits.items()} == {
        "train": 7,
        "validation": 3,
        "test": 1,
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}_sat.jpg", "{}_mask.png"),
        ("{}.jpg", "{}_mask.png"),
        ("image_{}.jpg", "mask_{}.png"),
        ("{}.png", "{}_L.png"),
        ("img-{}.png", "gt-{}.png"),
    ],
)
@pytest.mark.parametrize("folders", [("", ""), ("images/", "masks/")])
def test_names_with_words_for_image_and_mask_are_matched(tmp_path, image, mask, folders):
    for number in range(5):
        make(tmp_path, folders[0] + image.format(number), folders[1] + mask.format(number))
    pairs = [pair for split in PairSource(tmp_path).splits().values() for pair in split.values()]
    assert sorted((one.name, other.name) for one, other in pairs) == [
        (image.format(number), mask.format(number)) for number in range(5)
    ]


def test_patterns_define_the_pairs(tmp_path):
    for city in ("ulm", "aachen"):
        for split in ("train", "val"):
            name = f"{split}/{city}/{city}_0_"
            make(tmp_path / "leftImg8bit", f"{name}leftImg8bit.png")
            make(tmp_path / "gtFine", f"{name}gtFine_labelIds.png", f"{name}gtFine_color.png")
    source = PairSource(
        tmp_path / "leftImg8bit",
        tmp_path / "gtFine",
        image_pattern="**/*_leftImg8bit.png",
        mask_pattern="**/*_gtFine_labelIds.png",
    )
    pairs = ["aachen_0_leftImg8bit.png aachen_0_gtFine_labelIds.png"]
    pairs += ["ulm_0_leftImg8bit.png ulm_0_gtFine_labelIds.png"]
    assert found(source) == {"train": pairs, "validation": pairs}


def test_the_groups_of_a_regular_expression_are_the_key(tmp_path):
    for number in range(5):
        make(tmp_path / "i", f"scan{number}_v2.png")
        make(tmp_path / "m", f"truth.{number}.png")
    options = {"image_pattern": r"scan(\d+)_v\d\.png", "mask_pattern": r"truth\.(\d+)\.png"}
    splits = PairSource(tmp_path / "i", tmp_path / "m", **options).splits()
    assert sorted([*splits["train"], *splits["validation"]]) == list("01234")


@given(name=st.text("ab1_-", min_size=1, max_size=8), folder=st.sampled_from(["", "x/", "x/y/"]))
def test_one_star_matches_within_a_name_and_two_match_folders(name, folder):
    assert bool(pattern_of("p", "*.png").fullmatch(f"{folder}{name}.png")) == (folder == "")
    match = pattern_of("p", "**/*_m.png").fullmatch(f"{folder}{name}_m.png")
    assert "/".join(group for group in match.groups() if group) == f"{folder}{name}"


def test_a_pattern_that_matches_nothing_lists_the_files(tmp_path):
    make(tmp_path, "a.png", "b.png")
    source = PairSource(tmp_path, tmp_path / "m", image_pattern="*.jpg")
    with pytest.raises(ValueError, match=r"`image_pattern`: '\*.jpg' matches none of the 2 images"):
        source.splits()


def test_accents_match_in_every_unicode_form(tmp_path):
    names = [unicodedata.normalize(form, "straße_é.png") for form in ("NFC", "NFD")]
    make(tmp_path / "images", names[0])
    make(tmp_path / "masks", names[1])
    keys = [set(files_by_key(tmp_path / kind, kind)) for kind in ("images", "masks")]
    assert keys[0] == keys[1]


def test_images_in_subfolders_match_masks_in_the_same_subfolders(tmp_path):
    for folder in ("north", "south/low"):
        make(tmp_path, f"i/{folder}/1.jpg", f"m/{folder}/1.png")
    splits = PairSource(tmp_path / "i", tmp_path / "m", val_fraction=0.5).splits()
    assert sorted([*splits["train"], *splits["validation"]]) == ["north/1", "south/low/1"]


def test_a_portable_pixmap_is_an_image(tmp_path):
    make(tmp_path, *(f"i/{n}.ppm" for n in range(3)), *(f"m/{n}.png" for n in range(3)))
    assert sum(map(len, PairSource(tmp_path / "i", tmp_path / "m").splits().values())) == 3


def test_one_folder_for_images_and_masks_is_refused(tmp_path):
    make(tmp_path, "a.png", "b.png", "c.png")
    for masks in (tmp_path, tmp_path / "." / "..", tmp_path.parent / tmp_path.name):
        source = PairSource(tmp_path, masks if masks.resolve() == tmp_path.resolve() else tmp_path)
        with pytest.raises(
            ValueError, match=r"are the same folder, .* its own mask; .*mask_suffix="
        ):
            source.splits()


def test_a_folder_without_recognisable_masks_is_refused(tmp_path):
    make(tmp_path, "images/a.png", "images/b.png")
    with pytest.raises(ValueError, match=r"no images with masks recognised in .* \(images/a"):
        find_layout(tmp_path)


def test_two_files_that_could_be_one_image_are_named(tmp_path):
    make(tmp_path, "images/a.png", "images/a.jpg", "masks/a.png")
    with pytest.raises(ValueError, match=r"a.jpg and .*a.png could both be the image 'a'"):
        find_layout(tmp_path)


def lines(path, *texts):
    path.write_text("\n".join(texts) + "\n")
    return path


@pytest.mark.parametrize("form", ["{}", "{}.jpg", "images/{}.jpg", "/other/disk/images/{}.jpg"])
def test_a_split_file_may_name_files_in_full(tmp_path, form):
    for number in range(4):
        make(tmp_path, f"images/{number}.jpg", f"masks/{number}.png")
    files = {
        "train": lines(tmp_path / "t.txt", *(form.format(n) for n in (0, 1, 2))),
        "validation": lines(tmp_path / "v.txt", form.format(3)),
    }
    source = PairSource(tmp_path / "images", tmp_path / "masks", split_files=files)
    assert found(source)["train"] == ["0.jpg 0.png", "1.jpg 1.png", "2.jpg 2.png"]


@pytest.mark.parametrize("gap", [" ", "\t", ",", "  ", "; "])
@pytest.mark.parametrize("head", ["", "/SegNet/CamVid/"])
def test_a_split_file_may_name_image_and_mask(tmp_path, gap, head):
    for number in range(3):
        make(tmp_path, f"pictures one/{number}.png", f"what they show/{number} x.png")
    rows = [f"{head}pictures one/{n}.png{gap}{head}what they show/{n} x.png" for n in range(3)]
    files = {
        "train": lines(tmp_path / "t.txt", *rows[:2]),
        "validation": lines(tmp_path / "v.txt", rows[2]),
    }
    splits = found(PairSource(tmp_path, split_files=files))
    assert splits == {"train": ["0.png 0 x.png", "1.png 1 x.png"], "validation": ["2.png 2 x.png"]}


def test_lists_in_the_folder_are_followed(tmp_path):
    for number in range(6):
        make(tmp_path, f"JPEGImages/{number}.jpg", f"SegmentationClass/{number}.png")
    make(tmp_path, "JPEGImages/without_mask.jpg", "SegmentationObject/1.png")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    lines(lists / "train.txt", "0", "1")
    lines(lists / "val.txt", "2")
    assert found(PairSource(tmp_path)) == {
        "train": ["0.jpg 0.png", "1.jpg 1.png"],
        "validation": ["2.jpg 2.png"],
    }


def test_a_data_module_accepts_a_single_folder(tmp_path):
    for split, numbers in SPLITS.items():
        make(tmp_path, *(f"{split}{kind}/{n}.png" for n in numbers for kind in ("", "annot")))
    data = MaskFolderData(tmp_path, num_classes=2, ignore_index=1, num_workers=0, check_files=0)
    data.setup("fit")
    assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [2, 1, 1]
    data.setup("predict")
    assert len(data.predict_set) == 4


def test_images_in_subfolders_beside_images_are_named_as_left_out(tmp_path):
    make(tmp_path, *(f"{kind}/{n}.png" for kind in ("images", "masks") for n in "123"))
    make(tmp_path, "images/more/4.png", "images/more/5.png")
    source = PairSource(tmp_path / "images", tmp_path / "masks")
    with pytest.warns(UserWarning, match=r"2 images in its subfolders \(more/4.png, more/5.png\)"):
        splits = source.splits()
    assert sum(map(len, splits.values())) == 3


def test_masks_in_a_subfolder_of_the_images_are_not_named(tmp_path):
    make(tmp_path, *(f"{folder}{n}.png" for folder in ("", "masks/") for n in "123"))
    assert found(PairSource(tmp_path, tmp_path / "masks"))["train"]
