"""What the package ships passes the contracts that it holds others to."""

import csv
from functools import partial

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_hparams import ClassificationTask, SegmentationTask, SyntheticShapesData
from lightning_hparams.range_test import RULES
from lightning_hparams.samples import DrawOptions
from lightning_hparams.schedules import SCHEDULES
from lightning_hparams.sinks import FilesSink, TensorBoardSink
from lightning_hparams.testing import (
    KindContract,
    RuleContract,
    ScheduleContract,
    SinkContract,
    TaskContract,
)
from tests.runs import SMALL, read_events


class Named:
    """Keeps the parameter for the methods of a contract."""

    @pytest.fixture(autouse=True)
    def named(self, name):
        self.name = name


class TestFiles(SinkContract):
    def make_sink(self, folder):
        return FilesSink(folder)

    def read_scalars(self, folder):
        found = {}
        with (folder / "scalars.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["tag"], []).append((int(row["step"]), float(row["value"])))
        return found


class TestTensorBoard(SinkContract):
    def make_sink(self, folder):
        return TensorBoardSink(TensorBoardLogger(folder, name="", version=""))

    def read_scalars(self, folder):
        events = read_events(folder)
        return {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }


@pytest.mark.parametrize("name", sorted(SCHEDULES))
class TestSchedules(Named, ScheduleContract):
    def make_schedule(self):
        shape = {"join": {"schedules": ["warmup", "cosine"], "milestones": [0.3]}}
        return partial(SCHEDULES[self.name], **shape.get(self.name, {}))


@pytest.mark.parametrize("name", sorted(RULES))
class TestRules(Named, RuleContract):
    def make_rule(self):
        return RULES[self.name]


def random(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def boxes(count, *, scores):
    corners = 10 * random(count, 4)
    found = {"boxes": torch.cat([corners[:, :2], corners[:, 2:] + 15], 1)}
    found["labels"] = torch.arange(count) % 2
    return {**found, "scores": random(count)} if scores else found


OUTPUTS = {
    "multiclass": lambda n: {
        "logits": random(n, 3, 32, 32), "preds": random(n, 3, 32, 32).argmax(1),
        "targets": (3 * random(n, 32, 32)).long(),
    },
    "binary": lambda n: {
        "logits": random(n, 1, 32, 32) - 0.5, "preds": (random(n, 32, 32) > 0.5).long(),
        "targets": (random(n, 32, 33)[..., :32] > 0.5).long(),
    },
    "multilabel": lambda n: {
        "logits": random(n, 3, 32, 32) - 0.5, "preds": (random(n, 3, 32, 32) > 0.5).long(),
        "targets": (random(n, 3, 32, 33)[..., :32] > 0.5).long(),
    },
    "classification": lambda n: {
        "probs": random(n, 4).softmax(1), "preds": random(n, 4).argmax(1),
        "targets": torch.arange(n) % 4,
    },
    "regression": lambda n: {"preds": random(n, 2), "targets": random(n, 3)[:, :2]},
    "detection": lambda n: {
        "preds": [boxes(2 + i, scores=True) for i in range(n)],
        "targets": [boxes(1 + i, scores=False) for i in range(n)],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OUTPUTS))
class TestKinds(Named, KindContract):
    @pytest.fixture(autouse=True)
    def class_names(self, name):
        if name == "detection":  # whose curves need to know all classes
            self.options = DrawOptions(class_names=["car", "tree"])

    def make_output(self, count):
        return {"kind": self.name, "images": random(count, 3, 32, 32), **OUTPUTS[self.name](count)}

    def make_bad_outputs(self):
        good = self.make_output(2)
        yield {**good, "targets": good["targets"][:1]}
        yield {**good, "preds": None}
        yield {**good, "images": random(2, 32, 32)}


TASKS = {
    "segmentation": lambda: SegmentationTask(num_classes=4, **SMALL),
    "classification": lambda: ClassificationTask(model="test_byobnet", num_classes=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TASKS))
class TestTasks(Named, TaskContract):
    def make_task(self):
        return TASKS[self.name]()

    def make_data(self):
        kind = "multiclass" if self.name == "segmentation" else self.name
        return SyntheticShapesData(task=kind, num_train=8, num_val=4, size=32, batch_size=4)
