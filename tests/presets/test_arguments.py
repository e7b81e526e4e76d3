"""Presets are arguments of the tasks and data modules of this package."""

import inspect

import numpy as np
import pytest
from lightning import Trainer

from lightning_hparams import (
    ClassificationTask,
    CocoData,
    DetectionTask,
    ImageFolderData,
    MaskFolderData,
    RegressionTask,
    SegmentationTask,
    VocData,
    presets,
)
from tests.data.files import save

TINY = {  # of what a preset leaves open, or what would take long to build
    "classification": {"model": "test_resnet"},
    "segmentation": {"encoder": "tu-test_resnet"},
    "detection": {},
    "regression": {"model": "test_resnet"},
}
TASKS = {
    "classification": (ClassificationTask, (ImageFolderData,)),
    "segmentation": (SegmentationTask, (MaskFolderData,)),
    "detection": (DetectionTask, (CocoData, VocData)),
    "regression": (RegressionTask, (ImageFolderData,)),
}


@pytest.fixture(params=presets.names())
def preset(request):
    return presets.get(request.param)


def test_a_task_takes_the_values_of_a_preset(preset):
    kind = preset.name.partition("/")[0]
    options = {**TINY[kind], **preset.task}
    task = TASKS[kind][0](**options)
    assert task.lr == preset.task["lr"]
    groups = task.configure_optimizers().param_groups
    assert max(group["lr"] for group in groups) == pytest.approx(preset.task["lr"], rel=0.2)
    if preset.task.get("weight_decay") is not None:
        decays = {group["weight_decay"] for group in groups}
        assert max(decays) == preset.task["weight_decay"]


def test_data_modules_take_the_values_of_a_preset(preset, tmp_path):
    kind = preset.name.partition("/")[0]
    for made in TASKS[kind][1]:
        inspect.signature(made).bind_partial(**preset.data)
    images = tmp_path / "a"
    save(images / "1.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "b.json").write_text("{}")
    data = {
        "classification": lambda: ImageFolderData(tmp_path, **preset.data),
        "segmentation": lambda: MaskFolderData(images, images, num_classes=2, **preset.data),
        "detection": lambda: CocoData(images, tmp_path / "b.json", **preset.data),
        "regression": lambda: ImageFolderData(
            images, tmp_path / "b.json", task="regression", **preset.data
        ),
    }[kind]()
    assert data.batch_size == preset.data["batch_size"]


def test_a_trainer_takes_the_values_of_a_preset(preset):
    options = {**preset.trainer, "logger": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", **options)
    for name, value in preset.trainer.items():
        assert getattr(trainer, name) == value
