"""Parsing inverts building, and building inverts parsing of any text."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from lightning_hparams.tags import Tag, best_tag

PIECES = ["/", "_", "val", "test", "train", "_step", "_epoch", "best/", "a", "loss", "é", "\n"]
PIECES += ["class/", "/dataloader_idx_1", "/dataloader_idx_01", "metric", "\u017f", "\ud800", "2"]
texts = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=7).map("".join))
names = texts.filter(bool)
stages = st.sampled_from(["train", "val", "test"])
endings = st.sampled_from(["", "_step", "_epoch"])
loaders = st.none() | st.integers(0, 99)
groups = st.sampled_from(["lr", "momentum", "weight_decay", "weights", "grads"])
pictures = st.sampled_from(["confusion", "calibration", "confidence"])
not_a_loader = names.filter(lambda name: Tag.parse("loss/val/" + name).label == name)
built = st.one_of(
    st.builds(Tag, st.just("loss"), stage=stages, ending=endings, loader=loaders),
    st.builds(Tag, st.just("loss"), label=not_a_loader, stage=stages, loader=loaders),
    st.builds(Tag, st.just("metric"), names, stage=stages, ending=endings, loader=loaders),
    st.builds(
        Tag,
        st.just("class"),
        names.map(lambda name: name.replace("/", "-")),
        texts,
        stages,
        endings,
        loaders,
    ),
    st.builds(Tag, st.just("class_extremes"), names, stage=stages, loader=loaders),
    st.builds(Tag, st.just("pr"), label=texts, stage=stages),
    st.builds(Tag, pictures, stage=stages),
    st.builds(Tag, groups, label=names),
    st.builds(Tag, st.just("norm"), names.map(lambda name: name.replace("/", "-")), names),
)


@given(built, st.booleans())
def test_a_built_tag_parses_to_its_parts(tag, best):
    tag = replace(tag, best=best)
    assert Tag.parse(str(tag)) == tag


@given(texts)
def test_any_text_survives_parsing(text):
    assert str(Tag.parse(text)) == text
    assert str(Tag.parse(best_tag(text))) == best_tag(text)


@given(texts, stages)
def test_a_class_may_have_any_name(label, stage):
    tag = Tag.parse(f"class/iou/{label}/{stage}")
    assert (tag.kind, tag.name, tag.label, tag.stage) == ("class", "iou", label, stage)


@given(names)
def test_a_group_may_have_any_name_and_has_no_stage(label):
    tag = Tag.parse(f"lr/{label}")
    assert (tag.kind, tag.label, tag.stage) == ("lr", label, None)


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("val_loss", "val"),
        ("acc/val", "val"),
        ("valid-acc", "val"),
        ("Val Loss", "val"),
        ("VALIDATION.acc", "val"),
        ("train_loss_step", "train"),
        ("training/acc", "train"),
        ("test_pred/0", "test"),
        ("val/test_accuracy", "val"),
        ("loss/validation/dice", "val"),
        ("val_loss/dataloader_idx_0", "val"),
        ("val2_loss", None),
        ("2val_loss", None),
        ("valLoss", None),
        ("value", None),
        ("latest", None),
        ("éval", None),
        ("te\u017ft", None),
        ("accuracy", None),
        ("epoch", None),
        ("", None),
    ],
)
def test_the_stage_of_a_user_defined_name_is_its_first_whole_stage_word(text, stage):
    tag = Tag.parse(text)
    assert (tag.kind, tag.stage) == ("own", stage)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("loss/val", Tag("loss", stage="val")),
        ("loss/train_epoch", Tag("loss", stage="train", ending="_epoch")),
        ("loss/val/dice", Tag("loss", label="dice", stage="val")),
        ("loss/val/first_epoch", Tag("loss", label="first_epoch", stage="val")),
        ("class/iou/a/b/val", Tag("class", "iou", "a/b", "val")),
        ("class/iou/test/val", Tag("class", "iou", "test", "val")),
        ("metric/miou/val_step", Tag("metric", "miou", stage="val", ending="_step")),
        ("best/loss/val", Tag("loss", stage="val", best=True)),
        ("perf/step_ms_p50/val", Tag("perf", "step_ms_p50", stage="val")),
        ("perf/eta_s", Tag("perf", "eta_s")),
        ("norm/grad/head/no_decay", Tag("norm", "grad", "head/no_decay")),
        ("acc_step/dataloader_idx_2", Tag("own", "acc", ending="_step", loader=2)),
        ("loss/val/", Tag("own", "loss/val/", stage="val")),
        ("class/val", Tag("own", "class/val", stage="val")),
    ],
)
def test_each_form_parses_to_its_parts(text, tag):
    assert Tag.parse(text) == tag
    assert str(tag) == text


@pytest.mark.parametrize(
    "parts",
    [
        {"kind": "class", "name": "a/b", "label": "c", "stage": "val"},
        {"kind": "metric", "stage": "val"},
        {"kind": "loss"},
        {"kind": "own", "name": "val_loss"},
        {"kind": "own", "name": "loss/val", "stage": "val"},
        {"kind": "loss", "label": "x/dataloader_idx_1", "stage": "val"},
        {"kind": "metric", "name": "miou", "stage": "validation"},
    ],
)
def test_a_tag_that_would_parse_differently_is_refused(parts):
    with pytest.raises(ValueError, match="parse to its own parts"):
        Tag(**parts)


def test_parsing_time_is_linear_in_the_length_of_the_name():
    assert Tag.parse("_step" * 20_000 + "/dataloader_idx_" + "9" * 5_000).stage is None


@pytest.mark.parametrize(
    ("text", "judged"),
    [
        ("val_loss", True),
        ("val_loss_epoch", True),
        ("metric/miou/val/dataloader_idx_1", True),
        ("val_loss_step", False),
        ("loss/val/dice", False),
        ("class/iou/road/val", False),
        ("best/val_loss", False),
        ("lr/val", False),
        ("perf/samples_per_sec/val", False),
        ("loss/train", False),
        ("val2_loss", False),
    ],
)
def test_validation_is_judged_by_values_over_its_whole_set(text, judged):
    assert Tag.parse(text).is_validation is judged
