"""Files of studies and runs that were cut off, or that are something else."""

import json
import sqlite3

import pytest

from lightning_hparams import Search
from lightning_hparams.cli.mistakes import explained
from lightning_hparams.configuration import Configuration
from lightning_hparams.search import fewer_trials, open_study
from tests.search import tiny

DAMAGES = {"cut": '{"settings": {"tria', "empty": "", "list": "[1]", "null": "null", "other": "{}"}


@pytest.fixture(params=DAMAGES.values(), ids=DAMAGES)
def damage(request):
    def write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(request.param)
        return path

    return write


def test_status_of_a_study_with_a_damaged_file_is_one_sentence(run, is_mistake, damage, tmp_path):
    path = damage(tmp_path / "search.json")
    before = path.read_bytes()
    is_mistake(run("search", "--status", "--folder", tmp_path), ["search.json is damaged"])
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "3", "half of a database"])
def test_status_changes_no_file_that_has_no_study(run, is_mistake, tmp_path, text):
    path = tmp_path / "study.db"
    path.write_text(text)
    is_mistake(run("search", "--status", "--folder", tmp_path), ["study.db"])
    assert path.read_text() == text


def test_status_creates_no_database(run, is_mistake, tmp_path):
    url = f"sqlite:///{tmp_path}/other.db"
    is_mistake(run("search", "--status", "--storage", url), ["other.db", "no study yet"])
    assert not (tmp_path / "other.db").exists()


def test_replay_of_a_damaged_trial_is_one_sentence(run, is_mistake, damage, tmp_path):
    damage(tmp_path / "trials" / "0" / "trial.json")
    is_mistake(run("replay", tmp_path / "trials" / "0"), ["trial"])


@pytest.mark.parametrize("missing", ["configuration", "reports", "outcome", "threads"])
def test_replay_says_what_a_trial_lacks(run, is_mistake, tmp_path, missing):
    names = ["configuration", "metric", "mode", "reports", "outcome", "timed_out_at", "threads"]
    record = {name: {} for name in names if name != missing}
    path = tmp_path / "trials" / "0" / "trial.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"state": "COMPLETE", "weights": "f0", **record}))
    is_mistake(run("replay", path.parent), ["trial 0", f"no {missing}"])


def test_replay_of_a_run_with_a_damaged_manifest_is_one_sentence(
    run, is_mistake, config, damage, tmp_path
):
    folder = damage(tmp_path / "run" / "manifest.json").parent
    (folder / "config.yaml").write_text(config.read_text())
    is_mistake(run("replay", folder), ["manifest.json"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"text"])
def test_replay_of_a_run_with_a_damaged_checkpoint_is_one_sentence(
    run, is_mistake, config, tmp_path, content
):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(config.read_text())
    (folder / "last.ckpt").write_bytes(content)
    is_mistake(run("replay", folder), ["last.ckpt", "cut off"])


@pytest.mark.parametrize(
    ("trials", "best", "words"),
    [(3, 5, ["5 best", "has 3 trials"]), (3, 3, []), (None, 5, []), (3, None, [])],
)
def test_a_search_says_that_it_has_fewer_trials_than_it_repeats(tmp_path, trials, best, words):
    repeat = None if best is None else {"trials": best}
    settings = tiny.settings(tmp_path, trials=trials, wall_time=60, repeat_best=repeat)
    found = fewer_trials(settings)
    assert bool(found) == bool(words)
    assert all(word in found for word in words)


@pytest.fixture
def database(tmp_path):
    open_study(tiny.settings(tmp_path))
    return tmp_path / "study.db"


def test_status_of_a_database_with_a_damaged_page_is_one_sentence(
    run, is_mistake, database, tmp_path
):
    content = bytearray(database.read_bytes())
    for start in range(2 * 4096, len(content), 4096):
        content[start : start + 8] = b"\xff" * 8
    database.write_bytes(content)
    is_mistake(run("search", "--status", "--folder", tmp_path), ["malformed", "copy"])


def test_status_of_a_database_of_a_newer_optuna_is_one_sentence(
    run, is_mistake, database, tmp_path
):
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99'")
    connection.close()
    is_mistake(run("search", "--status", "--folder", tmp_path), ["updating optuna"])


def test_what_sqlite_says_of_its_file_is_a_sentence_and_a_fault_in_a_query_is_not():
    def explanation(error):
        try:
            raise RuntimeError("commit") from error
        except RuntimeError as raised:
            raised.__traceback__ = None
            return explained(raised)

    assert "disk is full" in explanation(sqlite3.OperationalError("database or disk is full"))
    assert explanation(sqlite3.IntegrityError("a row is there")) is None
    first, second = KeyError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    assert explanation(first) is None


@pytest.mark.parametrize(
    ("name", "value"), [("reports", {"x": 1}), ("configuration", 3), ("threads", "two")]
)
def test_replay_of_a_trial_with_an_entry_of_another_kind_is_one_sentence(
    run, is_mistake, tmp_path, name, value
):
    names = ["configuration", "metric", "mode", "reports", "outcome", "timed_out_at"]
    record = {**{each: {} for each in names}, "threads": 1, "weights": "f0", name: value}
    path = tmp_path / "trials" / "0" / "trial.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    is_mistake(run("replay", path.parent), ["trial.json is damaged"])


@pytest.mark.parametrize("trials", [3, [{}], [{"number": 1, "value": 2, "scores": [3]}]])
def test_damaged_repetitions_are_told_before_the_first_trial(tmp_path, trials):
    (tmp_path / "winner.json").write_text(json.dumps({"mode": "min", "trials": trials}))
    settings = tiny.settings(tmp_path, repeat_best={"trials": 1, "seeds": 1})
    with pytest.raises(ValueError, match=r"winner.json is damaged"):
        Search.of(Configuration.load(tiny.configuration()), settings).prepare()
    assert not (tmp_path / "study.db").exists()


def test_a_lock_that_is_something_else_is_named(run, is_mistake, database, tmp_path):
    database.with_name("study.db.lock").write_text("not a lock " * 100)
    is_mistake(run("search", "--status", "--folder", tmp_path), ["study.db.lock", "remove it"])
