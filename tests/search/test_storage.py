"""A study's database is quick, safe for many processes, and refused where it would not be."""

import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from lightning_hparams.search import (
    Float,
    SearchSettings,
    Space,
    open_storage,
    open_study,
    storage as storage_file,
)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'study.db'}"


def test_sqlite_writes_ahead_and_waits(url):
    database = open_storage(url)
    with database.engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert found == ["wal", 1, 120_000]


def test_a_transaction_is_written_whole_or_not_at_all(any_url):
    database = open_storage(any_url)
    study = database.create_new_study([optuna.study.StudyDirection.MINIMIZE], "one")

    def fail():
        with database.transaction():
            number = database.create_new_trial(study)
            database.set_trial_user_attr(number, "why", "never")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert database.get_all_trials(study) == []
    with database.transaction():
        number = database.create_new_trial(study)
        with database.transaction():
            database.set_trial_user_attr(number, "why", "inner")
        assert open_storage(any_url, reading=True).get_all_trials(study) == []
    (trial,) = open_storage(any_url, reading=True).get_all_trials(study)
    assert trial.user_attrs == {"why": "inner"}


WRITE = """
import sys, optuna
from lightning_hparams.search import load_study, next_trial
optuna.logging.set_verbosity(optuna.logging.WARNING)
study = load_study(sys.argv[1], "study")
while (asked := next_trial(study)) is not None:
    for epoch in range(1, 5):
        asked.trial.report(1 / epoch, epoch)
        asked.trial.should_prune()
    asked.trial.set_user_attr("done", True)
    study.tell(asked.trial, asked.params["a.b"])
"""
READ = """
import sys, time, optuna
optuna.logging.set_verbosity(optuna.logging.WARNING)
while True:
    study = optuna.load_study(study_name="study", storage=sys.argv[1])  # as a dashboard does
    trials = study.trials
    if len(trials) == 48 and all(trial.state.is_finished() for trial in trials):
        break
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_eight_writers_and_a_reader_never_find_the_database_locked(url):
    space = Space({"a.b": Float(0, 1), "a.c": Float(0, 1)})
    settings = SearchSettings(
        metric="loss/val", mode="min", space=space, trials=48, storage=url, pruner="median"
    )
    open_study(settings)
    commands = [*[WRITE] * 8, READ]
    running = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True)
        for code in commands
    ]
    assert [process.communicate()[1] for process in running] == [""] * 9
    assert len(open_study(settings).trials) == 48


def test_a_writer_waits_for_another_transaction(any_url):
    database = open_storage(any_url)
    study = database.create_new_study([optuna.study.StudyDirection.MINIMIZE], "one")
    code = (
        "import sys; from lightning_hparams.search import open_storage\n"
        f"open_storage(sys.argv[1]).create_new_trial({study})"
    )
    with database.transaction():
        database.create_new_trial(study)
        other = subprocess.Popen([sys.executable, "-c", code, any_url])
        time.sleep(2)
        assert other.poll() is None
    assert other.wait() == 0
    assert [trial.number for trial in database.get_all_trials(study)] == [0, 1]


MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/export /home nfs4 rw 0 0
/dev/sdb1 /home/local\\040disk xfs rw 0 0
//host/share /mnt/share cifs rw 0 0
tmpfs /tmp tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/home/ada/studies", "nfs4"),
        ("/mnt/share", "cifs"),
        ("/home/local disk/studies", None),
        ("/homestead", None),
        ("/tmp/studies", None),
    ],
)
def test_network_drives_are_known_by_their_mounts(path, found):
    assert storage_file.network_filesystem(Path(path), MOUNTS) == found


def test_sqlite_on_a_network_drive_is_refused(url, tmp_path, monkeypatch):
    mounts = f"server:/export {tmp_path.resolve()} nfs4 rw 0 0\n"
    monkeypatch.setattr(storage_file, "_mounts", lambda: mounts)
    with pytest.raises(ValueError, match=r"network drive \(nfs4\).*postgresql\+psycopg://"):
        open_storage(url)
    assert not (tmp_path / "study.db").exists()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
        ("mysql://host/name", "must be SQLite or PostgreSQL, got 'mysql'"),
        ("://", "must be a URL"),
    ],
)
def test_an_address_that_cannot_hold_a_study_is_refused(address, words):
    with pytest.raises(ValueError, match=words):
        open_storage(address)


def test_a_file_that_is_something_else_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("Not a database, but long enough to be taken for one. " * 100)
    with pytest.raises(ValueError, match=r"notes\.txt' is not a SQLite database"):
        open_storage(path)
    with pytest.raises(PermissionError, match="is a folder"):
        open_storage(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match="cannot be written to"):
        open_storage(tmp_path / "file" / "study.db")


def test_a_server_that_does_not_answer_is_told_without_its_password():
    with pytest.raises(ConnectionError, match=r"//ada:\*\*\*@localhost:1/study.* check host"):
        open_storage("postgresql://ada:secret@localhost:1/study")
