"""Weights are found in files however they were wrapped; other files are refused by name."""

import argparse

import pytest
import timm
import torch
import torchvision
from torch import nn

from lightning_hparams import SegmentationTask
from lightning_hparams.tasks.weights import load_weights
from tests.runs import SMALL

ENCODER = "mobilenetv3_small_100"  # timm's name for the encoder in SMALL


def same(module, other):
    ours, theirs = module.state_dict(), other.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


def loaded(path, **options):
    return SegmentationTask(**{"num_classes": 3, "weights": str(path), **SMALL, **options})


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


WRAPPED = {
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "parallel": lambda state: prefixed(state, "module."),
    "parallel, compiled": lambda state: prefixed(state, "module._orig_mod."),
    "a module's": lambda state: {"state_dict": prefixed(state, "net.")},
    "compiled in a task's": lambda state: {"state_dict": prefixed(state, "model._orig_mod.")},
    "model": lambda state: {"model": state, "optimizer": {"state": {0: {}}, "lr": 0.1}},
    "with its arguments": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1)},
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state},
    "two deep": lambda state: {"checkpoint": {"weights": state}},
}


@pytest.mark.parametrize("wrapped", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("part", ["model", "encoder"])
def test_weights_are_found_however_they_were_wrapped(tmp_path, wrapped, part):
    source = SegmentationTask(num_classes=3, **SMALL).model
    torch.save(
        wrapped((source if part == "model" else source.encoder).state_dict()), tmp_path / "w"
    )
    task = loaded(tmp_path / "w")
    assert same(task.model.encoder, source.encoder)
    assert same(task.model, source) == (part == "model")


@pytest.mark.parametrize("name", [ENCODER, "convnext_atto", "resnet10t", "tf_efficientnet_b0"])
def test_a_file_from_timm_loads_into_the_encoder(tmp_path, name):
    classifier = timm.create_model(name)
    torch.save(classifier.state_dict(), tmp_path / "timm.pt")
    task = loaded(tmp_path / "timm.pt", encoder=f"tu-{name}", arch="fpn", arch_args={})
    theirs = {key.replace("_", "."): v for key, v in classifier.state_dict().items()}
    for key, value in task.model.encoder.model.state_dict().items():
        assert torch.equal(value, theirs[key.replace("_", ".")]), key


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = timm.create_model(ENCODER, num_classes=0)
        self.head = nn.Linear(8, 2)


def test_a_classifiers_backbone_loads_into_the_encoder(tmp_path):
    classifier = Classifier()
    torch.save({"state_dict": prefixed(classifier.state_dict(), "net.")}, tmp_path / "c.ckpt")
    task = loaded(tmp_path / "c.ckpt", encoder="tu-mobilenetv3_small_100")
    key = "conv_stem.weight"
    assert torch.equal(
        task.model.encoder.model.state_dict()[key], classifier.backbone.conv_stem.weight
    )


def test_weights_of_an_encoder_bring_the_input_statistics_published_by_timm(tmp_path):
    source = SegmentationTask("dpt", "tu-vit_tiny_patch16_224", num_classes=3).model.encoder
    torch.save(source.state_dict(), tmp_path / "vit.pt")
    task = loaded(tmp_path / "vit.pt", arch="dpt", encoder="tu-vit_tiny_patch16_224", arch_args={})
    assert task.mean.flatten().tolist() == task.std.flatten().tolist() == [0.5] * 3
    kept = loaded(
        tmp_path / "vit.pt",
        arch="dpt",
        encoder="tu-vit_tiny_patch16_224",
        arch_args={},
        mean=[0.25] * 3,
    )
    assert kept.mean.flatten().tolist() == [0.25] * 3


def test_a_checkpoint_of_a_task_brings_the_input_statistics_it_was_trained_with(tmp_path):
    source = SegmentationTask(num_classes=3, mean=[0.25, 0.5, 0.75], std=[0.5, 0.5, 0.25], **SMALL)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "task.ckpt")
    task = loaded(tmp_path / "task.ckpt")
    assert same(task.model, source.model)
    assert task.mean.flatten().tolist() == [0.25, 0.5, 0.75]
    assert task.std.flatten().tolist() == [0.5, 0.5, 0.25]


def test_a_model_with_other_classes_loads_except_for_its_head(tmp_path):
    source = SegmentationTask(num_classes=5, **SMALL).model
    torch.save(source.state_dict(), tmp_path / "five.pt")
    task = loaded(tmp_path / "five.pt")
    assert same(task.model.encoder, source.encoder)
    assert same(task.model.decoder, source.decoder)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".ckpt"])
@pytest.mark.parametrize("part", ["model", "encoder"])
def test_weights_are_loaded_from_every_file_format(tmp_path, suffix, part):
    source = SegmentationTask(num_classes=3, **SMALL)
    state = (source.model if part == "model" else source.model.encoder).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    elif suffix == ".ckpt":
        torch.save({"state_dict": {f"model.{k}": v for k, v in state.items()}}, path)
    else:
        torch.save(state, path)
    task = SegmentationTask(num_classes=3, weights=str(path), **SMALL)
    same = [
        torch.equal(a, b)
        for a, b in zip(
            source.model.encoder.parameters(), task.model.encoder.parameters(), strict=True
        )
    ]
    assert all(same)


def test_weights_of_another_architecture_are_refused(tmp_path):
    torch.save(
        SegmentationTask(encoder="resnet18", arch="fpn").model.state_dict(), tmp_path / "w.pt"
    )
    with pytest.raises(ValueError, match=r"w.pt: \d+ of \d+ tensors .* missing, .*check arch/enc"):
        SegmentationTask(
            encoder="tu-mobilenetv3_small_100", weights=str(tmp_path / "w.pt"), **SMALL
        )


@pytest.mark.parametrize("path", ["no/such.pt", "such.pt", "no/such", "../.."])
def test_a_missing_file_of_weights_is_named(path):
    with pytest.raises(FileNotFoundError, match=f"weights file {path} does not exist"):
        SegmentationTask(weights=path)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken"])
def test_a_file_that_cannot_be_read_as_weights_is_refused_by_name(tmp_path, suffix, content):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"weights{suffix} cannot be read as weights .*; save"):
        SegmentationTask(weights=str(path), **SMALL)


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {"state_dict": [1]}])
def test_a_file_without_a_dict_of_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(
        ValueError, match=r"weights.pt must hold a dict of tensors by name, got \w+; save"
    ):
        SegmentationTask(weights=str(tmp_path / "weights.pt"), **SMALL)


def renamed(state):
    """The same tensors in the same order, as other packages name their layers."""
    return {
        f"_blocks.{index}.{key.rpartition('.')[2]}": value
        for index, (key, value) in enumerate(state.items())
    }


@pytest.mark.parametrize("classes", [1000, 7])
def test_weights_of_other_names_load_in_their_order(tmp_path, classes):
    source = timm.create_model("tf_efficientnet_lite0", num_classes=classes)
    torch.save(renamed(source.state_dict()), tmp_path / "w.pth")
    model = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    head = model.classifier.weight.clone()
    assert load_weights(model, tmp_path / "w.pth") == ("model", None)
    for (key, ours), theirs in zip(
        model.state_dict().items(), source.state_dict().values(), strict=True
    ):
        assert key.startswith("classifier") or torch.equal(ours, theirs), key
    assert torch.equal(model.classifier.weight, head)


def test_a_classifiers_weights_of_other_names_load_into_an_encoder_in_their_order(tmp_path):
    source = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save(renamed(source), tmp_path / "w.pth")
    task = loaded(tmp_path / "w.pth", encoder="tu-tf_efficientnet_lite0")
    for key, value in task.model.encoder.model.state_dict().items():
        assert torch.equal(value, source[key]), key
    assert task.mean.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize("names", [dict, renamed])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_first_layer_for_rgb_is_adapted_to_other_channels(tmp_path, names, channels):
    source = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save(names(source), tmp_path / "w.pth")
    model = timm.create_model("tf_efficientnet_lite0", in_chans=channels)
    load_weights(model, tmp_path / "w.pth")
    filters = source["conv_stem.weight"]
    expected = (
        filters.sum(1, keepdim=True)
        if channels == 1
        else filters[:, [index % 3 for index in range(channels)]] * 3 / channels
    )
    torch.testing.assert_close(model.conv_stem.weight.detach(), expected)
    assert torch.equal(model.conv_head.weight, source["conv_head.weight"])


def test_tensors_in_another_order_are_refused(tmp_path):
    state = renamed(timm.create_model("tf_efficientnet_lite0").state_dict())
    torch.save(dict(reversed(state.items())), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="weights of another architecture"):
        load_weights(timm.create_model("tf_efficientnet_lite0"), tmp_path / "w.pth")


def test_a_head_of_another_size_is_reported(tmp_path, caplog):
    torch.save(timm.create_model("resnet10t", num_classes=7).state_dict(), tmp_path / "w.pt")
    model = timm.create_model("resnet10t", num_classes=3)
    with caplog.at_level("INFO"):
        assert load_weights(model, tmp_path / "w.pt")[0] == "model"
    assert "fc.weight stays as it is, since its shape is (3, 512), not (7, 512)" in caplog.text


def test_a_model_without_parts_loads_weights_of_torchvision(tmp_path):
    source = torchvision.models.resnet18(num_classes=4)
    torch.save({"state_dict": prefixed(source.state_dict(), "model.")}, tmp_path / "w.pt")
    model = timm.create_model("resnet18", num_classes=4)
    load_weights(model, tmp_path / "w.pt")
    assert same(model, source)


def test_weights_of_a_torchvision_detectors_backbone_load_into_a_classifier(tmp_path):
    source = torchvision.models.resnet18(num_classes=4)
    state = {k: v for k, v in source.state_dict().items() if not k.startswith("fc.")}
    torch.save(prefixed(state, "backbone.body."), tmp_path / "w.pt")
    model = timm.create_model("resnet18", num_classes=4)
    load_weights(model, tmp_path / "w.pt")
    assert torch.equal(model.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
