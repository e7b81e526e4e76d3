"""CocoData reads any ids, matches categories by name, and names what does not fit."""

import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from lightning import LightningModule

from lightning_hparams import CocoData, PredictionWriter
from tests.data.files import oriented, save
from tests.runs import quiet_trainer

RNG = np.random.default_rng(0)


def coco(path, names, objects, *, first=0, ids=None, size=(30, 40), **extra):
    """Save images of 30 x 40 pixels and their annotations.

    Args:
        path: Folder of the images.
        names: Names of the categories.
        objects: ``(category, box)`` of each object, by image.
        first: Number of the first image.
        ids: Ids of the categories.
        size: Height and width that the annotations give.
        extra: Further keys of all annotations.
    """
    ids = dict(zip(names, ids or range(1, len(names) + 1), strict=True))
    images, annotations = [], []
    for number, some in enumerate(objects, first):
        save(path / f"{number}.png", RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        images.append({"id": 100 + number, "file_name": f"{number}.png"})
        if size:
            images[-1] |= {"height": size[0], "width": size[1]}
        for name, box in some:
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": 100 + number,
                    "category_id": ids.get(name, name),
                    "bbox": list(box),
                    **extra,
                }
            )
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


BOX = (5, 6, 10, 12)
SIX = [[("cat", BOX), ("dog", BOX)], [("dog", BOX)], [], [("cat", BOX)], [("cat", BOX)], []]


def saved(path, content):
    path.write_text(json.dumps(content))
    return path


def make(folder, content, **options):
    file = saved(folder / "a.json", content)
    return CocoData(folder / "images", file, **{"num_workers": 0, **options})


def ready(data):
    data.setup("fit")
    return data


def objects_of(data):
    """Class names and boxes by image."""
    found = {}
    for one in {id(each): each for each in (data.train_set, data.val_set, data.test_set)}.values():
        for path, target in zip(one.paths, one.targets, strict=True):
            names = [data.class_names[label] for label in target["labels"]]
            found[path.stem] = list(zip(names, target["boxes"].tolist(), strict=True))
    return found


@pytest.mark.parametrize("ids", [[1, 2], [0, 1], [7, 90], [90, 7]])
def test_any_ids_become_classes_in_their_order(tmp_path, ids):
    data = ready(make(tmp_path, coco(tmp_path / "images", ["cat", "dog"], SIX, ids=ids)))
    assert data.class_names == (["cat", "dog"] if ids != [90, 7] else ["dog", "cat"])
    assert data.category_ids == sorted(ids)
    expected = {
        str(index): [(name, [5, 6, 15, 18]) for name, _ in some] for index, some in enumerate(SIX)
    }
    assert objects_of(data) == expected
    assert len(data.train_set) == 5
    assert sum(data.class_counts()) == sum(len(t["labels"]) for t in data.train_set.targets)


def test_a_batch_has_the_form_that_a_task_expects(tmp_path):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    options = {"size": [60, 20], "batch_size": 4, "augment": "flip"}
    batch = next(iter(ready(make(tmp_path, content, **options)).train_dataloader()))
    assert batch["image"].shape == (4, 3, 60, 20)
    assert batch["size"].tolist() == [[30, 40]] * 4
    for target in batch["target"]:
        assert target["boxes"].dtype == torch.float32
        assert target["labels"].dtype == torch.int64
        assert target["crowd"].dtype == torch.bool
        for box in target["boxes"].tolist():  # mirrored or not
            assert box in ([2.5, 12, 7.5, 36], [12.5, 12, 17.5, 36])


def test_images_of_different_sizes_make_a_list(tmp_path):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX, size=None)
    for index in range(0, 6, 2):
        save(tmp_path / "images" / f"{index}.png", RNG.integers(0, 256, (50, 40, 3), np.uint8))
    batch = next(iter(ready(make(tmp_path, content, val_fraction=0.5)).train_dataloader()))
    assert {image.shape for image in batch["image"]} == {(3, 30, 40), (3, 50, 40)}


def test_a_category_without_boxes_is_named_and_keeps_its_class(tmp_path):
    content = coco(tmp_path / "images", ["cat", "emu", "dog"], SIX)
    with pytest.warns(UserWarning, match=r"the classes \['emu'\] occur nowhere"):
        data = ready(make(tmp_path, content))
    assert data.class_names == ["cat", "emu", "dog"]
    assert data.class_counts()[1] == 0


def test_class_names_choose_categories_and_their_order(tmp_path):
    content = coco(tmp_path / "images", ["cat", "emu", "dog"], SIX)
    data = ready(make(tmp_path, content, class_names=["dog", "cat"]))
    assert data.class_names == ["dog", "cat"]
    assert data.category_ids == [3, 1]
    data = ready(make(tmp_path, content, class_names=["dog"], val_fraction=0.5))
    assert {name for some in objects_of(data).values() for name, _ in some} == {"dog"}
    with pytest.raises(ValueError, match="did you mean 'emu'"):
        ready(make(tmp_path, content, class_names=["emus"]))


def test_crowds_are_marked(tmp_path):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    content["annotations"][0]["iscrowd"] = 1
    data = ready(make(tmp_path, content, val_fraction=0.2))
    crowds = [target["crowd"].tolist() for target in data.train_set.targets]
    assert sum(map(sum, crowds)) <= 1
    total = sum(len(t["labels"]) for s in (data.train_set, data.val_set) for t in s.targets)
    counted = data.train_set.class_counts().sum() + data.val_set.class_counts().sum()
    assert (total, int(counted)) == (5, 4)


def two(tmp_path, names, *, ids):
    train = coco(tmp_path / "train", ["cat", "dog"], SIX)
    val = coco(tmp_path / "val", names, [[("cat", BOX), (names[-1], BOX)]], first=10, ids=ids)
    return CocoData(
        tmp_path / "train",
        saved(tmp_path / "train.json", train),
        val_images=tmp_path / "val",
        val_annotations=saved(tmp_path / "val.json", val),
        num_workers=0,
    )


def test_categories_of_validation_are_matched_by_name(tmp_path):
    data = ready(two(tmp_path, ["dog", "fox", "cat"], ids=[5, 1, 2]))
    assert objects_of(data)["10"] == [("cat", [5, 6, 15, 18])] * 2
    assert len(data.train_set) == 6


def test_a_category_of_validation_alone_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"val.json has 1 boxes of 'Dog', .* did you mean 'dog'"):
        ready(two(tmp_path, ["cat", "Dog"], ids=[1, 2]))


@pytest.mark.parametrize("layout", ["coco", "roboflow"])
def test_the_usual_folders_are_recognised(tmp_path, layout):
    for split, first, count in (("train", 0, 6), ("val", 10, 2), ("test", 20, 1)):
        objects = (SIX * 2)[:count]
        if layout == "coco":
            content = coco(tmp_path / f"{split}2017", ["cat", "dog"], objects, first=first)
            (tmp_path / "annotations").mkdir(exist_ok=True)
            saved(tmp_path / "annotations" / f"instances_{split}2017.json", content)
            saved(tmp_path / "annotations" / f"captions_{split}2017.json", {})
        else:
            name = "valid" if split == "val" else split
            content = coco(tmp_path / name, ["cat", "dog"], objects, first=first)
            saved(tmp_path / name / "_annotations.coco.json", content)
    data = ready(CocoData(tmp_path, num_workers=0))
    assert [len(one) for one in (data.train_set, data.val_set, data.test_set)] == [6, 2, 1]


def test_boxes_that_do_not_fit_are_named_or_dropped(tmp_path):
    objects = [*SIX, [("cat", (3, 4, 0, 9))], [("dog", (35, 4, 9, 9))]]
    content = coco(tmp_path / "images", ["cat", "dog"], objects)
    with pytest.raises(ValueError, match=r"a.json, image 6.png: the box \[3, 4, 3, 13\] of 'cat'"):
        ready(make(tmp_path, content))
    data = ready(make(tmp_path, content, boxes="drop"))
    assert objects_of(data)["6"] == objects_of(data)["7"] == []
    data = ready(make(tmp_path, content, boxes="clip"))
    assert objects_of(data)["7"] == [("dog", [35, 4, 40, 13])]


def test_boxes_follow_the_orientation_that_the_annotations_mean(tmp_path):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    for index in range(2):
        path = tmp_path / "images" / f"{index}.jpg"
        oriented(path, RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8), 6)
        content["images"][index]["file_name"] = f"{index}.jpg"
    content["images"][1] |= {"height": 40, "width": 30}  # as stored
    data = ready(make(tmp_path, content, val_fraction=0.5, augment=False))
    sizes = {
        sample["path"][-5:]: tuple(sample["image"].shape[1:])
        for one in (data.train_set, data.val_set)
        for sample in (one[index] for index in range(3))
    }
    assert sizes["0.jpg"] == (30, 40)
    assert sizes["1.jpg"] == (40, 30)


@pytest.mark.parametrize(
    ("orientation", "shape", "told", "warns"),
    [
        (3, (40, 30), True, True),  # turned by 180 degrees, the size stays
        (6, (30, 30), True, True),
        (6, (40, 30), False, True),
        (6, (40, 30), True, False),  # the size decides
        (1, (30, 30), False, False),
    ],
)
def test_an_orientation_that_the_annotations_leave_open_is_named(
    tmp_path, orientation, shape, told, warns
):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    path = tmp_path / "images" / "0.jpg"
    oriented(path, RNG.integers(0, 256, (*shape, 3), dtype=np.uint8), orientation)
    content["images"][0] |= {"file_name": "0.jpg", "height": shape[0], "width": shape[1]}
    if not told:
        del content["images"][0]["height"]
    data = make(tmp_path, content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data.setup("fit")
    found = [str(one.message) for one in caught if "EXIF orientation" in str(one.message)]
    assert len(found) == warns
    assert all("0.jpg" in text for text in found)


def broken(change):
    def apply(content):
        change(content)
        return content

    return apply


def double_id(content):
    content["categories"][1]["id"] = 1


def double_name(content):
    content["categories"][1]["name"] = "cat"


def no_image(content):
    content["annotations"][0]["image_id"] = 5


def no_category(content):
    content["annotations"][0]["category_id"] = 9


def no_box(content):
    del content["annotations"][0]["bbox"]


def short_box(content):
    content["annotations"][0]["bbox"] = [1, 2, 3]


def text_box(content):
    content["annotations"][0]["bbox"] = ["1", 2, 3, 4]


def no_list(content):
    del content["categories"]


def other_size(content):
    content["images"][0]["height"] = 31


def nan_box(content):
    content["annotations"][0]["bbox"][2] = float("nan")


def no_annotations(content):
    content["annotations"] = []


def listed_id(content):
    content["images"][0]["id"] = [1]


def listed_category(content):
    content["annotations"][0]["category_id"] = [1]


def null_category(content):
    content["categories"][0]["id"] = None


def no_name(content):
    content["images"][0]["file_name"] = None


def huge_box(content):
    content["annotations"][0]["bbox"][0] = 10**400


def text_crowd(content):
    content["annotations"][0]["iscrowd"] = "0"


def text_size(content):
    content["images"][0]["height"] = "large"


def nan_size(content):
    content["images"][0]["height"] = float("nan")


def same_image(content):
    content["images"][1]["file_name"] = "0.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (double_id, "two categories with id 1 or the name 'dog'"),
        (double_name, "or the name 'cat'"),
        (no_image, "annotation 0 has image_id 5, which no image has"),
        (no_category, r"annotation 0 of 0.png has category_id 9, .* among the categories 1, 2"),
        (no_box, r"each annotation must have \['image_id', 'category_id', 'bbox'\]"),
        (short_box, r"has bbox \[1, 2, 3\]; it must be \[x, y, width, height\]"),
        (text_box, "it must be"),
        (no_list, "no 'categories'"),
        (other_size, r"0.png is 30 x 40 .* but by .*a.json, image 0.png it is 31 x 40"),
        (nan_box, "image 0.png: the box .* is not finite"),
        (no_annotations, "no training image has a box"),
        (same_image, "several images with one file_name"),
        (listed_id, r"an image has id \[1\]; it must be a whole number, or text"),
        (listed_category, r"an annotation has category_id \[1\]"),
        (null_category, "a category has id None"),
        (no_name, "image with id 100 has file_name None; it must be the name of a file"),
        (huge_box, "annotation 0 has bbox .*1000.*; it must be"),
        (text_crowd, "annotation 0 has iscrowd '0'; it must be 0 or 1"),
        (text_size, "image 0.png has height and width .'large', 40.; they must be whole numbers"),
        (nan_size, "image 0.png has height and width .nan, 40."),
    ],
)
def test_annotations_that_do_not_fit_are_named(tmp_path, change, message):
    content = broken(change)(coco(tmp_path / "images", ["cat", "dog"], SIX))
    with pytest.raises(ValueError, match=message):
        ready(make(tmp_path, content))


def test_files_that_do_not_exist_are_named(tmp_path):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    with pytest.raises(FileNotFoundError, match=r"b\.json is not a file"):
        ready(CocoData(tmp_path / "images", tmp_path / "b.json"))
    (tmp_path / "images" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"6 images, 1 of which are not in .*: 3\.png"):
        ready(make(tmp_path, content))
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ValueError, match=r"c\.json is not a JSON file"):
        ready(CocoData(tmp_path / "images", tmp_path / "c.json"))
    with pytest.raises(ValueError, match="pass annotations="):
        ready(CocoData(tmp_path / "images"))


def test_file_names_of_another_machine_are_found(tmp_path):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    for image in content["images"]:
        image["file_name"] = "C:\\data\\photos\\" + image["file_name"]
    assert len(ready(make(tmp_path, content)).train_set) == 5


def test_arguments_and_datasets_survive_checkpoints_and_workers(tmp_path):
    data = make(tmp_path, coco(tmp_path / "images", ["cat", "dog"], SIX), size=32)
    again = ready(CocoData(**data.hparams))
    assert again.class_names == ["cat", "dog"]
    assert len(pickle.loads(pickle.dumps(again.train_set))) == 5
    assert isinstance(dict(again.hparams)["images"], str)


def test_a_balanced_sampler_repeats_images_of_rare_classes(tmp_path):
    objects = [[("cat", BOX)]] * 18 + [[("dog", BOX)]] * 2
    content = coco(tmp_path / "images", ["cat", "dog"], objects)
    data = make(tmp_path, content, sampler="balanced", batch_size=16, val_fraction=0.05)
    targets = next(iter(ready(data).train_dataloader()))["target"]
    labels = torch.cat([target["labels"] for target in targets])
    assert 5 <= int(labels.sum()) <= 12  # of 16


def test_images_to_predict_need_no_annotations(tmp_path):
    data = make(tmp_path, coco(tmp_path / "images", ["cat", "dog"], SIX), size=16)
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    assert batch["image"].shape == (6, 3, 16, 16)
    assert "target" not in batch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes": "clipp"}, "did you mean 'clip'"),
        ({"class_names": ["a", "a"]}, "must differ"),
        ({"val_annotations": "b.json"}, "need annotations="),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CocoData("images", **options)


def test_folders_of_two_splits_may_be_relative_and_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = saved(tmp_path / "train.json", coco(tmp_path / "train", ["cat", "dog"], SIX))
    val = saved(tmp_path / "val.json", coco(tmp_path / "val", ["cat", "dog"], SIX[:1], first=7))
    data = ready(CocoData("train", train, val_images=tmp_path / "val", val_annotations=val))
    assert [len(data.train_set), len(data.val_set)] == [6, 1]


def test_a_folder_without_images_to_predict_is_refused(tmp_path):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    (tmp_path / "empty").mkdir()
    data = make(tmp_path, content, predict_images=tmp_path / "empty")
    with pytest.raises(ValueError, match=r"`predict_images`: .*empty has no images"):
        data.setup("predict")


class Empty(LightningModule):
    """Predicts no box."""

    def predict_step(self, batch, batch_idx):
        paths = batch["path"]
        nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
        return {"boxes": [nothing] * len(paths), "sizes": batch["size"], "paths": paths}


def ids_of_predictions(folder, data):
    quiet_trainer(callbacks=[PredictionWriter(folder)]).predict(Empty(), data)
    found = json.loads((folder / "predictions.json").read_text())
    return {image["file_name"]: image["id"] for image in found["images"]}


def test_predictions_have_the_ids_of_the_images_in_the_annotations(tmp_path):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    save(tmp_path / "images" / "more.png", np.zeros((4, 4, 3), np.uint8))
    found = ids_of_predictions(tmp_path / "out", make(tmp_path, content))
    assert found == {f"{n}.png": 100 + n for n in range(6)} | {"more.png": 106}


def test_predictions_are_numbered_where_two_files_use_an_id_twice(tmp_path):
    contents = [coco(tmp_path / name, ["cat", "dog"], SIX) for name in ("train", "val")]
    for name, content in zip(("train", "val"), contents, strict=True):
        saved(tmp_path / name / "a.json", content)
    data = CocoData(tmp_path, num_workers=0)
    assert [*ids_of_predictions(tmp_path / "all", data).values()] == [*range(1, 13)]
    data = CocoData(tmp_path, predict_images=tmp_path / "val", num_workers=0)
    assert [*ids_of_predictions(tmp_path / "one", data).values()] == [*range(100, 106)]


def test_a_folder_without_annotations_is_predicted_with_ids_from_1(tmp_path):
    for name in "ab":
        save(tmp_path / "new" / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
    data = CocoData(tmp_path / "new", num_workers=0)
    assert ids_of_predictions(tmp_path / "out", data) == {"a.png": 1, "b.png": 2}


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_ids_of_another_kind_are_refused_with_the_one_that_was_meant(tmp_path, key):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    content["annotations"][0][key] = str(content["annotations"][0][key])
    with pytest.raises(ValueError, match=rf"{key} '(\d+)'.*\(\1 is known, but text and numbers"):
        ready(make(tmp_path, content))


def test_images_to_predict_have_the_orientation_that_the_annotations_mean(tmp_path):
    content = coco(tmp_path / "images", ["cat", "dog"], SIX)
    for index in range(3):
        path = tmp_path / "images" / f"{index}.jpg"
        (tmp_path / "images" / f"{index}.png").unlink()
        oriented(path, RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8), 6)
        content["images"][index]["file_name"] = f"{index}.jpg"
    content["images"][1] |= {"height": 40, "width": 30}  # as stored
    data = make(tmp_path, {key: value[:] for key, value in content.items()})
    data.setup("predict")
    sizes = {s["path"][-5:]: tuple(s["image"].shape[1:]) for s in data.predict_set}
    assert (sizes["0.jpg"], sizes["1.jpg"]) == ((30, 40), (40, 30))
    (tmp_path / "a.json").unlink()  # images alone are shown as a viewer does
    data = CocoData(tmp_path / "images", tmp_path / "a.json", num_workers=0)
    data.setup("predict")
    assert {tuple(s["image"].shape[1:]) for s in data.predict_set} == {(30, 40)}
