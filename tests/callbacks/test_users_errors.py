"""After an error in training, a callback that fails to clean up does not replace that error."""

import warnings

import pytest
import torch
from lightning import Callback, LightningModule
from torch.utils.data import DataLoader

from lightning_hparams import callbacks
from lightning_hparams.callbacks._monitor import Monitor
from lightning_hparams.notices import Notices
from tests.runs import quiet_trainer

CLEANUP = {
    "LRRangeTest": ({"num_steps": 10}, "_unhook"),
    "ParamScheduler": ({"schedule": "cosine"}, "_release"),
    "OneCycle": ({"max_lr": 0.1}, "_release"),
    "Cyclic": ({"max_lr": 0.1, "step_size_up": 2}, "_release"),
    "ExactResume": ({}, "_speak_again"),
    "PredictionWriter": ({"folder": "predictions"}, "_discard"),
}


class Failing(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.lr = torch.nn.Linear(2, 1), 0.1

    def training_step(self, batch, batch_idx):
        if self.global_step == 2:
            raise RuntimeError("out of memory")
        return self.layer(batch).square().sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


class Later(Callback):
    seen = None

    def on_exception(self, trainer, pl_module, exception):
        self.seen = exception


@pytest.mark.parametrize("action", ["always", "error"])
@pytest.mark.parametrize("name", CLEANUP)
def test_the_users_error_is_raised_and_later_callbacks_are_called(name, action, monkeypatch):
    arguments, method = CLEANUP[name]
    callback, later = getattr(callbacks, name)(**arguments), Later()
    if name == "LRRangeTest":
        callback.at_epochs = ()  # the error is to come from training, not from the test
    cleaned = []

    def fail(*args):
        if callback._trainer_failed:
            cleaned.append(name)
            raise OSError("cleanup")

    callback._trainer_failed = False
    monkeypatch.setattr(callback, method, fail)
    step = Failing.training_step

    def training_step(self, batch, batch_idx):
        callback._trainer_failed = self.global_step == 2
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Failing, "training_step", training_step)
    trainer = quiet_trainer(callbacks=[callback, later], num_sanity_val_steps=0)
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        warnings.filterwarnings("ignore", message=".*(many workers|logging interval|LeafSpec|srun)")
        with pytest.raises(RuntimeError, match="out of memory") as raised:
            trainer.fit(Failing(), DataLoader(torch.ones(4, 2)))
    assert later.seen is raised.value
    assert cleaned == [name]


def test_every_callback_that_handles_exceptions_is_covered():
    kinds = [getattr(callbacks, name) for name in callbacks.__all__]
    handling = {
        kind.__name__
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, Callback) and not issubclass(kind, Monitor)
        if kind.on_exception is not Callback.on_exception
    }
    assert handling == set(CLEANUP)


@pytest.mark.parametrize("action", ["always", "error"])
def test_a_failure_after_an_error_is_at_most_a_warning(action):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        with Notices("Callback").after_error("clean up"):
            raise OSError("disk full")
    told = [str(one.message) for one in caught]
    assert told == (["Callback: could not clean up: OSError: disk full"] * (action == "always"))
