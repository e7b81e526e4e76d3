"""A full disk or a removed folder costs values and one warning; then writing resumes."""

import json
import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from lightning import Callback
from lightning.pytorch.callbacks import OnExceptionCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_hparams import MetricMonitor, PredictionMonitor, RunRecorder, SpeedMonitor
from lightning_hparams.render import encode
from lightning_hparams.sinks import FilesSink, Sinks, TensorBoardSink
from tests.runs import matching, quiet_trainer, read_events, shapes


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.name != "posix" or shutil.which("mount") is None or os.geteuid():
        pytest.skip("only root may mount a small disk")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts no tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Fill the disk."""
    with open(folder / "ballast", "wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass


def told(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in caught if "could not" in str(w.message)]


def logger_of(kind, folder):
    if kind is CSVLogger:
        return CSVLogger(folder)
    return TensorBoardLogger(folder, default_hp_metric=False)


def scalars_of(kind, logger):
    if kind is TensorBoardLogger:
        events = read_events(logger.log_dir)
        return [(event.step, event.value) for event in events.Scalars("loss")]
    lines = Path(logger.log_dir, "scalars.csv").read_text().splitlines()
    assert lines[0] == "step,tag,value"
    return [(int(step), float(value)) for step, _, value in (line.split(",") for line in lines[1:])]


def sink_of(kind, logger):
    return TensorBoardSink(logger) if kind is TensorBoardLogger else FilesSink(logger.log_dir)


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_writing_resumes_when_there_is_space_and_leaves_no_partial_record(small_disk, kind):
    logger = logger_of(kind, small_disk)
    sinks = Sinks([sink_of(kind, logger)])
    sinks.scalars({"loss": 0.0}, 0)
    fill(small_disk)

    def write():
        picture = encode(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
        for step in range(1, 400):  # more than the rest of a page
            sinks.scalars({"loss": float(step), f"long name {'x' * 50}": 0.0}, step)
        sinks.image("picture", picture, 400)

    (message,) = told(write)
    assert "No space left" in message
    (small_disk / "ballast").unlink()
    assert told(lambda: sinks.scalars({"loss": -1.0}, 500)) == []
    found = [pair for pair in scalars_of(kind, logger) if pair[1] or not pair[0]]
    assert found[0] == (0, 0.0)
    assert found[-1] == (500, -1.0)
    assert [step for step, _ in found] == sorted(step for step, _ in found)


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_a_removed_folder_is_created_again(tmp_path, kind):
    logger = logger_of(kind, tmp_path)
    sinks = Sinks([sink_of(kind, logger)])
    sinks.hparams({"lr": 0.1})
    sinks.scalars({"loss": 0.0}, 0)
    shutil.rmtree(logger.log_dir)
    sinks.scalars({"loss": 1.0}, 1)
    sinks.finish("finished")
    assert scalars_of(kind, logger) == [(1, 1.0)]
    if kind is CSVLogger:
        record = json.loads(Path(logger.log_dir, "hparams.json").read_text())
        assert (record["status"], record["hparams"]) == ("finished", {"lr": 0.1})


class At(Callback):
    """Runs an action after a training step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            self.action()


def monitors():
    return [MetricMonitor(), SpeedMonitor(warmup=0), PredictionMonitor(2), RunRecorder()]


def fit(logger, *callbacks, before=(), **options):
    """Return the package's warnings and the error raised."""
    data = shapes()
    task = matching(data)
    task.log = task.log_dict = lambda *args, **kwargs: None  # otherwise Lightning itself writes
    trainer = quiet_trainer(
        logger=logger, callbacks=[*before, *monitors(), *callbacks], max_epochs=2,
        log_every_n_steps=1, **options,
    )  # fmt: skip
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(task, data)
        except BaseException as raised:
            error = raised
    return [str(w.message) for w in caught if "could not" in str(w.message)], error, trainer


def crash():
    raise RuntimeError("CUDA out of memory")


def test_the_users_error_is_raised_and_the_emergency_checkpoint_is_written(small_disk, tmp_path):
    emergency = OnExceptionCheckpoint(tmp_path / "emergency")
    messages, error, _ = fit(
        CSVLogger(small_disk), emergency,
        before=[At(2, lambda: fill(small_disk)), At(6, crash)], enable_checkpointing=True,
    )  # fmt: skip
    assert str(error) == "CUDA out of memory"
    assert list((tmp_path / "emergency").iterdir())
    assert len(messages) == 1


def test_a_disk_that_fills_up_does_not_end_training(small_disk):
    messages, error, trainer = fit(CSVLogger(small_disk), before=[At(2, lambda: fill(small_disk))])
    assert (error, trainer.global_step) == (None, 8)
    assert len(messages) == 1


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_a_run_whose_log_folder_was_removed_ends_with_its_true_status(tmp_path, kind):
    logger = logger_of(kind, tmp_path)
    messages, error, _ = fit(logger, before=[At(3, lambda: shutil.rmtree(logger.log_dir))])
    assert (messages, error) == ([], None)
    assert json.loads(Path(logger.log_dir, "manifest.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("step", [3, 8])
def test_a_full_temporary_folder_is_avoided(small_disk, tmp_path, step, monkeypatch):
    def full():
        fill(small_disk)
        monkeypatch.setattr(tempfile, "tempdir", str(small_disk))

    logger = CSVLogger(tmp_path)
    messages, error, _ = fit(logger, before=[At(step, full)], default_root_dir=tmp_path)
    assert (messages, error) == ([], None)
    assert json.loads(Path(logger.log_dir, "manifest.json").read_text())["status"] == "finished"


def test_an_unwritable_manifest_does_not_affect_the_status_of_the_run(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError(28, "No space left on device")

    logger = CSVLogger(tmp_path)
    action = lambda: monkeypatch.setattr(tempfile, "mkdtemp", broken)  # noqa: E731
    messages, error, _ = fit(logger, before=[At(3, action)])
    assert error is None
    assert len(messages) == 1
    assert json.loads(Path(logger.log_dir, "hparams.json").read_text())["status"] == "finished"
