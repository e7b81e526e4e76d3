"""SegmentationTask trains every kind of mask at any size, and refuses inputs that do not fit."""

import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader

from lightning_hparams import SegmentationTask
from lightning_hparams.outputs import SegmentationOutput, SegmentationPrediction, TrainingOutput
from tests.runs import SMALL, matching, quiet_trainer, shapes


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    return SegmentationTask(num_classes=3, **SMALL).eval()


# -- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_every_kind_of_mask_is_trained_validated_and_tested(kind):
    data = shapes(kind, num_train=32)
    task = matching(data, lr=3e-3)
    trainer = quiet_trainer(max_epochs=3)
    before = trainer.validate(task, data, verbose=False)[0]["loss/val"]
    trainer.fit(task, data)
    metrics = dict(trainer.callback_metrics)
    assert metrics["loss/val"] < before
    for name in ("miou", "mdice", "pixel_accuracy", "mean_accuracy"):
        assert 0 <= metrics[f"metric/{name}/val"] <= 1
    for label in data.class_names:
        assert f"class/iou/{label}/val" in metrics
    assert metrics["loss/val"] == pytest.approx(
        float(metrics["loss/val/ce"] + metrics["loss/val/dice"]), rel=1e-5
    )
    assert "metric/miou/test" in trainer.test(task, data, verbose=False)[0]


def test_scores_are_computed_over_the_whole_set_not_per_batch():
    data = shapes(num_val=7, batch_size=3)
    task = matching(data)
    trainer = quiet_trainer()
    trainer.validate(task, data, verbose=False)
    task.eval()
    with torch.no_grad():
        batches = list(data.val_dataloader())
        preds = torch.cat([task(b["image"]).argmax(1) for b in batches])
        losses = [float(task.loss(task(b["image"]), b["mask"])) for b in batches]
    target = torch.cat([b["mask"] for b in batches])
    for index, label in enumerate(data.class_names):
        ours, theirs = preds == index, target == index
        union = (ours | theirs).sum()
        expected = float((ours & theirs).sum() / union) if union else math.nan
        score = float(trainer.callback_metrics[f"class/iou/{label}/val"])
        assert score == pytest.approx(expected, nan_ok=True)
    mean = sum(loss * n for loss, n in zip(losses, (3, 3, 1), strict=True)) / 7
    assert float(trainer.callback_metrics["loss/val"]) == pytest.approx(mean, rel=1e-5)


def test_a_validation_loss_of_nan_in_one_batch_triggers_early_stopping():
    data = shapes(num_val=8)
    task = matching(data)
    forward = task.forward

    def diverging(images):
        diverged = not task.training and bool(
            (images == data.val_set[5]["image"]).all((1, 2, 3)).any()
        )
        return forward(images) * (math.nan if diverged else 1.0)

    task.forward = diverging
    stopping = EarlyStopping("loss/val", patience=99, check_finite=True, verbose=False)
    trainer = quiet_trainer(max_epochs=3, callbacks=[stopping])
    trainer.fit(task, data)
    assert trainer.callback_metrics["loss/val"].isnan()
    assert trainer.current_epoch == 1


def test_a_class_that_does_not_occur_is_logged_as_nan():
    data = shapes()
    data.class_names, data.num_classes = [*data.class_names, "star"], 5
    task = matching(data)
    nn.init.constant_(task.model.segmentation_head[0].bias[-1:], -50)  # never predicted
    trainer = quiet_trainer()
    trainer.validate(task, data, verbose=False)
    assert trainer.callback_metrics["class/iou/star/val"].isnan()
    assert trainer.callback_metrics["metric/miou/val"].isfinite()


FORMS = {
    "pairs": lambda images, masks: list(zip(images, masks, strict=True)),
    "lists": lambda images, masks: [list(pair) for pair in zip(images, masks, strict=True)],
    "masks with a channel": lambda images, masks: [
        (image, mask[None]) for image, mask in zip(images, masks, strict=True)
    ],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_training_does_not_depend_on_the_form_of_batches(form):
    """Loss, scores and weights equal those of training with dicts, bit for bit."""
    images, masks = torch.rand(4, 3, 32, 32), torch.randint(0, 2, (4, 32, 32))
    dicts = [{"image": i, "mask": m} for i, m in zip(images, masks, strict=True)]
    results = []
    for samples in (dicts, form(images, masks)):
        torch.manual_seed(0)
        task, loader = SegmentationTask(task="binary", **SMALL), DataLoader(samples, batch_size=2)
        trainer = quiet_trainer()
        trainer.fit(task, loader, loader)
        results.append((dict(trainer.callback_metrics), list(task.parameters())))
    (expected, weights), (found, ours) = results
    assert found == expected
    assert all(torch.equal(a, b) for a, b in zip(ours, weights, strict=True))


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "bf16-mixed"])
def test_the_mean_loss_is_right_in_every_precision(precision):
    """There are far more batches than bfloat16 can add up."""
    data = DataLoader(
        [(torch.rand(3, 8, 8), torch.randint(0, 3, (8, 8))) for _ in range(600)], batch_size=2
    )
    task, losses = SegmentationTask(num_classes=3, **SMALL), []
    task.forward = lambda images: 9 * images
    step = task.validation_step

    def noted(batch, batch_idx):
        output = step(batch, batch_idx)
        losses.append({"": output["loss"], **output["terms"]})
        return output

    task.validation_step = noted
    trainer = quiet_trainer(precision=precision)
    trainer.validate(task, data, verbose=False)
    assert len(losses) == 300
    for name in ("", "ce", "dice"):
        expected = torch.stack([terms[name] for terms in losses]).double().mean()
        found = trainer.callback_metrics[f"loss/val/{name}".rstrip("/")]
        assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
def test_256_classes_and_an_ignore_index_outside_the_masks_type_are_trained(dtype):
    mask = torch.arange(256).repeat(4).view(32, 32).to(dtype)
    samples = [{"image": torch.rand(3, 32, 32), "mask": mask}] * 2
    task = SegmentationTask(num_classes=256, ignore_index=-1, **SMALL)
    loader = DataLoader(samples, batch_size=2)
    quiet_trainer().fit(task, loader, loader)
    assert task.val_counts.compute().sum(1).tolist() == [8] * 256


@pytest.mark.parametrize("arch", ["deeplabv3", "deeplabv3plus", "pan", "upernet"])
@pytest.mark.parametrize(("images", "size"), [(1, 4), (5, 2), (3, 1)])
def test_a_batch_of_one_image_raises_before_the_first_optimizer_step(arch, images, size):
    """Even if it is the last batch of the epoch."""
    side = 128 if arch == "pan" else 32
    samples = [(torch.rand(3, side, side), torch.zeros(side, side).long())] * images
    task = SegmentationTask(arch, "resnet18")
    trainer, loader = quiet_trainer(num_sanity_val_steps=0), DataLoader(samples, batch_size=size)
    with pytest.raises(ValueError, match=r"must hold 2 images or more, got 1: .*drop_last=True"):
        trainer.fit(task, loader, loader)
    assert trainer.global_step == 0


def test_a_batch_of_one_image_is_trained_if_the_model_supports_it():
    samples = [(torch.rand(3, 64, 64), torch.zeros(64, 64).long())] * 3
    trainer, loader = quiet_trainer(), DataLoader(samples, batch_size=2)
    trainer.fit(SegmentationTask(**SMALL), loader, loader)
    assert trainer.global_step == 2


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Rprop", "NAdam", "Adagrad"])
@pytest.mark.filterwarnings("ignore:Rprop compares the signs")
def test_any_optimizer_trains_by_name(name):
    data = shapes()
    task = matching(data, optimizer=name, lr=1e-3)
    before = [p.detach().clone() for p in task.parameters()]
    quiet_trainer(limit_train_batches=1).fit(task, data)
    assert any(not torch.equal(a, b) for a, b in zip(before, task.parameters(), strict=True))


def test_rprop_on_mini_batches_raises_a_warning():
    data = shapes()
    with pytest.warns(UserWarning, match="this epoch has 4 of them: use RMSprop"):
        quiet_trainer(limit_val_batches=0).fit(matching(data, optimizer="Rprop"), data)


def test_the_encoder_has_its_own_groups_and_rate():
    task = SegmentationTask(lr=1e-2, encoder_lr_mult=0.1, weight_decay=0.05, **SMALL)
    groups = {
        g["name"]: (g["lr"], g["weight_decay"]) for g in task.configure_optimizers().param_groups
    }
    assert groups == {
        "encoder": (pytest.approx(1e-3), 0.05),
        "encoder/no_decay": (pytest.approx(1e-3), 0.0),
        "decoder": (1e-2, 0.05),
        "decoder/no_decay": (1e-2, 0.0),
    }
    counted = sum(p.numel() for g in task.configure_optimizers().param_groups for p in g["params"])
    assert counted == sum(p.numel() for p in task.parameters())


# -- any input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 70), (5, 90), (1, 1)])
def test_images_of_any_size_are_accepted(task, height, width):
    with torch.no_grad():
        assert task(torch.rand(2, 3, height, width)).shape == (2, 3, height, width)


def test_images_that_need_no_padding_are_not_changed(task):
    images = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(task(images), task.model(task.normalise(images)))


def test_uint8_and_float_images_mean_the_same(task):
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(task(images), task(images / 255))


def test_the_task_normalises_its_input():
    task = SegmentationTask(mean=[0.5, 0.5, 0.5], std=[0.25, 0.5, 1.0], **SMALL)
    values = task.normalise(torch.ones(1, 3, 1, 1)).flatten()
    assert values.tolist() == [2.0, 1.0, 0.5]


def test_images_outside_0_to_1_raise_a_warning():
    pairs = [(255 * torch.rand(3, 32, 32), torch.zeros(32, 32).long()) for _ in range(2)]
    loader = DataLoader(pairs, batch_size=2)
    with pytest.warns(UserWarning, match="must lie in 0..1; divide by 255"):
        quiet_trainer().fit(SegmentationTask(**SMALL), loader, loader)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_that_is_not_finite_raises_before_the_first_optimizer_step(value):
    images = [torch.rand(3, 32, 32) for _ in range(4)]
    images[2][1, 5, 7] = value
    mask = torch.zeros(32, 32).long()
    samples = [{"image": x, "mask": mask, "path": f"{i}.tif"} for i, x in enumerate(images)]
    for loader, name in [
        (DataLoader(samples, batch_size=4), "2.tif"),
        (DataLoader([(image, mask) for image in images], batch_size=4), "image 2 of the batch"),
    ]:
        trainer = quiet_trainer(num_sanity_val_steps=0)
        with pytest.raises(ValueError, match=f"{name} holds NaN or infinity; remove or replace"):
            trainer.fit(SegmentationTask(**SMALL), loader, loader)
        assert trainer.global_step == 0


def test_images_may_have_five_channels():
    task = SegmentationTask(in_channels=5, **SMALL)
    assert task(torch.rand(2, 5, 32, 32)).shape == (2, 2, 32, 32)


# DPT only takes vision transformers, which need an argument of timm's for images of any size.
VIT = {
    "encoder": "tu-vit_tiny_patch16_224",
    "arch_args": {
        "dynamic_img_size": True,
        "decoder_intermediate_channels": [16, 16, 16, 16],
        "decoder_fusion_channels": 16,
    },
}


@pytest.mark.parametrize("arch", smp.MODEL_ARCHITECTURES_MAPPING)
def test_every_architecture_trains_and_predicts_at_any_size(arch):
    options = VIT if arch == "dpt" else {"encoder": "tu-mobilenetv3_small_050"}
    task = SegmentationTask(arch, num_classes=4, **options)
    for height, width in [(1, 1), (40, 70), (130, 64)]:
        logits = task.train()(torch.rand(2, 3, height, width))
        task.loss(logits, torch.randint(0, 4, (2, height, width))).backward()
        with torch.no_grad():
            assert task.eval()(torch.rand(1, 3, height, width)).shape == (1, 4, height, width)


def test_the_forward_pass_compiles_to_one_graph():
    task = SegmentationTask(**SMALL).eval()
    compiled = torch.compile(task, backend="eager", fullgraph=True)
    images = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), task(images))


def test_arguments_reach_timm_models():
    swin = {"encoder": "tu-swin_tiny_patch4_window7_224", "arch": "fpn"}
    task = SegmentationTask(**swin, arch_args={"img_size": 64, "drop_path_rate": 0.0}).eval()
    with torch.no_grad():
        assert task(torch.rand(1, 3, 50, 60)).shape == (1, 2, 50, 60)


@pytest.mark.parametrize(
    "options",
    [
        {"arch": "dpt", "encoder": "tu-vit_tiny_patch16_224"},
        {"arch": "fpn", "encoder": "tu-maxvit_nano_rw_256"},
    ],
)
def test_an_encoder_with_a_fixed_size_raises_before_the_first_optimizer_step(options):
    task, data = SegmentationTask(num_classes=4, **options), shapes()
    trainer = quiet_trainer(num_sanity_val_steps=0)
    with pytest.raises(ValueError, match=r"images of 32 x 32 pixels .*'dynamic_img_size': True"):
        trainer.fit(task, data)
    assert trainer.global_step == 0


# -- what steps return ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_steps_return_the_documented_outputs(kind):
    data = shapes(kind)
    data.setup("fit")
    task = matching(data)
    batch = next(iter(data.val_dataloader()))
    task.log = lambda *args, **kwargs: None
    task._trainer = None
    training = task.training_step(batch, 1)
    assert set(training) == set(TrainingOutput.__annotations__)
    with torch.no_grad():
        output = task.validation_step(batch, 0)
    assert set(output) == set(SegmentationOutput.__annotations__)
    assert output["kind"] == kind
    assert output["preds"].shape == output["targets"].shape == batch["mask"].shape
    assert output["preds"].dtype == torch.uint8
    assert output["indices"].tolist() == [0, 1, 2, 3]
    assert output["images"] is batch["image"]
    prediction = task.predict_step(batch, 0)
    assert set(prediction) == set(SegmentationPrediction.__annotations__)


def test_predictions_have_the_original_size_of_the_image(task):
    batch = {
        "image": torch.rand(2, 3, 32, 32),
        "size": torch.tensor([[50, 40], [32, 32]]),
        "path": ["a.png", "b.png"],
    }
    with torch.no_grad():
        prediction = task.predict_step(batch, 0)
    assert [tuple(p.shape) for p in prediction["probs"]] == [(3, 50, 40), (3, 32, 32)]
    assert [tuple(m.shape) for m in prediction["masks"]] == [(50, 40), (32, 32)]
    assert prediction["masks"][0].dtype == torch.uint8
    torch.testing.assert_close(prediction["probs"][0].sum(0), torch.ones(50, 40))
    assert torch.equal(prediction["masks"][0], prediction["probs"][0].argmax(0).to(torch.uint8))
    assert prediction["paths"] == ["a.png", "b.png"]


def test_the_trainer_predicts(task):
    data = shapes()
    data.setup("fit")
    predictions = quiet_trainer().predict(task, data.val_dataloader())
    assert sum(len(p["masks"]) for p in predictions) == 6


def test_the_threshold_decides_whether_a_label_is_present():
    probs = torch.tensor([[[[0.2, 0.6]]]])
    assert SegmentationTask(task="binary", **SMALL).predicted(probs).tolist() == [[[0, 1]]]
    low = SegmentationTask(task="binary", threshold=0.1, **SMALL)
    assert low.predicted(probs).tolist() == [[[1, 1]]]


# -- checkpoints and weights ----------------------------------------------------------------------


def test_a_checkpoint_loads_without_downloading_weights(tmp_path):
    data = shapes()
    task = matching(data, ignore_index=255, class_weights=[1.0, 2.0, 1.0, 1.0])
    task.hparams["weights"] = "imagenet"  # as if it had been trained from there
    trainer = quiet_trainer(limit_train_batches=1)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    loaded = SegmentationTask.load_from_checkpoint(tmp_path / "task.ckpt").eval()
    assert loaded.hparams["weights"] is None
    assert task.hparams["weights"] == "imagenet"
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), task.eval()(images))
    assert loaded.class_names == data.class_names


def test_arguments_are_plain_values():
    task = SegmentationTask(
        num_classes=2, class_names=["a", "b"], loss={"ce": 1.0}, optimizer_args={"eps": 1e-8}
    )
    again = json.loads(json.dumps(dict(task.hparams)))
    assert SegmentationTask(**again).class_names == ["a", "b"]


# -- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"arch": "unett"}, ValueError, "did you mean 'unet'"),
        ({"encoder": "resnet19"}, ValueError, "did you mean 'resnet1"),
        ({"encoder": "tu-mobilenetv3_smal_100"}, ValueError, "'tu-mobilenetv3_small_100'"),
        ({"encoder": "resnet18", "weights": "imagnet"}, ValueError, "did you mean 'imagenet'"),
        ({"arch_args": {"decoder_chanels": []}}, TypeError, "did you mean 'decoder_channels'"),
        ({"encoder": "resnet18", "arch_args": {"img_size": 64}}, TypeError, "takes no 'img_size'"),
        ({"arch_args": {"img_sice": 64}}, TypeError, "takes no 'img_sice'; unet takes"),
        ({"arch_args": {"encoder_depth": 9}}, ValueError, r"arch_args={'encoder_depth': 9} cannot"),
        ({"arch_args": {"decoder_channels": 3}}, ValueError, r"arch_args={'decoder_channels': 3}"),
        ({"arch_args": {"activation": "sigmoid"}}, ValueError, "the losses take logits"),
        ({"arch_args": {"aux_params": {"classes": 2}}}, ValueError, "no loss for the second"),
        ({"weights": "imagnet"}, ValueError, r"\['imagenet'\] or a file, got 'imagnet'"),
        ({"weights": True}, TypeError, "`weights` must be None, a name or a file, got True"),
        ({"loss": "dise"}, ValueError, "did you mean 'dice'"),
        ({"loss_args": {"ce": {"smooth": 1}}}, TypeError, "loss 'ce' takes no argument 'smooth'"),
        ({"optimizer": "AdamX"}, ValueError, "did you mean 'Adam"),
        ({"optimizer_args": {"momentun": 1}, "optimizer": "SGD"}, TypeError, "'momentum'"),
        ({"lr": -1.0}, ValueError, "`0.0 < lr < inf` must hold"),
        ({"lr": math.inf}, ValueError, "`0.0 < lr < inf` must hold, got lr=inf"),
        ({"lr": "1e-3"}, TypeError, "`lr` must be a number, got '1e-3'"),
        ({"weight_decay": math.inf}, ValueError, "`0.0 <= weight_decay < inf` must hold"),
        ({"loss": {}}, ValueError, "`loss` needs at least one name"),
        ({"loss": ["ce", "dice"]}, TypeError, "must be a name or a dict of names and weights"),
        ({"loss": {"ce": "1"}}, TypeError, r"weight `loss\['ce'\]` must be a number, got '1'"),
        ({"class_weights": [1.0] * 3}, ValueError, r"needs 2 values \(num_classes\), got 3"),
        (
            {"class_weights": [0.0, 0.0]},
            ValueError,
            "`class_weights` must be .* one above 0",
        ),
        ({"task": "binary", "class_weights": [1.0]}, ValueError, "`class_weights` needs 2 values"),
        ({"ignore_index": 0.5}, TypeError, "`ignore_index` must be a whole number, got 0.5"),
        ({"num_classes": 2.5}, TypeError, "`num_classes` must be a whole number, got 2.5"),
        ({"in_channels": "3"}, TypeError, "`in_channels` must be a whole number, got '3'"),
        ({"class_names": "ab"}, TypeError, "`class_names` must be a list of names, got 'ab'"),
        ({"class_weights": {0: 5.0, 1: 1.0}}, TypeError, "must be a list of numbers, got {0: 5.0"),
        ({"class_weights": {1.0, 5.0}}, TypeError, "`class_weights` must be a list of numbers"),
        ({"class_names": {0: "a", 1: "b"}}, TypeError, "`class_names` must be a list of names"),
        ({"mean": {0: 0.5}}, TypeError, "`mean` must be a list of numbers, got {0: 0.5}"),
        ({"mean": 0.5}, TypeError, "`mean` must be a list of numbers, got 0.5"),
        ({"std": "0.5"}, TypeError, "`std` must be a list of numbers, got '0.5'"),
        ({"mean": []}, ValueError, r"`mean` and `std` need 3 values \(in_channels\), got 0 and 3"),
        ({"mean": [math.nan] * 3}, ValueError, "`-inf < mean < inf` must hold, got mean=nan"),
        ({"task": "binry"}, ValueError, "did you mean 'binary'"),
        ({"task": "binary", "num_classes": 3}, ValueError, "must be 2 for a binary task, got 3"),
        ({"num_classes": 1}, ValueError, "`2 <= num_classes <= 256` must hold"),
        ({"class_names": ["a"]}, ValueError, "`class_names` needs 2 different names"),
        ({"mean": [0.5]}, ValueError, r"`mean` and `std` need 3 values \(in_channels\), got 1"),
        ({"std": [0.0, 1.0, 1.0]}, ValueError, "`0.0 < std < inf` must hold"),
        ({"threshold": 2}, ValueError, "`0 <= threshold <= 1` must hold"),
        ({"encoder_lr_mult": 0}, ValueError, "`0.0 < encoder_lr_mult < inf` must hold"),
    ],
)
def test_bad_arguments_are_refused_when_the_task_is_created(options, error, message):
    with pytest.raises(error, match=message):
        SegmentationTask(**options)


@pytest.mark.parametrize(
    ("image", "mask", "error", "message"),
    [
        (
            (3, 32, 32),
            torch.full((32, 32), 7),
            ValueError,
            r"mask value 7 \(100.0% of pixels\) but",
        ),
        ((3, 32, 32), torch.zeros(32, 32), TypeError, "masks must be integers"),
        ((3, 32, 32), torch.zeros(16, 32).long(), ValueError, r"got logits \(.*\) and target \("),
        (
            (1, 32, 32),
            torch.zeros(32, 32).long(),
            ValueError,
            r"must be \(N, 3, H, W\), got \(2, 1",
        ),
    ],
)
def test_bad_batches_raise_before_the_first_optimizer_step(image, mask, error, message):
    loader = DataLoader([(torch.rand(image), mask)] * 2, batch_size=2)
    task = SegmentationTask(**SMALL)
    trainer = quiet_trainer(num_sanity_val_steps=0)
    with pytest.raises(error, match=message):
        trainer.fit(task, loader, loader)
    assert trainer.global_step == 0


@pytest.mark.parametrize("step", ["training_step", "validation_step", "test_step", "predict_step"])
def test_a_batch_without_images_is_refused_in_every_step(task, step):
    batch = {"img": torch.rand(2, 3, 32, 32), "mask": torch.zeros(2, 32, 32).long()}
    with pytest.raises(
        ValueError, match="a batch must be a dict of tensors 'image' and 'mask', or"
    ):
        getattr(task, step)(batch, 0)


def test_a_bad_mask_is_named_by_its_file():
    batch = {
        "image": torch.rand(2, 3, 32, 32),
        "mask": torch.stack([torch.zeros(32, 32), torch.full((32, 32), 9)]).long(),
        "path": ["good.png", "bad.png"],
    }
    with pytest.raises(ValueError, match=r"bad.png has mask value 9 .* pass ignore_index=9"):
        SegmentationTask(**SMALL).validation_step(batch, 0)


def test_int16_images_are_refused(task):
    with pytest.raises(
        TypeError, match=r"must be uint8 or floating point in 0..1, got torch.int16"
    ):
        task(torch.zeros(1, 3, 32, 32, dtype=torch.int16))


TWO = """
    import sys, torch
    from torch.utils.data import DataLoader
    from tests.runs import SMALL, quiet_trainer
    from lightning_hparams import SegmentationTask

    if __name__ == "__main__":
        devices = int(sys.argv[1])
        torch.manual_seed(0)
        images, masks = torch.rand(5, 3, 32, 32), torch.randint(0, 3, (5, 32, 32))
        samples = [{"image": images[k], "mask": masks[k], "index": k} for k in range(5)]
        task = SegmentationTask(num_classes=3, loss="ce", **SMALL)
        trainer = quiet_trainer(devices=devices, strategy="ddp" if devices > 1 else "auto")
        for run, size in ((trainer.validate, 2), (trainer.test, 3)):
            run(task, DataLoader(samples, batch_size=size), verbose=False)
            found = {k: float(v) for k, v in trainer.callback_metrics.items()}
            counts = task.val_counts if run == trainer.validate else task.test_counts
            torch.save((counts.compute(), found), f"{size}_{trainer.global_rank}_of_{devices}.pt")
"""


@pytest.mark.slow
def test_two_processes_count_each_sample_once(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(TWO))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    for devices in "12":
        command = [sys.executable, "script.py", devices]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=300)
    for size in (2, 3):
        counts, metrics = torch.load(tmp_path / f"{size}_0_of_1.pt")
        assert counts.sum() == 5 * 32 * 32
        for rank in (0, 1):
            theirs, found = torch.load(tmp_path / f"{size}_{rank}_of_2.pt")
            assert torch.equal(theirs, counts)
            assert found == pytest.approx(metrics, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_image_that_is_not_finite_is_named_in_any_batch(value):
    images = torch.rand(6, 3, 32, 32)
    images[4, 1, 2, 3] = value
    samples = [
        {"image": image, "mask": torch.zeros(32, 32, dtype=torch.uint8), "path": f"{index}.tif"}
        for index, image in enumerate(images)
    ]
    loader, trainer = DataLoader(samples, batch_size=2), quiet_trainer(num_sanity_val_steps=0)
    with pytest.raises(ValueError, match=r"4.tif holds NaN or infinity; remove or replace it"):
        trainer.fit(SegmentationTask(**SMALL), loader, loader)
