"""What every test may count on: a seed, and nothing left in the working folder."""

import os

import pytest
import torch
from tensorboard.summary.writer import event_file_writer

# Event files of one second are told apart, and read in the order of, a number in their names. Here
# a run goes on within a second of its start, and file 10 must not be read before file 9.
event_file_writer._global_uid = event_file_writer.AtomicCounter(1000)

MLFLOWS = "MLFLOW_TRACKING_URI"
ADDRESS = os.environ.get(MLFLOWS)


@pytest.fixture(autouse=True)
def seeded(monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)  # of an earlier test's seed_everything
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    """Lightning's default logger and checkpoints go where the test runs."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def without_mlflows_address():
    """MLflow sets the address of a database in the environment of the whole process."""
    yield
    if ADDRESS is None:
        os.environ.pop(MLFLOWS, None)
    else:
        os.environ[MLFLOWS] = ADDRESS
