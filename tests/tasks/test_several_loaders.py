"""Every task predicts several loaders, one after the other."""

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_hparams import (
    ClassificationTask,
    DetectionTask,
    RegressionTask,
    SegmentationTask,
)
from tests.runs import SMALL, quiet_trainer


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ClassificationTask, {"model": "test_resnet"}),
        (DetectionTask, {"encoder": "tu-test_resnet", "arch_args": {"fpn_channels": 32}}),
        (RegressionTask, {"model": "test_resnet"}),
        (SegmentationTask, SMALL),
    ],
)
def test_several_loaders_are_predicted(kind, options):
    images = torch.rand(3, 3, 64, 64)
    samples = [{"image": image, "path": f"{index}.png"} for index, image in enumerate(images)]
    loaders = [DataLoader(samples[:2], batch_size=2), DataLoader(samples[2:], batch_size=2)]
    first, second = quiet_trainer().predict(kind(**options), loaders)
    assert [first[0]["paths"], second[0]["paths"]] == [["0.png", "1.png"], ["2.png"]]
