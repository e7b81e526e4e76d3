"""A command line in this process, and a small run for it."""

import copy
import logging

import pytest

from lightning_hparams.cli import main
from lightning_hparams.configuration import write_yaml
from tests.runs import SMALL_RUN


@pytest.fixture
def run(capsys, monkeypatch):
    # Lightning's logger writes to the stderr of the test in which it was imported.
    monkeypatch.setattr(logging, "raiseExceptions", False)

    def call(*args):
        code = main([str(each) for each in args])
        captured = capsys.readouterr()
        if code == 1:
            print(captured.err)  # for whoever did not expect it
        errors = [line for line in captured.err.splitlines() if line.startswith("lightning-hp")]
        return code, captured.out, captured.err, errors

    return call


@pytest.fixture
def given():
    """A small run, as plain data."""
    return copy.deepcopy(SMALL_RUN)


@pytest.fixture
def config(tmp_path, given):
    path = tmp_path / "fit.yaml"
    path.write_text(write_yaml(given))
    return path


@pytest.fixture
def is_mistake():
    def check(result, words):
        code, _, err, errors = result
        assert "Traceback" not in err
        assert len(errors) == 1, err
        for word in [words] if isinstance(words, str) else words:
            assert word in errors[0]
        assert code == 2

    return check
