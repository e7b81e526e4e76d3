import re

import pytest

from lightning_hparams.layout import charts


@pytest.mark.parametrize(
    ("one", "other"),
    [("loss/train", "loss/val"), ("train_loss", "val_loss"), ("acc-train", "acc-test")],
)
def test_stages_share_a_chart_and_its_pattern_matches_both(one, other):
    ((_, made),) = charts([one, other]).items()
    ((_, (pattern,)),) = made.items()
    assert re.fullmatch(pattern, one)
    assert re.fullmatch(pattern, other)


def test_classes_of_a_score_share_a_chart_and_tests_have_their_own():
    made = charts(["class/iou/a/val", "class/iou/b c/val", "class/iou/a/test"])["Per class"]
    assert made == {
        "class/iou": ["class/iou/.+/val"],
        "class/iou (test)": ["class/iou/.+/test"],
    }


def test_groups_share_a_chart():
    tags = ["lr/encoder/no_decay", "lr/decoder", "norm/grad/decoder", "norm/weight/decoder"]
    made = charts(tags)
    assert made["Learning rate and momentum"] == {"lr": ["lr/.+"]}
    assert made["Norms"] == {"norm/grad": ["norm/grad/.+"], "norm/weight": ["norm/weight/.+"]}


def test_no_word_is_taken_for_a_stage_that_only_holds_one():
    assert charts(["value", "trainable"]) == {
        "Metrics": {"trainable": ["trainable"], "value": ["value"]}
    }


def test_what_is_no_curve_of_training_is_left_out():
    assert charts(["epoch", "best/loss/val", "hp_metric", "perf/samples_per_s"]) == {}
