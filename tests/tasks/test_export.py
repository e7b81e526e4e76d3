"""An exported file computes what the task does, at any size, and says what a reader must know."""

import inspect
import json
from importlib.metadata import version

import pytest
import torch
from packaging.version import Version
from torch import nn

from lightning_hparams import (
    ClassificationTask,
    DetectionTask,
    RegressionTask,
    SegmentationTask,
)
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
    texts = {"input": metadata["input"], "task": metadata["task"], "size": "any"}
    return {k: v if v == texts.get(k) else json.loads(v) for k, v in metadata.items()}


def check_facts(task, facts):
    assert facts["class_names"] == task.class_names
    assert facts["threshold"] == 0.25
    assert facts["task"] == task.task
    assert facts["mean"] == task.mean.flatten().tolist()
    assert facts["std"] == task.std.flatten().tolist()
    assert facts["size"] == "any"
    assert set(facts["versions"]) == {"lightning-hparams", "torch"}


OLD_TRACER = (
    "prefer_deferred_runtime_asserts_over_guards"
    not in inspect.signature(torch.export.export).parameters
)
any_size = pytest.mark.skipif(OLD_TRACER, reason="this version of torch traces one size")
program_of_boxes = [
    pytest.mark.slow,
    pytest.mark.skipif(OLD_TRACER, reason="this version of torch does not trace suppression"),
]
antialiasing = pytest.mark.skipif(
    Version(version("onnxscript")) < Version("0.4"),
    reason="this version of onnxscript does not resize with antialiasing",
)


@pytest.mark.slow
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


@pytest.mark.slow
@any_size
def test_an_exported_program_equals_the_task_at_any_size(task, tmp_path):
    path = task.export(tmp_path / "model.pt2")
    program, facts = read_program(path)
    for count, height, width in SIZES:
        images = torch.rand(count, 3, height, width)
        torch.testing.assert_close(program(images), expected(task, images), rtol=0, atol=1e-4)
    check_facts(task, facts)


@pytest.mark.slow
def test_a_file_may_take_one_size_only(task, tmp_path):
    path = task.export(tmp_path / "model.onnx", size=(40, 50), any_size=False)
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape[1:] == [3, 40, 50]
    images = torch.rand(2, 3, 40, 50)
    (found,) = session.run(None, {"images": images.numpy()})
    assert abs(found - expected(task, images).numpy()).max() <= 1e-4


# -- other tasks ----------------------------------------------------------------------------------

IMAGES = {"model": "test_resnet", "num_classes": 3, "class_names": ["a", "b", "ü"]}


def images_of(count, height, width):
    """Images that differ in brightness and contrast."""
    return torch.rand(count, 3, 1, 1) * torch.rand(count, 3, height, width)


def with_statistics(task):
    """Make outputs depend on the image: those of a new network are almost constant."""
    for module in task.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    with torch.no_grad():
        getattr(task.model, "backbone", task.model)(task.normalise(images_of(8, 64, 96)))
    return task


def classifier(**options):
    torch.manual_seed(0)
    return with_statistics(ClassificationTask(**{**IMAGES, **options}))


def regressor(**options):
    torch.manual_seed(0)
    task = RegressionTask("test_resnet", num_values=2, class_names=["x", "y"], **options)
    task.scaling.fit(torch.randn(100, 2) * 3 + torch.tensor([5.0, -2.0]))
    return with_statistics(task)


def check_images(task, name, path, sizes, predicted):
    """Compare a file with the task; returns the file's metadata."""
    session = onnxruntime.InferenceSession(path)
    outputs = []
    for size in sizes:
        images = images_of(*size)
        (found,) = session.run([name], {"images": images.numpy()})
        with torch.no_grad():
            wanted = predicted(task.eval()(images))
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=0, atol=1e-4)
        outputs.append(wanted)
    assert torch.cat(outputs).std(0).min() > 1e-3
    return read_facts(session.get_modelmeta().custom_metadata_map)


# Shrunk and enlarged: to half pixels and to their own size, too.
RESIZED = [(1, 16, 16), (2, 40, 70), (3, 129, 33), (1, 5, 32), (2, 32, 67)]


def read_program(path):
    extra = {"metadata.json": ""}
    program = torch.export.load(path, extra_files=extra)
    return program.module(), json.loads(extra["metadata.json"])


@any_size
def test_a_program_holds_what_a_task_does_before_and_after_its_model(tmp_path):
    """Resizing and padding, and probabilities, around models that are traced in no time."""
    resizing, padding = classifier(image_size=16), SegmentationTask(num_classes=3, **SMALL)
    resizing.model = nn.Sequential(nn.Conv2d(3, 3, 5, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    padding.model = nn.Conv2d(3, 3, 5, padding=2)
    for task in (resizing, padding):
        program, facts = read_program(task.train().export(tmp_path / "m.pt2", size=(20, 24)))
        assert task.training
        for size in RESIZED:
            images = images_of(*size)
            wanted = expected(task, images)
            torch.testing.assert_close(program(images), wanted, rtol=0, atol=1e-4)
        assert facts["class_names"] == task.class_names
        assert (facts["task"], facts["size"]) == ("multiclass", "any")
        assert facts["mean"] == task.mean.flatten().tolist()
        assert ("threshold" in facts) == (task is padding)


@pytest.mark.slow
@any_size
@pytest.mark.parametrize(
    "options", [{"image_size": 16}, {"task": "multilabel", "threshold": 0.25}], ids=str
)
def test_onnx_computes_the_probabilities_of_a_classification(tmp_path, options):
    task = classifier(**options)
    path = task.export(tmp_path / "m.onnx", size=(70, 80))
    facts = check_images(task, "probabilities", path, RESIZED, task.probabilities)
    assert facts["task"] == task.task
    assert facts.get("threshold") == options.get("threshold")


@pytest.mark.slow
@any_size
def test_a_regression_is_exported_in_the_unit_of_its_values(tmp_path):
    task = regressor()
    path = task.export(tmp_path / "m.onnx", size=(70, 80))
    facts = check_images(task, "values", path, RESIZED, lambda values: values)
    assert (facts["task"], facts["class_names"]) == ("regression", ["x", "y"])


def test_a_program_of_a_model_with_one_size_takes_any_number_of_images(tmp_path):
    task = classifier(model="test_vit")
    program, facts = read_program(task.export(tmp_path / "m.pt2", size=(50, 50)))
    for count in (1, 3):
        images = images_of(count, 50, 50)
        torch.testing.assert_close(program(images), expected(task, images), rtol=0, atol=1e-4)
    assert facts["size"] == [50, 50]


@pytest.mark.slow
@antialiasing
def test_a_model_with_one_size_is_exported_for_images_of_the_given_size(tmp_path):
    task = classifier(model="test_vit")
    path = task.export(tmp_path / "m.onnx", size=(50, 50))
    facts = check_images(
        task, "probabilities", path, [(1, 50, 50), (3, 50, 50)], task.probabilities
    )
    assert facts["size"] == [50, 50]


def detector(arch="fcos", encoder="tu-test_resnet", **options):
    torch.manual_seed(0)
    args = {"arch_args": {"fpn_channels": 32, "head_convs": 1}} if arch == "fcos" else {}
    task = DetectionTask(arch, encoder, num_classes=2, class_names=["a", "b"], **args, **options)
    return with_statistics(task.train()).eval()


def onnx_boxes(path):
    session = onnxruntime.InferenceSession(path)
    names = ["boxes", "scores", "labels"]
    facts = read_facts(session.get_modelmeta().custom_metadata_map)

    def run(images):
        return [torch.from_numpy(one) for one in session.run(names, {"images": images.numpy()})]

    return run, facts


def program_boxes(path):
    facts = {"metadata.json": ""}
    program = torch.export.load(path, extra_files=facts)
    return program.module(), json.loads(facts["metadata.json"])


RUNNERS = {"m.onnx": onnx_boxes, "m.pt2": program_boxes}
PROGRAM = pytest.param("m.pt2", marks=program_of_boxes)
detections = pytest.mark.parametrize("name", ["m.onnx", PROGRAM])


def check_boxes(task, run, images):
    """Compare the boxes of images of one size with the task's; returns how many there are."""
    counts = []
    for image in images:
        found = run(image[None])
        with torch.no_grad():
            (wanted,) = task(image[None])
        counts.append(len(wanted["boxes"]))
        for ours, name in zip(found, ("boxes", "scores", "labels"), strict=True):
            rtol = 1e-5 if name == "boxes" else 0  # float32 rounds pixels, up to 100, by that
            torch.testing.assert_close(ours, wanted[name], rtol=rtol, atol=1e-4)
    return counts


SIZE = (70, 100)  # no multiple of the stride


@detections
def test_a_detection_is_exported_with_suppression_and_labels_from_0(tmp_path, name):
    task = detector(score_threshold=0.0)
    run, facts = RUNNERS[name](task.train().export(tmp_path / name, size=SIZE))
    assert task.training
    assert check_boxes(task.eval(), run, images_of(3, *SIZE)) == [100] * 3
    assert (facts["task"], facts["class_names"]) == ("detection", ["a", "b"])
    assert (facts["size"], facts["category_ids"]) == ([70, 100], [1, 2])
    assert (facts["score_threshold"], facts["nms_threshold"]) == (0.0, 0.6)


@detections
def test_images_with_and_without_objects_work_in_one_file(tmp_path, name):
    """Whatever the image has that a file is made from."""
    images = torch.stack([torch.full((3, *SIZE), value) for value in (0.0, 0.3, 0.7, 1.0)])
    task = detector(score_threshold=0.0)
    with torch.no_grad():
        best = torch.stack([each["scores"].max() for each in task(images)])
    task = detector(score_threshold=float(best.sort().values[1:3].mean()))
    run, _ = RUNNERS[name](task.export(tmp_path / name, size=SIZE))
    counts = check_boxes(task, run, images)
    assert sum(count == 0 for count in counts) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "m.onnx"),
        ("ssdlite320_mobilenet_v3_large", "m.onnx"),
        pytest.param("ssdlite320_mobilenet_v3_large", "m.pt2", marks=program_of_boxes),
    ],
)
def test_detectors_of_torchvision_are_exported(tmp_path, arch, name):
    task = detector(arch, None, score_threshold=0.0, max_detections=10)
    run, _ = RUNNERS[name](task.export(tmp_path / name, size=SIZE))
    assert min(check_boxes(task, run, images_of(3, *SIZE))) > 0


@pytest.mark.slow
def test_a_detector_that_torch_does_not_trace_is_refused_with_another_format(tmp_path):
    task = detector("fasterrcnn_mobilenet_v3_large_320_fpn", None)
    with pytest.raises(ValueError, match=r"cannot be exported .*; write an \.onnx file"):
        task.export(tmp_path / "m.pt2", size=SIZE)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("m.pt2", {"any_size": True}, r"not for detections: .* pass size=\(height, width\)"),
        ("m.onnx", {"any_size": True}, r"not for detections: .* pass size=\(height, width\)"),
    ],
)
def test_what_a_detection_cannot_be_exported_to_is_said(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        detector().export(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


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


def test_what_onnx_cannot_express_is_refused_with_another_format(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no function for it. \x1b[96mThis is step 3/3\x1b[0m\nmore")

    class Task(VisionTask):
        def exported_output(self, images):
            return self.model(self.normalise(images))

    monkeypatch.setattr(torch.onnx, "export", fail)
    task = Task(Head(), mean=[0.5], std=[0.25])
    with pytest.raises(ValueError, match="cannot be exported") as caught:
        task.export(tmp_path / "m.onnx")
    assert str(caught.value) == (
        "this model cannot be exported (no function for it. This is step 3/3); write a .pt2 file, "
        "or install a newer onnxscript"
    )


def test_another_format_is_refused(task, tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of \['.onnx', '.pt2'\], got 'm.pth'"):
        task.export("m.pth")


def test_weights_that_diverged_are_refused_with_the_reason(tmp_path):
    task = classifier()
    with torch.no_grad():
        next(task.model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"weights hold NaN .* 'model\..*load a checkpoint"):
        task.export(tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize("size", [64, (64,), None])
def test_a_size_that_is_not_two_numbers_is_refused(tmp_path, size):
    with pytest.raises(TypeError, match=r"`size` must be \(height, width\), got"):
        classifier().export(tmp_path / "a.onnx", size=size)
