"""Models of timm and torchvision by name, with a new last layer."""

import threading

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from lightning_hparams import ClassificationTask
from lightning_hparams.tasks import encoders
from lightning_hparams.tasks.classifiers import build_classifier


def built(name, weights=None, in_channels=3, outputs=5, **args):
    return build_classifier(name, weights, in_channels=in_channels, outputs=outputs, args=args)


IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TIMM = ["test_resnet", "tu-test_convnext", "test_vit", "levit_128s", "test_efficientnet.r160_in1k"]
TORCHVISION = ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "mnasnet0_5"]


@pytest.mark.parametrize("name", [*TIMM, *(f"torchvision/{name}" for name in TORCHVISION)])
def test_a_model_has_the_requested_channels_and_outputs_and_a_head(name):
    found = built(name, in_channels=2)
    with torch.no_grad():
        logits = found.model.eval()(torch.rand(2, 2, found.side, found.side))
    assert logits.shape == (2, 5)
    in_heads = sum(p.numel() for head in found.heads for p in head.parameters())
    assert 0 < in_heads < sum(p.numel() for p in found.model.parameters())


def test_arguments_reach_the_model():
    assert built("test_resnet", drop_rate=0.3).model.drop_rate == 0.3
    dropout = [m for m in built("torchvision/alexnet", dropout=0.2).model.modules()]
    assert any(isinstance(m, nn.Dropout) and m.p == 0.2 for m in dropout)


@pytest.mark.parametrize(
    ("name", "args", "error", "message"),
    [
        ("resnet19", {}, ValueError, "`model` must be .*did you mean 'resnet1"),
        ("torchvision/resnet17", {}, ValueError, "did you mean 'resnet1"),
        ("resnet18", {"drop_rat": 0.1}, TypeError, "`model_args`: model 'resnet18' takes no 'drop"),
        ("torchvision/vgg11", {"drop": 1}, TypeError, "takes no 'drop'"),
        ("resnet18", {"num_classes": 3}, TypeError, "`model_args` repeats 'num_classes'"),
        ("torchvision/resnet18", {"progress": True}, TypeError, "repeats 'progress'"),
        ("test_vit", {"patch_size": 0}, ValueError, "cannot be built"),
    ],
)
def test_unknown_names_and_arguments_are_refused(name, args, error, message):
    with pytest.raises(error, match=message):
        built(name, **args)


@pytest.mark.parametrize("name", ["resnet18", "torchvision/resnet18"])
def test_pretrained_weights_without_a_network_fail_at_once(monkeypatch, tmp_path, name):
    def connect(address, timeout):
        threading.Event().wait(600)
        raise OSError("no network")

    monkeypatch.setattr(encoders.socket, "create_connection", connect)
    monkeypatch.setattr(encoders.huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ConnectionError, match=r"weights='imagenet' .* pass weights=None to train"):
        ClassificationTask(name, weights="imagenet")


def test_torchvisions_weights_load_from_the_cache_but_for_the_last_layer(monkeypatch, tmp_path):
    from torchvision import models

    source = models.squeezenet1_1(num_classes=1000)
    file = tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    file.parent.mkdir()
    torch.save(source.state_dict(), file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        models.SqueezeNet1_1_Weights, "get_state_dict", lambda self, **kw: torch.load(file)
    )
    found = built("torchvision/squeezenet1_1", "imagenet")
    assert torch.equal(found.model.features[0].weight, source.features[0].weight)
    assert found.statistics == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    grey = built("torchvision/squeezenet1_1", "imagenet", in_channels=1)
    summed = source.features[0].weight.sum(1, keepdim=True)
    torch.testing.assert_close(grey.model.features[0].weight, summed)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_images_are_scaled_as_inceptions_weights_expect(name):
    """torchvision's transform_input maps ImageNet's scale to this one."""
    mean, std = built(f"torchvision/{name}").statistics
    itself = built(f"torchvision/{name}", transform_input=True)
    assert itself.statistics is None
    images = torch.rand(1, 3, 8, 8)
    transformed = itself.model._transform_input(v2.functional.normalize(images, *IMAGENET))
    torch.testing.assert_close(transformed, v2.functional.normalize(images, mean, std))


def test_a_size_may_be_given_as_height_and_width():
    assert built("test_vit", img_size=[96, 96]).side == 96


def test_a_model_instead_of_its_name_is_refused():
    with pytest.raises(TypeError, match="`model` must be the name of a model, got Linear"):
        ClassificationTask(nn.Linear(1, 1))
