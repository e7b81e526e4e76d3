"""What every test may count on: a seed, and nothing left in the working folder."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    """Lightning's default logger and checkpoints go where the test runs."""
    monkeypatch.chdir(tmp_path)
