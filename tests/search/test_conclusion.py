"""What a search leaves behind: runs in its loggers, repetitions of the best, a report."""

import json
from importlib.util import find_spec

import pytest
import torch

from lightning_hparams import Search
from lightning_hparams.callbacks import RunRecorder
from lightning_hparams.configuration import Configuration
from lightning_hparams.search import open_from, trial_record
from lightning_hparams.search.conclusion import repeat
from tests.runs import read_events
from tests.search import tiny

MLFLOW = {"class_path": "lightning.pytorch.loggers.MLFlowLogger"}
RECORDER = {"class_path": "RunRecorder", "init_args": {"hparams": {"note": "x"}}}
LOGGERS = [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "."}}]
LOGGERS += [MLFLOW] if find_spec("mlflow") else []


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "study"
    trainer = {"logger": LOGGERS, "callbacks": [RECORDER], "log_every_n_steps": 1}
    base = Configuration.load(tiny.configuration(2, trainer))
    settings = tiny.settings(folder, trials=3, repeat_best={"trials": 2, "seeds": 2}, keep=1)
    return Search.of(base, settings).run(in_this_process=True)


def test_the_folder_of_a_trial_is_its_run(searched):
    for trial in searched.trials:
        folder = searched.folder / "trials" / str(trial.number)
        names = {path.name for path in folder.iterdir()}
        assert {"trial.json", "manifest.json", "hparams.yaml"} <= names
        assert "version_0" not in names
        assert (folder / "csv" / "version_0" / "metrics.csv").is_file()
        best = read_events(folder).Scalars("best/val_loss")[-1].value
        assert best == pytest.approx(trial.value)


def test_the_sampled_rate_is_that_of_optuna_of_hparams_and_of_the_optimizer(searched):
    trial = searched.best
    folder = searched.folder / "trials" / str(trial.number)
    checkpoint = torch.load(folder / "best.ckpt", weights_only=False)
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    tensors = read_events(folder).summary_metadata["_hparams_/session_start_info"]
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    row = HParamsPluginData.FromString(tensors.plugin_data.content).session_start_info.hparams
    assert row["lr"].number_value == trial.params["model.init_args.lr"] == group["initial_lr"]
    assert row["trial"].number_value == trial.number
    assert row["note"].string_value == "x"
    assert set(row) == {"lr", "dropout", "study", "trial", "retry", "note"}


def test_the_best_trials_are_repeated_on_the_test_split_with_seeds_of_their_own(searched):
    found = searched.repeated
    assert len(found) == 2
    assert len({*found[0].scores, *found[1].scores}) == 2
    assert all(score > 0 for each in found for score in each.scores.values())
    assert len({score for each in found for score in each.scores.values()}) == 4
    assert "Other seeds, test split" in searched.report.read_text()


def test_a_repetition_is_not_trained_again(searched, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr("lightning_hparams.search.conclusion.train", fail)
    study, base = open_from(searched.folder)
    assert repeat(study, base) == (searched.repeated, True)


def test_the_configuration_of_the_best_trial_is_there_to_train_with(searched):
    best = Configuration.load(searched.folder / "best.yaml")
    record = trial_record(searched.folder, searched.best.number)
    assert best.data == Configuration.load(record["configuration"]).data
    assert f"fit --config {searched.folder / 'best.yaml'}" in searched.report.read_text()


def test_only_the_best_checkpoint_is_left(searched):
    left = sorted(searched.folder.rglob("*.ckpt"))
    assert [path.relative_to(searched.folder).as_posix() for path in left] == [
        "best.ckpt",
        f"trials/{searched.best.number}/best.ckpt",
    ]


@pytest.mark.skipif(MLFLOW not in LOGGERS, reason="needs MLflow")
def test_the_search_is_a_parent_run_in_mlflow(searched):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{searched.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("study").experiment_id
    runs = client.search_runs([experiment])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(runs) == 4
    assert parents[0].data.metrics["best_value"] == pytest.approx(searched.best.value)
    assert {run.info.status for run in runs} == {"FINISHED"}
    states = [run.data.tags["state"] for run in runs if run not in parents]
    assert states == ["COMPLETE"] * 3
    (report,) = client.list_artifacts(parents[0].info.run_id)
    assert report.path == "report.html"


def test_the_configuration_of_a_trial_keeps_the_users_recorder(searched):
    record = trial_record(searched.folder, 0)
    names = [each["class_path"] for each in record["configuration"]["trainer"]["callbacks"]]
    assert any(name.endswith(RunRecorder.__name__) for name in names)
    json.dumps(record)
