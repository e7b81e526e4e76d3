"""Numbers of numpy and torch among a user's arguments."""

import numpy as np
import pytest
import torch

from lightning_hparams import ClassificationTask, DigitsData, SpeedMonitor
from tests.runs import quiet_trainer


@pytest.mark.parametrize("number", [np.float64, np.float32, np.array, torch.tensor])
def test_a_task_made_of_numpys_and_torchs_numbers_is_saved_and_loaded(number, tmp_path):
    task = ClassificationTask(
        num_classes=np.int64(10),
        in_channels=np.array(1),
        lr=number(0.125),
        weight_decay=number(0.5),
        optimizer_args={"betas": (number(0.5), number(0.75))},
    )
    data = DigitsData(batch_size=torch.tensor(4), size=np.array(16), val_fraction=number(0.5))
    trainer = quiet_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    kept = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert kept["hyper_parameters"]["lr"] == 0.125
    assert type(kept["hyper_parameters"]["lr"]) is type(task.lr) is float
    assert type(task.hparams_initial["weight_decay"]) is float
    assert type(kept["datamodule_hyper_parameters"]["val_fraction"]) is float


@pytest.mark.parametrize("truth", [np.bool_(False), torch.tensor(False), np.array(False)])
def test_a_truth_value_of_numpy_or_torch_is_taken(truth):
    assert DigitsData(augment=truth).augment is False


@pytest.mark.parametrize("whole", [np.int64(5), np.array(5), torch.tensor(5)])
def test_a_whole_number_of_numpy_or_torch_is_taken(whole):
    assert SpeedMonitor(window=whole).window == 5
