"""Everything written is read back through TensorBoard's own routes and pages."""

import io

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from lightning_hparams.render import encode
from lightning_hparams.sinks import PRCounts, TensorBoardSink
from tests.server import browser, look, tensorboard

PICTURE = np.arange(12 * 20 * 3, dtype=np.uint8).reshape(12, 20, 3)
LAYOUT = {"Loss": {"loss of both": ["loss/(train|val)"]}, "Metrics": {"miou": ["metric/miou/.*"]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    sink = TensorBoardSink(TensorBoardLogger(folder, name="shapes"))
    sink.layout(LAYOUT)
    for step in (0, 5, 10):
        sink.scalars({"loss/train": 1 / (step + 1), "loss/val": 2 / (step + 1)}, step)
        sink.scalars({"metric/miou/val": step / 10, "loss/train/dice": 0.5}, step)
        sink.image("val_pred/0", encode(PICTURE), step)
    sink.pr_curve("pr/disc", PRCounts([8, 6, 0], [4, 2, 0], [0, 2, 4], [0, 2, 8]), 10)
    sink.histogram("weights/head", [1, 2, 1], [-1, -0.5, 0.5, 1], 10)
    sink.text("notes", "**bold**", 10)
    sink.table("per class", {"class": ["disc"], "iou": [0.5]}, 10)
    sink.hparams({"lr": 0.1, "arch": "unet", "amsgrad": False})
    sink.finish("finished")
    with tensorboard(folder) as started:
        started.wait_for(lambda: started.get("plugin/images/tags"))
        started.wait_for(lambda: started.get("plugin/pr_curves/tags"))
        yield started


RUN = "shapes/version_0"


@pytest.mark.slow
def test_scalars_and_images_are_served(server):
    points = server.get("plugin/scalars/scalars", run=RUN, tag="loss/val")
    assert [(step, value) for _, step, value in points] == [
        (0, 2.0),
        (5, pytest.approx(1 / 3)),
        (10, pytest.approx(2 / 11)),
    ]
    images = server.get("plugin/images/images", run=RUN, tag="val_pred/0", sample=0)
    assert [image["step"] for image in images] == [0, 5, 10]
    data = server.get(f"plugin/images/individualImage?{images[2]['query']}")
    assert Image.open(io.BytesIO(data)).size == (20, 12)


@pytest.mark.slow
def test_precision_recall_curves_are_served(server):
    (curve,) = server.get("plugin/pr_curves/pr_curves", run=RUN, tag="pr/disc")[RUN]
    assert curve["step"] == 10
    # The plugin drops the end, where nothing is predicted positive.
    assert curve["thresholds"] == [0, 0.5]
    assert curve["precision"] == pytest.approx([8 / 12, 6 / 8])
    assert curve["recall"] == pytest.approx([1, 6 / 8])
    assert curve["false_positives"] == [4, 2]


@pytest.mark.slow
def test_histograms_texts_and_tables_are_served(server):
    ((_, step, buckets),) = server.get("plugin/histograms/histograms", run=RUN, tag="weights/head")
    assert step == 10
    assert sum(bucket[2] for bucket in buckets) == pytest.approx(4)
    (text,) = server.get("plugin/text/text", run=RUN, tag="notes")
    assert "<strong>bold</strong>" in text["text"]
    (table,) = server.get("plugin/text/text", run=RUN, tag="per class")
    assert "<th>iou</th>" in table["text"]


@pytest.mark.slow
def test_the_layout_matches_whole_tags(server):
    layout = server.get("plugin/custom_scalars/layout")
    assert [category["title"] for category in layout["category"]] == ["Loss", "Metrics"]
    (chart,) = layout["category"][0]["chart"]
    (pattern,) = chart["multiline"]["tag"]
    shown = server.get("plugin/custom_scalars/scalars", run=RUN, tag=pattern)
    # Not loss/train/dice, of which one of them is a prefix.
    assert sorted(shown["tag_to_events"]) == ["loss/train", "loss/val"]


@pytest.mark.slow
def test_hyperparameter_columns_are_typed(server):
    columns = {info["name"]: info["type"] for info in server.columns()["hparamInfos"]}
    assert columns == {
        "lr": "DATA_TYPE_FLOAT64",
        "arch": "DATA_TYPE_STRING",
        "amsgrad": "DATA_TYPE_BOOL",
    }
    ((status, values, metrics),) = server.rows().values()
    assert status == "STATUS_SUCCESS"
    assert values == {"lr": 0.1, "arch": "unet", "amsgrad": False}
    assert metrics["metric/miou/val"] == 1


def record(folder, lr, status=None, version=None):
    sink = TensorBoardSink(TensorBoardLogger(folder, version=version))
    sink.hparams({"lr": lr})
    sink.scalars({"val_acc": lr}, 1)
    if status is not None:
        sink.finish(status)
    sink.flush()
    return sink


@pytest.mark.slow
def test_each_run_has_a_row_with_its_final_status(tmp_path, monkeypatch):
    for model, lr in (("resnet", 0.25), ("unet", 0.5)):  # both are lightning_logs/version_0
        record(tmp_path / model, lr, "finished")
    for machine, status in (("node-a", "failed"), ("node-b", "finished")):
        monkeypatch.setattr("socket.gethostname", lambda name=machine: name)
        record(tmp_path / "moved", 0.75, status, version=0)
    record(tmp_path / "killed", 1.0)
    with tensorboard(tmp_path) as server:
        server.wait_for(lambda: len(server.rows()) == 4)
        rows = {name.split("/")[0]: row for name, row in server.rows().items()}
        assert rows["killed"][0] == "STATUS_UNKNOWN"
        record(tmp_path / "killed", 1.0, "finished", version=0)
        server.wait_for(lambda: all(row[0] == "STATUS_SUCCESS" for row in server.rows().values()))
    assert {name: row[2]["val_acc"] for name, row in rows.items()} == {
        "resnet": 0.25,
        "unet": 0.5,
        "moved": 0.75,
        "killed": 1.0,
    }


@pytest.mark.slow
def test_the_table_shows_every_metric_although_a_project_logged_hyperparameters(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({"batch": 8})  # Lightning records `hp_metric` as the only column
    sink = TensorBoardSink(logger)
    sink.hparams({"lr": 0.1})
    sink.columns({}, {})
    sink.scalars({"val_acc": 0.5}, 1)
    sink.finish("finished")
    with tensorboard(tmp_path) as server:
        server.wait_for(lambda: server.rows())
        ((_, values, metrics),) = server.rows().values()
    assert values == {"batch": 8, "lr": 0.1}
    assert metrics["val_acc"] == 0.5


@pytest.mark.slow
def test_a_later_layout_replaces_the_first(tmp_path):
    sink = TensorBoardSink(TensorBoardLogger(tmp_path, prefix="p"))
    sink.layout({"First": {"loss": ["loss"]}})
    sink.scalars({"loss": 1.0}, 0)
    assert sink.tags() == {"loss"}
    sink.flush()

    def titles():
        layout = server.get("plugin/custom_scalars/layout")
        return [category["title"] for category in layout.get("category", [])]

    with tensorboard(tmp_path) as server:
        server.wait_for(lambda: titles() == ["First"])
        sink.layout({"Second": {"loss": ["loss"]}})
        server.wait_for(lambda: titles() == ["Second"])
        (chart,) = server.get("plugin/custom_scalars/layout")["category"][0]["chart"]
        (pattern,) = chart["multiline"]["tag"]
        run = "lightning_logs/version_0"
        shown = server.get("plugin/custom_scalars/scalars", run=run, tag=pattern)
        assert list(shown["tag_to_events"]) == ["p-loss"]


@pytest.mark.slow
def test_the_pages_show_the_charts_and_the_table(server, tmp_path):
    with browser() as page:
        words = ("loss of both", "Matches (2)", "Matches (1)", RUN)
        look(page, f"{server.url}/#custom_scalars", *words)
        page.screenshot(path=tmp_path / "custom_scalars.png")
        page.goto("about:blank")
        words = ("TABLE VIEW", "unet", RUN, "0.10000", "metric/miou/val")
        look(page, f"{server.url}/#hparams", *words)
        page.screenshot(path=tmp_path / "hparams.png")
