"""What is written is read back from a real SQLite store."""

import copy
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import MLFlowLogger
from PIL import Image
from torch.utils.data import DataLoader

import lightning_hparams
from lightning_hparams import MetricMonitor, RunRecorder, mlflow_logger
from lightning_hparams.record import register
from lightning_hparams.render import encode
from lightning_hparams.sinks import MLflowSink, PRCounts, Sinks, register_model
from lightning_hparams.sinks.mlflow_undelivered import read_rows, write_rows
from tests.runs import matching, quiet_trainer, shapes
from tests.server import browser, look, mlflow_ui

mlflow = pytest.importorskip("mlflow")
INVALID_PARAMETER_VALUE = 1000  # of mlflow.protos.databricks_pb2
pytestmark = pytest.mark.slow  # the first database takes 6 s to make
PICTURE = np.arange(12 * 20 * 3, dtype=np.uint8).reshape(12, 20, 3)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    _ = mlflow_logger(f"sqlite:///{path}").experiment
    return path


@pytest.fixture
def uri(empty_database, tmp_path):
    """A separate database for each test, copied since creating one is slow."""
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
    for step in range(1200):  # more than one request holds
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
    table = text_of(client, run, "tables/per class/step_00000007.csv")
    assert table == "class,iou\na,0.5\n"
    assert "mlflow.loggedArtifacts" not in run.data.tags  # it has room for 120 tables
    curve = text_of(client, run, "tables/pr/disc/step_00000007.csv").splitlines()
    assert [float(cell) for cell in curve[1].split(",")] == pytest.approx([0, 8 / 12, 1])
    assert text_of(client, run, "texts/notes/step_00000007.md") == "**bold**"
    assert text_of(client, run, "kept.json") == "{}"


def test_a_changed_parameter_becomes_a_tag_and_not_an_error(uri):
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


def test_names_are_cleaned_with_one_warning_and_never_shared(uri):
    sink = MLflowSink(logger_of(uri))
    with pytest.warns(UserWarning, match="'mAP@0.5/val' is written as 'mAP_0.5/val'"):
        sink.scalars({"class/iou/猫/val": 1.0, "class/iou/犬/val": 2.0, "mAP@0.5/val": 3.0}, 0)
    sink.scalars({"../up//x:y": 4.0, "mAP?0.5/val": 5.0, "x" * 300: 6.0, "x" * 301: 7.0}, 0)
    for tag in ("class/猫/val", "class/犬/val"):
        sink.image(tag, encode(PICTURE), 0)
    sink.flush(wait=True)
    client, run = read(sink._logger)
    assert {key: value for key, value in run.data.metrics.items() if key[0] != "x"} == {
        "class/iou/猫/val": 1,
        "class/iou/犬/val": 2,
        "mAP_0.5/val": 3,
        "up/x_y": 4,
        "mAP_0.5/val_2": 5,
    }
    assert sorted(v for key, v in run.data.metrics.items() if key[0] == "x") == [6, 7]
    images = [f.path for f in client.list_artifacts(run.info.run_id, "images")]
    assert len({path.split("+")[0] for path in images}) == 2


def test_a_rejected_value_does_not_affect_the_others(uri, monkeypatch):
    sink = MLflowSink(logger_of(uri))
    log_batch = sink._client().log_batch

    def refusing(run, **rows):
        if any(row.key == "bad" for kind in rows.values() for row in kind):
            raise mlflow.exceptions.MlflowException("bad name", INVALID_PARAMETER_VALUE)
        log_batch(run, **rows)

    monkeypatch.setattr(sink._client(), "log_batch", refusing)
    sink.hparams({"lr": 1, "bad": 1, "wd": 1})
    sink.scalars({"loss": 1.0, "bad": 1.0, "acc": 1.0}, 0)
    with pytest.warns(UserWarning, match="did not accept what was written: .*bad name"):
        sink.flush(wait=True)
    _, run = read(sink._logger)
    assert set(run.data.metrics) == {"loss", "acc"}
    assert set(run.data.params) == {"lr", "wd"}


def test_training_does_not_wait_for_a_flush_and_a_file_may_go(uri, tmp_path, monkeypatch):
    sink = MLflowSink(logger_of(uri))
    go_on = threading.Event()
    monkeypatch.setattr(sink._client(), "log_image", lambda *args, **options: go_on.wait(60))
    sink.image("a", encode(PICTURE), 0)
    (tmp_path / "kept.json").write_text("{}")
    sink.artifact(tmp_path / "kept.json")
    sink.flush()
    assert not go_on.is_set()
    (tmp_path / "kept.json").unlink()
    go_on.set()
    sink.flush(wait=True)
    client, run = read(sink._logger)
    assert text_of(client, run, "kept.json") == "{}"


def test_nothing_is_lost_when_a_process_crashes(uri):
    script = f"""
from lightning_hparams import mlflow_logger
from lightning_hparams.sinks import MLflowSink
logger = mlflow_logger({uri!r}, "tests")
MLflowSink(logger).scalars({{"loss": 0.5}}, 0)
print(logger.run_id, flush=True)
raise RuntimeError("crash")
"""
    env = {**os.environ, "PYTHONPATH": str(Path(lightning_hparams.__file__).parents[1])}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "RuntimeError: crash" in done.stderr
    run = mlflow.MlflowClient(uri).get_run(done.stdout.split()[-1])
    assert run.data.metrics == {"loss": 0.5}


def test_an_unreachable_server_does_not_hide_an_interruption(uri, monkeypatch):
    logger = logger_of(uri)
    sink = MLflowSink(logger)

    def away(logger, status):
        raise OSError("no route to host")

    monkeypatch.setattr(MLFlowLogger, "finalize", away)
    with pytest.warns(UserWarning, match="no route to host"):
        sink.finish("killed")


def test_an_unreachable_server_does_not_end_the_run_and_later_receives_all_values(uri, monkeypatch):
    logger = logger_of(uri)
    sink = MLflowSink(logger)
    client = sink._client()

    def away(*args, **kwargs):
        raise OSError(f"no route to host at {time.monotonic()}")

    with monkeypatch.context() as patch:
        patch.setattr(client, "log_batch", away)
        sink.scalars({"a": 1.0}, 0)
        with pytest.warns(UserWarning, match="no route to host.*; training continues.* kept in"):
            sink.flush(wait=True)
        sink.scalars({"a": 1.0}, 1)
        sink.flush(wait=True)  # one warning
        assert len(undelivered(logger)) == 2
    sink.scalars({"a": 1.0}, 2)
    sink.flush(wait=True)
    assert undelivered(logger) == []
    client, run = read(logger)
    assert steps_of(client, run, "a") == [0, 1, 2]


@pytest.fixture
def silent_server():
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_never_answers_is_an_error_before_training(silent_server):
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=f"{silent_server} has not answered within 1 s.*timeout"):
        mlflow_logger(silent_server, timeout=1)
    assert time.monotonic() - start < 10


def test_an_upload_that_is_never_answered_costs_the_timeout(uri, silent_server, monkeypatch):
    logger = logger_of(uri, timeout=1)
    sink = MLflowSink(logger)
    monkeypatch.setattr(
        "lightning_hparams.record.registration.register_model",
        lambda *args: mlflow.MlflowClient(silent_server).create_registered_model("shapes"),
    )
    start = time.monotonic()
    with pytest.warns(UserWarning, match="the model was not registered as 'shapes'"):
        register(Sinks([sink]), BoringModel(), "shapes")
    assert time.monotonic() - start < 10
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def undelivered(logger):
    return read_rows(Path(f"mlflow_undelivered_{logger.run_id}.csv"))


def test_an_unresponsive_server_is_awaited_once_and_values_are_kept(uri, monkeypatch):
    logger = logger_of(uri, timeout=0.5)
    _ = logger.experiment
    sink = MLflowSink(logger)
    never = threading.Event()
    monkeypatch.setattr(sink._client(), "log_batch", lambda *args, **kwargs: never.wait(60))
    start = time.monotonic()
    sink.scalars({"a": 1.0}, 0)
    message = (
        r"no answer for 0.5 s, .*not delivered yet: 2 values, the status \(1\); .*kept in .*csv"
    )
    logger.log_metrics({"b": 2.0}, 0)
    with pytest.warns(UserWarning, match=message):
        sink.finish("finished")
    logger.finalize("success")
    sink.flush(wait=True)
    assert time.monotonic() - start < 3
    assert [(key, step) for key, _, _, step in undelivered(logger)] == [("a", 0), ("b", 0)]
    never.set()


SILENT = """
import threading, time
from lightning_hparams import mlflow_logger
from lightning_hparams.sinks import MLflowSink
logger = mlflow_logger({uri!r}, "tests", timeout=1)
sink = MLflowSink(logger)
sink._client().log_batch = lambda *args, **kwargs: threading.Event().wait()
print(logger.run_id, flush=True)
sink.scalars({{"loss": 0.5}}, 0)
raise {error}
"""


@pytest.mark.parametrize("error", ["RuntimeError", "KeyboardInterrupt"])
def test_a_program_exits_although_the_server_never_answers(uri, error):
    env = {**os.environ, "PYTHONPATH": str(Path(lightning_hparams.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", SILENT.format(uri=uri, error=error)],
        env=env, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert error in done.stderr
    assert "no answer for 1 s" in done.stderr
    (path,) = Path().glob("mlflow_undelivered_*.csv")
    assert path.stem.endswith(done.stdout.split()[-1])
    assert [(key, value) for key, value, _, _ in read_rows(path)] == [("loss", 0.5)]


def test_a_resumed_run_delivers_what_an_earlier_process_could_not(uri):
    logger = logger_of(uri)
    sink = MLflowSink(logger)
    sink.scalars({"a": 1.0}, 0)
    sink.finish("failed")
    rows = [("a", 1.0, 1, 0), ("a", 2.0, 1, 1), ("a", 3.0, 1, 2)]
    write_rows(Path(f"mlflow_undelivered_{logger.run_id}.csv"), rows)
    later = logger_of(uri, run_id=logger.run_id)
    sink = MLflowSink(later)
    sink.resume(1)
    sink.scalars({"a": 4.0}, 2)
    sink.finish("finished")
    client, run = read(later)
    points = client.get_metric_history(run.info.run_id, "a")
    assert {point.step: point.value for point in points} == {0: 1.0, 1: 2.0, 2: 4.0}
    assert undelivered(later) == []


def test_a_checkpoint_waits_for_what_it_covers(uri):
    class Look(ModelCheckpoint):
        def _save_checkpoint(self, trainer, path):
            super()._save_checkpoint(trainer, path)
            client = mlflow.MlflowClient(uri)
            points = client.get_metric_history(trainer.logger.run_id, "lr/decoder")
            self.found = [*getattr(self, "found", []), max(point.step for point in points)]

    look = Look("kept", every_n_train_steps=1, save_top_k=-1)
    fit(uri, callbacks=[MetricMonitor(), look], enable_checkpointing=True)
    assert look.found == [0, 1, 2, 3]


def test_lightnings_own_names_are_cleaned_too(uri):
    logger = logger_of(uri)
    sink = MLflowSink(logger)
    with pytest.warns(UserWarning, match="'a@b' is written as 'a_b'"):
        logger.log_metrics({"class/iou/道路": 1.0, "a@b": 2.0, "loss": 3.0, "epoch": 0}, 5)
    sink.flush(wait=True)
    _, run = read(logger)
    assert run.data.metrics == {"class/iou/道路": 1.0, "a_b": 2.0, "loss": 3.0, "epoch": 0.0}


def test_logger_trainer_and_callbacks_may_be_copied_after_a_fit(uri):
    logger, recorder, trainer = fit(uri)
    for copied in (copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
        double = copied(logger)
        assert double.run_id == logger.run_id
        double.log_metrics({"later": 1.0}, 9)
        assert copied(recorder).manifest == recorder.manifest
        copied(trainer.callbacks)
    _, run = read(logger)
    assert run.data.metrics["later"] == 1.0


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
    signal.raise_signal(signal.SIGINT)  # in this thread, at once


def crash():
    raise RuntimeError("crash")


@pytest.mark.parametrize(("fail", "status"), [(crash, "FAILED"), (interrupt, "KILLED")])
def test_a_run_that_ends_badly_has_its_true_status(uri, fail, status):
    logger = logger_of(uri)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # xdist ignores it
    try:
        with pytest.raises((RuntimeError, SystemExit)):
            fit(uri, fail, logger)
    finally:
        signal.signal(signal.SIGINT, before)
    client, run = read(logger)
    assert run.info.status == status
    assert json.loads(text_of(client, run, "manifest.json"))["status"] == status.lower()


def test_a_resumed_fit_continues_the_same_run(uri):
    logger, _, trainer = fit(uri)
    trainer.save_checkpoint("last.ckpt")
    later, _, _ = fit(uri, ckpt_path="last.ckpt", max_epochs=2)
    assert later.run_id == logger.run_id
    client, run = read(logger)
    assert run.info.status == "FINISHED"
    assert len(client.search_runs([run.info.experiment_id])) == 1
    steps = [p.step for p in client.get_metric_history(run.info.run_id, "best/loss/val")]
    assert sorted(steps) == [3, 7]


def begun(uri, name="tests", **options):
    """A run of an earlier process."""
    logger = logger_of(uri, name, **options)
    sink = MLflowSink(logger)
    sink.scalars({"loss": 1.0}, 0)
    sink.finish("failed")
    return logger.run_id


def adopting(identity, logger):
    """Return the run that a logger continues in, and the state of its own run."""
    _ = logger.experiment
    before = logger.run_id
    sink = MLflowSink(logger)
    sink.adopt(identity)
    return logger.run_id, sink._client().get_run(before).info.lifecycle_stage


def test_a_run_is_continued_unless_the_user_chose_another(uri):
    old = begun(uri, run_name="night")
    assert adopting(old, logger_of(uri)) == (old, "deleted")
    assert adopting(old, logger_of(uri, run_name="night")) == (old, "deleted")


def test_a_run_the_user_chose_or_created_is_kept(uri):
    old = begun(uri)
    client = mlflow.MlflowClient(uri)
    mine = client.create_run(client.get_run(old).info.experiment_id).info.run_id
    assert adopting(old, logger_of(uri, run_id=mine)) == (mine, "active")
    direct = MLFlowLogger("tests", tracking_uri=uri, run_id=mine)
    assert adopting(old, direct) == (mine, "active")
    for logger in (logger_of(uri, run_name="other"), logger_of(uri, "elsewhere")):
        run, stage = adopting(old, logger)
        assert (run != old, stage) == (True, "active")
    logger = logger_of(uri)
    client.log_text(logger.run_id, "x", "notes.txt")
    assert adopting(old, logger)[1] == "active"
    client.delete_run(old)
    run, stage = adopting(old, logger_of(uri))
    assert (run != old, stage) == (True, "active")


def test_values_already_written_are_skipped(uri):
    logger = logger_of(uri, prefix="p")
    sink = MLflowSink(logger)
    for step in range(6):
        sink.scalars({"lr": 0.1}, step)
        logger.log_metrics({"loss": 1.0}, step)
    sink.finish("failed")
    later = logger_of(uri, prefix="p", run_id=logger.run_id)
    sink = MLflowSink(later)
    sink.resume(3)
    for step in range(4, 8):
        sink.scalars({"lr": 0.2}, step)
        later.log_metrics({"loss": 2.0, "new": 1.0}, step)
    sink.finish("finished")
    client, run = read(later)
    steps = {key: steps_of(client, run, key) for key in run.data.metrics}
    assert steps == {"p-lr": [*range(8)], "p-loss": [*range(8)], "p-new": [4, 5, 6, 7]}


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize(
    "options", [{}, {"val_check_interval": 0.5}, {"accumulate_grad_batches": 2}]
)
def test_a_run_resumed_at_any_step_has_each_value_exactly_once(empty_database, tmp_path, options):
    def train(root, ckpt_path=None, **kwargs):
        torch.manual_seed(0)
        task = BoringModel()
        task.validation_step = lambda batch, batch_idx: task.log("loss/val", task(batch).sum())
        trainer = quiet_trainer(
            logger=logger_of(f"sqlite:///{root}/mlflow.db"), max_epochs=2,
            log_every_n_steps=1, num_sanity_val_steps=0, **options, **kwargs,
        )  # fmt: skip
        data = DataLoader(torch.ones(4, 32)), DataLoader(torch.ones(1, 32))
        trainer.fit(task, *data, ckpt_path=ckpt_path)

    def points(root):
        client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
        (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
        return {key: steps_of(client, run, key) for key in run.data.metrics if key != "epoch"}

    whole, kept = tmp_path / "whole", tmp_path / "kept"
    whole.mkdir()
    shutil.copy(empty_database, whole / "mlflow.db")
    saving = ModelCheckpoint(kept, save_top_k=-1, every_n_train_steps=1)
    callbacks = [MetricMonitor(), RunRecorder(), saving]
    train(whole, callbacks=callbacks, enable_checkpointing=True)
    expected = points(whole)
    paths = sorted(kept.glob("*.ckpt"))
    steps = [*range(len(paths))]
    assert expected["lr/group 0"] == steps
    assert expected["loss/val"] == sorted(set(expected["loss/val"]))
    for path in paths:
        root = tmp_path / path.stem
        shutil.copytree(whole, root)  # the run continued after the checkpoint
        train(root, path, callbacks=[MetricMonitor(), RunRecorder()])
        assert points(root) == expected, path


def steps_of(client, run, key):
    return sorted(point.step for point in client.get_metric_history(run.info.run_id, key))


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


def test_an_unresponsive_server_delays_registration_by_the_timeout_at_most(uri, monkeypatch):
    logger, uploads, never = logger_of(uri, timeout=0.5), [], threading.Event()
    monkeypatch.setattr(
        "lightning_hparams.record.registration.register_model",
        lambda *args: uploads.append(args),
    )
    logger.experiment.get_run = lambda run: never.wait(60)
    sinks, start = Sinks([MLflowSink(logger)]), time.monotonic()
    with (
        pytest.warns(UserWarning, match="no answer for 0.5 s"),
        pytest.warns(UserWarning, match="not registered as 'tiny': the server does not answer"),
    ):
        register(sinks, Tiny(), "tiny")
    assert time.monotonic() - start < 5
    assert uploads == []
    never.set()
    while sinks and not next(iter(sinks)).answers():
        time.sleep(0.01)
    register(sinks, Tiny(), "tiny")
    assert len(uploads) == 1


class Tiny(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.example_input_array = torch.ones(4, 3)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow about its own classes
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
def test_a_plain_file_store_is_rejected_with_a_remedy(address):
    with pytest.raises(ValueError, match=r"pass tracking_uri='sqlite:///mlflow\.db'"):
        mlflow_logger(address)


def test_files_are_stored_next_to_the_database(uri, tmp_path, monkeypatch):
    logger = logger_of(uri, "beside")
    sink = MLflowSink(logger)
    sink.text("a", "b", 0)
    sink.flush(wait=True)
    assert list((tmp_path / "store" / "mlartifacts").rglob("step_00000000.md"))
    assert not (tmp_path / "mlruns").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert mlflow_logger()._tracking_uri == uri


def test_a_person_sees_the_run_in_its_page(uri, tmp_path):
    logger, _, _ = fit(uri)
    with mlflow_ui(uri, tmp_path / "ui.log") as address, browser() as page:
        run = f"{address}/#/experiments/{logger.experiment_id}/runs/{logger.run_id}"
        look(page, run, "Finished", "best/loss/val", "encoder_lr_mult")
        page.screenshot(path=tmp_path / "mlflow.png")
