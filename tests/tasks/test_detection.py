"""DetectionTask trains on boxes of any detector, and refuses boxes that do not fit."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from lightning import LightningDataModule
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader

from lightning_hparams import DetectionTask, MetricMonitor, PredictionMonitor
from lightning_hparams.outputs import DetectionOutput, DetectionPrediction, TrainingOutput
from tests.runs import quiet_trainer, read_events, shapes

SMALL = {"arch_args": {"fpn_channels": 32, "head_convs": 1}, "score_threshold": 0.0}


def detector(**options):
    return DetectionTask(**{"num_classes": 3, **SMALL, **options})


def boxes(corners=((4.0, 6.0, 30.0, 40.0),), labels=(2,)):
    return {
        "boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.long),
    }


def batch(*targets, size=64):
    images = torch.rand(len(targets), 3, size, size, generator=torch.Generator().manual_seed(0))
    return {
        "image": images,
        "target": list(targets),
        "path": [f"photos/{index}.png" for index in range(len(targets))],
    }


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    return detector().eval()


# -- training -------------------------------------------------------------------------------------


def test_boxes_are_trained_validated_and_tested():
    data = shapes("detection", size=64, num_train=16)
    torch.manual_seed(0)
    task = detector(class_names=data.class_names, lr=3e-3)
    trainer = quiet_trainer(max_epochs=3)
    before = trainer.validate(task, data, verbose=False)[0]["loss/val"]
    trainer.fit(task, data)
    found = dict(trainer.callback_metrics)
    assert found["loss/val"] < before
    parts = [found[f"loss/val/{part}"] for part in ("classification", "box", "centerness")]
    assert float(sum(parts)) == pytest.approx(float(found["loss/val"]), rel=1e-5)
    for name in ("map", "map50", "map75", "precision", "recall", "f1"):
        assert 0 <= found[f"metric/{name}/val"] <= 1
    for name in ("ap", "precision", "recall", "f1", "threshold"):
        for label in data.class_names:
            assert f"class/{name}/{label}/val" in found
    assert "metric/map50/test" in trainer.test(task, data, verbose=False)[0]


def test_few_images_are_learnt_by_heart():
    samples = batch(boxes([[8, 8, 40, 40]], [0]), boxes([[20, 16, 60, 56]], [1]), boxes([], []))
    for image, target in zip(samples["image"], samples["target"], strict=True):
        image *= 0.2
        for (x1, y1, x2, y2), label in zip(target["boxes"].int(), target["labels"], strict=True):
            image[int(label), y1:y2, x1:x2] = 1.0
    torch.manual_seed(0)
    task = detector(num_classes=2, score_threshold=0.05)
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    task.log = lambda *args, **options: None
    for step in range(40):
        loss = task.training_step(samples, step + 1)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for module in task.modules():  # 40 steps are too few for the running statistics
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        task(samples["image"], samples["target"])
        task.eval()
        task.val_evaluation.start(None)
        task.validation_step(samples, 0)
    scores = task.scores("val").whole
    assert scores["map50"] > 0.9
    assert scores["f1"] > 0.9


def test_images_without_boxes_train_as_background():
    task = detector()
    losses = task(batch(boxes([], []), boxes([], []))["image"], [boxes([], [])] * 2)
    assert losses["classification"] > 0
    assert losses["box"] == losses["centerness"] == 0
    sum(losses.values()).backward()
    for parameter in task.parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all())


def test_crowds_are_not_trained():
    task = detector().eval()
    crowd = boxes([[4, 6, 30, 40], [10, 10, 60, 60]], [2, 1])
    crowd["crowd"] = torch.tensor([False, True])
    images = batch(crowd)["image"]
    with torch.no_grad():
        with_crowd, _ = task._losses_and_boxes(images, [crowd])
        without, _ = task._losses_and_boxes(images, [boxes()])
    assert with_crowd == without


def test_validation_losses_are_those_of_training_without_a_trace():
    """With batch normalisation as in evaluation, and its statistics left alone."""
    torch.manual_seed(0)
    task = detector()
    samples = batch(boxes(), boxes([], []))
    task.eval()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    with torch.no_grad():
        ours, found = task._losses_and_boxes(samples["image"], samples["target"])
        assert not any(module.training for module in task.modules())
        for name, value in task.model.state_dict().items():
            assert torch.equal(value, before[name]), name
        alone = task(samples["image"])
        task.train()
        for module in task.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        theirs = task(samples["image"], samples["target"])
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value)
    for mine, other in zip(found, alone, strict=True):
        assert len(mine["boxes"])
        assert all(torch.equal(mine[key], other[key]) for key in other)


def test_the_weights_of_the_parts_make_the_loss():
    samples = batch(boxes())
    torch.manual_seed(0)
    task = detector(loss={"box": 2.0, "centerness": 0.0}).eval()
    task.val_evaluation.start(None)
    with torch.no_grad():
        output = task.validation_step(samples, 0)
    terms = output["terms"]
    assert float(output["loss"]) == pytest.approx(
        float(terms["classification"] + 2 * terms["box"]), rel=1e-6
    )


def test_the_task_normalises_once_and_pads_with_the_mean(task):
    seen = []
    hook = task.model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    images = [torch.rand(3, 40, 64), torch.rand(3, 64, 50)]
    with torch.no_grad():
        task(images)
    hook.remove()
    assert seen[0].shape == (2, 3, 64, 64)
    torch.testing.assert_close(seen[0][0, :, :40], (images[0] - task.mean) / task.std)
    assert not seen[0][0, :, 40:].any()
    assert not seen[0][1, :, :, 50:].any()


def test_uint8_and_float_images_mean_the_same(task):
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        whole, floats = task(images)[0], task(images / 255)[0]
    torch.testing.assert_close(whole, floats)


@pytest.mark.parametrize("loss", ["smooth_l1", "giou", "diou", "ciou"])
def test_the_box_loss_can_be_chosen(loss):
    torch.manual_seed(0)
    task = detector(box_loss=loss)
    losses = task(batch(boxes())["image"], [boxes()])
    torch.manual_seed(0)
    other = detector(box_loss="giou")(batch(boxes())["image"], [boxes()])
    assert bool(losses["box"].isfinite())
    assert losses["classification"] == other["classification"]
    assert (losses["box"] == other["box"]) == (loss == "giou")


@pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}])
def test_it_trains_in_mixed_precision_and_with_accumulated_gradients(options):
    data = shapes("detection", size=64, num_train=8)
    trainer = quiet_trainer(**options)
    trainer.fit(detector(), data)
    assert bool(trainer.callback_metrics["loss/val"].isfinite())
    assert trainer.callback_metrics["metric/map/val"] >= 0


def test_boxes_are_in_float32_in_every_precision():
    task = detector().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        losses, found = task._losses_and_boxes(batch(boxes())["image"], [boxes()])
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert found[0]["boxes"].dtype == found[0]["scores"].dtype == torch.float32
    assert bool((found[0]["boxes"] != found[0]["boxes"].bfloat16()).any())


def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    def fit(epochs, path=None):
        torch.manual_seed(0)
        task = detector()
        samples = [
            {"image": image, "target": target}
            for image, target in zip(
                batch(*[boxes()] * 4)["image"], [boxes(), boxes([], [])] * 2, strict=True
            )
        ]
        loader = DataLoader(samples, 2, collate_fn=lambda part: _collated(part))
        trainer = quiet_trainer(max_epochs=epochs)
        trainer.fit(task, loader, loader, ckpt_path=path)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return task.state_dict()

    whole = fit(2)
    fit(1)
    resumed = fit(2, tmp_path / "1.ckpt")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def _collated(samples):
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def test_a_batch_of_one_image_raises_before_the_first_optimizer_step():
    task = detector()
    samples = [{"image": torch.rand(3, 32, 32), "target": boxes([[1, 1, 9, 9]])}]
    loader = DataLoader(samples, 1, collate_fn=_collated)
    with pytest.raises(ValueError, match="must hold 2 images or more, got 1"):
        quiet_trainer(num_sanity_val_steps=0).fit(task, loader, loader)


def test_the_encoder_has_its_own_groups_and_rate():
    task = detector(encoder_lr_mult=0.1)
    groups = {group["name"]: group["lr"] for group in task.configure_optimizers().param_groups}
    assert groups == {
        "encoder": pytest.approx(1e-4),
        "encoder/no_decay": pytest.approx(1e-4),
        "decoder": 1e-3,
        "decoder/no_decay": 1e-3,
    }
    counted = sum(len(each) for each in task.model_parts().values())
    assert counted == len(list(task.parameters()))


# -- outputs --------------------------------------------------------------------------------------


def test_steps_return_the_documented_outputs(task):
    samples = batch(boxes(), boxes([], []))
    task.val_evaluation.start(None)
    output = task.validation_step({**samples, "index": torch.arange(2)}, 0)
    assert set(output) <= set(DetectionOutput.__annotations__)
    assert output["kind"] == "detection"
    for found in output["preds"]:
        assert len(found["boxes"]) == len(found["labels"]) == len(found["scores"]) > 0
        assert bool(((found["labels"] >= 0) & (found["labels"] < 3)).all())
        assert bool((found["boxes"] >= 0).all())
        assert bool((found["boxes"] <= 64).all())
    fresh = detector()
    fresh.log = lambda *args, **options: None
    assert set(fresh.training_step(samples, 1)) == set(TrainingOutput.__annotations__)


def test_predictions_are_in_pixels_of_the_original_image(task):
    samples = batch(boxes(), boxes())
    with torch.no_grad():
        small = task.predict_step(samples["image"], 0)
        sizes = torch.tensor([[128, 64], [64, 192]])  # height, width
        large = task.predict_step({**samples, "size": sizes}, 0)
    assert set(large) == set(DetectionPrediction.__annotations__)
    assert large["paths"] == samples["path"]
    assert torch.equal(large["sizes"], sizes)
    for index, scale in enumerate(([1, 2, 1, 2], [3, 1, 3, 1])):
        expected = small["boxes"][index]["boxes"] * torch.tensor(scale)
        torch.testing.assert_close(large["boxes"][index]["boxes"], expected)


def test_all_monitors_show_a_detection_without_an_argument(tmp_path):
    data = shapes("detection", size=64, num_train=4)
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    callbacks = [MetricMonitor(pr_curves=True, calibration=True), PredictionMonitor()]
    trainer = quiet_trainer(logger=logger, callbacks=callbacks, log_every_n_steps=1)
    trainer.fit(detector(num_classes=data.num_classes, class_names=data.class_names), data)
    events = read_events(logger.log_dir)
    tags = events.Tags()
    for name in ("loss/train/box", "class/ap/disc/val", "metric/map50/val"):
        assert name in tags["scalars"]
    for name in ("confusion/val", "calibration/val"):
        assert name in tags["images"]
    assert any("pr/disc" in name for name in tags["tensors"])
    assert len(tags["images"]) >= 4  # samples too


# -- arguments ------------------------------------------------------------------------------------


def test_a_checkpoint_holds_the_classes_and_loads_without_weights(tmp_path):
    data = shapes("detection", size=64)
    task = detector(class_names=data.class_names, category_ids=[7, 90, 3])
    trainer = quiet_trainer(fast_dev_run=True)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = DetectionTask.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.class_names == data.class_names
    assert loaded.category_ids == [7, 90, 3]
    for name, value in task.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    json.dumps(dict(loaded.hparams))


def test_names_given_as_a_tuple_are_those_of_the_data():
    data = shapes("detection", size=64)
    task = detector(class_names=tuple(data.class_names))
    quiet_trainer(fast_dev_run=True).fit(task, data)
    assert task.class_names == data.class_names


def test_a_list_of_images_alone_is_predicted_image_by_image():
    task = detector().eval()
    images = [torch.rand(3, 64, 64), torch.rand(3, 96, 64)]
    assert task.predict_step(images, 0)["sizes"].tolist() == [[64, 64], [96, 64]]


@pytest.mark.parametrize("ids", [[4, 2, 9], ["d", "7", "w"], [-1, 0, 2], [1.5, 2.0, "x"]])
def test_a_task_without_names_takes_those_of_its_training_data(tmp_path, ids):
    task = detector(num_classes=3)
    data = Other(num_classes=3, class_names=["dog", "cat", "cow"], category_ids=ids)
    trainer = quiet_trainer(fast_dev_run=True)
    trainer.fit(task, data)
    assert "class/ap/dog/val" in trainer.callback_metrics
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = DetectionTask.load_from_checkpoint(tmp_path / "a.ckpt")
    assert (loaded.class_names, loaded.category_ids) == (["dog", "cat", "cow"], ids)
    with pytest.raises(ValueError, match="`class_names` of the data must be those of the task"):
        quiet_trainer().validate(loaded, Other(class_names=["cat", "dog", "cow"]))


class Other(LightningDataModule):
    def __init__(self, **attributes):
        super().__init__()
        vars(self).update(attributes)

    def train_dataloader(self):
        return DataLoader([batch(boxes())] * 2, batch_size=None)

    val_dataloader = train_dataloader


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"class_names": ["cat", "dog", "cow"]}, r"`class_names` of the data must be those of the"),
        ({"category_ids": [1, 2, 4]}, r"`category_ids` .* \[1, 2, 3\], got \[1, 2, 4\]"),
        ({"num_classes": 4}, r"`num_classes` .* 3, got 4; pass num_classes=data.num_classes"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "validate"])
def test_data_of_other_classes_is_refused(given, message, method):
    task = detector(class_names=["dog", "cat", "cow"], category_ids=[1, 2, 3])
    with pytest.raises(ValueError, match=message):
        getattr(quiet_trainer(), method)(task, Other(**given))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"arch": "fcoss"}, ValueError, "did you mean 'fcos'"),
        ({"encoder": "tu-resnet19"}, ValueError, "did you mean 'tu-resnet18'"),
        ({"encoder": "tu-vit_tiny_patch16_224"}, ValueError, "has no feature maps at strides 8"),
        ({"arch": "fcos_resnet50_fpn", "encoder": "resnet18"}, ValueError, "encoder of its own"),
        ({"arch": "retinanet_resnet50_fpn", "in_channels": 4}, ValueError, "3 channels, got"),
        ({"num_classes": 0}, ValueError, "`1 <= num_classes`"),
        ({"class_names": ["a"], "num_classes": 2}, ValueError, "needs 2 different names"),
        ({"category_ids": [1, 1]}, ValueError, "`category_ids` needs 3 different numbers"),
        ({"category_ids": {1, 2, 3}}, TypeError, "`category_ids` must be a list of numbers"),
        ({"box_loss": "iou"}, ValueError, "did you mean 'giou'"),
        (
            {"arch": "ssdlite320_mobilenet_v3_large", "box_loss": "giou"},
            ValueError,
            "has a fixed box loss, smooth L1",
        ),
        ({"loss": {"boxes": 2.0}}, ValueError, "did you mean 'box'"),
        ({"loss": {"box": -1.0}}, ValueError, "must hold"),
        ({"score_threshold": 1.5}, ValueError, "`0 <= score_threshold <= 1`"),
        ({"max_detections": 0}, ValueError, "`1 <= max_detections`"),
        ({"arch_args": {"level_sizes": [16, 8]}}, ValueError, "1 to 4 ascending sizes in pixels"),
        ({"arch_args": {"level_sizes": [4, 12, 24]}}, ValueError, "at most twice the one before"),
        ({"arch_args": {"fpn_channels": 40}}, ValueError, "must be a multiple of 32, got 40"),
        ({"arch_args": {"fpn_chanels": 64}}, TypeError, "did you mean 'fpn_channels'"),
        ({"arch_args": {"score_thresh": 0.1}}, TypeError, "pass score_threshold= to the task"),
        (
            {"arch": "fasterrcnn_resnet50_fpn", "arch_args": {"min_size": 800}},
            TypeError,
            "images keep their size; resize them in the data",
        ),
        ({"optimizer": "Adm"}, ValueError, "did you mean"),
        ({"weights": "coco"}, ValueError, "`weights` must be one of"),
    ],
)
def test_bad_arguments_are_refused_when_the_task_is_created(options, error, message):
    with pytest.raises(error, match=message):
        DetectionTask(**{"num_classes": 3, **options})


# -- bad input ------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            boxes([[NAN, 1, 2, 3]]),
            r"photos/1.png, box 0 must be finite, got \[nan, 1.0, 2.0, 3.0\]",
        ),
        (boxes([[1, 1, INF, 3]]), r"photos/1.png, box 0 must be finite"),
        (boxes([[5, 5, 5, 9]]), r"photos/1.png, box 0 must have x1 < x2 .* boxes='drop'"),
        (boxes([[9, 5, 7, 9]]), r"must have x1 < x2 and y1 < y2 \(xyxy\), got \[9.0, 5.0"),
        (boxes([[1, 1, 9, 9], [50, 5, 70, 9]], [0, 1]), r"png, box 1 must lie in its image, got"),
        (boxes([[-3, 5, 7, 9]]), r"must lie in its image, .* 64 x 64 .* boxes='clip'"),
        (boxes([[1, 1, 9, 9]], [3]), r"label 3, but the classes are 0..2; labels count from 0"),
        (boxes([[1, 1, 9, 9]], [-1]), r"photos/1.png, box 0 has label -1"),
        (boxes([[1, 1, 9, 9]], [0, 1]), r"png needs as many labels as boxes, got 2 labels and 1"),
        (
            {**boxes(), "crowd": torch.tensor([True, False])},
            r"png needs as many crowd as boxes, got 2 crowd and 1 boxes",
        ),
        ({"boxes": torch.zeros(0, 4)}, r"a target is a dict of 'boxes' .* got a target of"),
        (boxes()["boxes"], r"got a target of Tensor"),
        ({**boxes(), "boxes": torch.ones(1, 5)}, r"boxes must be \(K, 4\), got \(1, 5\)"),
    ],
)
@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_a_bad_target_raises_and_is_named_by_its_file(target, message, step):
    with pytest.raises(ValueError, match=message):
        getattr(detector(), step)(batch(boxes([], []), target), 0)


def test_boxes_in_units_of_the_image_are_refused():
    scaled = boxes([[0.1, 0.2, 0.4, 0.9]])
    with pytest.raises(ValueError, match=r"boxes must be xyxy in pixels, but all values .* <= 1"):
        detector().training_step(batch(scaled, scaled), 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"image": torch.rand(2, 3, 64, 64)}, "a batch must be a dict with 'image' and 'target'"),
        ({"target": [boxes()]}, r"a batch must be a dict .* got \['target'\]"),
        ((torch.rand(2, 3, 64, 64), [boxes()]), "got 2 images and 1 target;"),
        (([], []), "a batch must be"),
        ((torch.rand(0, 3, 64, 64), []), "must hold an image, got none"),
        ((torch.rand(1, 3, 0, 64), [boxes()]), "images must have pixels"),
        ((torch.rand(1, 4, 64, 64), [boxes()]), r"images must be \(N, 3, H, W\)"),
        ((torch.full((1, 3, 64, 64), NAN), [boxes()]), "image 0 of the batch holds NaN"),
    ],
)
def test_bad_batches_raise_before_the_first_optimizer_step(bad, message):
    with pytest.raises(ValueError, match=message):
        detector().training_step(bad, 0)


def test_labels_that_are_not_whole_numbers_are_refused():
    target = {**boxes(), "labels": torch.tensor([1.0])}
    with pytest.raises(TypeError, match=r"labels must be integers, got torch.float32"):
        detector().training_step(batch(target), 0)


TWO = """
    import sys, torch
    from torch.utils.data import DataLoader
    from tests.runs import quiet_trainer
    from lightning_hparams import DetectionTask

    def samples():
        draw = torch.Generator().manual_seed(0)
        for index in range(5):
            corner = torch.rand(index, 2, generator=draw) * 40
            boxes = torch.cat([corner, corner + 20], 1)
            labels = torch.randint(0, 3, (index,), generator=draw)
            yield {
                "image": [torch.rand(3, 64, 64, generator=draw)],
                "target": [{"boxes": boxes, "labels": labels}],
            }

    if __name__ == "__main__":
        devices = int(sys.argv[1])
        torch.manual_seed(0)
        task = DetectionTask(
            num_classes=4, score_threshold=0.0, arch_args={"fpn_channels": 32, "head_convs": 1}
        )
        trainer = quiet_trainer(devices=devices, strategy="ddp" if devices > 1 else "auto")
        loader = DataLoader(list(samples()), batch_size=1, collate_fn=lambda part: part[0])
        trainer.validate(task, loader, verbose=False)
        found = {k: float(v) for k, v in trainer.callback_metrics.items()}
        torch.save((task.val_counts.compute(), found), f"{trainer.global_rank}_of_{devices}.pt")
"""


@pytest.mark.slow
def test_two_processes_score_what_one_does(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(TWO))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    for devices in "12":
        command = [sys.executable, "script.py", devices]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=300)
    counts, metrics = torch.load(tmp_path / "0_of_1.pt")
    assert counts[:4].sum() == 10  # true boxes
    for rank in (0, 1):
        theirs, found = torch.load(tmp_path / f"{rank}_of_2.pt")
        assert torch.equal(theirs, counts)
        for name, value in metrics.items():
            exact = not name.startswith("loss")  # whose mean adds up in another order
            rel = 0 if exact else 1e-6
            assert found[name] == pytest.approx(value, rel=rel, abs=0, nan_ok=True), name
