"""A process that is killed with -9 and resumed loses nothing, and writes nothing twice."""

import pytest

from tests.kills import faults, killed, written


@pytest.mark.slow
def test_kills_lose_nothing_and_double_nothing(tmp_path):
    pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    killed(tmp_path, uri, kills=3)
    assert faults(written(tmp_path, uri)) == {}
