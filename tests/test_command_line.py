"""Lightning's command line makes tasks and data by class path, and writes what makes them again."""

import sys

import pytest
import torch
import yaml
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from lightning_hparams.presets import weights_by_counts

IMAGES = {"model": "test_resnet", "image_size": 16, "loss": {"ce": 1.0}}
TASKS = {
    "ClassificationTask": (
        "classification",
        {
            **IMAGES,
            "num_classes": 3,
            "class_names": ["disc", "square", "no"],
            "class_weights": "auto",
            "label_smoothing": 0.1,
            "optimizer": "SGD",
            "optimizer_args": {"momentum": 0.9, "nesterov": True},
        },
    ),
    "RegressionTask": (
        "regression",
        {**IMAGES, "num_values": 3, "loss": {"huber": 0.5, "l1": 1.0}, "layer_decay": 0.8},
    ),
    "DetectionTask": (
        "detection",
        {
            "encoder": "tu-test_resnet",
            "arch_args": {"fpn_channels": 32, "level_sizes": [4, 8, 16]},
            "num_classes": 3,
            "loss": {"box": 2.0},
            "class_weights": "auto",
            "freeze": "encoder",
            "unfreeze_at": 1,
        },
    ),
}


@pytest.fixture(params=TASKS)
def config(request, tmp_path):
    task, options = TASKS[request.param]
    data = {"task": task, "size": 64, "num_train": 4, "num_val": 2, "batch_size": 2}
    trainer = {"max_epochs": 1, "logger": False, "accelerator": "cpu"}
    trainer |= dict.fromkeys(
        ["enable_progress_bar", "enable_model_summary", "enable_checkpointing"], False
    )
    chosen = {
        "seed_everything": 0,
        "trainer": trainer,
        "model": {"class_path": f"lightning_hparams.{request.param}", "init_args": options},
        "data": {"class_path": "lightning_hparams.SyntheticShapesData", "init_args": data},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(chosen))
    return path


def made(path, *args, **options):
    return LightningCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=None,
        args=[*args, "--config", str(path)],
        **options,
    )


@pytest.mark.filterwarnings("ignore:[\\s\\S]*was deprecated in v4")  # Lightning's own call
def test_a_run_by_class_path_is_written_and_made_again_as_it_was(config, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train"])
    first = made(config, run=False)
    given = yaml.safe_load(config.read_text())
    for name, value in given["model"]["init_args"].items():
        assert first.model.hparams[name] == value
    text = first.parser.dump(first.config, skip_check=False)
    written = tmp_path / "written.yaml"
    written.write_text(text)
    again = made(written, run=False)
    assert again.parser.dump(again.config, skip_check=False) == text
    assert dict(again.model.hparams) == dict(first.model.hparams)
    assert dict(again.datamodule.hparams) == dict(first.datamodule.hparams)
    ours, theirs = first.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    again.trainer.fit(again.model, again.datamodule)
    assert again.trainer.global_step == 2
    if "class_weights" in given["model"]["init_args"]:
        counted = weights_by_counts(again.datamodule.class_counts())
        assert again.model.loss.class_weights.tolist() == pytest.approx(counted)
