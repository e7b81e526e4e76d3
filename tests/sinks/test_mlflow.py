"""What is written is read back from a real SQLite store."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import torch
from lightning import LightningModule
from PIL import Image

from lightning_hparams import MetricMonitor, RunRecorder, mlflow_logger
from lightning_hparams.render import encode
from lightning_hparams.sinks import MLflowSink, PRCounts, register_model
from tests.runs import matching, quiet_trainer, shapes
from tests.server import browser

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow  # the first database takes 6 s to make
PICTURE = np.arange(12 * 20 * 3, dtype=np.uint8).reshape(12, 20, 3)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    _ = mlflow_logger(f"sqlite:///{path}").experiment
    return path


@pytest.fixture
def uri(empty_database, tmp_path):
    """A database of its own for each test, copied as making one takes long."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mlflow.db").write_bytes(empty_database.read_bytes())
    return f"sqlite:///{tmp_path}/store/mlflow.db"


def logger_of(uri, name="tests", **options):
    return mlflow_logger(uri, name, **options)


def read(logger):
    client = mlflow.MlflowClient(logger._tracking_uri)
    return client, client.get_run(logger.run_id)


def text_of(client, run, path):
    return open_text(client.download_artifacts(run.info.run_id, path))


def open_text(path):
    with open(path) as file:
        return file.read()


def test_everything_is_there_after_a_flush(uri, tmp_path):
    logger = logger_of(uri)
    sink = MLflowSink(logger)
    for step in range(1200):  # more than MLflow takes at once
        sink.scalars({"loss/train": step / 2, "lr": 0.1}, step)
    sink.scalars({"loss/train": float("nan")}, 1200)
    for step in (3, 7):
        sink.image("val_pred/0", encode(PICTURE), step)
    sink.table("per class", {"class": ["a"], "iou": [0.5]}, 7)
    sink.pr_curve("pr/disc", PRCounts([8, 6], [4, 2], [0, 2], [0, 2]), 7)
    sink.text("notes", "**bold**", 7)
    (tmp_path / "kept.json").write_text("{}")
    sink.artifact(tmp_path / "kept.json")
    sink.finish("finished")

    client, run = read(logger)
    points = client.get_metric_history(run.info.run_id, "loss/train")
    assert sorted(p.step for p in points) == list(range(1201))
    assert {p.step: p.value for p in points}[1199] == 599.5
    assert run.info.status == "FINISHED"
    images = [f.path for f in client.list_artifacts(run.info.run_id, "images")]
    for step in (3, 7):
        (path,) = [p for p in images if f"+step+{step}+" in p and p.endswith(".png")]
        with Image.open(client.download_artifacts(run.info.run_id, path)) as found:
            assert found.size == (20, 12)
            assert abs(np.asarray(found).astype(int) - PICTURE).mean() < 8  # a JPEG
    table = json.loads(text_of(client, run, "tables/per class/step_00000007.json"))
    assert table == {"columns": ["class", "iou"], "data": [["a", 0.5]]}
    curve = json.loads(text_of(client, run, "tables/pr/disc/step_00000007.json"))
    assert curve["data"][0] == pytest.approx([0, 8 / 12, 1])
    assert text_of(client, run, "texts/notes/step_00000007.md") == "**bold**"
    assert text_of(client, run, "kept.json") == "{}"


def test_a_changed_parameter_is_a_tag_and_no_error(uri):
    logger = logger_of(uri)
    sink = MLflowSink(logger)
    sink.own_hparams()
    sink.hparams({"lr": 0.1, "long": "x" * 300, "arch": "unet"})
    sink.hparams({"lr": 0.2, "long": "x" * 300, "new": 1})
    logger.log_hyperparams({"lr": 0.3, "more": {"depth": 2}})  # as Lightning does
    sink.finish("failed")
    _, run = read(logger)
    assert run.data.params == {
        "lr": "0.1",
        "long": "x" * 300,
        "arch": "unet",
        "new": "1",
        "more.depth": "2",
    }
    drift = {k: v for k, v in run.data.tags.items() if k.startswith("param_drift")}
    assert drift == {"param_drift.lr": "0.2"}
    assert run.info.status == "FAILED"


def test_names_are_cleaned_with_one_warning(uri):
    sink = MLflowSink(logger_of(uri))
    with pytest.warns(UserWarning, match="'class/iou/café/val' is written as 'class/iou/caf_/val'"):
        sink.scalars({"class/iou/café/val": 1.0}, 0)
    sink.scalars({"../up//x:y": 1.0}, 0)
    sink.flush()
    _, run = read(sink._logger)
    assert set(run.data.metrics) == {"class/iou/caf_/val", "up/x_y"}


def test_a_server_that_is_away_does_not_end_the_run(uri, monkeypatch):
    sink = MLflowSink(logger_of(uri))
    client = sink._client()

    def away(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(client, "log_batch", away)
    sink.scalars({"a": 1.0}, 0)
    with pytest.warns(UserWarning, match="no route to host; training goes on"):
        sink.flush()
    sink.scalars({"a": 1.0}, 1)
    sink.flush()  # told once


def fit(uri, fail=None, logger=None, ckpt_path=None, **options):
    data = shapes()
    task = matching(data)
    if fail is not None:

        def failing(batch, batch_idx):
            fail()

        task.training_step = failing
    logger = logger_of(uri) if logger is None else logger
    recorder = RunRecorder()
    options = {"callbacks": [recorder, MetricMonitor()], "log_every_n_steps": 1, **options}
    trainer = quiet_trainer(logger=logger, **options)
    trainer.fit(task, data, ckpt_path=ckpt_path)
    return logger, recorder, trainer


def test_a_run_is_recorded(uri):
    logger, recorder, _ = fit(uri)
    client, run = read(logger)
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.001"
    assert run.data.metrics["best/loss/val"] == pytest.approx(run.data.metrics["loss/val"])
    assert len(client.get_metric_history(run.info.run_id, "lr/decoder")) == 4
    assert json.loads(text_of(client, run, "manifest.json")) == recorder.manifest


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def crash():
    raise RuntimeError("crash")


@pytest.mark.parametrize(("fail", "status"), [(crash, "FAILED"), (interrupt, "KILLED")])
def test_a_run_that_ends_badly_has_its_true_status(uri, fail, status):
    logger = logger_of(uri)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises((RuntimeError, SystemExit)):
            fit(uri, fail, logger)
    finally:
        signal.signal(signal.SIGINT, before)
    client, run = read(logger)
    assert run.info.status == status
    assert json.loads(text_of(client, run, "manifest.json"))["status"] == status.lower()


def test_a_resumed_run_goes_on_in_the_same_run(uri):
    logger, _, trainer = fit(uri)
    trainer.save_checkpoint("last.ckpt")
    later, _, _ = fit(uri, ckpt_path="last.ckpt", max_epochs=2)
    assert later.run_id == logger.run_id
    client, run = read(logger)
    assert run.info.status == "FINISHED"
    assert len(client.search_runs([run.info.experiment_id])) == 1
    steps = [p.step for p in client.get_metric_history(run.info.run_id, "best/loss/val")]
    assert sorted(steps) == [3, 7]


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")
def test_a_run_registers_its_model(uri):
    data = shapes()
    task = matching(data)
    task.example_input_array = torch.zeros(1, 3, 32, 32)
    logger = logger_of(uri)
    quiet_trainer(logger=logger, callbacks=[RunRecorder(register="shapes")]).fit(task, data)
    client, run = read(logger)
    (version,) = client.search_model_versions("name='shapes'")
    assert (version.run_id, run.info.status) == (logger.run_id, "FINISHED")


class Tiny(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.example_input_array = torch.ones(4, 3)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow of its own classes
def test_a_model_is_registered_with_its_signature(uri, tmp_path):
    logger, model = logger_of(uri), Tiny().train()
    address = register_model(logger, model, "tiny")
    client = mlflow.MlflowClient(uri)
    (version,) = client.search_model_versions("name='tiny'")
    assert version.run_id == logger.run_id
    assert list((tmp_path / "store" / "mlartifacts").rglob("MLmodel"))
    assert client.get_run(logger.run_id).info.status == "RUNNING"
    assert model.training
    info = mlflow.models.get_model_info(address)
    assert info.signature.inputs.inputs[0].shape == (-1, 3)
    assert info.signature.outputs.inputs[0].shape == (-1, 2)
    again = mlflow.pytorch.load_model(address)
    assert torch.equal(again.eval()(torch.ones(2, 3)), model.eval()(torch.ones(2, 3)))
    model.example_input_array = None
    with pytest.raises(ValueError, match="set `example_input_array` or pass `example`"):
        register_model(logger, model, "tiny")


@pytest.mark.parametrize("address", ["file:./mlruns", "mlruns", "/tmp/mlruns"])
def test_a_store_of_plain_files_is_refused_with_the_way_out(address):
    with pytest.raises(ValueError, match=r"pass tracking_uri='sqlite:///mlflow\.db'"):
        mlflow_logger(address)


def test_files_go_beside_the_database(uri, tmp_path, monkeypatch):
    logger = logger_of(uri, "beside")
    sink = MLflowSink(logger)
    sink.text("a", "b", 0)
    sink.flush()
    assert list((tmp_path / "store" / "mlartifacts").rglob("step_00000000.md"))
    assert not (tmp_path / "mlruns").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert mlflow_logger()._tracking_uri == uri


def test_a_person_sees_the_run_in_its_page(uri, tmp_path):
    logger, _, _ = fit(uri)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(free_port()), "--workers", "1"]
    with (tmp_path / "ui.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{command[command.index('--port') + 1]}"
    try:
        wait_for(f"{address}/health")
        with browser() as page:
            page.goto(f"{address}/#/experiments/{logger.experiment_id}/runs/{logger.run_id}")
            for words in ("Finished", "best/loss/val", "encoder_lr_mult"):
                page.get_by_text(words).first.wait_for(timeout=60_000)
            page.screenshot(path=tmp_path / "mlflow.png")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url, timeout_s=90):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(url)
