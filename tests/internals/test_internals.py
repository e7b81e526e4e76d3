"""Every private attribute that is needed exists in the installed versions."""

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loops.fetchers import _PrefetchDataFetcher
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from optuna.storages import RDBStorage
from torch.optim import SGD, lr_scheduler
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from lightning_hparams import mlflow_logger
from lightning_hparams.internals import (
    Internal,
    InternalsMovedError,
    lightning,
    mlflow,
    optuna,
    tensorboard,
    torch as torch_internals,
)

OWNERS = (lightning, mlflow, optuna, tensorboard, torch_internals)
ALL = [internal for owner in OWNERS for internal in owner.INTERNALS]


def trainer():
    made = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    made.state.fn = TrainerFn.VALIDATING  # selects the evaluation loop
    return made


def scheduler():
    return lr_scheduler.ConstantLR(SGD([torch.zeros(1, requires_grad=True)]))


def with_hparams():
    module = LightningModule()
    module.save_hyperparameters({"lr": 0.1})
    return module


def run_data():
    logger = mlflow_logger("sqlite:///runs.db")
    logger.log_metrics({"loss": 1.0}, step=3)
    return logger.experiment.get_run(logger.run_id).data


SOURCES = {
    "DDPStrategy": DDPStrategy,
    "DataFetcher": _PrefetchDataFetcher,
    "DataLoader": lambda: DataLoader([0]),
    "FileWriter": lambda: SummaryWriter("events")._get_file_writer(),
    "HyperparametersMixin": with_hparams,
    "LRScheduler": scheduler,
    "LightningModule": LightningModule,
    "Logger": lambda: TensorBoardLogger("logs"),
    "MLFlowLogger": lambda: mlflow_logger("sqlite:///runs.db"),
    "RDBStorage": lambda: RDBStorage("sqlite:///study.db"),
    "RunData": run_data,
    "SequentialLR": lambda: lr_scheduler.SequentialLR(
        (one := scheduler()).optimizer, [one, one], [1]
    ),
    "SummaryWriter": lambda: SummaryWriter("events"),
    "TensorBoardLogger": lambda: TensorBoardLogger("logs"),
    "Trainer": trainer,
    "TrainingEpochLoop": lambda: trainer().fit_loop.epoch_loop,
}


@pytest.mark.parametrize("internal", ALL, ids=lambda one: f"{one.of}.{one.path}")
def test_a_private_attribute_exists(internal):
    internal.read(SOURCES[internal.of]())


@pytest.mark.parametrize("internal", ALL, ids=lambda one: f"{one.of}.{one.path}")
def test_a_private_attribute_states_its_purpose(internal):
    assert internal.needed.startswith("to ")
    assert internal.path.rpartition(".")[2].startswith("_") or "._" in f".{internal.path}"


def test_a_missing_attribute_is_named_with_the_installed_version():
    gone = Internal("lightning", "Trainer", "fit_loop._gone", "to count steps")
    text = (
        r"lightning \d+\.\d+\S* no longer has `Trainer.fit_loop._gone`, which is needed to count "
        "steps; install an older lightning, or a newer lightning-hparams"
    )
    with pytest.raises(InternalsMovedError, match=text):
        gone.read(trainer())
    with pytest.raises(InternalsMovedError, match=text):
        gone.write(trainer(), 1)


def test_a_private_attribute_can_be_replaced():
    logger = TensorBoardLogger("logs")
    lightning.omit_hp_metric(logger)
    assert logger._default_hp_metric is False


def test_replaced_fetch_marks_can_be_restored():
    loop, calls = trainer().fit_loop.epoch_loop, []

    def wrap(before, after):
        return (lambda: calls.append("before") or before()), (lambda: calls.append("after"))

    undo = lightning.replace_fetch_marks(loop, wrap)
    loop._on_before_fetch()
    loop._on_after_fetch()
    assert calls == ["before", "after"]
    undo()
    undo()
    assert loop._on_before_fetch.__func__ is type(loop)._on_before_fetch
