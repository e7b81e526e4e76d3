import math

import pytest
from torchmetrics import classification, detection, image, regression, segmentation

from lightning_hparams.tags import BestValues, direction


@pytest.mark.parametrize(
    ("tag", "way"),
    [
        ("loss/val", "min"),
        ("loss/val/dice", "min"),
        ("class/iou/error region/val", "max"),
        ("metric/miou/val/dataloader_idx_1", "max"),
        ("val_dice_loss", "min"),
        ("metric/mdice/val", "max"),
        ("metric/mean_accuracy/val", "max"),
        ("val/mAP50", "max"),
        ("val/RMSE", "min"),
        ("val_map", "max"),
        ("val_meanIoU", "max"),
        ("val_f1score", "max"),
        ("valMeanAveragePrecision", "max"),
        ("val/glossiness", None),
        ("epoch", None),
    ],
)
def test_the_direction_follows_from_the_name(tag, way):
    assert direction(tag) == way


PACKAGES = (classification, detection, image, regression, segmentation)
# Shorter paths are smoother: Karras et al. (arXiv:1812.04948, section 4.1).
DISPUTED = {"PerceptualPathLength"}
UNKNOWN = {"CriticalSuccessIndex", "SpatialDistortionIndex", "SpectralDistortionIndex"}
UNKNOWN |= {"BinaryFairness", "BinaryGroupStatRates"}
UNKNOWN |= {"MulticlassExactMatch", "MultilabelExactMatch"}


def test_directions_by_name_agree_with_the_torchmetrics_classes():
    names = {name: getattr(package, name) for package in PACKAGES for name in package.__all__}
    truth = {name: getattr(metric, "higher_is_better", None) for name, metric in names.items()}
    wrong = {
        name
        for name, higher in truth.items()
        if higher is not None and direction(f"val_{name}") != ("max" if higher else "min")
    }
    assert wrong <= DISPUTED | UNKNOWN
    assert sum(higher is not None for higher in truth.values()) > 80
    assert not [name for name in UNKNOWN if direction(name)]


def test_only_finite_values_of_known_direction_count():
    best = BestValues({"val/zebra": "max"})
    assert best.update({"val_loss": math.nan, "val/zebra": 1.0, "val/x": 2.0}) == {"val/zebra": 1}
    assert best.update({"val_loss": 3.0, "val/zebra": -1.0}) == {"val_loss": 3, "val/zebra": 1}
    assert best.update({"val_loss": -math.inf}) == {"val_loss": 3}
    assert best.values == {"val_loss": 3, "val/zebra": 1}


def test_a_direction_given_by_the_user_overrides_the_name():
    best = BestValues({"val_loss": "max"})
    best.update({"val_loss": 1.0})
    assert best.update({"val_loss": 2.0}) == {"val_loss": 2}


@pytest.mark.parametrize("tag", ["val_angle_acc", "val/iou/kid", "val/dice_variation", "acc_hd"])
def test_an_ambiguous_word_is_ignored_next_to_a_clear_one(tag):
    assert direction(tag) == "max"
