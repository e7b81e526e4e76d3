"""fit, validate, test and predict: what they write, print and return."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from lightning import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_hparams import RangeTestResult
from lightning_hparams.cli.stopping import StopTogether
from lightning_hparams.configuration import write_yaml

# Lightning's advice about folders and callbacks of an earlier run.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in ("The dirpath has changed", ".* exists and is not empty", "Be aware that when")
]
CLASSIFIER = {
    "model": {
        "class_path": "ClassificationTask",
        "init_args": {"model": "test_resnet", "image_size": 16, "optimizer": "SGD", "lr": 0.05},
    },
    "data": {
        "class_path": "SyntheticShapesData",
        "init_args": {"task": "classification", "size": 16, "num_train": 8, "num_val": 4},
    },
}


@pytest.fixture
def given(given, tmp_path):
    trainer = {**given["trainer"], "default_root_dir": str(tmp_path / "runs")}
    trainer |= {"logger": None, "enable_checkpointing": True, "max_epochs": 2}
    return {**given, **CLASSIFIER, "trainer": trainer}


def weights(folder):
    (path,) = folder.rglob("*.ckpt")
    return torch.load(path, weights_only=True)["state_dict"]


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_fit_is_repeated_bit_for_bit_by_the_configuration_that_it_wrote(run, config, tmp_path):
    code, out, _, _ = run("fit", "--config", config, "--seed_everything=7")
    assert code == 0
    (folder,) = (tmp_path / "runs/lightning_logs").iterdir()
    assert str(folder / "config.yaml") in out
    assert run("fit", "--config", folder / "config.yaml")[0] == 0
    again = folder.with_name("version_1")
    assert same(weights(folder), weights(again))
    assert (folder / "config.yaml").read_text() == (again / "config.yaml").read_text()
    assert run("fit", "--config", config, "--seed_everything=8")[0] == 0
    assert not same(weights(folder), weights(folder.with_name("version_2")))


def test_only_a_checkpoint_of_a_monitored_metric_is_called_the_best(run, config, given):
    monitored = {"class_path": "ModelCheckpoint", "init_args": {"monitor": "loss/val"}}
    names = {}
    for name, callbacks in {"latest": [], "best": [monitored]}.items():
        trainer = {**given["trainer"], "callbacks": callbacks, "max_epochs": 1}
        config.write_text(write_yaml({**given, "trainer": trainer}))
        code, out, _, _ = run("fit", "--config", config)
        assert code == 0
        names[name] = [line.partition(":")[0] for line in out.splitlines() if ".ckpt" in line]
    assert names == {"latest": ["checkpoint"], "best": ["best checkpoint"]}


def test_what_is_given_later_changes_a_configuration(run, config, tmp_path):
    assert run("fit", "--config", config, "--model.lr=0.125", "--trainer.max_epochs", "1")[0] == 0
    written = yaml.safe_load(next(tmp_path.rglob("config.yaml")).read_text())
    assert written["model"]["init_args"]["lr"] == 0.125
    assert "num_classes" not in written["model"]["init_args"]  # the data tell it


def test_a_checkpoint_is_enough_to_evaluate_and_to_predict(run, config, tmp_path):
    assert run("fit", "--config", config)[0] == 0
    (path,) = tmp_path.rglob("*.ckpt")
    data = ["--data=SyntheticShapesData", "--data.task=classification", "--data.size=16"]
    args = ["--ckpt_path", path, *data, "--data.num_val=4", "--trainer.logger=false"]
    code, out, _, _ = run("test", *args)
    assert code == 0
    assert "metric/accuracy/test" in out
    assert "loss/val" in run("validate", *args)[1]
    code, out, _, _ = run("predict", *args)
    assert (code, out.count("predictions: ")) == (0, 1)
    with open("predictions/predictions.csv") as file:
        assert len([*csv.DictReader(file)]) == 4
    assert "predictions_1" in run("predict", *args)[1]  # the earlier ones stay


def test_a_writer_in_the_configuration_is_the_one_that_writes(run, config, tmp_path):
    args = ["--trainer.callbacks=PredictionWriter", "--trainer.callbacks.folder=out"]
    code, out, _, _ = run("predict", "--config", config, *args)
    assert code == 0
    assert "predictions: out (1 file)" in out
    assert not (tmp_path / "runs/predictions").exists()


NET = """
import lightning, torch
class Net(lightning.LightningModule):
    def __init__(self, width: int = 2):
        super().__init__()
        self.layer = torch.nn.Linear(2, width)
    def predict_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(3, 2))
    def predict_step(self, batch, index):
        return {"anything": self.layer(batch)}
"""


def test_predictions_of_any_form_are_written(run, given, config, tmp_path, monkeypatch):
    (tmp_path / "their_predicting_net.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    model = {"class_path": "their_predicting_net.Net", "init_args": {"width": 4}}
    config.write_text(write_yaml({"model": model, "trainer": given["trainer"]}))
    code, out, _, _ = run("predict", "--config", config)
    assert code == 0
    assert "(1 file)" in out
    found = torch.load(tmp_path / "runs/predictions/predictions.pt")
    assert [each["anything"].shape for each in found] == [(1, 4)] * 3


LOGGERS = {
    "none": False,
    "csv": {"class_path": "CSVLogger", "init_args": {"save_dir": "logs", "version": "v"}},
    "tensorboard": {
        "class_path": "TensorBoardLogger",
        "init_args": {"save_dir": "logs", "version": "v"},
    },
}


@pytest.mark.parametrize("name", LOGGERS)
def test_the_configuration_of_a_resumed_run_stays_beside_that_of_its_start(
    run, given, config, tmp_path, name
):
    given["trainer"] |= {"logger": LOGGERS[name], "max_epochs": 1}
    config.write_text(write_yaml(given))
    assert run("fit", "--config", config)[0] == 0
    (written,) = tmp_path.rglob("config.yaml")
    first = written.read_text()
    (path,) = tmp_path.rglob("*.ckpt")
    again = ["--ckpt_path", path, "--trainer.max_epochs=2"]
    assert run("fit", "--config", config, *again)[0] == 0
    assert yaml.safe_load(written.read_text())["trainer"]["max_epochs"] == 2
    assert written.with_name("config.1.yaml").read_text() == first


def test_a_file_of_the_user_is_never_replaced(run, given, tmp_path):
    mine = tmp_path / "config.yaml"
    given["trainer"] |= {"logger": False, "default_root_dir": str(tmp_path)}
    mine.write_text(text := write_yaml(given))
    code, out, _, _ = run("fit", "--config", mine)
    assert code == 0
    assert "config.run.yaml" in out
    assert mine.read_text() == text


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_gets_the_configuration_without_secrets(run, given, config, tmp_path):
    init_args = {"tracking_uri": f"sqlite:///{tmp_path}/ml.db", "experiment_name": "e"}
    init_args |= {"artifact_location": str(tmp_path / "artifacts"), "tags": {"api_key": "hunter22"}}
    given["trainer"]["logger"] = {"class_path": "MLFlowLogger", "init_args": init_args}
    config.write_text(write_yaml(given))
    assert run("fit", "--config", config)[0] == 0
    texts = [path.read_text() for path in (tmp_path / "artifacts").rglob("config.yaml")]
    assert len(texts) == 1
    assert "test_resnet" in texts[0]
    assert "hunter22" not in texts[0]


def test_a_range_test_writes_its_curve_and_says_its_status_once(run, config, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr("lightning_hparams.sweep.outcome.rank_zero_info", logged.append)
    args = ["--config", config, "--num_steps=20", "--output", tmp_path / "out"]
    code, out, _, _ = run("lr-range-test", *args)
    result = RangeTestResult.from_json((tmp_path / "out/lr-range-test.json").read_text())
    assert (tmp_path / "out/lr-range-test.png").stat().st_size > 1000
    assert out.count("range test: ") == out.count(str(result)) == 1
    assert logged == []
    assert len(result.lrs) <= 20
    statuses = ["ok", "", "", "no_divergence", "no_descent", "too_few_points", "non_finite"]
    assert statuses[code] == result.status
    assert not (tmp_path / "runs").exists()  # no run, so no folder of one


def test_a_range_test_takes_its_arguments_from_the_callback(run, given, config):
    test = {"class_path": "LRRangeTest", "init_args": {"num_steps": 12, "max_lr": 1e-6}}
    given["trainer"]["callbacks"] = [test]
    config.write_text(write_yaml(given))
    code, out, err, _ = run("lr-range-test", "--config", config, "--max_lr=2e-7")
    assert code in (3, 4)
    assert out.count("range test: ") == 1
    assert "suggests nothing" not in err
    with open("lr-range-test/lr-range-test.json") as file:
        found = json.load(file)
    assert len(found["lrs"]) == 12
    assert found["lrs"][-1] == pytest.approx(2e-7)


def test_runs_are_compared_with_a_summary_first(run, config, tmp_path):
    for rate in (0.1, 0.2):
        assert run("fit", "--config", config, f"--model.lr={rate}")[0] == 0
    folders = sorted((tmp_path / "runs/lightning_logs").iterdir())
    code, out, _, _ = run("compare", *folders)
    assert code == 0
    assert out.startswith("2 runs differ in configuration")
    assert json.loads(run("compare", "--json", *folders)[1])["runs"] == [*map(str, folders)]


def test_the_doctor_looks_at_the_data_of_a_configuration(run, config, tmp_path):
    code, out, _, _ = run("doctor", config)
    assert code == 0
    assert "8 samples" in out
    assert json.loads(run("doctor", "--json")[1])
    (tmp_path / "empty").mkdir()
    assert run("doctor", tmp_path / "empty")[0] == 3


def test_the_module_can_be_run_and_says_what_it_can(tmp_path):
    command = [sys.executable, "-m", "lightning_hparams"]
    help_ = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("fit", "lr-range-test", "search", "replay", "compare", "doctor"):
        assert f"  {name} " in help_
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stdout) == (2, help_)


STOPS = """
import signal
import lightning
from lightning.pytorch.utilities.exceptions import SIGTERMException
class Stops(lightning.Callback):
    def __init__(self, step: int, by: str):
        self.step, self.by = step, by
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt if self.by == "SIGINT" else SIGTERMException
"""


@pytest.fixture
def stopping(tmp_path, monkeypatch):
    """Arguments for a fit that is stopped at a step, as by a signal."""
    (tmp_path / "their_stops.py").write_text(STOPS)
    monkeypatch.syspath_prepend(tmp_path)
    handler = signal.getsignal(signal.SIGINT)  # which Lightning takes away after Ctrl-C
    yield lambda step, by: [
        "--trainer.callbacks=their_stops.Stops",
        f"--trainer.callbacks.step={step}",
        f"--trainer.callbacks.by={by}",
    ]
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize(("by", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stopped_fit_says_which_checkpoint_goes_on(run, config, tmp_path, stopping, by, expected):
    args = ["--config", config, "--data.batch_size=2", "--trainer.limit_train_batches=2"]
    code, out, err, _ = run("fit", *args, *stopping(3, by))
    assert code == expected
    assert "Traceback" not in err
    (path,) = tmp_path.rglob("*.ckpt")
    assert out.splitlines()[-1] == (
        f"stopped after 3 steps; to go on, run the same command with --ckpt_path {path}"
    )
    code, out, _, _ = run("fit", *args, "--ckpt_path", path)
    assert code == 0
    written = max(tmp_path.rglob("*.ckpt"), key=lambda each: each.stat().st_mtime)
    assert torch.load(written, weights_only=True)["global_step"] == 4


def test_a_fit_that_stops_before_a_checkpoint_says_so(run, config, tmp_path, stopping):
    args = ["--config", config, "--data.batch_size=2", *stopping(1, "SIGINT")]
    code, out, _, _ = run("fit", *args)
    assert code == 130
    assert out.splitlines()[-1] == "stopped after 1 step, before a checkpoint was written"
    assert not [*tmp_path.rglob("*.ckpt")]


def test_a_fit_that_stops_while_it_writes_a_checkpoint_names_the_one_before(
    run, config, tmp_path, stopping, monkeypatch
):
    save = Trainer.save_checkpoint

    def stopped(self, *args, **kwargs):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        save(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "save_checkpoint", stopped)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "older.ckpt").touch()
    os.utime(folder / "older.ckpt", (1, 1))
    saving = ["--trainer.callbacks=ModelCheckpoint", f"--trainer.callbacks.dirpath={folder}"]
    code, out, _, _ = run("fit", "--config", config, "--trainer.max_epochs=3", *saving)
    assert code == 130
    (path,) = folder.glob("epoch=0*.ckpt")
    assert out.splitlines()[-1].endswith(f"with --ckpt_path {path}")


def started(config, folder, *args):
    """A fit in a process of its own, and what it has printed, once it has written a checkpoint."""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_hparams", "fit", "--config", str(config), *args],
        env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell without job control starts commands in the background without Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 240
    while not [*folder.rglob("*.ckpt")] and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_fit_with_the_code_of_the_signal(config, tmp_path, name, expected):
    process = started(config, tmp_path, "--trainer.max_epochs=100000")
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=120)
    assert process.returncode == expected, err
    assert "Traceback" not in err
    (path,) = tmp_path.rglob("*.ckpt")
    assert out.splitlines()[-1].endswith(f"--ckpt_path {path}")


@pytest.mark.slow
def test_a_fit_in_two_processes_reports_once(config, tmp_path):
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=1"]
    process = started(config, tmp_path, *two)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.count("configuration: ") == out.count("checkpoint: ") == 1
    assert len([*tmp_path.rglob("config.yaml")]) == len([*tmp_path.rglob("manifest.json")]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [False, True])
@pytest.mark.parametrize(("name", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("strategy", ["ddp", "ddp_fork", "ddp_spawn"])
def test_a_signal_ends_both_processes_of_a_fit(config, tmp_path, strategy, name, expected, to_all):
    two = ["--trainer.devices=2", f"--trainer.strategy={strategy}", "--trainer.max_epochs=100000"]
    process = started(config, tmp_path, *two)
    others = psutil.Process(process.pid).children(recursive=True)
    number = getattr(signal, name)
    # A terminal sends Ctrl-C to all processes of the command, and schedulers may do so, too.
    (os.killpg if to_all else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == expected, err
    assert "Traceback" not in err
    (path,) = tmp_path.rglob("*.ckpt")
    assert out.splitlines()[-1].endswith(f"--ckpt_path {path}")
    assert out.count("--ckpt_path") == 1
    assert not psutil.wait_procs(others, timeout=20)[1]


class Together:
    """A Trainer of two processes, of which the other one was asked to stop or not."""

    world_size = 2

    def __init__(self, other):
        self.strategy, self.other = self, other

    def reduce_boolean_decision(self, decision, all):
        return decision or self.other


@pytest.mark.parametrize(
    ("own", "other", "raised"),
    [
        (None, True, SIGTERMException),
        (signal.SIGTERM, False, SIGTERMException),
        (signal.SIGINT, False, KeyboardInterrupt),
    ],
)
def test_processes_stop_before_the_same_batch_whichever_was_asked(own, other, raised):
    before, stop, trainer = signal.getsignal(signal.SIGINT), StopTogether(), Together(other)
    stop.on_train_start(trainer, None)
    try:
        if own is not None:
            signal.raise_signal(own)  # nothing happens until the next batch
        with pytest.raises(raised):
            stop.on_train_batch_start(trainer, None, None, 0)
        if own == signal.SIGINT:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(own)
    finally:
        stop.teardown(trainer, None, "fit")
    assert stop.stopped
    assert signal.getsignal(signal.SIGINT) == before
