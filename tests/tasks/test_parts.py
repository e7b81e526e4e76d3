"""Layers of a model, and their learning rates."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from lightning_hparams import SegmentationTask
from lightning_hparams.tasks._parts import layers_of, two_parts, with_layer_decay
from tests.runs import SMALL


def block():
    return nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 4, 1)
        self.bn1 = nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(block(), block(), block())
        self.conv_head = nn.Conv2d(4, 4, 1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict({"model": Encoder()})
        self.head = nn.Conv2d(4, 2, 1)


def by_name(model, layers):
    return {n: layers[id(p)] for n, p in model.named_parameters() if id(p) in layers}


def test_layers_are_numbered_blocks_and_a_norm_belongs_to_the_layer_before_it():
    net = Net()
    found = by_name(net.encoder.model, layers_of(net, net.encoder.parameters()))
    assert {name.rpartition(".")[0]: layer for name, layer in found.items()} == {
        "conv_stem": 0,
        "bn1": 0,
        "blocks.0.0": 1,
        "blocks.0.1": 1,
        "blocks.1.0": 2,
        "blocks.1.1": 2,
        "blocks.2.0": 3,
        "blocks.2.1": 3,
        "conv_head": 4,
    }


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t", "convnext_atto"])
def test_layers_of_a_model_from_timm_have_the_rates_of_timm(name):
    model = timm.create_model(name, num_classes=3)
    head = {id(p) for p in model.get_classifier().parameters()}
    first = [p for p in model.parameters() if id(p) not in head]
    parts = with_layer_decay("encoder", first, 1.0, model=model, decay=0.5)
    ours = {id(p): rate for parameters, rate in parts.values() for p in parameters}
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    theirs = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    scale = max(theirs[id(p)] for p in first) / max(ours.values())  # of the norm in the head
    assert len(parts) > 3
    for parameter in first:
        assert ours[id(parameter)] * scale == pytest.approx(theirs[id(parameter)])


def test_each_layer_has_the_decayed_rate_of_the_next_and_a_name_that_sorts():
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(12)))
    parts = with_layer_decay("encoder", list(net.parameters()), 0.1, model=net, decay=0.5)
    assert list(parts) == sorted(parts)
    assert [name.removeprefix("encoder/layer") for name in parts][:2] == ["00", "01"]
    assert [rate for _, rate in parts.values()] == pytest.approx(
        [0.1 * 0.5 ** (12 - layer) for layer in range(12)]
    )


def test_layers_of_a_task_are_groups_of_all_parameters_with_unique_names():
    task = SegmentationTask(lr=0.1, encoder_lr_mult=0.5, layer_decay=0.8, **SMALL)
    groups = task.configure_optimizers().param_groups
    names = [group["name"] for group in groups]
    assert len(set(names)) == len(names)
    assert names[0] == "encoder/layer0"
    assert names[-2:] == ["decoder", "decoder/no_decay"]
    rates = {group["name"]: group["lr"] for group in groups}
    last = max(name for name in names if name.startswith("encoder"))
    assert rates[last] == pytest.approx(0.1 * 0.5 * 0.8)
    assert rates["encoder/layer0"] < rates[last]
    assert rates["decoder"] == 0.1
    counted = sum(p.numel() for group in groups for p in group["params"])
    assert counted == sum(p.numel() for p in task.parameters())


def test_two_parts_have_each_parameter_once():
    net = Net()
    first, rest = two_parts(net, [net.encoder]).values()
    assert [id(p) for p in [*first, *rest]] == [id(p) for p in net.parameters()]
    assert torch.equal(rest[0], net.head.weight)
