"""The number of validations announced equals the number that Lightning runs."""

import pytest
import torch
from lightning import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader, IterableDataset

from lightning_hparams.callbacks._log_step import pictures_due, validations_in
from tests.runs import quiet_trainer


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.randn(10, 32))


class Counts(Callback):
    """Counts validations, and notes the number announced at the first."""

    def __init__(self):
        self.came, self.announced = 0, None

    def on_validation_start(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.announced = validations_in(trainer) if self.announced is None else self.announced
            self.came += 1


class Plain(BoringModel):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(data=None, **options):
    counts = Counts()
    trainer = quiet_trainer(callbacks=[counts], **options)
    trainer.fit(Plain(), DataLoader(data or torch.randn(10, 32)), DataLoader(torch.randn(1, 32)))
    return counts


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 3},
        {"max_epochs": 4, "check_val_every_n_epoch": 2},
        {"max_epochs": 2, "val_check_interval": 3},
        {"max_epochs": -1, "max_steps": 30},
        {"max_epochs": -1, "max_steps": 27, "val_check_interval": 3},
        {"max_epochs": 2, "max_steps": 100},
        {"max_epochs": 9, "max_steps": 20},
        {"max_epochs": -1, "max_steps": 12, "accumulate_grad_batches": 3},
        {"max_epochs": -1, "max_steps": 9, "accumulate_grad_batches": 3, "val_check_interval": 2},
        {"max_epochs": -1, "max_steps": 30, "check_val_every_n_epoch": 2, "val_check_interval": 5},
        {
            "max_epochs": -1,
            "max_steps": 25,
            "check_val_every_n_epoch": None,
            "val_check_interval": 7,
        },
        {"max_epochs": 3, "check_val_every_n_epoch": None, "val_check_interval": 7},
    ],
)
def test_as_many_validations_run_as_are_announced(options):
    counts = run(**options)
    assert counts.announced == counts.came > 0


def test_a_stream_with_max_steps_has_a_known_number_of_validations():
    counts = run(Stream(), max_epochs=-1, max_steps=20, val_check_interval=5)
    assert counts.announced == counts.came == 4


@pytest.mark.filterwarnings("ignore:`max_epochs` was not set")
def test_a_run_without_an_end_has_an_unknown_number_of_validations():
    assert validations_in(quiet_trainer(max_epochs=-1)) == 0


@pytest.mark.parametrize("steps", [600, 6000])
def test_max_steps_and_max_epochs_give_equally_few_pictures(steps):
    by_steps = quiet_trainer(max_epochs=-1, max_steps=steps)
    by_epochs = quiet_trainer(max_epochs=steps)
    for trainer in (by_steps, by_epochs):
        trainer.fit_loop.max_batches = 1
        trainer.fit_loop.epoch_loop.val_check_batch = 1
    total = validations_in(by_steps)
    assert total == validations_in(by_epochs) == steps
    assert len({n for n in range(total) if pictures_due(n, total)} | {total - 1}) <= 10
