import re

import pytest

from lightning_hparams.tags import charts


@pytest.mark.parametrize(
    ("one", "other"),
    [("loss/train", "loss/val"), ("train_loss", "val_loss"), ("acc-train", "acc-test")],
)
def test_stages_share_a_chart_and_its_pattern_matches_both(one, other):
    ((_, made),) = charts([one, other]).items()
    ((_, (pattern,)),) = made.items()
    assert re.fullmatch(pattern, one)
    assert re.fullmatch(pattern, other)


def test_classes_of_a_score_share_a_chart_with_a_separate_one_for_the_test():
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


def test_a_word_that_only_contains_a_stage_is_not_taken_for_one():
    assert charts(["value", "trainable"]) == {
        "Metrics": {"trainable": ["trainable"], "value": ["value"]}
    }


def test_tags_that_are_not_training_curves_are_left_out():
    assert charts(["epoch", "best/loss/val", "hp_metric"]) == {}


def test_step_and_epoch_losses_share_a_chart_with_the_validation_loss():
    ((_, made),) = charts(["train_loss_step", "train_loss_epoch", "val_loss"]).items()
    ((title, patterns),) = made.items()
    assert title == "loss"
    for tag in ("train_loss_step", "train_loss_epoch", "val_loss"):
        assert sum(bool(re.fullmatch(pattern, tag)) for pattern in patterns) == 1


def test_performance_comes_last_with_stages_percentiles_and_memory_grouped():
    tags = ["perf/eta_s", "perf/memory_mib/rss", "perf/memory_mib/cuda_peak_reserved", "loss/val"]
    for stage in ("train", "val"):
        tags += [f"perf/{name}/{stage}" for name in ("samples_per_sec", "data_wait_frac")]
        tags += [f"perf/step_ms_{percentile}/{stage}" for percentile in ("p50", "p90", "p99")]
    made = charts(tags)
    assert list(made) == ["Loss", "Throughput"]
    shown = {
        title: sorted(tag for tag in tags if any(re.fullmatch(p, tag) for p in patterns))
        for title, patterns in made["Throughput"].items()
    }
    assert sorted(shown.pop("perf/memory_mib")) == sorted(tags[1:3])
    assert {title: len(found) for title, found in shown.items()} == {
        "perf/data_wait_frac": 2,
        "perf/eta_s": 1,
        "perf/samples_per_sec": 2,
        "perf/step_ms/train": 3,
        "perf/step_ms/val": 3,
    }


def shown(tags):
    return {
        title: sorted(tag for tag in tags if any(re.fullmatch(p, tag) for p in patterns))
        for made in charts(tags).values()
        for title, patterns in made.items()
    }


def test_every_tag_is_in_exactly_one_chart_whatever_its_name():
    tags = ["Val_Loss", "val2_loss", "multiclass/acc", "loss/val/test", "batch_norm/x", "val/a.b"]
    tags += ["class/iou/test/val", "class/iou/loss/val", "class/iou/a/val/dataloader_idx_1"]
    tags += ["lr/val", "weight_decay/head", "norm/grad/test", "loss/train/ce_step"]
    found = shown(tags)
    assert sorted(tag for chart in found.values() for tag in chart) == sorted(tags)
    assert found["class/iou"] == ["class/iou/loss/val", "class/iou/test/val"]
    assert found["loss/test"] == ["loss/val/test"]
    assert found["val2_loss"] == ["val2_loss"]
    assert found["weight_decay"] == ["weight_decay/head"]
    assert charts(["multiclass/acc", "batch_norm/x"]).keys() == {"Metrics"}
