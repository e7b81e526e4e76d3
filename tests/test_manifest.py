import enum
import json
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_hparams.manifest import compare, flatten, plain, redact, take, to_markdown

SECRETS = {
    "GITHUB_TOKEN": "ghp_0123456789",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
    "DB_PASSWORD": 'quote"d\\secret',
    "SSH_PRIVATE_KEY": "-----BEGIN-----\nMIIEowIBAAKCAQEA\n-----END-----",
    "WANDB_API_KEY": "wandbwandbwandb",
    "HOME": "/home/me",
    "OMP_NUM_THREADS": "2",
}
HIDDEN = [value for name, value in SECRETS.items() if name not in ("HOME", "OMP_NUM_THREADS")]


@given(
    st.recursive(
        st.text(max_size=8) | st.sampled_from(HIDDEN),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    ),
    st.sampled_from(HIDDEN),
)
def test_no_secret_of_the_environment_is_anywhere(value, secret):
    found = redact({"config": value, "text": f"before {secret} after", secret: 1}, SECRETS)
    text = str(list(strings(found)))
    assert not [s for s in HIDDEN if s in text]
    assert "MIIEowIBAAKCAQEA" not in text


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)


@pytest.mark.parametrize(
    "text",
    [
        "--token=abcd",
        "https://me:abcd@host/repo.git",
        "postgresql://u:abcd@host/db",
        'API_KEY = "abcd"',
        "curl --password abcd x",
        "{'hf_token': 'abcd'}",
    ],
)
def test_what_looks_like_a_secret_is_hidden_without_the_environment(text):
    assert "abcd" not in redact(text, {})
    assert "<hidden>" in redact(text, {})


@pytest.mark.parametrize(
    "value",
    [
        {"tokenizer": "bert", "max_tokens": 512, "num_keys": 3, "key": 4, "author": "me"},
        ["train.py", "--lr", "0.1", "--keypoints", "17", "--passes=3"],
        "a --learning-rate 0.1 https://host/path",
    ],
)
def test_what_only_sounds_like_one_stays(value):
    assert redact(value, {"HOME": "train", "PWD": "https", "OLDPWD": "17", "MODE": "bert"}) == value


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


def test_outside_a_repository_there_is_no_commit():
    assert take({})["git"] is None


def test_a_manifest_survives_json_and_takes_no_random_number():
    state = torch.get_rng_state()
    manifest = take({"lr": np.float32(0.5), "module": torch.nn.Linear(2, 2)})
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["config"] == {"lr": 0.5, "module": "torch.nn.modules.linear.Linear"}
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())


class Color(enum.Enum):
    RED = "red"


def test_values_are_written_the_same_in_every_process():
    values = {
        "f": strings,
        "t": torch.tensor(2),
        "a": np.zeros((2, 3)),
        "c": Color.RED,
        "s": {"b", "a"},
    }
    assert plain(values) == {
        "f": "tests.test_manifest.strings",
        "t": 2,
        "a": "ndarray(2, 3)",
        "c": "Color.RED",
        "s": ["a", "b"],
    }


def test_a_table_has_flat_names_and_no_none():
    nested = {"opt": {"lr": 0.1, "wd": None, "betas": (0.9, 0.99)}, "flag": True, "empty": {}}
    assert flatten(nested) == {"opt.lr": 0.1, "opt.betas": "[0.9, 0.99]", "flag": True}


def test_differences_are_said_in_words(tmp_path):
    one = take({"hparams": {"lr": 0.1, "wd": 0.5}})
    two = json.loads(json.dumps(one))
    assert compare(one, two) == []
    two["config"]["hparams"] = {"lr": 0.2, "mode": "max"}
    two["git"] = {"commit": "b" * 40, "dirty": True, "diff": "+x"}
    two["packages"]["torch"] = "1.0"
    two["data"] = {"training": {"length": 3, "sha256": "a"}}
    one["data"] = {"training": {"length": 3, "sha256": "b"}}
    two["command"] = ["python", "other.py"]
    one["command"] = ["python", "train.py"]
    (tmp_path / "manifest.json").write_text(json.dumps(two))
    assert compare(one, tmp_path) == [
        f"the code differs: commit none against {'b' * 9}",
        "only the second run had changes that were not committed",
        "training data: as many, but not the same",
        "config hparams.lr: 0.1 against 0.2",
        "config hparams.mode: 'max' in the second run only",
        "config hparams.wd: 0.5 in the first run only",
        "command: python train.py against python other.py",
        f"package torch: {one['packages']['torch']!r} against '1.0'",
    ]
    with pytest.raises(FileNotFoundError, match=r"no manifest at .*RunRecorder writes one"):
        compare(one, tmp_path / "elsewhere")
