import math

import pytest

from lightning_hparams.best import BestValues, direction


@pytest.mark.parametrize(
    ("tag", "way"),
    [
        ("loss/val", "min"),
        ("loss/val/dice", "min"),
        ("val_dice_loss", "min"),
        ("metric/mdice/val", "max"),
        ("metric/mean_accuracy/val", "max"),
        ("val/mAP50", "max"),
        ("val/RMSE", "min"),
        ("val_map", "max"),
        ("val/glossiness", None),
        ("epoch", None),
    ],
)
def test_a_name_tells_which_way_is_better(tag, way):
    assert direction(tag) == way


def test_only_finite_values_of_known_direction_count():
    best = BestValues({"val/zebra": "max"})
    assert best.update({"val_loss": math.nan, "val/zebra": 1.0, "val/x": 2.0}) == {"val/zebra": 1}
    assert best.update({"val_loss": 3.0, "val/zebra": -1.0}) == {"val_loss": 3, "val/zebra": 1}
    assert best.update({"val_loss": -math.inf}) == {"val_loss": 3}
    assert best.values == {"val_loss": 3, "val/zebra": 1}


def test_what_the_user_says_goes_before_the_name():
    best = BestValues({"val_loss": "max"})
    best.update({"val_loss": 1.0})
    assert best.update({"val_loss": 2.0}) == {"val_loss": 2}
