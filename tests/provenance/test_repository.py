import subprocess

import pytest

from lightning_hparams.provenance import take


@pytest.fixture
def repository(tmp_path):
    """Repository with a text file and an image, both changed since the only commit."""

    def git(*arguments):
        who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        subprocess.run(["git", *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "a.txt").write_text("old\n")
    (tmp_path / "b.bin").write_bytes(bytes(range(256)))
    git("add", ".")
    git("commit", "-qm", "first")
    (tmp_path / "a.txt").write_text("new\n")
    (tmp_path / "b.bin").write_bytes(bytes(range(255, -1, -1)))
    return git


def test_the_diff_is_a_patch_whatever_git_is_configured_to_show(repository, tmp_path):
    for name, value in {
        "color.ui": "always",
        "diff.external": "/bin/echo",
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
    }.items():
        repository("config", name, value)
    found = take({})["git"]
    repository("checkout", "-q", ".")
    subprocess.run(["git", "apply"], input=found["diff"], text=True, check=True)
    assert (tmp_path / "a.txt").read_text() == "new\n"
    # Its contents would bloat the patch.
    assert (tmp_path / "b.bin").read_bytes() == bytes(range(256))
    assert found["changed_binaries"] == ["b.bin"]


def test_the_error_is_recorded_if_git_does_not_provide_the_commit(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as git's own tests do
    assert "dubious ownership" in take({})["git"]["error"]
    monkeypatch.setenv("PATH", "")
    assert "git" in take({})["git"]["error"]


def test_outside_a_repository_there_is_no_commit():
    assert take({})["git"] is None
