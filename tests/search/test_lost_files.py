"""A study whose folder has lost something goes on if it can, and never replaces what has ended."""

import json
import shutil
import sqlite3

import pytest

from lightning_hparams import Search
from lightning_hparams.configuration import Configuration
from lightning_hparams.search import open_storage, open_study
from tests.search import tiny


def search(folder, trials=2, **changes):
    settings = tiny.settings(folder, trials=trials, **changes)
    base = Configuration.load(tiny.configuration(epochs=1))
    return Search.of(base, settings).run(in_this_process=True)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ended") / "study"
    search(folder)
    return folder


@pytest.fixture
def folder(ended, tmp_path):
    return shutil.copytree(ended, tmp_path / "study")


def content(folder):
    return {path: path.read_bytes() for path in folder.glob("trials/*/*") if path.is_file()}


def remove(folder):
    (folder / "study.db").unlink()


def empty(folder):
    (folder / "study.db").write_bytes(b"")


def forget(folder):
    database = open_storage(folder / "study.db")
    database.delete_study(database.get_study_id_from_name("study"))


def restore_an_older_copy(folder):
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute("DELETE FROM trials WHERE number = 1")
    connection.close()


@pytest.mark.parametrize("damage", [remove, empty, forget, restore_an_older_copy])
def test_trials_that_the_database_does_not_know_are_not_replaced(folder, damage):
    damage(folder)
    before = content(folder)
    with pytest.raises(ValueError, match=r"files of \d trials? \(.*1\) that the database of study"):
        search(folder)
    assert content(folder) == before


def test_a_missing_database_is_not_created_beside_trials(folder):
    remove(folder)
    (folder / "study.db-wal").write_bytes(b"what a tool may recover")
    with pytest.raises(ValueError, match="restore the database from a copy"):
        search(folder)
    assert not (folder / "study.db").exists()
    assert (folder / "study.db-wal").read_bytes() == b"what a tool may recover"


def test_another_study_does_not_replace_trials_in_the_same_folder(folder):
    before = content(folder)
    with pytest.raises(ValueError, match=r"study 'other' does not know.*give another `folder`"):
        search(folder, name="other")
    assert content(folder) == before
    assert len(open_storage(folder / "study.db", reading=True).get_all_studies()) == 1


def test_a_search_ends_without_the_files_of_its_best_trial(folder):
    number = open_study(tiny.settings(folder), create=False).best_trial.number
    shutil.rmtree(folder / "trials" / str(number))
    (folder / "report.html").unlink()
    assert search(folder).report.is_file()


def test_a_link_to_the_best_checkpoint_is_made_again(folder):
    before = (folder / "best.ckpt").read_bytes()
    (folder / "best.ckpt").unlink()
    (folder / "best.yaml").unlink()
    search(folder)
    assert (folder / "best.ckpt").read_bytes() == before
    assert (folder / "best.yaml").is_file()


def test_a_file_in_place_of_the_trials_is_refused(folder):
    shutil.rmtree(folder / "trials")
    (folder / "trials").write_text("")
    with pytest.raises(PermissionError, match="the folder of the trials"):
        search(folder, 3)


def test_a_trial_whose_folder_cannot_be_written_to_fails_with_the_reason(folder):
    (folder / "trials" / "2").write_text("")
    trial = search(folder, 4).trials[2]
    assert "trials/2" in trial.user_attrs["failure"]["lines"][-1]
    assert (folder / "trials" / "3" / "trial.json").is_file()


def test_settings_of_another_version_are_named(folder):
    with sqlite3.connect(folder / "study.db") as connection:
        query = "SELECT value_json FROM study_user_attributes WHERE key = 'settings'"
        settings = json.loads(json.loads(connection.execute(query).fetchone()[0]))
        text = json.dumps(json.dumps({**settings, "later": 1}))
        connection.execute(
            "UPDATE study_user_attributes SET value_json = ? WHERE key = 'settings'", (text,)
        )
    connection.close()
    with pytest.raises(ValueError, match=r"stored settings of study 'study' .*another version"):
        search(folder)
