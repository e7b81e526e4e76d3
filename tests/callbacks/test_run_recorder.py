import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from lightning_hparams import MetricMonitor, RunRecorder
from lightning_hparams.manifest import compare
from tests.runs import matching, quiet_trainer, read_events, shapes
from tests.server import browser, tensorboard


class Foreign(LightningModule):
    """Someone's module, whose validation losses are those it is told to have."""

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
        return DataLoader(TensorDataset(torch.ones(8, 2)), self.hparams.batch_size)

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


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # of the run that goes on
@pytest.mark.slow
def test_the_table_is_right_in_every_case(tmp_path):
    """All of them with Lightning's own logger as it comes: its `hp_metric` is not to be seen."""
    run(Foreign(lr=0.1, wd=None))
    run(Foreign(lr=0.2, wd=0.01))
    run(Foreign(lr=0.3, extra=True))  # a metric that the first runs do not have
    for fail, lr in ((RuntimeError, 0.4), (KeyboardInterrupt, 0.5)):
        with pytest.raises((fail, SystemExit)):
            run(Foreign(lr=lr, fail=fail))
    keeps = ModelCheckpoint("kept", every_n_epochs=1, save_top_k=-1)
    with pytest.raises(RuntimeError):  # crashes, and goes on in the same folder
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
            page.goto(f"{server.url}/#hparams")
            words = ("TABLE VIEW", "best/val_acc", "best/val_f1", "best/val_loss", "lr", "wd")
            for word in (*words, "points/version_4 ("):
                page.get_by_text(word, exact=word in words).first.wait_for(timeout=60_000)
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


def test_tags_are_those_of_the_docstring():
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
    tag = "class/iou/disc/val"  # which Lightning does not write
    recorder, monitor = RunRecorder([tag]), MetricMonitor()
    data = shapes()
    quiet_trainer(logger=logger, callbacks=[monitor, recorder], max_epochs=2).fit(
        matching(data), data
    )
    assert [e.step for e in read_events(logger.log_dir).Scalars(tag)] == [3, 7]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # of the run that goes on
def test_a_resumed_run_has_no_step_twice_and_keeps_its_best():
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


def test_the_manifest_says_what_to_repeat(monkeypatch):
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
    assert set(manifest["checkpoints"]) == {"best", "last"}
    digest = subprocess.run(
        ["sha256sum", f"kept/{manifest['checkpoints']['last']['file']}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    assert manifest["checkpoints"]["last"]["sha256"] == digest
    for path in ("tb", "csv"):
        found = subprocess.run(["grep", "-rl", "hunter2", path], capture_output=True, check=False)
        assert found.stdout == b""

    other = run(Foreign(lr=0.2), "other", RunRecorder())
    said = compare(loggers[0].log_dir, other.manifest)
    assert "config hparams.lr: 0.1 against 0.2" in said
    assert "config hparams.note: 'with <hidden>' in the first run only" in said
    assert not [sentence for sentence in said if "data" in sentence.split()[:2]]


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "failed"), (KeyboardInterrupt, "killed")]
)
def test_a_run_that_ends_badly_says_so(error, status):
    logger = CSVLogger("csv")
    with pytest.raises((error, SystemExit)):
        run(Foreign(fail=error), loggers=[logger])
    assert read_json(f"{logger.log_dir}/manifest.json")["status"] == status
    assert read_json(f"{logger.log_dir}/hparams.json")["status"] == status


def test_values_are_those_that_train_not_those_that_were_saved():
    module = Foreign()
    module.hparams.lr = 0.7  # as a range test does
    logger = CSVLogger("csv")
    run(module, loggers=[logger])
    assert read_json(f"{logger.log_dir}/hparams.json")["hparams"]["lr"] == 0.7


@pytest.mark.parametrize("options", [{"logger": False}, {"fast_dev_run": True}])
def test_it_is_quiet_where_there_is_nothing_to_write_to(options, tmp_path):
    recorder = RunRecorder()
    trainer = quiet_trainer(callbacks=[recorder], **options)
    trainer.fit(Foreign(), Points())
    assert recorder.manifest == {}
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_run_without_validation_is_recorded_too():
    recorder = run(Foreign(), limit_val_batches=0)
    assert set(recorder.manifest["metrics"]["best"]) == {"train_loss"}


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`metrics` must be one of \['auto'\], got 'all'"):
        RunRecorder("all")
    with pytest.raises(ValueError, match="'lr' must be a tuple"):
        RunRecorder(domains={"lr": (1.0, 0.0)})
    with pytest.raises(ValueError, match="direction of val_loss"):
        run(Foreign(), recorder=RunRecorder({"val_loss": "down"}))
    with pytest.raises(ValueError, match="no hyperparameter of this run; did you mean 'lr'"):
        run(Foreign(), recorder=RunRecorder(domains={"lrr": (0.0, 1.0)}))
    with pytest.raises(ValueError, match="has no MLFlowLogger"):
        run(Foreign(), recorder=RunRecorder(register="model"))
    with pytest.warns(UserWarning, match="metric 'val_los' is not logged; did you mean 'val_loss'"):
        run(Foreign(), recorder=RunRecorder(["val_los"]))
