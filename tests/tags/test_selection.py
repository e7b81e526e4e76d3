"""Selection of the values of a validation or test that are written."""

import math

from lightning_hparams.tags import extremes, set_scores


def test_losses_metrics_and_up_to_max_classes_class_scores_are_selected():
    metrics = {
        "loss/val": 1.0,
        "loss/val/test": 2.0,
        "loss/train": 3.0,
        "metric/miou/val": 0.5,
        "metric/miou/val_step": 0.25,
        "metric/miou/test": 0.75,
        "val_loss": 4.0,
        "class/iou/test/val": 0.1,
        "class/iou/a/b/val": 0.2,
        "class/iou/a/val/dataloader_idx_1": 0.3,
        "class/iou/a/test": 0.4,
    }
    values, tables = set_scores(metrics, "val", 1)
    assert set(values) == {
        "loss/val",
        "loss/val/test",
        "metric/miou/val",
        "class/iou/test/val",
        "class/iou/a/val/dataloader_idx_1",
    }
    assert tables == {"class_extremes/iou/val": {"test": 0.1, "a/b": 0.2}}


def test_the_table_has_the_best_and_the_worst_classes_without_nan():
    scores = {f"c{n:02d}": n / 100 for n in range(30)} | {"none": math.nan}
    assert extremes(scores)["class"] == [
        f"c{n:02d}" for n in (*range(29, 19, -1), *range(9, -1, -1))
    ]
    assert extremes({"a": 0.5, "b": 0.75})["score"] == ["0.7500", "0.5000"]
