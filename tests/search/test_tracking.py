import json
from importlib.metadata import version

import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from packaging.version import Version
from torch.utils.data import DataLoader

from lightning_hparams.search import Choice, Float, Int, Space
from lightning_hparams.search.tracking import (
    MLflowStudy,
    TrialIdentity,
    domains_of,
    mlflow_study,
    trial_callbacks,
    trial_loggers,
)
from tests.runs import quiet_trainer
from tests.server import browser, look, mlflow_ui, tensorboard

SPACE = Space(
    {
        "model.init_args.lr": Float(1e-4, 1, log=True),
        "model.init_args.width": Int(1, 8),
        "model.init_args.optimizer": Choice(["SGD", "Adam", None]),
        "model.init_args.betas": Choice(
            [[0.9, 0.99], [0.8, 0.9]], when={"model.init_args.optimizer": "Adam"}
        ),
        "model.init_args.nesterov": Choice([True, False]),
    }
)


class Line(LightningModule):
    def __init__(self, lr=0.1, width=1, optimizer="SGD", betas=None, nesterov=False):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        return self.layer(batch).pow(2).mean()

    def validation_step(self, batch, index):
        self.log("val_loss", self.layer(batch).pow(2).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.lr)


def identity(number, params, **options):
    options = {"study": "lines", "retry": 0, "seed": number, **options}
    keys = {f"model.init_args.{name}": value for name, value in params.items()}
    return TrialIdentity(number=number, params=keys, **options)


def train(folder, trial, configured=None, mlflow=None, recorder=None):
    arguments = {key.rpartition(".")[2]: value for key, value in trial.params.items()}
    torch.manual_seed(trial.seed)
    loggers = trial_loggers(configured, folder, trial, mlflow)
    callbacks = trial_callbacks(recorder, trial, SPACE, "val_loss", "min")
    trainer = quiet_trainer(max_epochs=2, logger=loggers, callbacks=callbacks)
    data = DataLoader(torch.randn(8, 1), batch_size=4)
    trainer.fit(Line(**arguments), data, data)
    return trainer


TRIALS = [
    identity(0, {"lr": 0.1, "width": 2, "optimizer": "SGD", "nesterov": True}),
    identity(1, {"lr": 0.01, "width": 3, "optimizer": "Adam", "betas": [0.9, 0.99]}),
    identity(2, {"lr": 0.5, "width": 1, "optimizer": None, "nesterov": False}, retry=1),
]


def test_domains_are_ranges_and_choices_by_short_name():
    assert domains_of(SPACE) == {
        "lr": (1e-4, 1),
        "width": (1, 8),
        "optimizer": ["SGD", "Adam"],
        "betas": ["[0.9, 0.99]", "[0.8, 0.9]"],
        "nesterov": [True, False],
    }


def test_each_trial_is_one_run_in_its_own_folder(tmp_path):
    loggers = trial_loggers(
        [{"class_path": "lightning.pytorch.loggers.CSVLogger"}], tmp_path / "7", TRIALS[0]
    )
    assert [type(each) for each in loggers] == [TensorBoardLogger, CSVLogger]
    places = [str(each.log_dir).rstrip("/") for each in loggers]
    assert places == [str(tmp_path / "7"), str(tmp_path / "7" / "csv" / "version_0")]
    assert trial_loggers(False, tmp_path, TRIALS[0]) == []
    with pytest.warns(UserWarning, match="not to WandbLogger"):
        trial_loggers({"class_path": "lightning.pytorch.loggers.WandbLogger"}, tmp_path, TRIALS[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "trials"
    for trial in TRIALS:
        train(folder / str(trial.number), trial)
    return folder


def test_the_manifest_of_a_trial_keeps_all_hyperparameters(folder):
    manifest = json.loads((folder / "1" / "manifest.json").read_text())
    assert manifest["config"]["hparams"]["lr"] == 0.01
    assert "val_loss" in manifest["metrics"]["best"]


@pytest.mark.slow
def test_hparams_has_a_typed_column_for_each_parameter(folder):
    """Also for those that a condition leaves out of the first trials that TensorBoard reads."""
    with tensorboard(folder) as server:
        rows = server.wait_for(lambda: len(found := server.rows()) == 3 and found)
        columns = server.columns()
    infos = {each["name"]: each for each in columns["hparamInfos"]}
    assert set(infos) == {
        *("lr", "width", "optimizer", "betas", "nesterov"),
        *("study", "trial", "retry"),
    }
    assert infos["lr"]["domainInterval"] == {"minValue": 1e-4, "maxValue": 1.0}
    assert sorted(infos["optimizer"]["domainDiscrete"]) == ["Adam", "SGD"]
    assert sorted(infos["nesterov"]["domainDiscrete"]) == [False, True]
    assert {each["name"]["tag"] for each in columns["metricInfos"]} == {
        "best/val_loss",
        "val_loss",
    }
    for trial in TRIALS:
        status, values, metrics = rows[str(trial.number)]
        assert status == "STATUS_SUCCESS"
        assert values == trial.columns(SPACE)
        assert metrics.keys() == {"best/val_loss", "val_loss"}
    assert values["retry"] == 1
    assert "optimizer" not in values


@pytest.mark.slow
def test_a_person_sees_the_trials_as_rows_of_the_page(folder):
    with tensorboard(folder) as server, browser() as page:
        server.wait_for(lambda: len(server.rows()) == 3)
        words = ("lr", "width", "optimizer", "betas", "nesterov", "study", "trial", "retry")
        words = ("TABLE VIEW", "best/val_loss", *words)
        look(page, f"{server.url}/#hparams", *words, exact=True)
        assert not page.get_by_text("hp_metric").count()
        page.screenshot(path=folder.parent / "hparams.png")


def test_the_users_recorder_gives_its_metrics_and_hyperparameters(folder, tmp_path):
    given = {"metrics": {"val_loss": "max", "acc": "max"}, "hparams": {"note": "x"}, "domains": {}}
    (recorder,) = trial_callbacks(given, TRIALS[0], SPACE, "val_loss", "min")
    assert recorder.metrics == {"val_loss": "min", "acc": "max"}
    assert recorder._columns["note"] == "x"


def test_seeds_and_short_names_are_the_columns_of_a_trial():
    assert TRIALS[2].columns(SPACE) == {
        "lr": 0.5,
        "width": 1,
        "nesterov": False,
        "study": "lines",
        "trial": 2,
        "retry": 1,
    }


def test_a_factor_on_the_rate_of_a_range_test_is_not_taken_for_a_rate():
    factor = identity(0, {"lr": 0.5}, lr=0.02)
    assert factor.columns(SPACE).items() >= {"lr_factor": 0.5, "lr": 0.02}.items()
    assert domains_of(SPACE, factor=True)["lr_factor"] == (1e-4, 1)


def test_a_server_that_does_not_answer_costs_the_record_and_not_the_trial(tmp_path):
    study = MLflowStudy("sqlite:////proc/none/mlflow.db", "lines", "lines", "0" * 32)
    with pytest.warns(UserWarning, match="trial 0 is not in MLflow"):
        loggers = trial_loggers(MLFLOW, tmp_path, TRIALS[0], study)
    assert [type(each) for each in loggers] == [TensorBoardLogger]
    with pytest.warns(UserWarning, match="the end of trial 0 is not in MLflow"):
        study.end_trial(0, "COMPLETE", 0.5)


MLFLOW = [{"class_path": "lightning.pytorch.loggers.MLFlowLogger"}]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("study")
    study = mlflow_study(MLFLOW, "lines", folder)
    for trial in TRIALS:
        train(folder / "trials" / str(trial.number), trial, MLFLOW, study)
        study.end_trial(trial.number, "PRUNED" if trial.number == 1 else "COMPLETE", 0.5)
    return study


def runs(study):
    from mlflow import MlflowClient

    client = MlflowClient(study.uri)
    experiment = client.get_experiment_by_name("lines")
    return {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}


def test_trials_are_children_of_the_study_in_mlflow(tracked):
    found = runs(tracked)
    parent = found.pop(tracked.parent)
    assert parent.info.run_name == "study lines"
    assert len(found) == 3
    by_trial = {int(run.data.tags["trial"]): run for run in found.values()}
    for trial in TRIALS:
        run = by_trial[trial.number]
        assert run.data.tags["mlflow.parentRunId"] == tracked.parent
        assert run.data.tags["study"] == "lines"
        assert run.data.tags["seed"] == str(trial.seed)
        assert run.data.params["lr"] == str(trial.params["model.init_args.lr"])
        assert {"val_loss", "best/val_loss"} <= set(run.data.metrics)
        assert run.info.status == "FINISHED"
    assert by_trial[1].data.tags["state"] == "PRUNED"
    assert by_trial[2].data.tags["retry_of"] == "2"


def test_a_retry_continues_the_run_of_its_trial(tracked, tmp_path):
    before = set(runs(tracked))
    again = identity(0, {"lr": 0.1, "width": 2, "optimizer": "SGD"}, retry=1)
    train(tmp_path, again, MLFLOW, tracked)
    found = runs(tracked)
    assert set(found) == before
    (run,) = [run for run in found.values() if run.data.tags.get("trial") == "0"]
    assert run.data.tags["retry"] == "1"


def test_the_same_study_is_opened_again_by_its_parent(tracked, tmp_path):
    before = set(runs(tracked))
    given = [{**MLFLOW[0], "init_args": {"tracking_uri": tracked.uri}}]
    again = mlflow_study(given, "lines", tmp_path, tracked.parent)
    assert again == tracked
    assert set(runs(again)) == before
    assert mlflow_study(True, "lines", tmp_path) is None


def test_the_parent_ends_with_the_best_trial(tracked, tmp_path):
    from tests.search.studies import trial

    report = tmp_path / "report.html"
    report.write_text("<p>report</p>")
    tracked.end(trial(4, value=0.125), report)
    parent = runs(tracked)[tracked.parent]
    assert parent.data.metrics["best_value"] == 0.125
    assert parent.data.tags["best_trial"] == "4"
    assert parent.data.tags["best.lr"] == "0.1"
    assert parent.info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.skipif(
    Version(version("mlflow")) < Version("3.2"), reason="pages of MLflow 3.1 have other addresses"
)
def test_a_person_sees_the_trials_under_their_study(tracked, tmp_path):
    from mlflow import MlflowClient

    experiment = MlflowClient(tracked.uri).get_experiment_by_name("lines").experiment_id
    with mlflow_ui(tracked.uri, tmp_path / "ui.log") as address, browser() as page:
        look(page, f"{address}/#/experiments/{experiment}/runs", "study lines")
        page.screenshot(path=tmp_path / "mlflow.png")
        parent = f"{address}/#/experiments/{experiment}/runs/{tracked.parent}"
        look(page, parent, "lines, trial 0", "lines, trial 2")
        page.screenshot(path=tmp_path / "parent.png")


def test_a_trainer_without_loggers_is_left_alone(tmp_path):
    assert train(tmp_path, TRIALS[0], configured=False).loggers == []
