"""ImageFolderData reads folders of classes and tables, and names what does not fit."""

import math
import pickle
import unicodedata

import numpy as np
import pytest
import torch

from lightning_hparams import ImageFolderData
from lightning_hparams.data.duplicates import identical_files, near_duplicates, thumbnail
from tests.data.files import save

RNG = np.random.default_rng(0)


def picture(path, side=12):
    return save(path, RNG.integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.fixture
def classes(tmp_path):
    """Twelve cats, two of them in a folder of their own, and eight dogs."""
    for index in range(12):
        picture(tmp_path / "cat" / ("old" if index < 2 else ".") / f"{index}.png")
    for index in range(8):
        picture(tmp_path / "dog" / f"{index}.jpg")
    return tmp_path


@pytest.fixture
def plain(tmp_path):
    """Ten images in a folder."""
    for index in range(10):
        picture(tmp_path / "images" / f"{index}.png")
    return tmp_path


def table(folder, text, **options):
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return make(folder / "images", folder / "labels.csv", **options)


def make(images, labels=None, **options):
    return ImageFolderData(images, labels, **{"size": 8, "num_workers": 0, **options})


def ready(data):
    data.setup("fit")
    return data


def goals_by_name(data):
    """The goal of each image, by the stem of its file."""
    found = {}
    for one in (data.train_set, data.val_set):
        for path, goal in zip(one.paths, one.goals, strict=True):
            found[path.stem] = goal.tolist()
    return found


def test_each_folder_is_a_class_with_its_share_in_validation(classes):
    data = ready(make(classes, val_fraction=0.25))
    assert data.class_names == ["cat", "dog"]
    assert data.class_counts() == [9, 6]
    assert torch.bincount(data.val_set.goals).tolist() == [3, 2]
    for path, label in zip(data.train_set.paths, data.train_set.goals, strict=True):
        assert path.relative_to(classes).parts[0] == data.class_names[label]


def test_a_batch_has_the_form_that_a_task_expects(classes):
    batch = next(iter(ready(make(classes, batch_size=4)).val_dataloader()))
    assert batch["image"].shape == (4, 3, 8, 8)
    assert batch["image"].dtype == torch.uint8
    assert batch["label"].dtype == torch.int64
    assert batch["size"].tolist() == [[12, 12]] * 4
    assert batch["path"][0].endswith((".png", ".jpg"))


def test_names_of_classes_are_known_before_setup(classes):
    assert make(classes).num_classes == 2


def test_class_names_choose_the_order(classes):
    data = ready(make(classes, class_names=["dog", "cat"], val_fraction=0.25))
    assert data.class_counts() == [6, 9]


def test_hidden_files_and_other_files_are_left_out(classes):
    (classes / "cat" / "._1.png").write_bytes(b"resource fork")
    (classes / ".cache").mkdir()
    picture(classes / ".cache" / "1.png")
    (classes / "notes.txt").write_text("hello")
    assert sum(ready(make(classes)).class_counts()) == 16


def test_images_in_formats_that_cannot_be_read_are_counted(classes):
    for index in range(3):
        (classes / "cat" / f"{index}.HEIC").write_bytes(b"heic")
    (classes / "dog" / "old").mkdir()
    (classes / "dog" / "old" / "1.jp2").write_bytes(b"jp2")
    data = make(classes)
    with pytest.warns(UserWarning, match=r"left out files .*3 \.heic, 1 \.jp2.*convert them"):
        data.setup("fit")
    assert sum(data.class_counts()) == 16


@pytest.mark.parametrize("suffix", [".jfif", ".jpe"])
def test_other_suffixes_of_jpeg_are_read(classes, suffix):
    save(classes / "cat" / f"new{suffix}", np.zeros((12, 12, 3), np.uint8), format="JPEG")
    assert sum(ready(make(classes)).class_counts()) == 17


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_names_with_accents_are_found_in_either_form(tmp_path, forms):
    on_disk, written = (unicodedata.normalize(form, "caf\u00e9") for form in forms)
    for index in range(6):
        picture(tmp_path / "images" / f"{on_disk}{index}.png")
    rows = [f"{written}{index}.png,{'ab'[index % 2]}" for index in range(6)]
    names = [f"{written}{index}" for index in range(6)]
    (tmp_path / "train.txt").write_text("\n".join(names[:4]), encoding="utf-8")
    (tmp_path / "val.txt").write_text("\n".join(names[4:]), encoding="utf-8")
    lists = {"train_split": tmp_path / "train.txt", "val_split": tmp_path / "val.txt"}
    data = ready(table(tmp_path, "\n".join(["image,label", *rows]), **lists))
    assert data.class_counts() == [2, 2]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("training", "valid", "testing")])
def test_folders_of_splits_hold_folders_of_classes(tmp_path, names):
    for split, count in zip(names, (4, 2, 1), strict=True):
        for name in ("cat", "dog"):
            for index in range(count):
                picture(tmp_path / split / name / f"{index}.png")
    data = ready(make(tmp_path))
    assert data.class_names == ["cat", "dog"]
    assert [len(one) for one in (data.train_set, data.val_set, data.test_set)] == [8, 4, 2]


def test_a_class_called_train_is_not_a_split(tmp_path):
    for name in ("train", "bus"):
        for index in range(5):
            picture(tmp_path / name / f"{index}.png")
    assert make(tmp_path).class_names == ["bus", "train"]


def test_lists_of_files_define_the_splits(classes):
    (classes / "train.txt").write_text("cat/2.png\ncat/3.png\ndog/1.jpg\n")
    (classes / "val.txt").write_text("/elsewhere/cat/4\ndog/2.jpg\n")
    data = ready(make(classes, train_split=classes / "train.txt", val_split=classes / "val.txt"))
    assert [path.name for path in data.val_set.paths] == ["4.png", "2.jpg"]
    assert data.class_counts() == [2, 1]


def test_classes_that_do_not_occur_are_named(classes):
    (classes / "bird").mkdir()
    with pytest.warns(UserWarning, match=r"the classes \['bird'\] occur nowhere"):
        assert ready(make(classes)).class_names == ["bird", "cat", "dog"]


def test_a_class_that_occurs_in_validation_alone_is_named(tmp_path):
    for split, name in (("train", "cat"), ("train", "dog"), ("val", "cat"), ("val", "fox")):
        picture(tmp_path / split / name / "1.png")
    with pytest.warns(UserWarning, match=r"\['fox'\] are not in training"):
        ready(make(tmp_path))


@pytest.mark.parametrize(
    ("text", "options", "names", "goals"),
    [
        ("file,label\n0.png,cat\n1,dog\n", {}, ["cat", "dog"], {"0": 0, "1": 1}),
        ("0.png;dog\n1.png;cat\n", {}, ["cat", "dog"], {"0": 1, "1": 0}),
        ("\ufeffname\tkind\n0.png\t10\n1.png\t9.0\n", {}, ["9", "10"], {"0": 1, "1": 0}),
        (",image,y\n0,7.png,b\n1,8.png,a\n", {}, ["a", "b"], {"7": 1, "8": 0}),
        ("f,y\n0,1\n1,0\n", {"class_names": ["no", "yes"]}, ["no", "yes"], {"0": 1, "1": 0}),
        ("f,a,b\n0.png,0,1\n1.png,1.0,0.0\n", {}, ["a", "b"], {"0": 1, "1": 0}),
        (
            "f,tags\n0.png,sea;sun\n1.png,\n",
            {"task": "multilabel"},
            ["sea", "sun"],
            {"0": [1, 1], "1": [0, 0]},
        ),
        (
            'f,tags\n0.png,"sea, sun"\n1.png,sun\n',
            {"task": "multilabel"},
            ["sea", "sun"],
            {"0": [1, 1], "1": [0, 1]},
        ),
        (
            "f,tags\n0.png,sea sun\n1.png,sun\n",
            {"task": "multilabel"},
            ["sea", "sun"],
            {"0": [1, 1], "1": [0, 1]},
        ),
        (
            "f,a,b,c\n0.png,1,1,0\n1.png,0,True,1\n",
            {"task": "multilabel"},
            ["a", "b", "c"],
            {"0": [1, 1, 0], "1": [0, 1, 1]},
        ),
        (
            "f,a,b\n0.png,1,0\n1.png,1,1\n",
            {"task": "multilabel", "class_names": ["b", "a"]},
            ["b", "a"],
            {"0": [0, 1], "1": [1, 1]},
        ),
        ("f,age\n0.png,1.5\n1.png,-2\n", {"task": "regression"}, ["age"], {"0": 1.5, "1": -2.0}),
        (
            "f,note,x,y\n0.png,old,1,2\n1.png,new,3,4\n",
            {"task": "regression", "columns": ["y", "x"]},
            ["y", "x"],
            {"0": [2.0, 1.0], "1": [4.0, 3.0]},
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*are not in training")  # a row each for train and validation
def test_a_table_gives_classes_labels_or_numbers(plain, text, options, names, goals):
    for split, name in zip(("train", "val"), goals, strict=True):
        (plain / f"{split}.txt").write_text(name)
    lists = {f"{split}_split": plain / f"{split}.txt" for split in ("train", "val")}
    data = ready(table(plain, text, **lists, **options))
    assert data.class_names == names
    assert goals_by_name(data) == goals


def test_unknown_numbers_are_nan(plain):
    data = ready(table(plain, "f,x,y\n0,1,\n1,,2\n", task="regression", val_fraction=0.5))
    values = goals_by_name(data)
    assert math.isnan(values["0"][1])
    assert math.isnan(values["1"][0])
    batch = next(iter(data.val_dataloader()))
    assert batch["value"].dtype == torch.float32
    with pytest.raises(TypeError, match="needs classes"):
        data.class_counts()


def test_a_column_of_the_table_may_define_the_splits(plain):
    rows = [("0", "a", "train"), ("1", "b", "TRAIN"), ("2", "a", "valid"), ("3", "b", "test")]
    text = "file,label,split\n" + "".join(",".join(row) + "\n" for row in rows)
    data = ready(table(plain, text))
    sets = (data.train_set, data.val_set, data.test_set)
    assert [[path.stem for path in one.paths] for one in sets] == [["0", "1"], ["2"], ["3"]]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("f,y\n0.png,a\n11.png,b\n", {}, r"names 11.png \(line 3\), which is not among the 10"),
        ("11.png,a\n0.png,b\n1.png,a\n", {}, r"names 11.png \(line 1\), which is not among"),
        ("f,y,split\n0.png,a,train\n1.png,b,val\n0.png,a,val\n", {}, "different rows for 0.png"),
        ("f,y\n50.png,a\n11.png,b\n", {}, "no column names any of the 10 images"),
        ("f,y\n0.png,a\n1.png,b,c\n", {}, "line 3 has 3 cells and the first line 2"),
        ("f,y\n0.png,a\n0.png,b\n", {}, "different rows for 0.png, in lines 2 and 3"),
        ("f,y\n0.png,a\n1.png,\n", {}, "line 3 has no label"),
        ("f,y\n0.png,1.5\n1.png,2.5\n", {}, "pass task='regression'"),
        ("f,y\n0.png,a\n1.png,a\n", {}, "has one class"),
        ("f,y\n0.png,cat\n1.png,dgo\n", {"class_names": ["cat", "dog"]}, "did you mean 'dog'"),
        ("f,y\n0.png,0\n1.png,2\n", {"class_names": ["cat", "dog"]}, "line 3: '2' is not among"),
        ("f,a,b\n0.png,1,1\n1.png,1,0\n", {}, "line 2: one of the columns .* but 2 are"),
        ("f,a,b\n0.png,x,1\n1.png,1,0\n", {}, "line 2: 'x' in column 'a' must be 0 or 1"),
        ("f,y\n0.png,old\n1.png,2\n", {"task": "regression"}, "line 2: 'old' is not a number"),
        ("f,y\n0.png,inf\n1.png,2\n", {"task": "regression"}, "line 2: inf is too large"),
        ("f,x,y\n0.png,,1\n1.png,,2\n", {"task": "regression"}, "column 'x' has no numbers"),
        ("f,age\n0.png,1\n", {"columns": ["agee"]}, "did you mean 'age'"),
        ("f,y,split\n0.png,a,one\n", {}, "'one' in column 'split' must be one of"),
        ('f,y\n0.png,"a\n', {}, "line 2: .* correct the quotes"),
        ("0.png\n1.png\n", {}, "separated by commas, semicolons or tabs"),
    ],
)
def test_a_table_that_does_not_fit_is_named_with_its_line(plain, text, options, message):
    with pytest.raises(ValueError, match=message):
        ready(table(plain, text, **options))


def test_numbers_as_classes_are_refused_where_they_can_hardly_be(tmp_path):
    for index in range(42):
        picture(tmp_path / "images" / f"{index}.png", side=4)
    rows = "".join(f"{index},{index + 100}\n" for index in range(42))
    with pytest.raises(ValueError, match="42 different labels in 42 rows"):
        ready(table(tmp_path, "f,y\n" + rows))


def test_files_that_do_not_fit_are_named(classes):
    picture(classes / "loose.png")
    with pytest.raises(ValueError, match=r"loose\.png is in none"):
        ready(make(classes))
    (classes / "loose.png").unlink()
    (classes / "cat" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
        ready(make(classes))


def test_a_folder_without_classes_is_refused(plain):
    with pytest.raises(ValueError, match="at least two classes, but has only 'images'"):
        ready(make(plain))
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        ready(make(plain / "nowhere"))


def test_folders_that_are_not_among_the_classes_are_named(classes):
    with pytest.raises(ValueError, match="in the folder 'dog', which is not among class_names"):
        ready(make(classes, class_names=["cat", "dogs"]))


def test_images_of_different_sizes_need_a_size(classes):
    picture(classes / "cat" / "large.png", side=20)
    with pytest.raises(ValueError, match="pass size= to resize"):
        ready(make(classes, size=None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "multilabel"}, "needs labels=, a CSV file"),
        ({"columns": ["a"]}, "which is missing"),
        ({"train_split": "a.txt"}, "go together"),
        ({"labels": "a.csv", "task": "regression", "sampler": "balanced"}, "needs classes"),
        ({"class_names": ["a", "a"]}, "must differ"),
        ({"task": "multi"}, "did you mean"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make("images", **options)


def test_images_to_predict_come_from_any_folder(classes, plain):
    data = make(classes, predict_images=plain / "images")
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert sum(len(batch["path"]) for batch in batches) == 10
    assert "label" not in batches[0]


def test_arguments_and_datasets_survive_checkpoints_and_workers(classes):
    data = make(classes, class_names=["dog", "cat"])
    again = ready(ImageFolderData(**data.hparams))
    assert again.class_names == ["dog", "cat"]
    assert len(pickle.loads(pickle.dumps(again.train_set))) == 16


def test_a_balanced_sampler_repeats_images_of_rare_classes(tmp_path):
    for name, count in (("cat", 16), ("dog", 4)):
        for index in range(count):
            picture(tmp_path / name / f"{index}.png")
    data = ready(make(tmp_path, sampler="balanced", batch_size=4))
    labels = torch.cat([batch["label"] for batch in data.train_dataloader()])
    assert abs(int(labels.sum()) - 8) <= 1


def split(tmp_path, train, val):
    """Save an image of two classes for each split."""
    for name, image in {"train": train, "val": val}.items():
        save(tmp_path / name / "a" / f"{name}.png", image)
        picture(tmp_path / name / "b" / f"{name}.png")
    return make(tmp_path)


def test_identical_files_in_two_splits_are_named(tmp_path):
    image = RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    with pytest.warns(UserWarning, match=r"identical: \S*train\.png and \S*val\.png"):
        ready(split(tmp_path, image, image))


def smooth(side=64):
    coarse = torch.from_numpy(RNG.uniform(0, 255, (1, 3, 6, 6)))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0].clamp(0, 255)


def test_almost_identical_images_in_two_splits_are_named(tmp_path):
    image = smooth().numpy().transpose(1, 2, 0)
    smaller = (image[::2, ::2] * 0.9).astype(np.uint8)
    with pytest.warns(UserWarning, match=r"almost identical: \S*train\.png and \S*val\.png"):
        ready(split(tmp_path, image.astype(np.uint8), smaller))


def test_different_images_are_not_taken_for_duplicates():
    images = {f"{index}": thumbnail(smooth().to(torch.uint8)) for index in range(200)}
    empty = {"empty": thumbnail(torch.full((3, 20, 20), 7, dtype=torch.uint8))}
    names = [*images]
    splits = {"train": [*names[:100], "empty"], "validation": [*names[100:], "empty"]}
    assert near_duplicates(splits, images | empty) == []


def test_files_that_only_start_alike_are_not_identical(tmp_path):
    image = np.zeros((200, 200, 3), np.uint8)
    other = image.copy()
    other[0, 0] = 255  # stored last in a bitmap
    for name, pixels in {"train": image, "val": other, "same": image}.items():
        save(tmp_path / f"{name}.bmp", pixels)
    train, val, same = (tmp_path / f"{name}.bmp" for name in ("train", "val", "same"))
    assert identical_files({"train": [train], "validation": [val]}) == []
    assert identical_files({"train": [train], "test": [val, same]}) == [(train, same)]


def test_a_list_of_test_images_leaves_the_other_folders_as_they_are(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            for index in range(3):
                picture(tmp_path / split / name / f"{split}{index}.png")
    (tmp_path / "test.txt").write_text("val/cat/val0.png\ntrain/dog/train1.png\n")
    data = ready(make(tmp_path, test_split=tmp_path / "test.txt"))
    sets = (data.train_set, data.val_set, data.test_set)
    assert [{path.parent.parent.name for path in one.paths} for one in sets[:2]] == [
        {"train"},
        {"val"},
    ]
    assert [len(one) for one in sets] == [5, 5, 2]


def test_hidden_folders_beside_those_of_splits_hold_no_classes(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            picture(tmp_path / split / name / "1.png")
    (tmp_path / ".git" / "objects").mkdir(parents=True)
    assert make(tmp_path).class_names == ["cat", "dog"]


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"])
def test_folders_that_systems_add_hold_no_classes_and_no_images(classes, name):
    picture(classes / name / "cat" / "1.png")
    picture(classes / "cat" / name / "1.png")
    data = ready(make(classes))
    assert data.class_names == ["cat", "dog"]
    assert sum(data.class_counts()) == 16


def test_a_linked_folder_is_a_split_like_any_other(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for index in range(4):
                picture(tmp_path / split / name / f"{index}.png")
    (tmp_path / "val").symlink_to(tmp_path / "test")
    (tmp_path / "train" / "cat" / "all").symlink_to(tmp_path)  # a loop
    data = ready(make(tmp_path))
    assert [len(one) for one in (data.train_set, data.val_set, data.test_set)] == [8, 8, 8]
    assert {path.relative_to(tmp_path).parts[0] for path in data.val_set.paths} == {"val"}


@pytest.mark.parametrize("names", [("Cat", "cat"), ("big cat", "big_cat"), ("cat", "CAT")])
def test_classes_spelled_almost_alike_are_named(plain, names):
    rows = "".join(f"{index},{[*names, 'dog'][index % 3]}\n" for index in range(10))
    data = table(plain, f"image,label\n{rows}")
    with pytest.warns(UserWarning, match=rf"labels.csv: the classes .*{names[1]}.* almost alike"):
        data.setup("fit")
    assert len(data.class_names) == 3


def test_letters_and_signs_may_name_classes(plain):
    names = ["a", "A", "-1", "1", "C", "C++"]
    rows = "".join(f"{index},{names[index % 5]}\n" for index in range(10))
    assert ready(table(plain, f"image,label\n{rows}")).class_counts()


def rows_of(form):
    return "".join(form.format(n=index, odd=index % 2) + "\n" for index in range(10))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('image, label\n{n}.png, "x, {odd}"\n', ["x, 0", "x, 1"]),  # a space before the quotes
        ("sep=;\nimage;label\n{n}.png;x,{odd}\n", ["x,0", "x,1"]),  # as Excel writes it
        ("image,label\n{n}.png,x\u2028\x85{odd}\n", ["x\u2028\x850", "x\u2028\x851"]),
        ('image,label\n{n}.png,"x\n{odd}"\n', ["x 0", "x 1"]),
        ("image,label\n{n}.png,00{odd}\n", ["000", "001"]),
        ("label,image\n{odd},{n}\n", ["0", "1"]),  # labels that are names of images too
    ],
)
def test_tables_are_read_as_other_programs_write_them(plain, text, names):
    start = text.rindex("\n", 0, text.index("{")) + 1
    head, row = text[:start], text[start:-1]
    data = ready(table(plain, head + rows_of(row)))
    assert data.class_names == names
    found = goals_by_name(data)
    assert found == {str(index): index % 2 for index in range(10)}


@pytest.mark.parametrize("cell", ["['a', 'b c']", '["a","b c"]', "[a, b c]"])
def test_lists_in_brackets_are_several_labels(plain, cell):
    quoted = '"' + cell.replace('"', '""') + '"'
    rows = "".join(f"{index}.png,{quoted if index % 2 else '[]'}\n" for index in range(10))
    data = ready(table(plain, f"image,labels\n{rows}", task="multilabel"))
    assert data.class_names == ["a", "b c"]
    assert goals_by_name(data)["1"] == [1, 1]
    assert goals_by_name(data)["2"] == [0, 0]


def test_a_name_of_several_images_is_refused_with_their_folders(plain):
    for name in ("less/3", "more/3"):
        picture(plain / "images" / f"{name}.png")
    (plain / "images" / "3.png").unlink()
    called = r"less/3.png, more/3.png have this name; give the folder"
    with pytest.raises(ValueError, match=rf"names 3.png \(line 3\).*: {called}"):
        ready(table(plain, "image,label\n0.png,a\n3.png,b\n"))
    with pytest.raises(ValueError, match=rf"no column names any .*: {called}"):
        ready(table(plain, "image,label\n3.png,a\n77.png,b\n"))


def test_an_image_in_another_folder_than_its_row_says_is_named(plain):
    (plain / "images").rename(plain / "cat")
    (plain / "images").mkdir()
    (plain / "cat").rename(plain / "images" / "cat")
    rows = rows_of("cat/{n}.png,{odd}").replace("cat/3", "dog/3")
    data = table(plain, f"image,label\n{rows}")
    with pytest.warns(UserWarning, match=r"read dog/3.png \(line 5\) as cat/3.png"):
        data.setup("fit")
    rows = rows_of("/data/cat/{n}.png,{odd}")
    assert ready(table(plain, f"image,label\n{rows}")).class_names == ["0", "1"]


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("image,label\n", {}, r"has only the line \['image', 'label'\]; add a row"),
        ("f,y\n0.png,\n1.png,\n", {"task": "multilabel"}, "'y' has no label in any row; add"),
        ("f;y\n0.png;0,5\n", {"task": "regression"}, r"'0,5' is not a number, such as 1.5; leave"),
        (
            "f,y\n0.png,1700000000\n1.png,1700000001\n",
            {"task": "regression"},
            "column 'y', 1700000000 to 1700000001, differ by too little .* subtract 1700000000",
        ),
    ],
)
def test_tables_without_what_is_needed_are_refused_with_a_remedy(plain, text, options, error):
    with pytest.raises(ValueError, match=error):
        ready(table(plain, text, **options))
