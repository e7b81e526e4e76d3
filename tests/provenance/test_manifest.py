import argparse
import dataclasses
import enum
import functools
import json
import math
import random
import subprocess
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from lightning_hparams.provenance import (
    compare,
    flatten,
    plain,
    take,
    to_json,
    to_markdown,
    without_secrets,
)
from tests.provenance.test_redaction import HIDDEN, SECRETS, strings


def test_a_manifest_has_none_of_the_environment_but_the_short_list(monkeypatch, tmp_path):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["train.py", "--hub", SECRETS["GITHUB_TOKEN"]])
    monkeypatch.setenv("UNKNOWN_VARIABLE", "nobody-needs-to-know")
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / "a.txt").write_text("old\n")
    subprocess.run(["git", "add", "a.txt"], check=True)
    who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run(["git", *who, "commit", "-qm", "first"], check=True)
    remote = f"https://me:{SECRETS['GITHUB_TOKEN']}@example.org/x.git"
    subprocess.run(["git", "remote", "add", "origin", remote], check=True)
    (tmp_path / "a.txt").write_text(f"key = {SECRETS['WANDB_API_KEY']}\n")
    manifest = take({"hparams": {"url": SECRETS["DB_PASSWORD"]}})
    text = str(list(strings(manifest))) + json.dumps(manifest) + to_markdown(manifest)
    assert not [s for s in HIDDEN if s in text]
    assert "nobody-needs-to-know" not in text
    assert manifest["environment"]["OMP_NUM_THREADS"] == "2"
    assert manifest["git"]["dirty"]
    assert "-old\n" in manifest["git"]["diff"]
    assert len(manifest["git"]["commit"]) == 40
    assert manifest["git"]["remote"] == "https://<hidden>@example.org/x.git"
    assert manifest["command"][1:] == ["train.py", "--hub", "<hidden>"]


def test_a_secret_that_is_a_word_leaves_the_names_of_packages(monkeypatch):
    monkeypatch.setenv("POSTGRES_PASSWORD", "pytest")
    assert "pytest" in take({})["packages"]


def test_secrets_are_hidden_before_a_table_is_made_of_them():
    nested = {"storage_options": {"key": "abcd"}, "remotes": [{"auth": 'ab"cd'}], "lr": 0.1}
    assert without_secrets(nested, {}) == {
        "storage_options.key": "<hidden>",
        "remotes": "[{'auth': '<hidden>'}]",
        "lr": 0.1,
    }


@pytest.fixture
def repository(tmp_path):
    """With a text file and a picture, both changed since the only commit."""

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


def test_the_changes_are_a_patch_whatever_git_is_configured_to_show(repository, tmp_path):
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
    # Its contents would fill the patch.
    assert (tmp_path / "b.bin").read_bytes() == bytes(range(256))
    assert found["changed_binaries"] == ["b.bin"]


def test_a_commit_that_git_does_not_tell_is_not_missing_in_silence(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as git's own tests do
    assert "dubious ownership" in take({})["git"]["error"]
    monkeypatch.setenv("PATH", "")
    assert "git" in take({})["git"]["error"]


def test_outside_a_repository_there_is_no_commit():
    assert take({})["git"] is None


def test_a_manifest_survives_json_and_takes_no_random_number():
    config = {"lr": np.float32(0.5), "module": torch.nn.Linear(2, 2)}
    states = torch.get_rng_state(), repr(np.random.get_state(legacy=False)), random.getstate()
    manifest = take(config)
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["config"] == {"lr": 0.5, "module": "torch.nn.modules.linear.Linear"}
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (repr(np.random.get_state(legacy=False)), random.getstate())


class Color(enum.Enum):
    RED = "red"


def test_values_are_written_the_same_in_every_process():
    values = {
        "f": strings,
        "t": torch.tensor(2),
        "a": np.zeros((20, 3)),
        "c": Color.RED,
        "s": {"b", "a"},
    }
    assert plain(values) == {
        "f": "tests.provenance.test_redaction.strings",
        "t": 2,
        "a": "ndarray(20, 3)",
        "c": "Color.RED",
        "s": ["a", "b"],
    }


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    betas: tuple = (np.float64(0.9), np.float32(0.5))


class ListConfig(Sequence):
    """As OmegaConf's ListConfig."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return [1, 2][index]


def test_all_that_hyperparameters_are_made_of_is_written():
    values = {
        "args": argparse.Namespace(lr=0.1, size=ListConfig()),
        "config": Settings(),
        "optimizer": functools.partial(torch.optim.SGD, lr=0.1),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "weights": torch.tensor([1.0, 2.0]),
        "mean": np.array([0.25, 0.5]),
        "sparse": torch.eye(2).to_sparse(),
        "nowhere": torch.zeros(2, device="meta"),
        "method": str.join,
        "long": np.longdouble(1),
        "bytes": b"ab",
    }
    assert flatten(values) == {
        "args.lr": 0.1,
        "args.size": "[1, 2]",
        "config.lr": 0.1,
        "config.betas": "[0.9, 0.5]",
        "optimizer.function": "torch.optim.sgd.SGD",
        "optimizer.lr": 0.1,
        "dtype": "torch.bfloat16",
        "device": "cpu",
        "weights": "[1.0, 2.0]",
        "mean": "[0.25, 0.5]",
        "sparse": "Tensor(2, 2)",
        "nowhere": "Tensor(2,)",
        "method": "builtins.str.join",
        "long": "1.0",
        "bytes": "builtins.bytes",
    }


def test_a_table_has_flat_names_and_no_none():
    nested = {"opt": {"lr": 0.1, "wd": None, "betas": (0.9, 0.99)}, "flag": True, "empty": {}}
    assert flatten(nested) == {"opt.lr": 0.1, "opt.betas": "[0.9, 0.99]", "flag": True}


def test_a_manifest_is_json_for_every_reader():
    def refused(constant):
        raise ValueError(constant)

    text = to_json({"loss": [math.nan], "clip": math.inf, "lr": 0.1})
    assert json.loads(text, parse_constant=refused) == {"loss": ["nan"], "clip": "inf", "lr": 0.1}
    assert "NaN" not in to_markdown({"loss": math.nan})


def test_differences_are_said_in_words(tmp_path):
    one = take({"hparams": {"lr": 0.1, "wd": 0.5}})
    two = json.loads(json.dumps(one))
    assert compare(one, two) == []
    diverged = [{**one, "metrics": {"last": {"loss": loss}}} for loss in (math.nan, "nan", 0.5)]
    assert compare(diverged[0], diverged[1]) == []
    assert compare(diverged[0], diverged[2]) == ["result last.loss: 'nan' against 0.5"]
    assert compare(diverged[2], diverged[0]) == ["result last.loss: 0.5 against 'nan'"]
    two["config"]["hparams"] = {"lr": 0.2, "mode": "max"}
    untracked = {"untracked": ["a.py", "b.py"]}
    two["git"] = {"commit": "b" * 40, "dirty": True, "diff": "+x", "branch": "main"} | untracked
    two["packages"]["torch"] = "1.0"
    parts = [[{"class": name, "length": 4, "sha256": name}] for name in "xy"]
    two["data"] = {"training": {"length": 3, "sha256": "a"}, "validation": {"parts": parts[0]}}
    one["data"] = {"training": {"length": 3, "sha256": "b"}, "validation": {"parts": parts[1]}}
    two |= {"status": "failed", "last_step": 3}
    one |= {"status": "finished", "last_step": 9}
    two["command"] = ["python", "other.py"]
    one["command"] = ["python", "train.py"]
    (tmp_path / "manifest.json").write_text(json.dumps(two))
    assert compare(one, tmp_path) == [
        f"the code differs: commit none against {'b' * 9}",
        "only the second run had changes that were not committed",
        "branch: None against main",
        "only the second run had files that git does not know: a.py, b.py",
        "training data: as many, but not the same",
        "validation data parts.0.class: 'y' against 'x'",
        "status: finished against failed",
        "last step: 9 against 3",
        "config hparams.lr: 0.1 against 0.2",
        "config hparams.mode: 'max' in the second run only",
        "config hparams.wd: 0.5 in the first run only",
        "command: python train.py against python other.py",
        f"package torch: {one['packages']['torch']!r} against '1.0'",
    ]
    with pytest.raises(FileNotFoundError, match=r"no manifest at .*RunRecorder writes one"):
        compare(one, tmp_path / "elsewhere")
