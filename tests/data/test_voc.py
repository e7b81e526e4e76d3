"""VocData reads the layouts of Pascal VOC and of labelImg, and names what does not fit."""

import pickle

import numpy as np
import pytest

from lightning_hparams import VocData
from tests.data.files import save

RNG = np.random.default_rng(0)
BOX = (5, 6, 15, 18)


def annotation(*objects, size=(30, 40), head=""):
    text = "".join(
        f"<object><name>{name}</name>{extra}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2), extra in [(*each, "")[:3] for each in objects]
    )
    height, width = size
    sides = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"{head}<annotation><filename>a.jpg</filename>{sides}{text}</annotation>"


def voc(folder, name, *objects, images="JPEGImages", xml="Annotations", **options):
    save(folder / images / f"{name}.png", RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    path = folder / xml / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(annotation(*objects, **options), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """Ten images with a cat and a dog each."""
    for index in range(10):
        voc(tmp_path, index, ("cat", BOX), ("dog", BOX))
    return tmp_path


def ready(folder, **options):
    data = VocData(folder, **{"num_workers": 0, **options})
    data.setup("fit")
    return data


def sizes(data):
    return [len(one) for one in (data.train_set, data.val_set, data.test_set)]


def stems(one):
    return [path.stem for path in one.paths]


def target(data, name):
    for one in (data.train_set, data.val_set):
        if name in stems(one):
            return one.targets[stems(one).index(name)]
    raise AssertionError(name)


def test_names_become_classes_in_alphabetical_order(folder):
    data = ready(folder)
    assert data.class_names == ["cat", "dog"]
    assert data.class_counts() == [8, 8]
    assert sizes(data) == [8, 2, 2]
    assert target(data, "3")["boxes"].tolist() == [[*BOX]] * 2
    assert target(data, "3")["labels"].tolist() == [0, 1]


def test_the_first_pixel_may_be_one(folder):
    assert target(ready(folder, one_based=True), "3")["boxes"][0].tolist() == [4, 5, 15, 18]


def lists(folder, **names):
    for split, some in names.items():
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(some))


def test_lists_of_the_folder_define_the_splits(folder):
    lists(folder, train=["0", "1"], val=["2"], test=["3", "4"], trainval=["0", "1", "2"])
    data = ready(folder)
    assert [stems(one) for one in (data.train_set, data.val_set, data.test_set)] == [
        ["0", "1"],
        ["2"],
        ["3", "4"],
    ]
    assert sizes(ready(folder, val_fraction=0.3)) == [7, 3, 3]


def test_a_list_for_train_and_validation_together_is_split(folder):
    lists(folder, trainval=["0", "1", "2", "3"], test=["5"])
    data = ready(folder, batch_size=1)
    assert sizes(data) == [3, 1, 1]
    assert set(stems(data.train_set) + stems(data.val_set)) == {"0", "1", "2", "3"}


def test_files_may_lie_next_to_each_other_in_folders_of_splits(tmp_path):
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        for index in range(count):
            voc(tmp_path, f"{split}{index}", ("cat", BOX), ("dog", BOX), images=split, xml=split)
    assert sizes(ready(tmp_path)) == [3, 2, 1]


def test_the_folder_of_a_year_is_found(tmp_path):
    for index in range(5):
        voc(tmp_path / "VOCdevkit" / "VOC2012", index, ("cat", BOX), ("dog", BOX))
    masks = tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationClass"
    save(masks / "1.png", np.zeros((30, 40, 3), np.uint8))
    assert sizes(ready(tmp_path)) == [4, 1, 1]
    voc(tmp_path / "VOCdevkit" / "VOC2007", 1, ("cat", BOX))
    with pytest.raises(ValueError, match=r"holds several sets, .*VOC2007"):
        ready(tmp_path)


def test_class_names_choose_classes_and_their_order(folder):
    assert ready(folder, class_names=["dog", "cat"]).class_names == ["dog", "cat"]
    assert ready(folder, class_names=["dog"]).class_counts() == [8]
    with pytest.warns(UserWarning, match=r"\['emu'\] occur nowhere"):
        ready(folder, class_names=["cat", "emu"])


def test_difficult_objects_are_marked(folder):
    voc(folder, 3, ("cat", BOX), ("dog", BOX, "<difficult>1</difficult>"))
    assert target(ready(folder), "3")["crowd"].tolist() == [False, True]


def test_images_without_objects_train_and_those_without_a_file_do_not(folder):
    voc(folder, "empty")
    save(folder / "JPEGImages" / "other.png", np.zeros((30, 40, 3), np.uint8))
    data = ready(folder)
    assert "empty" in stems(data.train_set) + stems(data.val_set)
    assert sum(sizes(data)[:2]) == 11


def test_a_size_of_zero_is_that_of_the_image(folder):
    voc(folder, 3, ("cat", BOX), size=(0, 0))
    assert target(ready(folder), "3")["labels"].tolist() == [0]


def test_boxes_that_do_not_fit_are_named_or_dropped(folder):
    voc(folder, 3, ("cat", (7, 8, 7, 8)), ("dog", BOX))
    with pytest.raises(ValueError, match=r"3\.xml: the box \[7, 8, 7, 8\] of 'cat' has no width"):
        ready(folder)
    assert target(ready(folder, boxes="drop"), "3")["labels"].tolist() == [1]


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", r"3\.xml is not an XML file"),
        ("<html></html>", "root <html>"),
        (annotation(("cat", BOX), head=LAUGHS), r"3\.xml declares XML entities"),
        (annotation(("", BOX)), "object 1 has no name"),
        (annotation(("cat", ("a", 1, 2, 3))), "the object 'cat' has xmin='a'"),
        (annotation(("cat", ("nan", 1, 2, 3))), "is not finite"),
        ("<annotation><object><name>cat</name></object></annotation>", "has no <bndbox>"),
        (annotation(("cat", BOX), size=(30, 41)), r"3\.png is 30 x 40 .*/3\.xml it is 30 x 41"),
    ],
)
def test_annotations_that_do_not_fit_are_named(folder, text, message):
    (folder / "Annotations" / "3.xml").write_text(text)
    with pytest.raises(ValueError, match=message):
        ready(folder)


def test_files_that_do_not_exist_are_named(folder):
    (folder / "JPEGImages" / "3.png").unlink()
    with pytest.raises(ValueError, match=r"3\.xml have no image in .*JPEGImages"):
        ready(folder)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        ready(folder / "nowhere")
    with pytest.raises(ValueError, match="no XML files"):
        ready(folder / "JPEGImages")


def test_arguments_and_datasets_survive_checkpoints_and_workers(folder):
    data = VocData(folder, size=32, num_workers=0)
    again = VocData(**data.hparams)
    again.setup("fit")
    assert len(pickle.loads(pickle.dumps(again.train_set))) == 8


def test_images_to_predict_need_no_annotations(folder):
    data = VocData(folder, size=16, num_workers=0)
    data.setup("predict")
    assert next(iter(data.predict_dataloader()))["image"].shape == (8, 3, 16, 16)


@pytest.mark.parametrize("xml", ["{}/labels", "{}/annotations", "annotations/{}"])
def test_folders_of_splits_may_hold_folders_of_images_and_annotations(tmp_path, xml):
    for split, count in (("train", 4), ("valid", 3)):
        for index in range(count):
            voc(tmp_path, index, ("cat", BOX), images=f"{split}/images", xml=xml.format(split))
    data = VocData(tmp_path, num_workers=0)
    data.setup("fit")
    assert [len(data.train_set), len(data.val_set)] == [4, 3]


def test_folders_that_systems_add_hold_no_annotations(folder):
    (folder / "__MACOSX" / "Annotations").mkdir(parents=True)
    (folder / "__MACOSX" / "Annotations" / "._1.xml").write_bytes(b"\0")
    assert sizes(ready(folder.parent / folder.name)) == [8, 2, 2]
    above = folder / "above"
    for name in ("JPEGImages", "Annotations"):
        (above / "VOC2012").mkdir(parents=True, exist_ok=True)
        (folder / name).rename(above / "VOC2012" / name)
    (folder / "__MACOSX").rename(above / "__MACOSX")
    assert sizes(ready(above)) == [8, 2, 2]


def test_suffixes_of_annotations_may_be_in_upper_case(folder):
    for path in (folder / "Annotations").iterdir():
        path.rename(path.with_suffix(".XML"))
    assert sizes(ready(folder)) == [8, 2, 2]


@pytest.mark.parametrize(("text", "crowd"), [("1", True), ("True", True), ("0", False)])
def test_difficult_objects_are_crowds_however_it_is_written(folder, text, crowd):
    voc(folder, 3, ("cat", BOX, f"<difficult>{text}</difficult>"))
    assert target(ready(folder), "3")["crowd"].tolist() == [crowd]


def test_a_class_that_the_files_spell_otherwise_is_refused_by_name(folder):
    for index in range(10):
        voc(folder, index, ("Cat", BOX), ("dog", BOX))
    with pytest.raises(ValueError, match=r"`class_names` has 'cat', .* 10 are called 'Cat'; spell"):
        ready(folder, class_names=["cat", "dog"])


def test_objects_spelled_almost_alike_are_named(folder):
    voc(folder, 3, ("Cat", BOX))
    data = VocData(folder, num_workers=0)
    with pytest.warns(UserWarning, match=r"\['Cat', 'cat'\] are spelled almost alike"):
        data.setup("fit")


def test_objects_that_are_all_difficult_are_refused_with_the_reason(folder):
    for index in range(10):
        voc(folder, index, ("cat", BOX, "<difficult>1</difficult>"))
    with pytest.raises(ValueError, match=r"no training image has a box of cat, but.*difficult"):
        ready(folder)


def test_annotations_without_an_object_are_refused(folder):
    for index in range(10):
        voc(folder, index)
    with pytest.raises(ValueError, match=r"no object is annotated.*check the annotations"):
        ready(folder)
