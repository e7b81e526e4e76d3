"""Models by name, the input they expect, and arguments that are refused."""

import threading

import pytest
import segmentation_models_pytorch
import torch
from packaging.version import Version

from lightning_hparams import SegmentationTask
from lightning_hparams.tasks import encoders
from lightning_hparams.tasks.encoders import (
    build_model,
    check_encoder,
    input_statistics,
    smallest_side,
)


def built(arch="unet", encoder="tu-mobilenetv3_small_050", **options):
    options = {"in_channels": 3, "out_channels": 2, "args": {}, **options}
    return build_model(arch, encoder, None, **options)


def test_a_model_has_the_requested_channels():
    model = built(in_channels=5, out_channels=7, args={"decoder_channels": [16, 8, 8, 8, 8]})
    with torch.no_grad():
        assert model.eval()(torch.rand(1, 5, 32, 32)).shape == (1, 7, 32, 32)


@pytest.mark.parametrize(("arch", "side"), [("unet", 32), ("pan", 128)])
def test_a_model_accepts_images_of_its_smallest_side(arch, side):
    model = built(arch).train()
    assert smallest_side(arch, model) == side
    assert model(torch.rand(2, 3, side, side)).shape[-2:] == (side, side)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18", "tu-resnet18.a1_in1k"])
def test_encoders_of_both_libraries_are_known(encoder):
    check_encoder(encoder)


@pytest.mark.parametrize("encoder", ["resnet18a", "tu-resnet18a"])
def test_an_unknown_encoder_is_refused_with_a_similar_one(encoder):
    with pytest.raises(ValueError, match=r"`encoder` must be one of .*did you mean '.*resnet18'"):
        check_encoder(encoder)


def test_input_statistics_are_those_published_by_timm():
    half = ([0.5] * 3, [0.5] * 3)
    assert input_statistics("tu-vit_tiny_patch16_224", None) == half
    assert input_statistics("tu-vit_tiny_patch16_224", "imagenet") == half
    assert input_statistics("tu-resnet18", None)[0] == [0.485, 0.456, 0.406]
    assert input_statistics("resnet18", None) is None


def test_reserved_arguments_and_unknown_architectures_are_refused():
    with pytest.raises(ValueError, match="`arch_args` cannot have 'activation'"):
        built(args={"activation": "sigmoid"})
    with pytest.raises(ValueError, match="did you mean 'unet'"):
        built("unot")


@pytest.mark.parametrize(
    "encoder", ["resnet18", "mobilenet_v2", "tu-resnet10t", "tu-convnext_atto"]
)
def test_other_encoders_are_built_by_name(encoder):
    task = SegmentationTask("fpn", encoder).eval()
    with torch.no_grad():
        assert task(torch.rand(1, 3, 32, 32)).shape == (1, 2, 32, 32)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_100"])
@pytest.mark.parametrize("network", ["refuses", "hangs", "is forbidden"])
def test_pretrained_weights_without_a_network_fail_at_once(monkeypatch, tmp_path, encoder, network):
    # If anything waited for this connection, or tried a download, the test would never end.
    def connect(address, timeout):
        if network == "hangs":
            threading.Event().wait(600)
        raise OSError("no network")

    monkeypatch.setattr(encoders.socket, "create_connection", connect)
    monkeypatch.setattr(encoders.huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)
    monkeypatch.setattr(
        encoders.huggingface_hub.constants, "HF_HUB_OFFLINE", network == "is forbidden"
    )
    with pytest.raises(ConnectionError, match=r"weights='imagenet' .* pass weights=None to train"):
        SegmentationTask(encoder=encoder, weights="imagenet")


@pytest.mark.parametrize(
    ("arch", "encoder", "message"),
    [
        ("unetplusplus", "mit_b0", "encoder 'mit_b0' does not work with arch 'unetplusplus'"),
        ("unet", "tu-vit_tiny_patch16_224", "'tu-mobilenetv3_small_100' does"),
        pytest.param(
            "deeplabv3",
            "tu-swin_tiny_patch4_window7_224",
            "does not work with arch 'deeplabv3'",
            marks=pytest.mark.skipif(
                Version(segmentation_models_pytorch.__version__) < Version("0.6"),
                reason="segmentation-models-pytorch 0.5 builds it, with smaller outputs",
            ),
        ),
        ("dpt", "resnet18", "'tu-vit_tiny_patch16_224' does"),
        ("dpt", "tu-vit_small_patch14_dinov2", "has patches of 14 pixels"),
    ],
)
def test_an_encoder_that_does_not_fit_the_architecture_is_refused(arch, encoder, message):
    with pytest.raises(ValueError, match=message):
        SegmentationTask(arch, encoder)
