"""Nothing is lost when workers are killed, whenever that happens."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.search.kills import HOLES, SIGNALS


def outcome(scenario, studies, folder, url=None):
    """What went wrong in studies with that scenario, and how many trials were interrupted."""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.search.kills", scenario, str(studies), str(folder)]
    command += [url] if url else []
    run = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("scenario", ["worker", "tree"])
def test_a_study_equals_one_without_kills_after_kills_at_random_moments(scenario, tmp_path):
    found = outcome(scenario, 20, tmp_path)
    assert found["wrong"] == {}
    assert found["interrupted"] > 5


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("hole", sorted(HOLES))
def test_a_study_equals_one_without_kills_after_a_kill_at(hole, tmp_path):
    assert outcome(hole, 20, tmp_path)["wrong"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_stops_a_worker_in_time_and_its_trial_goes_on_where_it_was(name, tmp_path):
    assert outcome(name, 5, tmp_path)["wrong"] == {}


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("scenario", ["worker", "tree"])
def test_a_study_on_postgresql_equals_one_without_kills(scenario, tmp_path, postgres_url):
    found = outcome(scenario, 10, tmp_path, postgres_url)  # kills may come between trials
    assert found["wrong"] == {}
    assert found["interrupted"] > 1


@pytest.mark.slow
def test_a_signal_stops_a_worker_within_five_seconds_even_in_a_step_of_a_minute(tmp_path):
    found = outcome("long step", 1, tmp_path)
    assert found["seconds"] < 5
    assert found["states"] == ["WAITING"]


@pytest.mark.slow
@pytest.mark.parametrize("hole", sorted(HOLES))
def test_a_study_on_postgresql_equals_one_without_kills_at(hole, tmp_path, postgres_url):
    assert outcome(hole, 5, tmp_path, postgres_url)["wrong"] == {}
