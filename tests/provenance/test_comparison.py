import json
import math

import pytest
from hypothesis import given, strategies as st

from lightning_hparams.provenance import compare, take


def test_differences_are_described_in_sentences(tmp_path):
    one = take({"hparams": {"lr": 0.1, "wd": 0.5}}, {"WORLD_SIZE": "1"})
    two = json.loads(json.dumps(one))
    assert compare(one, two) == []
    diverged = [{**one, "metrics": {"last": {"loss": loss}}} for loss in (math.nan, "nan", 0.5)]
    assert compare(diverged[0], diverged[1]) == []
    assert compare(diverged[0], diverged[2]) == ["result last.loss: 'nan' vs 0.5"]
    assert compare(diverged[2], diverged[0]) == ["result last.loss: 0.5 vs 'nan'"]
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
        "13 differences: code (4), data (2), status (1), last step (1), config (3), command (1), "
        "package (1); the same: seed, setting, Python, hardware, environment",
        f"the code differs: commit none vs {'b' * 9}",
        "only the second run had uncommitted changes",
        "branch: None vs main",
        "only the second run had untracked files: a.py, b.py",
        "training data: same size, different contents",
        "validation data parts.0.class: 'y' vs 'x'",
        "status: finished vs failed",
        "last step: 9 vs 3",
        "config hparams.lr: 0.1 vs 0.2",
        "config hparams.mode: 'max' in the second run only",
        "config hparams.wd: 0.5 in the first run only",
        "command: python train.py vs python other.py",
        f"package torch: {one['packages']['torch']!r} vs '1.0'",
    ]
    with pytest.raises(FileNotFoundError, match=r"no manifest at .*RunRecorder writes one"):
        compare(one, tmp_path / "elsewhere")


def test_repeated_values_are_written_once():
    """A learning rate occurs in the hyperparameters and in each group of the optimizer."""

    def run(lr, seed):
        groups = [{"lr": lr, "initial_lr": lr}, {"lr": lr, "initial_lr": lr}]
        return {
            "git": {"commit": "a" * 40},
            "config": {"hparams": {"lr": lr}, "optimizers": [{"groups": groups}]},
            "seeds": {"global": seed},
        }

    sentences = compare(run(0.0123, 1), run(0.0456, 2))
    assert sentences == [
        "6 differences: config (5), seed (1); the same: code",
        "config hparams.lr: 0.0123 vs 0.0456",
        "config, as hparams.lr: optimizers.0.groups.0.initial_lr, optimizers.0.groups.0.lr, "
        "optimizers.0.groups.1.initial_lr, optimizers.0.groups.1.lr",
        "seed global: 1 vs 2",
    ]


def test_a_single_difference_needs_no_summary():
    assert compare({"python": "3.10"}, {"python": "3.11"}) == ["Python: 3.10 vs 3.11"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=4), inner),
    max_leaves=6,
)
SECTIONS = ("git", "data", "config", "packages", "metrics", "earlier", "command", "status")


@given(*[st.dictionaries(st.sampled_from(SECTIONS), JSON)] * 2)
def test_sections_of_any_type_are_compared(one, two):
    """A damaged file, or one of a later version, may contain any type."""
    assert compare(one, one) == []
    assert all(isinstance(sentence, str) for sentence in compare(one, two))


def test_nan_equals_itself():
    one, two = ({"status": float("nan"), "data": {"a": [float("nan")]}} for _ in "ab")
    assert compare(one, two) == []


def test_a_file_of_another_program_is_refused(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text('{"name": "web app", "icons": []}')
    with pytest.raises(ValueError, match=r"`format` must be 1 to 1, got null; pass the folder"):
        compare({}, path)
