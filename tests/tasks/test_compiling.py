"""A compiled model, and one that computes its activations twice, are the same models."""

import copy

import pytest
import torch

from lightning_hparams import SegmentationTask
from tests.runs import SMALL


@pytest.fixture
def eager(monkeypatch):
    """Trace the model, without generating code, which takes a minute."""
    torch._dynamo.reset()
    calls = []

    def backend(graph, inputs):
        calls.append(len(inputs))
        return graph.forward

    compile_model = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model, **options: compile_model(model, backend=backend, **options)
    )
    return calls


def gradients(task, images, target):
    task.loss(task(images), target).backward()
    return {name: p.grad for name, p in task.named_parameters()}


def test_a_compiled_model_has_the_same_names_and_outputs(eager):
    task = SegmentationTask(compile=True, **SMALL).eval()
    plain = SegmentationTask(**SMALL).eval()
    plain.load_state_dict(task.state_dict())
    images = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(task(images), plain(images))
        assert eager
        calls = len(eager)
        copied = copy.deepcopy(task)
        for parameter in task.parameters():
            parameter.zero_()
        torch.testing.assert_close(copied(images), plain(images))
    assert len(eager) == calls  # a copy is not compiled
    assert task.hparams["compile"] is True


def test_recomputed_activations_give_the_same_gradients():
    torch.manual_seed(0)
    plain = SegmentationTask(encoder="tu-mobilenetv3_small_100", **SMALL)
    task = SegmentationTask(encoder="tu-mobilenetv3_small_100", grad_checkpointing=True, **SMALL)
    task.load_state_dict(plain.state_dict())
    calls = []
    block = task.model.encoder.model.blocks[1][0]
    block.register_forward_hook(lambda *_: calls.append(1))
    images, target = torch.rand(2, 3, 32, 32), torch.randint(0, 2, (2, 32, 32))
    expected = gradients(plain, images, target)
    found = gradients(task, images, target)
    assert len(calls) == 2
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_an_encoder_that_cannot_recompute_its_activations_is_refused():
    with pytest.raises(ValueError, match="needs a model of timm that supports it, got Unet"):
        SegmentationTask(encoder="resnet18", grad_checkpointing=True)
