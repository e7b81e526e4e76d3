"""An exported file computes what the task does, at any size, and says what a reader must know."""

import inspect
import json

import pytest
import torch
from torch import nn

from lightning_hparams import SegmentationTask
from lightning_hparams.tasks.base import VisionTask
from tests.runs import SMALL

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
SIZES = [(1, 64, 64), (2, 40, 70), (3, 129, 33), (1, 5, 32)]


@pytest.fixture(
    scope="module",
    params=["multiclass", pytest.param("binary", marks=pytest.mark.slow)],
)
def task(request):
    torch.manual_seed(0)
    classes = 3 if request.param == "multiclass" else 2
    names = ["road", "car", "übrig"][:classes]
    task = SegmentationTask(
        task=request.param, num_classes=classes, class_names=names, threshold=0.25, **SMALL
    )
    for norm in (m for m in task.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.1, 0.1)
    return task


def expected(task, images):
    task.eval()
    with torch.no_grad():
        return task.probabilities(task(images))


def read_facts(metadata):
    texts = ("input", "task", "size")
    return {k: v if k in texts else json.loads(v) for k, v in metadata.items()}


def check_facts(task, facts):
    assert facts["class_names"] == task.class_names
    assert facts["threshold"] == 0.25
    assert facts["task"] == task.task
    assert facts["mean"] == task.mean.flatten().tolist()
    assert facts["std"] == task.std.flatten().tolist()
    assert facts["size"] == "any"
    assert set(facts["versions"]) == {"lightning-hparams", "torch"}


any_size = pytest.mark.skipif(
    "prefer_deferred_runtime_asserts_over_guards"
    not in inspect.signature(torch.export.export).parameters,
    reason="this version of torch traces one size",
)


@any_size
def test_onnx_equals_the_task_at_any_size(task, tmp_path):
    path = task.train().export(tmp_path / "new" / "model.onnx")
    assert task.training
    session = onnxruntime.InferenceSession(path)
    for count, height, width in SIZES:
        images = torch.rand(count, 3, height, width)
        (found,) = session.run(["probabilities"], {"images": images.numpy()})
        assert abs(found - expected(task, images).numpy()).max() <= 1e-4
    check_facts(task, read_facts(session.get_modelmeta().custom_metadata_map))


@any_size
def test_an_exported_program_equals_the_task_at_any_size(task, tmp_path):
    path = task.export(tmp_path / "model.pt2")
    extra = {"metadata.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    for count, height, width in SIZES:
        images = torch.rand(count, 3, height, width)
        torch.testing.assert_close(program(images), expected(task, images), rtol=0, atol=1e-4)
    check_facts(task, json.loads(extra["metadata.json"]))


def test_a_file_may_take_one_size_only(task, tmp_path):
    path = task.export(tmp_path / "model.onnx", size=(40, 50), any_size=False)
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape[1:] == [3, 40, 50]
    images = torch.rand(2, 3, 40, 50)
    (found,) = session.run(None, {"images": images.numpy()})
    assert abs(found - expected(task, images).numpy()).max() <= 1e-4


class Head(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


def test_any_task_is_exported_with_what_it_computes(tmp_path):
    class Task(VisionTask):
        exported_names = ("values",)

        def exported_output(self, images):
            return 2 * self.model(self.normalise(images))

    task = Task(Head(), mean=[0.5], std=[0.25])
    session = onnxruntime.InferenceSession(task.export(tmp_path / "m.onnx"))
    (found,) = session.run(["values"], {"images": torch.ones(1, 1, 5, 7).numpy()})
    assert found.item() == pytest.approx(4.0)


def test_a_model_that_needs_one_size_says_so(tmp_path):
    class Fixed(nn.Module):
        def forward(self, images):
            return images.view(-1, 3 * 32 * 32)

    class Task(VisionTask):
        def exported_output(self, images):
            return self.model(self.normalise(images))

    task = Task(Fixed(), mean=[0.5] * 3, std=[0.5] * 3)
    with pytest.raises(ValueError, match=r"cannot be exported .*pass any_size=False and size="):
        task.export(tmp_path / "m.pt2", size=(32, 32))
    assert task.export(tmp_path / "m.pt2", size=(32, 32), any_size=False).is_file()


def test_another_format_is_refused(task, tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of \['.onnx', '.pt2'\], got 'm.pth'"):
        task.export("m.pth")
