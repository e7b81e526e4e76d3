import json
import random
import subprocess

import numpy as np
import torch

from lightning_hparams.provenance import take, to_markdown
from tests.provenance.test_redaction import HIDDEN, SECRETS, strings


def test_a_manifest_records_only_listed_environment_variables(monkeypatch, tmp_path):
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


def test_a_secret_that_is_a_common_word_does_not_hide_package_names(monkeypatch):
    monkeypatch.setenv("POSTGRES_PASSWORD", "pytest")
    assert "pytest" in take({})["packages"]


def test_a_manifest_survives_json_and_consumes_no_random_numbers():
    config = {"lr": np.float32(0.5), "module": torch.nn.Linear(2, 2)}
    states = torch.get_rng_state(), repr(np.random.get_state(legacy=False)), random.getstate()
    manifest = take(config)
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["config"] == {"lr": 0.5, "module": "torch.nn.modules.linear.Linear"}
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (repr(np.random.get_state(legacy=False)), random.getstate())


def test_packages_are_read_once_in_a_process_and_not_shared_between_manifests(monkeypatch):
    first = take({})
    first["packages"]["torch"] = "changed"
    monkeypatch.setattr("importlib.metadata.distributions", lambda: [])
    assert take({})["packages"]["torch"] not in ("changed", "")
