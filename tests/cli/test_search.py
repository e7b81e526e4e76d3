"""search and replay: thin wires to the rooms that do the work."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.trial import create_trial

from lightning_hparams.configuration import write_yaml
from lightning_hparams.search import Comparison, open_from
from lightning_hparams.search.worker_process import death_message

SWEEP = {
    "name": "tiny",
    "metric": "loss/val",
    "mode": "min",
    "trials": 2,
    "sampler": "random",
    "space": {"model.init_args.lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}},
}


@pytest.fixture
def given(given):
    given["trainer"] |= {"enable_checkpointing": True, "limit_train_batches": 1}
    return given


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(write_yaml(SWEEP))
    return path


@pytest.mark.slow
def test_a_search_is_run_shown_and_its_trials_repeated(run, config, sweep, tmp_path):
    args = ["search", "--config", config, "--sweep", sweep, "--data.batch_size", "2"]
    code, out, _, _ = run(*args)
    assert code == 0
    assert "best trial: " in out
    assert (tmp_path / "studies/tiny/best.ckpt").is_file()
    assert out.count("trial 0  complete") == out.count("trial 1  complete") == 1
    base = json.loads((tmp_path / "studies/tiny/search.json").read_text())["configuration"]
    assert base["data"]["init_args"]["batch_size"] == 2

    assert "2 of 2 trials" in run("search", "--status", "--name=tiny")[1]
    assert "2 of 2 trials" in run("search", "--status", "--sweep", sweep)[1]
    code, out, _, _ = run(*args)  # goes on, where nothing is left to do
    assert code == 0
    assert "trial 0  complete" not in out

    code, out, _, _ = run("replay", "1")
    assert (code, "trial 1 repeated exactly" in out) == (0, True)
    path = tmp_path / "studies/tiny/trials/0/trial.json"
    record = json.loads(path.read_text())
    record["reports"] = {step: value + 1 for step, value in record["reports"].items()}
    path.write_text(json.dumps(record))
    code, out, _, _ = run("replay", path.parent)
    assert (code, "trial 0 differs" in out) == (3, True)


def test_without_a_launcher_the_study_is_created_and_the_command_of_a_worker_shown(
    run, config, sweep, tmp_path
):
    args = ["--launcher", "none", "--storage", f"sqlite:///{tmp_path}/other.db"]
    code, out, _, _ = run("search", "--config", config, "--sweep", sweep, *args)
    assert code == 0
    assert "python -m lightning_hparams.search.worker studies/tiny" in out
    assert "other.db" not in out  # an address may have a password
    assert "0 of 2 trials" in run("search", "--status", "--folder", "studies/tiny")[1]
    assert not [*tmp_path.glob("studies/tiny/trials/*")]
    kept = json.loads((tmp_path / "studies/tiny/search.json").read_text())
    assert kept["directory"] == str(tmp_path)


def test_workers_read_names_that_spell_numbers_as_names(run, config, sweep):
    args = ["--launcher=none", "--name=nan", "--data.batch_size=2"]
    assert run("search", "--config", config, "--sweep", sweep, *args)[0] == 0
    study, _ = open_from("studies/nan")
    assert study.settings.name == "nan"


def test_a_trial_is_repeated_where_its_search_was_started(run, tmp_path, monkeypatch):
    study = tmp_path / "studies" / "tiny"
    study.mkdir(parents=True)
    (study / "search.json").write_text(json.dumps({"directory": str(tmp_path)}))
    monkeypatch.chdir(study)
    monkeypatch.setattr(sys, "path", [*sys.path])
    asked = []

    def repeated(folder, number):
        asked.append((folder.resolve(), number, Path.cwd(), sys.path[0]))
        return Comparison(number, "loss", {0: 1.0}, {0: 1.0}, True)

    monkeypatch.setattr("lightning_hparams.cli.replay.replay", repeated)
    assert run("replay", "3")[0] == 0
    assert asked == [(study, 3, tmp_path, str(tmp_path))]
    monkeypatch.chdir(study)
    (study / "search.json").write_text(json.dumps({"directory": str(tmp_path / "gone")}))
    assert run("replay", "3")[0] == 0
    assert asked[1][:3] == (study, 3, study)


MISTAKES = [
    ([], ["--sweep"]),
    (["--sweep", "nowhere.yaml"], ["nowhere.yaml", "no such file"]),
    (["--status", "--name", "unknown"], ["studies/unknown", "no study.db"]),
    (["--status"], ["--status needs a study: --folder"]),
    (["--trails=3"], ["no option --trails", "'--trials'"]),
    (["--workers=two"], ["`workers` must be a whole number", "'two'"]),
    (["--launcher=slurm"], ["slurm"]),
]


@pytest.mark.parametrize(("args", "words"), MISTAKES)
def test_a_mistake_in_the_arguments_is_one_sentence(run, is_mistake, config, args, words):
    is_mistake(run("search", "--config", config, *args), words)


SPACES = [
    ({"model.init_args.lrr": [1]}, ["model.init_args.lrr", "'model.init_args.lr'"]),
    ({"model.init_args.lr": ["high"]}, ["model.init_args.lr", "'high'"]),
    ({"trainer.callbacks.OneCycle.pct_start": [0.1]}, ["OneCycle"]),
    ({"model.init_args.lr": {"type": "float", "low": 1, "high": 0}}, ["low", "high"]),
]


@pytest.mark.parametrize(("space", "words"), SPACES)
def test_a_mistake_in_the_space_is_one_sentence(run, is_mistake, config, sweep, space, words):
    sweep.write_text(write_yaml({**SWEEP, "space": space}))
    is_mistake(run("search", "--config", config, "--sweep", sweep), words)


def test_a_search_without_a_configuration_is_one_sentence(run, is_mistake, sweep):
    is_mistake(run("search", "--sweep", sweep), "--config fit.yaml")


def test_a_number_needs_one_study(run, is_mistake, tmp_path):
    is_mistake(run("replay", "3"), ["number 3", "none is near"])
    for name in ("a", "b"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "search.json").write_text("{}")
    is_mistake(run("replay", "3"), ["2 are near", "studies/a", "studies/b"])
    shutil.rmtree(tmp_path / "studies/b")
    is_mistake(run("replay", "3"), ["studies/a", "trial 3"])
    is_mistake(run("replay", "nowhere"), ["nowhere", "config.yaml", "trial.json"])


@pytest.mark.filterwarnings("ignore:.* exists and is not empty")
def test_a_run_is_repeated_and_compared(run, given, config, tmp_path):
    given["trainer"] |= {"logger": True, "default_root_dir": str(tmp_path / "runs")}
    config.write_text(write_yaml(given))
    assert run("fit", "--config", config)[0] == 0
    (folder,) = (tmp_path / "runs/lightning_logs").iterdir()
    before = sorted(tmp_path.rglob("*"))
    code, out, _, _ = run("replay", folder)
    assert (code, "repeated exactly" in out) == (0, True)
    assert "1 checkpoint" in out
    assert sorted(tmp_path.rglob("*")) == before
    written = folder / "config.yaml"
    written.write_text(written.read_text().replace("seed_everything: 3", "seed_everything: 4"))
    code, out, _, _ = run("replay", folder)
    assert code == 3
    assert "loss/val" in out
    assert "weights" in out


def test_an_interrupted_search_says_how_to_go_on(run, config, sweep, monkeypatch):
    class Stopped:
        best, finished, ended, folder, trials = None, False, "", Path("studies/tiny"), ()

    monkeypatch.setattr("lightning_hparams.cli.search.Search.run", lambda self, **_: Stopped())
    code, out, err, _ = run("search", "--config", config, "--sweep", sweep)
    assert code == 130
    assert "the same command goes on" in out
    assert "trial.json" not in err


def test_the_rate_of_the_best_trial_is_shown_if_a_range_test_set_it(
    run, config, sweep, monkeypatch
):
    trial = create_trial(value=0.5, user_attrs={"lr": 0.03125})

    class Found:
        best, finished, ended, folder, repeated = trial, False, "", Path("studies/tiny"), ()
        study = SimpleNamespace(settings=SimpleNamespace(metric="loss/val"))

    monkeypatch.setattr("lightning_hparams.cli.search.Search.run", lambda self, **_: Found())
    code, out, _, _ = run("search", "--config", config, "--sweep", sweep)
    assert code == 130
    assert "trained with: 0.03125" in out


def test_a_worker_that_cannot_start_is_told_by_its_error_and_its_last_lines(
    run, config, sweep, monkeypatch
):
    code = "import a_module_of_theirs"
    monkeypatch.setattr(
        "lightning_hparams.search.supervisor.worker_command",
        lambda *_: [sys.executable, "-c", code],
    )
    exit_code, _, err, errors = run("search", "--config", config, "--sweep", sweep)
    assert exit_code == 2
    message = "ModuleNotFoundError: No module named 'a_module_of_theirs'"
    log = "studies/tiny/workers/0.log"
    assert errors == [
        f"lightning-hparams: error: the workers end with exit code 1: {message}; "
        f"the last lines of {log}:"
    ]
    assert err.splitlines()[-1] == f"  {message}"  # as in the log, line by line
    assert message in Path(log).read_text()


def test_a_worker_that_is_killed_is_told_by_the_signal(tmp_path):
    log = tmp_path / "0.log"
    assert death_message(-9, log) == (
        f"the workers end with the signal SIGKILL; they have written nothing to {log}"
    )
    log.write_text("x" * 100_000 + "\n" + "\n".join(map(str, range(30))) + "\n\n")
    first, *lines = death_message(-9, log).splitlines()
    assert first == f"the workers end with the signal SIGKILL; the last lines of {log}:"
    assert (lines[0], lines[-1], len(lines)) == ("  18", "  29", 12)
