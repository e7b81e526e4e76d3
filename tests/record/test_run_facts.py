"""Facts about a run, without a Trainer."""

import hashlib
from pathlib import Path

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_hparams.record import checkpoints, configuration, datasets
from tests.runs import quiet_trainer


class Loaders:
    """The part of a Trainer that holds dataloaders."""

    def __init__(self, train, val):
        self.train_dataloader, self.val_dataloaders = train, val


def test_datasets_are_named_after_their_loaders():
    one, two = DataLoader([1]), DataLoader([2])
    assert datasets(Loaders(one, None)) == {"training": [1]}
    assert datasets(Loaders(one, [two])) == {"training": [1], "validation": [2]}
    assert datasets(Loaders({"a": one, "b": two}, [one, two])) == {
        "training a": [1],
        "training b": [2],
        "validation 0": [1],
        "validation 1": [2],
    }
    assert datasets(Loaders([3, 4], None)) == {"training 0": 3, "training 1": 4}


def test_existing_checkpoints_are_recorded_with_their_hash():
    kept, gone = ModelCheckpoint("a"), ModelCheckpoint("b", monitor="val_loss")
    Path("best.ckpt").write_bytes(b"weights")
    kept.best_model_path, gone.last_model_path = "best.ckpt", "gone.ckpt"
    trainer = quiet_trainer(callbacks=[kept, gone], enable_checkpointing=True)
    digest = hashlib.sha256(b"weights").hexdigest()
    assert checkpoints(trainer) == {
        kept.state_key: {"best": {"file": "best.ckpt", "sha256": digest}}
    }


def test_callbacks_are_recorded_by_name_with_their_arguments():
    class Mine(Callback):
        def __init__(self, size):
            self.size, self._hidden, self.made = size, 1, object()

    trainer: Trainer = quiet_trainer(callbacks=[Mine(1), Mine(2)])
    module = torch.nn.Linear(2, 1)
    config = configuration(trainer, module, {"lr": 0.1})
    noted = {name: made for name, made in config["callbacks"].items() if "Mine" in name}
    assert sorted(noted.values(), key=lambda made: made["size"]) == [{"size": 1}, {"size": 2}]
    assert config["hparams"] == {"lr": 0.1}
    assert config["parameters"] == config["trainable"] == 3
    module.weight.requires_grad_(False)
    assert configuration(trainer, module, {})["trainable"] == 1
