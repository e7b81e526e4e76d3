import csv
import functools
import io
import json
import math
from argparse import Namespace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from lightning_hparams.render import encode
from lightning_hparams.sinks import (
    FilesSink,
    PRCounts,
    TensorBoardSink,
    encode_figure,
    open_sinks,
    tensorboard,
)
from lightning_hparams.sinks.lightning_loggers import hide_secrets
from tests.runs import read_events

PICTURE = np.arange(12 * 20 * 3, dtype=np.uint8).reshape(12, 20, 3)


def test_tensorboard_reads_back_what_was_written(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    sink = TensorBoardSink(logger)
    sink.scalars({"loss/train": 0.5, "lr/head": 1e-3}, 7)
    sink.scalars({"loss/train": 0.25, "class/iou/a/val": math.nan}, 8)
    sink.image("val_pred/0", encode(PICTURE), 8)
    sink.flush()
    events = read_events(logger.log_dir)
    assert [(e.step, e.value) for e in events.Scalars("loss/train")] == [(7, 0.5), (8, 0.25)]
    assert math.isnan(events.Scalars("class/iou/a/val")[0].value)
    (image,) = events.Images("val_pred/0")
    assert (image.step, image.width, image.height) == (8, 20, 12)
    assert Image.open(io.BytesIO(image.encoded_image_string)).size == (20, 12)


def test_tensorboard_can_be_written_after_the_logger_was_finalized(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    sink = TensorBoardSink(logger)
    sink.scalars({"a": 1.0}, 0)
    logger.finalize("success")
    sink.scalars({"a": 2.0}, 1)
    sink.flush()
    assert [e.value for e in read_events(logger.log_dir).Scalars("a")] == [1.0, 2.0]


@pytest.mark.parametrize("appended", [True, False])
def test_pictures_and_numbers_share_a_file_with_either_writer(tmp_path, monkeypatch, appended):
    if not appended:  # as with TensorFlow installed, whose files cannot be appended to
        monkeypatch.setattr(tensorboard, "_local_file", lambda writer: "")
    logger = TensorBoardLogger(tmp_path)
    sink = TensorBoardSink(logger)
    for step in range(30):
        sink.scalars({"a": float(step)}, step)
        sink.image("b", encode(PICTURE), step)
        logger.log_metrics({"c": float(step)}, step)
    sink.flush()
    events = read_events(logger.log_dir)
    assert [e.step for e in events.Scalars("a")] == list(range(30))
    assert [e.step for e in events.Scalars("c")] == list(range(30))
    assert [e.step for e in events.Images("b")] == list(range(30))
    assert len(list((tmp_path / "lightning_logs" / "version_0").glob("events*"))) == 1


def test_a_remote_folder_gets_one_file_of_records_and_the_artifact(tmp_path):
    logger = TensorBoardLogger("memory://bucket/tb", version=0)
    (tmp_path / "kept.json").write_text("{}")
    for status in ("failed", "finished"):
        sink = TensorBoardSink(logger)
        sink.hparams({"lr": 0.1})
        sink.finish(status)
        sink.artifact(tmp_path / "kept.json")
    files = fsspec.filesystem("memory")
    folder = "/bucket/tb/lightning_logs/version_0"
    assert files.cat(f"{folder}/kept.json") == b"{}"
    (records,) = files.glob(f"{folder}/*.hparams")
    events = list(EventFileLoader(f"memory://{records}").Load())
    tags = [value.tag for event in events for value in event.summary.value]
    assert tags == ["_hparams_/session_start_info", "_hparams_/session_end_info"]
    assert not list(Path().glob("memory*"))


@pytest.mark.parametrize(
    ("domain", "known"),
    [
        ([None, 0.1], [0.1]),
        (("resnet", "unet"), ["resnet", "unet"]),
        ([[0.9, 0.99]], ["[0.9, 0.99]"]),
        ([False, True], [False, True]),
        ([None], None),
    ],
)
def test_a_domain_may_hold_values_of_any_type(tmp_path, domain, known):
    sink = TensorBoardSink(TensorBoardLogger(tmp_path))
    sink.hparams({"x": 1})
    sink.columns({"x": domain}, {})
    found = tensorboard._domain(domain)
    assert (None if found is None else list(found.values)) == known


def test_files_hold_a_table_that_a_later_run_appends_to(tmp_path):
    FilesSink(tmp_path).scalars({"loss/train": 0.5, "lr": 1e-3}, 1)
    FilesSink(tmp_path).scalars({"new": math.nan}, 2)
    with (tmp_path / "scalars.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["tag"]) for row in rows] == [
        ("1", "loss/train"),
        ("1", "lr"),
        ("2", "new"),
    ]
    assert math.isnan(float(rows[2]["value"]))


def test_files_hold_a_picture_for_each_tag_and_step(tmp_path):
    sink = FilesSink(tmp_path)
    sink.image("val_pred/00_idx00003", encode(PICTURE), 5)
    sink.image("../odd: name/é", encode(PICTURE), 5)
    paths = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png"))
    assert paths == [
        "images/__/odd_ name/é/step_00000005.png",
        "images/val_pred/00_idx00003/step_00000005.png",
    ]


def test_files_hold_curves_tables_texts_and_how_the_run_ended(tmp_path):
    sink = FilesSink(tmp_path)
    sink.pr_curve("pr/disc", PRCounts([8, 6, 0], [4, 2, 0], [0, 2, 4], [0, 2, 8]), 3)
    sink.table("per class", {"class": ["a"], "iou": [0.5]}, 3)
    sink.histogram("weights", [1, 3], [0, 1, 2], 3)
    sink.text("notes", "**bold**", 3)
    sink.hparams({"lr": 0.1}, group="g")
    sink.finish("killed")
    step = "step_00000003"
    text = (tmp_path / "pr_curves/pr/disc" / f"{step}.csv").read_text()
    rows = list(csv.reader(text.splitlines()))
    assert rows[0][0] == "threshold"
    assert [float(cell) for cell in rows[3]] == [1, 0, 0, 4, 8, 1, 0]
    assert (tmp_path / "tables/per class" / f"{step}.csv").read_text() == "class,iou\na,0.5\n"
    assert (tmp_path / "histograms/weights" / f"{step}.csv").read_text().split() == [
        "from,to,count",
        "0,1,1",
        "1,2,3",
    ]
    assert (tmp_path / "texts/notes" / f"{step}.md").read_text() == "**bold**"
    assert json.loads((tmp_path / "hparams.json").read_text()) == {
        "hparams": {"lr": 0.1},
        "group": "g",
        "status": "killed",
    }


def test_files_discard_values_after_the_step_at_which_a_run_resumes(tmp_path):
    sink = FilesSink(tmp_path)
    for step in (1, 2, 3):
        sink.scalars({"a": float(step)}, step)
        sink.image("b", encode(PICTURE), step)
    later = FilesSink(tmp_path)
    later.resume(2)
    later.scalars({"a": 30.0}, 3)
    rows = [line.split(",") for line in (tmp_path / "scalars.csv").read_text().splitlines()[1:]]
    assert [(int(step), float(value)) for step, _, value in rows] == [(1, 1), (2, 2), (3, 30)]
    names = [path.stem for path in sorted((tmp_path / "images").rglob("*.png"))]
    assert names == ["step_00000001", "step_00000002"]


@pytest.mark.parametrize(
    "table", ["", "step,tag,value\n1,a,0.5\n\n", "step,tag,value\n1,a,0.5\n2,a"]
)
def test_files_recover_after_a_crash(tmp_path, table):
    (tmp_path / "scalars.csv").write_text(table)
    FilesSink(tmp_path).histogram("weights/step_embed", [1], [0, 1], 1)
    later = FilesSink(tmp_path)
    later.resume(3)
    later.scalars({"a": 1.0}, 4)
    rows = (tmp_path / "scalars.csv").read_text().splitlines()
    assert rows == ["step,tag,value", *(["1,a,0.5"] if table else []), "4,a,1.0"]
    assert list(tmp_path.rglob("step_embed/step_00000001.csv"))
    assert not list(tmp_path.rglob("*.part"))


def test_files_keep_a_test_after_the_step_at_which_a_run_resumes(tmp_path):
    sink = FilesSink(tmp_path)
    sink.scalars({"loss/test": 1.0, "latest": 1.0}, 4)
    sink.image("test_pred/0", encode(PICTURE), 4)
    sink.image("val_pred/0", encode(PICTURE), 4)
    FilesSink(tmp_path).resume(3)
    assert (tmp_path / "scalars.csv").read_text().split() == ["step,tag,value", "4,loss/test,1.0"]
    assert [path.parts[-3] for path in tmp_path.rglob("step_*")] == ["test_pred"]


def test_files_keep_the_old_table_if_the_process_is_killed_while_writing(tmp_path, monkeypatch):
    FilesSink(tmp_path).scalars({"a": 1.0}, 1)

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        FilesSink(tmp_path).resume(0)
    assert "1,a,1.0" in (tmp_path / "scalars.csv").read_text()


def test_a_tag_may_be_longer_than_a_file_name(tmp_path):
    for last in "ab":
        FilesSink(tmp_path).text("猫" * 300 + last, last, 0)
    assert len(list(tmp_path.rglob("step_00000000.md"))) == 2


def test_values_are_discarded_once_per_fit(tmp_path):
    trainer = Trainer(logger=CSVLogger(tmp_path), accelerator="cpu", enable_checkpointing=False)
    held = []
    for _ in range(2):
        held += open_sinks(trainer, "RunRecorder")
        held[0].scalars({"a": 1.0}, 5)
        held[0].resume(3)
        held[0].text("manifest", "of this fit", 4)
        held[0].resume(3)  # another monitor
        assert list(tmp_path.rglob("manifest/step_00000004.md"))
        table = next(tmp_path.rglob("scalars.csv"))
        assert table.read_text().split() == ["step,tag,value"]
        held[0].scalars({"b": 1.0}, 5)


def test_a_remote_folder_gets_lightnings_numbers(tmp_path):
    logger = CSVLogger("memory://bucket/csv")
    trainer = Trainer(logger=logger, accelerator="cpu", enable_checkpointing=False)
    with pytest.warns(UserWarning, match="no pictures to CSVLogger; add .* on this machine"):
        (sink,) = open_sinks(trainer, "MetricMonitor")
    sink.scalars({"a": 1.0}, 3)
    sink.flush()
    written = fsspec.filesystem("memory").cat("/bucket/csv/lightning_logs/version_0/metrics.csv")
    assert written.decode().split() == ["a,step", "1.0,3"]
    assert not list(tmp_path.rglob("*.csv"))


def test_scalars_have_the_loggers_prefix(tmp_path):
    loggers = [TensorBoardLogger(tmp_path, prefix="p"), CSVLogger(tmp_path / "csv", prefix="p")]
    trainer = Trainer(logger=loggers, accelerator="cpu", enable_checkpointing=False)
    sinks = open_sinks(trainer, "MetricMonitor")
    for sink in sinks:
        sink.scalars({"a": 1.0}, 3)
        sink.flush()
    assert read_events(loggers[0].log_dir).Tags()["scalars"] == ["p-a"]
    assert "3,p-a,1.0" in next(tmp_path.rglob("scalars.csv")).read_text()


def test_lightning_writes_no_secrets_either(tmp_path, monkeypatch):
    monkeypatch.setenv("HUB_TOKEN", "hunter2-hunter2")
    loggers = [TensorBoardLogger(tmp_path), CSVLogger(tmp_path / "csv")]
    trainer = Trainer(logger=loggers, accelerator="cpu", enable_checkpointing=False)
    sinks = open_sinks(trainer, "RunRecorder")
    betas = (0.9, 0.99)
    for sink, logger in zip(sinks, loggers, strict=True):
        sink.own_hparams()
        logger.log_hyperparams({"betas": betas})
        nested = Namespace(urls=["https://hunter2-hunter2@host"])
        logger.log_hyperparams(Namespace(hub=nested, lr=0.1))
        logger.save()
        written = (Path(logger.log_dir) / "hparams.yaml").read_text()
        assert "hunter2" not in written
        assert "lr: 0.1" in written
    assert loggers[0].hparams["betas"] is betas  # as it was


class Store:
    """An object in the hyperparameters, which YAML writes with its attributes."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __repr__(self):
        return "Store"


class Client(Store):
    def __repr__(self):
        return f"Client({self.__dict__})"


@pytest.mark.parametrize(
    "secret",
    [
        Client(api_key="hunter2"),
        Store(api_key="hunter2"),
        Store(inner=[Store(url="https://me:hunter2@host")]),
        functools.partial(dict, password="hunter2"),
        {"stores": [Client(token="hunter2")]},
        (Store(weights=torch.zeros(3), pw="hunter2"), 1),
        b"password=hunter2",
    ],
)
def test_lightning_writes_no_secrets_inside_objects(tmp_path, secret):
    loggers = [TensorBoardLogger(tmp_path), CSVLogger(tmp_path / "csv")]
    for logger in loggers:
        hide_secrets(logger)
        logger.log_hyperparams({"secret": 1, "store": secret, "lr": 0.1})
        logger.save()
        written = (Path(logger.log_dir) / "hparams.yaml").read_text()
        assert "hunter2" not in written
        assert "aHVudGVyMg" not in written  # as YAML writes bytes
        assert "lr: 0.1" in written


def test_lightning_gets_objects_without_secrets_unchanged(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    hide_secrets(logger)
    objects = {"a": Store(size=3), "b": torch.zeros(2), "c": functools.partial(dict, lr=0.1)}
    logger.log_hyperparams({**objects, "token": torch.zeros(2)})
    assert all(logger.hparams[name] is value for name, value in objects.items())


def test_a_value_that_two_monitors_write_is_written_once(tmp_path):
    logger = CSVLogger(tmp_path)
    trainer = Trainer(logger=logger, accelerator="cpu", enable_checkpointing=False)
    one, two = open_sinks(trainer, "MetricMonitor"), open_sinks(trainer, "RunRecorder")
    assert list(one) == list(two)
    for sink in (*one, *two):
        sink.scalars({"a": 1.0}, 3)
        sink.scalars({"b": float("nan")}, 3)
    two.scalars({"a": 2.0}, 3)  # a different value is a new measurement
    lines = (tmp_path / "lightning_logs" / "version_0" / "scalars.csv").read_text().split()
    assert lines == ["step,tag,value", "3,a,1.0", "3,b,nan", "3,a,2.0"]


def test_counts_of_a_curve_must_have_equal_lengths():
    with pytest.raises(ValueError, match=r"one shape \(T,\) with T >= 2, got .*\(3,\)"):
        PRCounts([1, 2], [1, 2, 3], [1, 2], [1, 2])


def test_a_figure_is_encoded_once_for_all_sinks():
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(2, 1), dpi=50)
    figure.add_subplot().plot([0, 1])
    picture = encode_figure(figure)
    assert (picture.width, picture.height, picture.suffix) == (100, 50, ".png")
    assert Image.open(io.BytesIO(picture.data)).size == (100, 50)


def test_an_unwritable_folder_is_rejected(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="choose another folder"):
        FilesSink(tmp_path / "file" / "logs")


class OtherLogger(CSVLogger.__mro__[1]):
    """Implements only Lightning's interface."""

    def __init__(self):
        super().__init__()
        self.metrics = []

    name, version = "other", 0

    def log_metrics(self, metrics, step=None):
        self.metrics.append((dict(metrics), step))

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def test_each_logger_gets_a_sink_and_an_unknown_one_a_warning(tmp_path):
    other = OtherLogger()
    trainer = Trainer(
        logger=[TensorBoardLogger(tmp_path), CSVLogger(tmp_path / "csv"), other],
        accelerator="cpu",
        enable_checkpointing=False,
    )
    with pytest.warns(UserWarning, match="numbers but no pictures to OtherLogger; add a"):
        sinks = open_sinks(trainer, "MetricMonitor")
    for sink in sinks:
        sink.scalars({"a": 1.0}, 3)
        sink.image("b", encode(PICTURE), 3)
        sink.flush()
    assert other.metrics == [({"a": 1.0}, 3)]
    assert read_events(trainer.loggers[0].log_dir).Scalars("a")[0].value == 1
    assert list((tmp_path / "csv").rglob("scalars.csv"))


@pytest.mark.parametrize("options", [{"logger": False}, {"fast_dev_run": True}])
def test_nothing_is_opened_without_a_logger_or_in_a_fast_dev_run(options):
    trainer = Trainer(accelerator="cpu", enable_checkpointing=False, **options)
    assert not open_sinks(trainer, "MetricMonitor")
