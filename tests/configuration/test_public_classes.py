"""Every argument of every public class can be set in a configuration, and comes back."""

import inspect

import pytest
from lightning import Callback, LightningDataModule

from lightning_hparams.configuration import Configuration, read_yaml
from tests.public_classes import CLASSES

MODEL = {"class_path": "lightning.pytorch.demos.boring_classes.BoringModel"}
# Values of arguments without a default, and others than the default, by name; for each class those
# that it has are set.
VALUES = {
    "folder": "out", "images": "images", "root": "data", "schedule": "cosine", "stage": "val",
    "lr": 0.5, "max_lr": [0.1, 0.2], "pct_start": 0.25, "total_steps": 100, "num_classes": 3,
    "class_names": ["no", "yes", "on"], "mean": [0.5], "std": [0.25], "loss": {"ce": 1.0},
    "optimizer": "SGD", "optimizer_args": {"momentum": 0.9}, "freeze": "encoder",
    "unfreeze_at": 2, "batch_size": 3, "num_workers": 1, "seed": 5, "weights": None,
    "ignore_index": 255, "values": [0.5, 1.5], "metrics": {"loss/val": "min"}, "hparams": {"a": 1},
    "at_epochs": [0, 2], "class_values": [0, 128, 255],
}  # fmt: skip
# Where a name means something else.
OTHERS = {
    "LRRangeTest": {"max_lr": 0.5},
    "PredictionMonitor": {"schedule": "every"},
    "SpeedMonitor": {"batch_size": None},
}


def described(kind):
    parameters = inspect.signature(kind).parameters
    values = {**VALUES, **OTHERS.get(kind.__name__, {})}
    init_args = {name: value for name, value in values.items() if name in parameters}
    return {"class_path": kind.__name__, "init_args": init_args}


def configuration(kind):
    if issubclass(kind, Callback):
        return {"model": MODEL, "trainer": {"callbacks": [described(kind)]}}
    if issubclass(kind, LightningDataModule):
        return {"model": MODEL, "data": described(kind)}
    return {"model": described(kind)}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_all_arguments_come_back_from_yaml(kind):
    first = Configuration.load(configuration(kind))
    text = first.to_yaml()
    again = Configuration.load(read_yaml(text))
    assert again == first
    assert again.to_yaml() == text
    part = read_yaml(text)
    if issubclass(kind, Callback):
        (node,) = part["trainer"]["callbacks"]
    else:
        node = part["data" if issubclass(kind, LightningDataModule) else "model"]
    expected = described(kind)["init_args"]
    assert {name: node["init_args"][name] for name in expected} == expected
    parameters = set(inspect.signature(kind).parameters) - {"args", "kwargs", "options"}
    assert parameters <= set(node.get("init_args", {}))
