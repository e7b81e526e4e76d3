import json
import math
import os
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.plugins.hparams import metadata as hparams_metadata
from torch.utils.data import DataLoader, TensorDataset

from lightning_hparams import MetricMonitor, RunRecorder, mlflow_logger
from lightning_hparams.provenance import compare, whole_parts
from lightning_hparams.sinks import FilesSink
from tests.runs import matching, quiet_trainer, read_events, shapes
from tests.server import browser, look, tensorboard


class Foreign(LightningModule):
    """A third-party module with given validation losses."""

    def __init__(self, lr=0.1, wd=0.0, losses=(3.0, 1.0, 2.0), extra=False, fail=None):
        super().__init__()
        self.save_hyperparameters(ignore=["losses", "extra", "fail"])
        self.losses, self.extra, self.fail = losses, extra, fail
        self.layer = torch.nn.Linear(2, 1)
        self.example_input_array = torch.zeros(1, 2)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        if self.fail is not None and self.current_epoch == 2:
            raise self.fail
        loss = self(batch[0]).square().mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.losses[self.current_epoch])
        self.log("val_acc", 1 / self.losses[self.current_epoch])
        if self.extra:
            self.log("val_f1", 0.5)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Points(LightningDataModule):
    def __init__(self, batch_size=4):
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=self.hparams.batch_size)

    val_dataloader = train_dataloader


def run(module, folder="runs", recorder=None, ckpt_path=None, loggers=(), **options):
    recorder = RunRecorder() if recorder is None else recorder
    loggers = [*loggers] or [TensorBoardLogger(folder, name="points")]
    callbacks = [recorder, *options.pop("callbacks", [])]
    options = {"max_epochs": 3, "log_every_n_steps": 1, **options}
    trainer = quiet_trainer(logger=loggers, callbacks=callbacks, **options)
    trainer.fit(module, Points(), ckpt_path=ckpt_path)
    return recorder


def read_json(path):
    return json.loads(Path(path).read_text())


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # from the resumed run
@pytest.mark.slow
def test_the_table_is_right_in_every_case(tmp_path):
    """All with Lightning's default logger, whose `hp_metric` must not appear."""
    run(Foreign(lr=0.1, wd=None))
    run(Foreign(lr=0.2, wd=0.01))
    run(Foreign(lr=0.3, extra=True))  # a metric that the first runs lack
    for fail, lr in ((RuntimeError, 0.4), (KeyboardInterrupt, 0.5)):
        with pytest.raises((fail, SystemExit)):
            run(Foreign(lr=lr, fail=fail))
    keeps = ModelCheckpoint("kept", every_n_epochs=1, save_top_k=-1)
    with pytest.raises(RuntimeError):  # crashes, and resumes in the same folder
        run(Foreign(lr=0.6, fail=RuntimeError), callbacks=[keeps], enable_checkpointing=True)
    logger = TensorBoardLogger("runs", name="points", version=5)
    run(
        Foreign(lr=0.6),
        loggers=[logger],
        callbacks=[keeps],
        enable_checkpointing=True,
        ckpt_path="kept/epoch=1-step=4.ckpt",
    )

    with tensorboard("runs") as server:
        server.wait_for(lambda: len(server.get("runs")) == 6)
        server.wait_for(lambda: len(server.rows()) == 6)
        rows, columns = server.rows(), server.columns()
        with browser() as page:
            words = ("TABLE VIEW", "best/val_acc", "best/val_f1", "best/val_loss", "lr", "wd")
            look(page, f"{server.url}/#hparams", *words, exact=True)
            look(page, f"{server.url}/#hparams", "points/version_4 (")
            assert not page.get_by_text("hp_metric").count()
            page.screenshot(path=tmp_path / "hparams.png")
    success, failure = "STATUS_SUCCESS", "STATUS_FAILURE"
    assert {name: status for name, (status, _, _) in rows.items()} == {
        "points/version_0": success,
        "points/version_1": success,
        "points/version_2": success,
        "points/version_3": failure,
        "points/version_4": failure,
        "points/version_5": success,
    }
    assert "wd" not in rows["points/version_0"][1]
    assert rows["points/version_1"][1] == {"lr": 0.2, "wd": 0.01, "batch_size": 4}
    types = {info["name"]: info["type"] for info in columns["hparamInfos"]}
    assert types == dict.fromkeys(("lr", "wd", "batch_size"), "DATA_TYPE_FLOAT64")
    shown = {info["name"]["tag"] for info in columns["metricInfos"]}
    assert shown >= {"best/val_loss", "val_loss", "best/val_f1", "val_f1"}
    assert "hp_metric" not in shown
    for name in ("points/version_0", "points/version_2", "points/version_5"):
        assert rows[name][2]["best/val_loss"] == 1
        assert rows[name][2]["val_loss"] == 2
        assert rows[name][2]["best/val_acc"] == 1
    assert rows["points/version_3"][2]["val_loss"] == 1


@pytest.mark.slow
def test_chosen_columns_have_domains_and_runs_of_a_config_share_a_row():
    for _ in range(2):
        run(
            Foreign(),
            recorder=RunRecorder(
                ["val_loss"], {"lr": (0.0, 1.0), "wd": [0.0, 0.1]}, group="config"
            ),
        )
    with tensorboard("runs") as server:
        server.wait_for(lambda: len(server.get("runs")) == 2 and server.rows())
        columns = server.columns()
        ((_, _, metrics),) = server.rows().values()
    lr, wd, batch_size = columns["hparamInfos"]
    assert (lr["name"], lr["domainInterval"]) == ("lr", {"minValue": 0, "maxValue": 1})
    assert (wd["name"], wd["domainDiscrete"]) == ("wd", [0, 0.1])
    assert batch_size["name"] == "batch_size"
    assert [info["name"]["tag"] for info in columns["metricInfos"]] == ["best/val_loss", "val_loss"]
    assert metrics == {"best/val_loss": 1, "val_loss": 2}


def test_runs_that_differ_only_in_secrets_belong_to_different_configs():
    groups = []
    for token in ("one", "two", "two"):
        logger = CSVLogger("csv")
        run(
            Foreign(),
            loggers=[logger],
            recorder=RunRecorder(hparams={"token": token}, group="config"),
            max_epochs=1,
        )
        row = read_json(f"{logger.log_dir}/hparams.json")
        assert row["hparams"]["token"] == "<hidden>"
        groups.append(row["group"])
    assert groups[0] != groups[1] == groups[2]


def test_exactly_the_tags_of_the_docstring_are_written():
    module, data = matching(shapes()), shapes()
    logger = TensorBoardLogger("runs")
    quiet_trainer(logger=logger, callbacks=[RunRecorder()], max_epochs=2).fit(module, data)
    tags = read_events(logger.log_dir).Tags()
    metrics = {"loss/val", *(f"metric/{name}/val" for name in ("miou", "mdice"))}
    metrics |= {f"metric/{name}_accuracy/val" for name in ("mean", "pixel")}
    lightnings = {"epoch", "loss/val/ce", "loss/val/dice"}
    assert set(tags["scalars"]) - lightnings == metrics | {f"best/{tag}" for tag in metrics}
    assert "manifest" in tags["tensors"]


def test_two_monitors_write_a_value_once():
    logger = TensorBoardLogger("runs")
    tag = "class/iou/disc/val"  # not written by Lightning
    recorder, monitor = RunRecorder([tag]), MetricMonitor()
    data = shapes()
    quiet_trainer(logger=logger, callbacks=[monitor, recorder], max_epochs=2).fit(
        matching(data), data
    )
    assert [e.step for e in read_events(logger.log_dir).Scalars(tag)] == [3, 7]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # from the resumed run
def test_a_resumed_run_repeats_no_step_and_keeps_its_best_values():
    keeps = {"dirpath": "kept", "every_n_epochs": 1, "save_top_k": -1}
    logger = {"save_dir": "tb", "name": "x", "version": 0}
    options = {"enable_checkpointing": True, "recorder": RunRecorder(["val_loss"])}
    run(
        Foreign(losses=(1.0, 3.0, 3.0)),
        loggers=[TensorBoardLogger(**logger)],
        callbacks=[ModelCheckpoint(**keeps), MetricMonitor()],
        **options,
    )
    recorder = run(
        Foreign(losses=(9.0, 5.0, 4.0)),
        loggers=[TensorBoardLogger(**logger)],
        callbacks=[ModelCheckpoint(**keeps), MetricMonitor()],
        ckpt_path="kept/epoch=0-step=2.ckpt",
        **options,
    )
    assert recorder.manifest["metrics"]["best"]["val_loss"] == 1
    assert recorder.manifest["metrics"]["last"]["val_loss"] == 4
    assert recorder.manifest["first_step"] == 2
    events = read_events("tb/x/version_0").Scalars("best/val_loss")
    assert [(e.step, e.value) for e in events] == [(1, 1), (3, 1), (5, 1)]
    rates = read_events("tb/x/version_0").Scalars("lr/group 0")
    assert [e.step for e in rates] == [0, 1, 2, 3, 4, 5]


def test_the_manifest_records_how_to_repeat_the_run(monkeypatch):
    monkeypatch.setenv("HUB_TOKEN", "hunter2-hunter2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recorder = RunRecorder(hparams={"note": "with hunter2-hunter2", "size": (2, 3)})
    callbacks = [ModelCheckpoint("kept", monitor="val_acc", mode="max", save_last=True)]
    loggers = [TensorBoardLogger("tb"), CSVLogger("csv")]
    run(Foreign(), "tb", recorder, loggers=loggers, callbacks=callbacks, enable_checkpointing=True)
    manifest = read_json(f"{loggers[0].log_dir}/manifest.json")
    assert manifest == recorder.manifest
    assert manifest == read_json(f"{loggers[1].log_dir}/manifest.json")
    assert manifest["status"] == "finished"
    assert manifest["config"]["hparams"] == {
        "lr": 0.1,
        "wd": 0.0,
        "batch_size": 4,
        "note": "with <hidden>",
        "size": "[2, 3]",
    }
    assert manifest["config"]["optimizers"][0]["class"] == "torch.optim.sgd.SGD"
    assert manifest["config"]["optimizers"][0]["groups"][0]["lr"] == 0.1
    assert manifest["config"]["trainer"]["max_epochs"] == 3
    assert manifest["packages"]["torch"] == version("torch")
    assert manifest["environment"]["OMP_NUM_THREADS"] == "1"
    assert manifest["data"]["training"]["length"] == 8
    ((name, kept),) = manifest["checkpoints"].items()
    assert name.startswith("ModelCheckpoint")
    assert set(kept) == {"best", "last"}
    digest = subprocess.run(
        ["sha256sum", f"kept/{kept['last']['file']}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    assert kept["last"]["sha256"] == digest
    for path in ("tb", "csv"):
        found = subprocess.run(["grep", "-rl", "hunter2", path], capture_output=True, check=False)
        assert found.stdout == b""

    other = run(Foreign(lr=0.2), "other", RunRecorder())
    said = compare(loggers[0].log_dir, other.manifest)
    assert "config hparams.lr: 0.1 vs 0.2" in said
    assert "config hparams.note: 'with <hidden>' in the first run only" in said
    assert not [sentence for sentence in said if "data" in sentence.split()[:2]]


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "failed"), (KeyboardInterrupt, "killed")]
)
def test_a_run_that_fails_has_that_status(error, status):
    logger = CSVLogger("csv")
    with pytest.raises((error, SystemExit)):
        run(Foreign(fail=error), loggers=[logger])
    assert read_json(f"{logger.log_dir}/manifest.json")["status"] == status
    assert read_json(f"{logger.log_dir}/hparams.json")["status"] == status


def test_the_row_has_current_hyperparameters_not_saved_ones():
    module = Foreign()
    module.hparams.lr = 0.7  # as a range test does
    logger = CSVLogger("csv")
    run(module, loggers=[logger])
    assert read_json(f"{logger.log_dir}/hparams.json")["hparams"]["lr"] == 0.7


@pytest.mark.parametrize("options", [{"logger": False}, {"fast_dev_run": True}])
def test_without_a_logger_nothing_is_written_or_warned(options, tmp_path):
    recorder = RunRecorder()
    trainer = quiet_trainer(callbacks=[recorder], **options)
    trainer.fit(Foreign(), Points())
    assert recorder.manifest == {}
    assert not list(tmp_path.rglob("manifest.json"))


class Epochs(Foreign):
    """Logs a training loss of 3, 1, 2, once per epoch."""

    def training_step(self, batch, batch_idx):
        loss = self(batch[0]).square().mean()
        given = loss * 0 + self.losses[self.current_epoch]
        self.log("train_loss", given, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self):
        self.log("train_last", self.losses[self.current_epoch], logger=False)


def best_of(logger, tag):
    return [(e.step, e.value) for e in read_events(logger.log_dir).Scalars(f"best/{tag}")]


@pytest.mark.parametrize(
    ("metrics", "options"), [("auto", {"limit_val_batches": 0}), (["train_loss", "train_last"], {})]
)
def test_training_metrics_are_written_at_the_end_of_their_epoch(metrics, options):
    logger = TensorBoardLogger("tb")
    recorder = run(Epochs(), loggers=[logger], recorder=RunRecorder(metrics), **options)
    assert recorder.manifest["metrics"]["best"] == {"train_loss": 1}
    assert recorder.manifest["metrics"]["last"] == {"train_loss": 2, "train_last": 2}
    assert best_of(logger, "train_loss") == [(1, 3), (3, 1), (5, 1)]
    events = read_events(logger.log_dir)
    assert [(e.step, e.value) for e in events.Scalars("train_last")] == [(1, 3), (3, 1), (5, 2)]
    assert [e.step for e in events.Scalars("train_loss")] == [1, 3, 5]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # from the resumed run
def test_a_checkpoint_includes_the_best_values_of_its_own_epoch():
    options = {"enable_checkpointing": True, "limit_val_batches": 0}
    keeps = {"dirpath": "kept", "every_n_epochs": 1, "save_top_k": -1}
    run(Epochs(losses=(1.0, 3.0, 3.0)), callbacks=[ModelCheckpoint(**keeps)], **options)
    checkpoint = "kept/epoch=0-step=2.ckpt"
    module = Epochs(losses=(9.0, 5.0, 4.0))
    recorder = run(module, callbacks=[ModelCheckpoint(**keeps)], ckpt_path=checkpoint, **options)
    assert recorder.manifest["metrics"]["best"]["train_loss"] == 1


class Unnamed(Foreign):
    """Logs validation metrics whose names do not contain a stage."""

    def validation_step(self, batch, batch_idx):
        self.log("accuracy", 1 / self.losses[self.current_epoch])


def test_metrics_logged_in_validation_count_whatever_their_names():
    logger = TensorBoardLogger("tb")
    recorder = run(Unnamed(), loggers=[logger])
    assert recorder.manifest["metrics"]["best"] == {"accuracy": 1}
    assert [step for step, _ in best_of(logger, "accuracy")] == [1, 3, 5]


def test_metrics_monitored_by_other_callbacks_count():
    keeps = ModelCheckpoint("kept", monitor="train_loss", mode="max")
    recorder = run(Epochs(), callbacks=[keeps], enable_checkpointing=True)
    assert set(recorder.manifest["metrics"]["best"]) == {"val_loss", "val_acc", "train_loss"}
    assert recorder.manifest["metrics"]["best"]["train_loss"] == 3


def test_a_validation_that_logs_nothing_causes_one_warning():
    class Silent(Foreign):
        def validation_step(self, batch, batch_idx):
            pass

    with pytest.warns(UserWarning, match="the validation logs no metric; call self.log") as warned:
        run(Silent())
    assert sum("logs no metric" in str(warning.message) for warning in warned) == 1


def test_best_values_are_kept_while_the_same_trainer_continues():
    recorder = RunRecorder()
    trainer = quiet_trainer(logger=[CSVLogger("csv")], callbacks=[recorder], log_every_n_steps=1)
    module = Foreign(losses=(1.0, 5.0, 6.0))
    trainer.fit(module, Points())
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, Points())
    assert recorder.manifest["metrics"]["best"]["val_loss"] == 1
    quiet_trainer(logger=[CSVLogger("csv")], callbacks=[recorder]).fit(Foreign(), Points())
    assert recorder.manifest["metrics"]["best"]["val_loss"] == 3


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # from the resumed run
@pytest.mark.filterwarnings("ignore:Experiment logs directory")  # from CSVLogger
def test_manifests_of_earlier_parts_are_kept():
    options = {"enable_checkpointing": True, "max_epochs": 3}
    options["loggers"] = [CSVLogger("csv", name="x", version=0)]
    keeps = {"dirpath": "kept", "every_n_epochs": 1, "save_top_k": -1}
    with pytest.raises(RuntimeError):
        run(Foreign(fail=RuntimeError), callbacks=[ModelCheckpoint(**keeps)], **options)
    for lr in (0.2, 0.3):
        options["ckpt_path"] = "kept/epoch=0-step=2.ckpt"
        run(Foreign(lr=lr), callbacks=[ModelCheckpoint(**keeps)], **options)
    manifest = read_json("csv/x/version_0/manifest.json")
    parts = [*manifest["earlier"], manifest]
    assert [part["status"] for part in parts] == ["failed", "finished", "finished"]
    assert [part["config"]["hparams"]["lr"] for part in parts] == [0.1, 0.2, 0.3]
    assert [part["first_step"] for part in parts] == [0, 2, 2]
    assert not [part for part in parts[:-1] if "earlier" in part]


def test_a_diverged_run_has_strict_json():
    def refused(constant):
        raise ValueError(constant)

    logger = CSVLogger("csv")
    losses = (1.0, math.nan, math.nan)
    run(Foreign(losses=losses), loggers=[logger], recorder=RunRecorder(hparams={"clip": math.inf}))
    text = Path(logger.log_dir, "manifest.json").read_text()
    manifest = json.loads(text, parse_constant=refused)
    assert manifest["metrics"]["last"]["val_loss"] == "nan"
    assert manifest["config"]["hparams"]["clip"] == "inf"


def test_callbacks_of_the_same_class_have_different_names():
    keeps = [
        ModelCheckpoint("kept", filename=name, monitor=name, mode=mode)
        for name, mode in (("val_loss", "min"), ("val_acc", "max"))
    ]
    recorder = run(Foreign(), callbacks=keeps, enable_checkpointing=True)
    settings, kept = (recorder.manifest["config"]["callbacks"], recorder.manifest["checkpoints"])
    for callback in keeps:
        assert settings[callback.state_key]["monitor"] == callback.monitor
        assert kept[callback.state_key]["best"]["file"] == f"{callback.monitor}.ckpt"
    plain = run(Foreign(), "b", callbacks=[Callback(), Callback()]).manifest["config"]["callbacks"]
    assert {"Callback", "Callback #2"} <= set(plain)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")  # from torch
def test_a_lazy_layer_does_not_end_the_run():
    module = Foreign()
    module.layer = torch.nn.LazyLinear(1)
    manifest = run(module).manifest
    assert (manifest["status"], manifest["config"]["parameters"]) == ("finished", None)


class Unknown(Logger):
    name, version, save_dir = "mine", 7, "elsewhere"

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params):
        pass


def test_the_manifest_goes_to_the_checkpoint_folder_if_no_logger_stores_files():
    with pytest.warns(UserWarning, match="numbers but no pictures to Unknown"):
        run(Foreign(), loggers=[Unknown()])
    assert read_json("elsewhere/mine/version_7/manifest.json")["status"] == "finished"


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # from the resumed run
def test_a_resumed_run_is_found_after_another_logger_is_added(monkeypatch):
    adopted = []
    monkeypatch.setattr(FilesSink, "identity", lambda self: "one")
    monkeypatch.setattr(FilesSink, "adopt", lambda self, identity: adopted.append(identity))
    keeps = ModelCheckpoint("kept", every_n_epochs=1, save_top_k=-1)
    options = {"callbacks": [keeps], "enable_checkpointing": True}
    run(Foreign(), loggers=[CSVLogger("csv")], max_epochs=1, **options)
    loggers = [TensorBoardLogger("tb"), CSVLogger("csv"), CSVLogger("csv2")]
    run(Foreign(), loggers=loggers, ckpt_path="kept/epoch=0-step=2.ckpt", **options)
    assert adopted == ["one"]


def test_fast_dev_run_also_checks_the_example_input():
    trainer = quiet_trainer(fast_dev_run=True, callbacks=[RunRecorder(register="model")])
    trainer.fit(Foreign(), Points())
    module = Foreign()
    module.example_input_array = torch.zeros(1, 5)
    with pytest.raises(ValueError, match="refused its example_input_array"):
        trainer.fit(module, Points())


@pytest.mark.slow  # creating the first database takes 6 s
def test_a_model_that_cannot_be_registered_is_refused_before_training(monkeypatch):
    pytest.importorskip("mlflow")
    module, seen = Foreign(), []
    monkeypatch.setattr(module, "training_step", lambda batch, index: seen.append(index))
    module.example_input_array = torch.zeros(1, 5)
    logger, recorder = mlflow_logger("sqlite:///a.db"), RunRecorder(register="model")
    with pytest.raises(ValueError, match=r"Foreign refused its example_input_array of .*\(1, 5\)"):
        run(module, recorder=recorder, loggers=[logger], max_epochs=1)
    assert not seen
    assert module.layer.training

    def fails(*args):
        raise OSError("the registry is away")

    monkeypatch.setattr("lightning_hparams.record.registration.register_model", fails)
    with pytest.warns(UserWarning, match="not registered as 'model': the registry is away"):
        run(Foreign(), recorder=recorder, loggers=[logger], max_epochs=1)
    assert recorder.manifest["status"] == "finished"


@pytest.mark.slow  # creating the first database takes 6 s
@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # from the resumed run
def test_the_earlier_part_is_found_in_mlflow_too():
    pytest.importorskip("mlflow")
    keeps = ModelCheckpoint("kept", every_n_epochs=1, save_top_k=-1)
    options = {"callbacks": [keeps], "enable_checkpointing": True}
    run(Foreign(lr=0.1), loggers=[mlflow_logger("sqlite:///a.db")], max_epochs=1, **options)
    options["ckpt_path"] = "kept/epoch=0-step=2.ckpt"
    recorder = run(Foreign(lr=0.2), loggers=[mlflow_logger("sqlite:///a.db")], **options)
    (earlier,) = recorder.manifest["earlier"]
    assert (earlier["status"], earlier["config"]["hparams"]["lr"]) == ("finished", 0.1)


def test_the_manifest_is_written_as_text_when_training_starts_and_ends(monkeypatch):
    written = []
    monkeypatch.setattr(
        FilesSink, "text", lambda self, tag, text, step: written.append((tag, step))
    )
    run(Foreign(), loggers=[CSVLogger("csv")])
    assert written == [("manifest", 0), ("manifest", 6)]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`metrics` must be one of \['auto'\], got 'all'"):
        RunRecorder("all")
    with pytest.raises(ValueError, match="'lr' must be a tuple"):
        RunRecorder(domains={"lr": (1.0, 0.0)})
    for domain in (("resnet", "unet"), (0.0, 1.0, 2.0), (False, True), [None], [{}], "adam", 3):
        with pytest.raises(ValueError, match="'lr' must be a tuple"):
            RunRecorder(domains={"lr": domain})
    with pytest.raises(ValueError, match=r"pass a list: \['resnet', 'unet'\]"):
        RunRecorder(domains={"arch": ("resnet", "unet")})
    RunRecorder(domains={"wd": [None, 0.1], "betas": [[0.9, 0.99]], "lr": (np.float32(0), 1)})
    with pytest.raises(ValueError, match="direction of val_loss"):
        run(Foreign(), recorder=RunRecorder({"val_loss": "down"}))
    with pytest.raises(ValueError, match="not a hyperparameter of this run; did you mean 'lr'"):
        run(Foreign(), recorder=RunRecorder(domains={"lrr": (0.0, 1.0)}))
    with pytest.raises(ValueError, match="has no MLFlowLogger"):
        run(Foreign(), recorder=RunRecorder(register="model"))
    with pytest.warns(UserWarning, match="metric 'val_los' is not logged; did you mean 'val_loss'"):
        run(Foreign(), recorder=RunRecorder(["val_los"]))


def test_the_seed_of_the_run_has_its_own_column():
    class Split(Points):
        def __init__(self, seed=0, batch_size=4):
            super().__init__(batch_size)
            self.save_hyperparameters()

    rows = []
    for seed in (11, 12):
        seed_everything(seed)
        logger = CSVLogger("csv")
        quiet_trainer(logger=logger, callbacks=[RunRecorder()]).fit(Foreign(), Split())
        rows.append(read_json(f"{logger.log_dir}/hparams.json")["hparams"])
    assert [row["seed_everything"] for row in rows] == [11, 12]
    assert [row["seed"] for row in rows] == [0, 0]


def test_the_most_telling_hyperparameters_come_first():
    logger = CSVLogger("csv")
    more = {"arch": "unet", "optimizer": {"name": "SGD", "lr": 0.3}}
    run(Foreign(), loggers=[logger], recorder=RunRecorder(hparams=more))
    hparams = read_json(f"{logger.log_dir}/hparams.json")["hparams"]
    assert list(hparams) == ["lr", "optimizer.lr", "batch_size", "wd", "arch", "optimizer.name"]


def test_the_first_columns_are_those_with_domains_or_else_the_most_telling(monkeypatch):
    chosen = []
    monkeypatch.setattr(
        FilesSink, "columns", lambda sink, domains, metrics, *, first=(): chosen.append(first)
    )
    run(Foreign(), loggers=[CSVLogger("csv")], recorder=RunRecorder(["val_loss"]))
    run(Foreign(), loggers=[CSVLogger("csv")], recorder=RunRecorder(domains={"wd": [0.0, 0.1]}))
    assert chosen == [["lr", "batch_size"], []]


class Secretive(Foreign):
    def __init__(self, api_key="sk-abcdefghijklmnopqrstuvwx", lr=0.1):
        super().__init__(lr)
        self.save_hyperparameters("api_key", "lr")

    def test_step(self, batch, batch_idx):
        self.log("test_loss", 0.5)

    def predict_step(self, batch, batch_idx):
        return self(batch[0])


class WithTest(Points):
    test_dataloader = predict_dataloader = Points.train_dataloader


def evaluate(trainer, entry, module=None):
    options = {} if entry == "predict" else {"verbose": False}
    getattr(trainer, entry)(Secretive() if module is None else module, WithTest(), **options)


def hparams_of(folder):
    """Hyperparameters and statuses of the records in a folder."""
    values, statuses = {}, []
    for path in sorted(Path(folder).glob("events*")):
        for event in event_file_loader.EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    content = value.metadata.plugin_data.content
                    if value.tag == "_hparams_/session_start_info":
                        start = hparams_metadata.parse_session_start_info_plugin_data(content)
                        values = dict(start.hparams)
                    elif value.tag == "_hparams_/session_end_info":
                        end = hparams_metadata.parse_session_end_info_plugin_data(content)
                        statuses.append(end.status)
    return values, statuses


@pytest.mark.parametrize("metrics", [None, {"score": 0.0}])
def test_hyperparameters_that_a_project_logs_itself_join_the_row_and_choose_no_columns(metrics):
    logger = TensorBoardLogger("runs")
    logger.log_hyperparams({"batch": 8, "lr": 5.0, "net": {"width": 4}, "api_key": "abc"}, metrics)
    run(Foreign(), loggers=[logger])
    shown = read_events(logger.log_dir).PluginTagToContent(hparams_metadata.PLUGIN_NAME)
    start = shown[hparams_metadata.SESSION_START_INFO_TAG]
    values = hparams_metadata.parse_session_start_info_plugin_data(start).hparams
    assert (values["batch"].number_value, values["net.width"].number_value) == (8, 4)
    assert values["lr"].number_value == 0.1  # of the module that was trained
    assert values["api_key"].string_value == "<hidden>"
    # With this record TensorBoard would show no metrics but `hp_metric` or the given ones.
    assert hparams_metadata.EXPERIMENT_TAG not in shown


def test_chosen_columns_include_hyperparameters_that_a_project_logs_itself():
    logger = TensorBoardLogger("runs")
    logger.log_hyperparams({"batch": 8})
    run(Foreign(), recorder=RunRecorder(metrics=["val_loss"]), loggers=[logger])
    tags = read_events(logger.log_dir).PluginTagToContent(hparams_metadata.PLUGIN_NAME)
    chosen = hparams_metadata.parse_experiment_plugin_data(tags[hparams_metadata.EXPERIMENT_TAG])
    assert "batch" in {info.name for info in chosen.hparam_infos}
    assert [info.name.tag for info in chosen.metric_infos] == ["best/val_loss", "val_loss"]


@pytest.mark.parametrize("entry", ["validate", "test", "predict"])
def test_an_evaluation_alone_has_a_row_without_secrets(entry, tmp_path):
    loggers = [TensorBoardLogger("tb"), CSVLogger("csv")]
    trainer = quiet_trainer(logger=loggers, callbacks=[RunRecorder()])
    evaluate(trainer, entry)
    values, statuses = hparams_of(loggers[0].log_dir)
    assert values["lr"].number_value == 0.1
    assert values["api_key"].string_value == "<hidden>"
    assert statuses == [1]  # success
    assert read_json(f"{loggers[1].log_dir}/hparams.json")["status"] == "finished"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"sk-abcdef" in path.read_bytes()]
    assert "hp_metric" not in read_events(loggers[0].log_dir).Tags()["scalars"]


@pytest.mark.slow  # creating the first database takes 6 s
def test_an_evaluation_alone_also_hides_secrets_from_mlflow():
    pytest.importorskip("mlflow")
    logger = mlflow_logger("sqlite:///a.db")
    evaluate(quiet_trainer(logger=logger, callbacks=[RunRecorder()]), "validate")
    run = logger.experiment.get_run(logger.run_id)
    assert run.data.params["api_key"] == "<hidden>"
    assert run.data.params["lr"] == "0.1"
    assert run.info.status == "FINISHED"


def test_an_evaluation_that_fails_has_that_status():
    class Fails(Secretive):
        def test_step(self, batch, batch_idx):
            raise RuntimeError("broken")

    logger = CSVLogger("csv")
    with pytest.raises(RuntimeError, match="broken"):
        evaluate(quiet_trainer(logger=logger, callbacks=[RunRecorder()]), "test", Fails())
    assert read_json(f"{logger.log_dir}/hparams.json")["status"] == "failed"


@pytest.mark.filterwarnings("ignore:Experiment logs directory")  # from CSVLogger
def test_an_evaluation_before_or_after_a_fit_leaves_the_row_of_the_fit():
    loggers = [TensorBoardLogger("tb", version=0), CSVLogger("csv", version=0)]
    trainer = quiet_trainer(logger=loggers, callbacks=[RunRecorder()])
    evaluate(trainer, "validate")
    module = Secretive(lr=0.3)
    trainer.fit(module, WithTest())
    manifest = read_json(f"{loggers[1].log_dir}/manifest.json")
    assert "earlier" not in manifest
    evaluate(trainer, "test", module)
    again = [TensorBoardLogger("tb", version=0), CSVLogger("csv", version=0)]
    evaluate(quiet_trainer(logger=again, callbacks=[RunRecorder()]), "test")
    values, statuses = hparams_of(loggers[0].log_dir)
    assert values["lr"].number_value == 0.3
    assert values["api_key"].string_value == "<hidden>"
    assert statuses == [1]
    assert read_json(f"{loggers[1].log_dir}/manifest.json") == manifest


@pytest.mark.filterwarnings("ignore:Experiment logs directory")  # from CSVLogger
@pytest.mark.parametrize(
    "text",
    [
        '{"earlier": null}',
        '{"format": 1, "earlier": [1]}',
        '{"name": "A web app", "icons": []}',
        "[1, 2]",
        '{"format": 1, "conf',
        "",
    ],
)
def test_a_file_that_is_not_a_manifest_is_renamed_with_one_warning(text):
    folder = Path("csv/x/version_0")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(text)
    with pytest.warns(UserWarning, match=r"renamed to manifest.other1.json") as warned:
        run(Foreign(), loggers=[CSVLogger("csv", name="x", version=0)])
    assert sum("manifest" in str(one.message) for one in warned) == 1
    assert (folder / "manifest.other1.json").read_text() == text
    manifest = read_json(folder / "manifest.json")
    assert (manifest["status"], "earlier" in manifest) == ("finished", False)


@pytest.mark.filterwarnings("ignore:Experiment logs directory")  # from CSVLogger
def test_a_run_resumed_often_stores_equal_sections_once():
    sizes = []
    for _ in range(4):
        run(Foreign(), loggers=[CSVLogger("csv", name="x", version=0)], max_epochs=1)
        sizes.append(Path("csv/x/version_0/manifest.json").stat().st_size)
    manifest = read_json("csv/x/version_0/manifest.json")
    assert sizes[3] - sizes[2] < 0.3 * sizes[0]
    parts = whole_parts(manifest)
    assert len(parts) == 3
    assert all(part["packages"] == manifest["packages"] for part in parts)
    assert sum("packages" in part for part in manifest["earlier"]) == 0


def test_rates_and_speeds_are_not_metrics_of_a_run():
    recorder = RunRecorder()
    run(Epochs(), recorder=recorder, callbacks=[MetricMonitor()], limit_val_batches=0)
    assert set(recorder.manifest["metrics"]["last"]) == {"train_loss", "train_last"}


def test_only_a_whole_word_marks_a_validation_metric():
    class Second(Foreign):
        def training_step(self, batch, batch_idx):
            self.log("val2_loss", 0.5)
            return super().training_step(batch, batch_idx)

    recorder = run(Second())
    assert set(recorder.manifest["metrics"]["best"]) == {"val_loss", "val_acc"}


DDP = """
    import datetime, torch, lightning
    from lightning.pytorch.loggers import CSVLogger
    from lightning.pytorch.strategies import DDPStrategy
    from lightning_hparams import RunRecorder
    from tests.runs import matching, shapes

    class Gathers(lightning.Callback):
        def on_train_epoch_start(self, trainer, module):
            module.log("noise", torch.tensor(1.0), sync_dist=True)

    if __name__ == "__main__":
        data = shapes()
        trainer = lightning.Trainer(
            accelerator="cpu", devices=2, max_epochs=3, limit_train_batches=1, log_every_n_steps=1,
            strategy=DDPStrategy(timeout=datetime.timedelta(seconds=60)), logger=CSVLogger("."),
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
            callbacks=[Gathers(), RunRecorder()],
        )
        trainer.fit(matching(data), data)
"""


@pytest.mark.slow
def test_neither_of_two_processes_waits_for_the_other_when_gathering_metrics(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(DDP))
    result = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    (manifest,) = tmp_path.rglob("manifest.json")
    assert json.loads(manifest.read_text())["status"] == "finished"
