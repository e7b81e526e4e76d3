"""Metrics inside a module that is cast: their states keep their dtype and continue to count."""

from inspect import signature

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import Metric

from lightning_hparams import metrics
from lightning_hparams.metrics import BatchMean

OURS = [
    found
    for name in metrics.__all__
    if isinstance(found := getattr(metrics, name), type) and issubclass(found, Metric)
]
COUNTS = {"num_classes", "num_values", "thresholds", "bins", "max_detections"}
CASTS = {
    "to bfloat16": lambda module: module.to(torch.bfloat16),
    "to float16": lambda module: module.to(dtype=torch.float16),
    "to float64": lambda module: module.to(torch.float64),
    "bfloat16": lambda module: module.bfloat16(),
    "half": lambda module: module.half(),
    "double": lambda module: module.double(),
    "type": lambda module: module.type(torch.float16),
    "set_dtype": lambda module: [
        part.set_dtype(torch.float16) for part in module.modules() if isinstance(part, Metric)
    ],
}


def build(metric):
    return metric() if metric in (BatchMean, metrics.CalibrationCounts) else metric(3)


def dtypes(metric):
    states = {name: getattr(metric, name) for name in metric._defaults}
    return {
        name: [part.dtype for part in (state if isinstance(state, list) else [state])]
        for name, state in states.items()
    }


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
@pytest.mark.parametrize("metric", OURS)
def test_a_cast_does_not_change_the_dtype_of_states(metric, cast):
    module = nn.Sequential(nn.Linear(1, 1), build(metric))
    before = dtypes(module[1])
    cast(module)
    assert dtypes(module[1]) == before
    module[1].reset()
    assert dtypes(module[1]) == before


@pytest.mark.parametrize("metric", OURS)
def test_the_default_dtype_does_not_change_the_dtype_of_states(metric):
    before = dtypes(build(metric))
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert dtypes(build(metric)) == before
    finally:
        torch.set_default_dtype(torch.float32)


def test_states_follow_the_device_of_their_module():
    module = nn.Sequential(build(BatchMean)).to("meta")
    assert module[0].total.device.type == "meta"
    assert module[0].device.type == "meta"


@pytest.mark.parametrize("value", [torch.tensor(1.5), torch.tensor(1.5, dtype=torch.bfloat16)])
def test_a_mean_stays_exact_in_a_module_of_low_precision(value):
    metric = nn.Sequential(BatchMean()).to(torch.bfloat16)[0]
    for _ in range(1000):
        metric.update(value, 4)
    metric.update(torch.tensor(0.0), 1000)
    assert float(metric.compute()) == pytest.approx(1.5 * 4000 / 5000)


@pytest.mark.parametrize(
    "metric", [each for each in OURS if COUNTS & set(signature(each).parameters)]
)
def test_numbers_of_numpy_do_not_overflow(metric):
    numbers = {name: np.uint8(200) for name in signature(metric).parameters if name in COUNTS}
    plain = metric(**{name: int(number) for name, number in numbers.items()})
    given = metric(**numbers)
    assert {name: np.shape(default) for name, default in given._defaults.items()} == {
        name: np.shape(default) for name, default in plain._defaults.items()
    }


def test_confusion_counts_take_numbers_of_numpy():
    preds, target = torch.tensor([19, 3, 3]), torch.tensor([19, 3, 255])
    given = metrics.confusion_counts(preds, target, np.uint8(20), ignore_index=np.uint8(255))
    assert given.equal(metrics.confusion_counts(preds, target, 20, ignore_index=255))
