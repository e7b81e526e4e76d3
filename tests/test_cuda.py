"""Promises on a CUDA device: nothing is left on it by a range test, and all parts train there."""

import copy

import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_hparams import (
    ClassificationTask,
    DetectionTask,
    LRRangeTest,
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RegressionTask,
    RunRecorder,
    SegmentationTask,
    SpeedMonitor,
    lr_range_test,
)
from lightning_hparams.losses import WeightedLoss
from lightning_hparams.metrics import confusion_counts
from tests.runs import SMALL, quiet_trainer, read_events, shapes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DEVICE, ACCELERATOR = "cuda", "gpu"
IMAGES = {"model": "test_resnet", "image_size": 32}
TASKS = {
    "classification": lambda **options: ClassificationTask(**IMAGES, num_classes=3, **options),
    "regression": lambda **options: RegressionTask(**IMAGES, num_values=3, **options),
    "detection": lambda **options: DetectionTask(
        encoder="tu-test_resnet",
        arch_args={"fpn_channels": 32, "head_convs": 1},
        num_classes=3,
        **options,
    ),
    "multiclass": lambda **options: SegmentationTask(num_classes=4, **SMALL, **options),
}


@pytest.fixture(params=TASKS)
def kind(request):
    return request.param


def data_for(kind):
    return shapes(kind, size=64, num_train=16, num_val=4)


def task_for(kind, **options):
    torch.manual_seed(0)
    return TASKS[kind](**{"class_names": data_for(kind).class_names, **options})


def trainer_on_cuda(**options):
    return quiet_trainer(**{"accelerator": ACCELERATOR, "devices": 1, **options})


def states(module):
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_every_task_trains_with_all_monitors(kind, precision, tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    monitors = [MetricMonitor(), PredictionMonitor(), SpeedMonitor(flops=True), RunRecorder()]
    trainer = trainer_on_cuda(
        max_epochs=3, precision=precision, logger=logger, callbacks=[OneCycle(), *monitors],
        log_every_n_steps=1,
    )  # fmt: skip
    task = task_for(kind, lr=3e-3)
    before = states(task)
    trainer.fit(task, data_for(kind))
    assert trainer.callback_metrics["loss/val"].isfinite()
    assert any(not torch.equal(value, before[name]) for name, value in states(task).items())
    tags = read_events(logger.log_dir).Tags()
    assert "perf/memory_mib/cuda_peak_allocated" in tags["scalars"]
    assert any(tag.startswith("val_pred/") for tag in tags["images"])


def test_a_range_test_leaves_weights_and_random_states_as_they_were(kind):
    task, data = task_for(kind).to(DEVICE), data_for(kind)
    before, random = states(task), torch.cuda.get_rng_state()
    result = lr_range_test(task, data, trainer_on_cuda(), num_steps=20, apply=False)
    assert result.steps_run > 5
    assert all(torch.equal(value, before[name]) for name, value in states(task).items())
    assert torch.equal(torch.cuda.get_rng_state(), random)


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_training_after_a_range_test_is_that_without_it(precision, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def trained(*callbacks):
        task = task_for("classification", lr=1e-3)
        torch.manual_seed(1)
        trainer = trainer_on_cuda(
            max_epochs=2, deterministic=True, precision=precision, callbacks=list(callbacks)
        )
        trainer.fit(task, data_for("classification"))
        return states(task)

    try:
        with_it, without = trained(LRRangeTest(num_steps=20, apply=False)), trained()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(value, with_it[name]) for name, value in without.items())


def test_memory_of_a_range_test_is_given_back():
    task, data = task_for("multiclass"), data_for("multiclass")
    lr_range_test(task, data, trainer_on_cuda(), num_steps=20, apply=False)
    task.cpu()
    torch.cuda.empty_cache()
    first = torch.cuda.memory_allocated()
    for _ in range(3):
        lr_range_test(task, data, trainer_on_cuda(), num_steps=20, apply=False)
    task.cpu()
    assert torch.cuda.memory_allocated() <= first + 2**16


def test_compiled_tasks_train():
    trainer = trainer_on_cuda(max_epochs=2)
    trainer.fit(task_for("classification", compile=True), data_for("classification"))
    assert trainer.callback_metrics["loss/val"].isfinite()


@pytest.mark.skipif(
    not hasattr(callbacks, "EMAWeightAveraging"), reason="Lightning has it from 2.6 on"
)
def test_averaged_weights_are_validated(kind):
    averaging = callbacks.EMAWeightAveraging(decay=0.8)
    trainer = trainer_on_cuda(max_epochs=2, callbacks=[averaging, OneCycle()])
    trainer.fit(task_for(kind), data_for(kind))
    assert trainer.callback_metrics["loss/val"].isfinite()


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_task_trained_there_is_exported(kind, suffix, tmp_path):
    task = task_for(kind)
    trainer_on_cuda(max_epochs=1).fit(task, data_for(kind))
    task.to(DEVICE)
    before = {name: value.device for name, value in task.state_dict().items()}
    task.export(tmp_path / f"task{suffix}")
    assert (tmp_path / f"task{suffix}").stat().st_size > 1000
    assert {name: value.device for name, value in task.state_dict().items()} == before
    assert next(task.parameters()).device.type == DEVICE


def test_predictions_and_scores_are_those_of_the_cpu(kind):
    task, data = task_for(kind, lr=3e-3), data_for(kind)
    trainer_on_cuda(max_epochs=3).fit(task, data)
    (there,) = trainer_on_cuda().validate(task, data, verbose=False)
    (here,) = quiet_trainer().validate(copy.deepcopy(task).cpu(), data, verbose=False)
    assert there.keys() == here.keys()
    for name, value in here.items():
        assert there[name] == pytest.approx(value, rel=5e-3, abs=5e-3, nan_ok=True), name


@pytest.mark.parametrize("loss", ["ce", "dice", "focal", "lovasz", "tversky"])
def test_losses_and_gradients_are_those_of_the_cpu(loss):
    logits, target = torch.randn(2, 4, 16, 16), torch.randint(0, 4, (2, 16, 16))
    found = []
    for device in ("cpu", DEVICE):
        inputs = logits.to(device).requires_grad_()
        value = WeightedLoss({loss: 1.0})(inputs, target.to(device))
        (gradient,) = torch.autograd.grad(value, inputs)
        found.append((value.cpu(), gradient.cpu()))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_confusion_counts_are_those_of_the_cpu():
    found, target = torch.randint(0, 5, (4, 32, 32)), torch.randint(0, 5, (4, 32, 32))
    there = confusion_counts(found.to(DEVICE), target.to(DEVICE), 5)
    assert torch.equal(there.cpu(), confusion_counts(found, target, 5))
