import json

import pytest
from hypothesis import given, strategies as st

from lightning_hparams.provenance import compare, compare_runs, load_run

RUN = {
    "format": 1,
    "python": "3.12",
    "packages": {"torch": "2.9"},
    "config": {"hparams": {"lr": 0.1}, "optimizers": [{"groups": [{"lr": 0.1}]}]},
    "data": {"training": {"length": 10, "sha256": "a" * 64}},
    "metrics": {"best": {"loss": 0.5}},
    "git": {"commit": "c" * 40},
    "seeds": {"global": "1", "torch_state": "x"},
    "status": "finished",
}


def run(**changed):
    return {**RUN, **changed}


def configured(lr):
    return {"hparams": {"lr": lr}, "optimizers": [{"groups": [{"lr": lr}]}]}


def rows(*runs):
    found = compare_runs(runs)
    return {(each.section, *each.names): each.values for each in found.differences}


def test_the_summary_of_several_runs_comes_first():
    found = compare_runs(
        [
            run(),
            run(config=configured(0.2), metrics={"best": {"loss": 0.25}}),
            run(packages={"torch": "3.0"}),
        ]
    )
    text = found.to_text()
    assert text.splitlines()[0] == (
        "3 runs differ in configuration (2), versions (1), metrics (1); "
        "the same: data, code, seeds, run"
    )
    assert text.splitlines()[0] == found.summary()
    assert "hparams.lr, optimizers.0.groups.0.lr  0.1  0.2  0.1" in text
    assert json.loads(found.to_json())["summary"] == found.summary()


def test_equal_runs_do_not_differ():
    found = compare_runs([run(), run(), run()])
    assert found.differences == ()
    assert found.to_text().startswith("3 runs, no differences")


def test_a_value_that_a_run_lacks_is_none():
    assert rows(run(), run(metrics={"best": {}})) == {("metrics", "best.loss"): (0.5, None)}


def test_digests_are_short_and_left_out_beside_numbers():
    other = {"training": {"length": 10, "sha256": "b" * 64}}
    assert rows(run(), run(data=other)) == {("data", "training.sha256"): ("a" * 12, "b" * 12)}
    shorter = {"training": {"length": 9, "sha256": "b" * 64}}
    assert rows(run(), run(data=shorter)) == {("data", "training.length"): (10, 9)}
    assert rows(run(), run(git={"commit": "d" * 40}))[("code", "commit")][1] == "d" * 12


def test_states_of_generators_are_left_out_where_the_seed_explains_them():
    seeded = run(seeds={"global": "2", "torch_state": "y"})
    assert rows(run(), seeded) == {("seeds", "global"): ("1", "2")}
    drawn = run(seeds={"global": "1", "torch_state": "y"})
    assert rows(run(), drawn) == {("seeds", "torch_state"): ("x", "y")}


def test_runs_are_found_below_a_folder(tmp_path):
    for name, lr in {"a": 0.1, "b": 0.2}.items():
        folder = tmp_path / name / "lightning_logs" / "version_0"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(run(config=configured(lr))))
    found = compare_runs([tmp_path / "a", tmp_path / "b" / "lightning_logs" / "version_0"])
    assert found.runs[0] == str(tmp_path / "a")
    assert found.differences[0].values == (0.1, 0.2)
    with pytest.raises(ValueError, match="has 2 runs; name the folder of each"):
        compare_runs([tmp_path, tmp_path / "a"])


def test_a_trial_is_compared_by_its_parameters_and_value(tmp_path):
    for number in (0, 1):
        folder = tmp_path / str(number)
        (folder / "version_0").mkdir(parents=True)
        trial = {"params": {"lr": 0.1 * (number + 1)}, "seed": 5, "value": 0.7, "state": "COMPLETE"}
        facts = {"command": ["python", "worker.py", str(number)], "packages": {"torch": "2"}}
        (folder / "trial.json").write_text(json.dumps({**trial, "versions": facts}))
        (folder / "version_0" / "manifest.json").write_text(json.dumps(RUN))
    assert rows(tmp_path / "0", tmp_path / "1") == {("configuration", "params.lr"): (0.1, 0.2)}
    assert load_run(tmp_path / "0")["metrics"] == {"value": 0.7, "best": {"loss": 0.5}}


def test_packages_of_trials_without_a_recorder_are_compared(tmp_path):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        facts = {"packages": {"torch": f"2.{number}"}, "python": "3.12.1"}
        trial = {"params": {}, "value": 0.7, "versions": facts}
        (tmp_path / str(number) / "trial.json").write_text(json.dumps(trial))
    found = rows(tmp_path / "1", tmp_path / "2")
    assert found == {("versions", "packages.torch"): ("2.1", "2.2")}


def test_a_seed_is_not_a_difference_of_machines_too(tmp_path):
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        found = run(seeds={"global": str(seed)}, environment={"PL_GLOBAL_SEED": str(seed)})
        (tmp_path / str(seed) / "manifest.json").write_text(json.dumps(found))
    assert {section for section, _ in rows(tmp_path / "1", tmp_path / "2")} == {"seeds"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "does not describe a trial"),
    ],
)
def test_a_damaged_trial_is_named(tmp_path, text, message):
    (tmp_path / "trial.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_run(tmp_path)


def test_what_is_not_a_run_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match="two runs or more, got 1"):
        compare_runs([tmp_path])
    with pytest.raises(FileNotFoundError, match="no manifest in"):
        compare_runs([tmp_path, tmp_path])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        compare_runs([tmp_path / "x", tmp_path])
    (tmp_path / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(ValueError, match="RunRecorder"):
        compare_runs([tmp_path, tmp_path])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=4), inner),
    max_leaves=6,
)
SECTIONS = ("git", "data", "config", "packages", "metrics", "earlier", "command", "status", "seeds")


@given(*[st.dictionaries(st.sampled_from(SECTIONS), JSON)] * 2)
def test_sections_of_any_type_are_compared(one, two):
    assert compare_runs([one, one]).differences == ()
    found = compare_runs([one, two])
    assert found.to_text()
    json.loads(found.to_json())


@pytest.fixture
def folders(tmp_path):
    """Two equal runs, whose checkpoints hold the paths of their folders."""
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        callbacks = {"ModelCheckpoint": {"dirpath": str(folder / "checkpoints"), "top": 1}}
        kept = {"ModelCheckpoint": {"best": {"file": "x.ckpt", "sha256": name * 64}}}
        written = run(config={**configured(0.1), "callbacks": callbacks}, checkpoints=kept)
        (folder / "manifest.json").write_text(json.dumps(written))
        made.append(folder)
    return made


def changed(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_what_follows_from_the_folder_of_a_run_is_no_difference(folders, monkeypatch):
    found = compare_runs(folders)
    assert found.differences == ()
    first, *_, last = found.to_text().splitlines()
    assert first == "2 runs, no differences"
    assert "not the same byte for byte" in last
    assert json.loads(found.to_json())["notes"] == [last]
    assert compare(*folders) == [last]
    monkeypatch.chdir(folders[0].parent)
    assert compare_runs(["a", "b/manifest.json"]).differences == ()


def test_a_path_outside_the_folder_of_a_run_is_a_difference(folders):
    changed(folders[1], config={"callbacks": {"ModelCheckpoint": {"dirpath": f"{folders[0]}2"}}})
    (difference,) = [
        each for each in compare_runs(folders).differences if each.names[0].endswith("dirpath")
    ]
    assert difference.values == ("RUN/checkpoints", f"{folders[0]}2")


def test_bytes_of_checkpoints_are_left_out_beside_other_metrics(folders):
    changed(folders[1], metrics={"best": {"loss": 0.25}})
    found = compare_runs(folders)
    assert [each.section for each in found.differences] == ["metrics"]
    assert found.notes == ()
    assert compare(*folders) == ["result best.loss: 0.5 vs 0.25"]
