"""ClassificationTask trains classes or several labels per image, and refuses what does not fit."""

import json
import math

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn import metrics as sklearn
from torch.utils.data import DataLoader

from lightning_hparams import (
    ClassificationTask,
    ExactResume,
    MetricMonitor,
    PredictionMonitor,
)
from lightning_hparams.outputs import ClassificationPrediction, TrainingOutput
from tests.runs import quiet_trainer, read_events

TINY = {"model": "test_resnet", "image_size": 16}


def samples(count=12, classes=7, task="multiclass", size=16, channels=3):
    torch.manual_seed(count)
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    labels = torch.randint(0, classes, (count,))
    if task == "multilabel":
        labels = torch.randint(0, 2, (count, classes))
    return [
        {"image": image, "label": label, "index": n, "path": f"{n}.png"}
        for n, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def loader(batch_size=4, shuffle=False, **options):
    return DataLoader(samples(**options), batch_size=batch_size, shuffle=shuffle)


def task_for(classes=7, **options):
    return ClassificationTask(num_classes=classes, **{**TINY, **options})


# -- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "ce", "label_smoothing": 0.1, "class_weights": [1.0, 2, 1, 1, 1, 1, 0.5]},
        {"loss": "focal", "mixup": 0.2},
        {"loss": {"bce": 1.0, "mse": 0.5}, "mixup": 0.2, "cutmix": 1.0},
        {"task": "multilabel", "cutmix": 1.0},
        {"task": "multilabel", "loss": "focal", "loss_args": {"focal": {"alpha": 0.25}}},
        {"model": "torchvision/squeezenet1_1", "image_size": 32},
    ],
)
def test_every_kind_of_label_and_loss_is_trained_validated_and_tested(options):
    torch.manual_seed(0)
    task = task_for(**options)
    data = loader(task=task.task)
    before = [p.detach().clone() for p in task.parameters()]
    trainer = quiet_trainer(max_epochs=2, accumulate_grad_batches=2)
    trainer.fit(task, data, data)
    assert any(not torch.equal(a, b) for a, b in zip(before, task.parameters(), strict=True))
    metrics = trainer.callback_metrics
    names = ["accuracy", "macro_f1", "calibration_error"]
    names += ["accuracy_top5"] if task.task == "multiclass" else []
    for name in names:
        assert 0 <= metrics[f"metric/{name}/val"] <= 1
    assert "class/recall/class 3/val" in metrics
    assert "metric/accuracy/test" in trainer.test(task, data, verbose=False)[0]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_training_works_in_low_precision(precision):
    trainer = quiet_trainer(precision=precision)
    # torch's bfloat16 gradient of a convolution with stride 2 is random for maps of one pixel.
    trainer.fit(task_for(mixup=0.2, image_size=32), loader(), loader())
    assert trainer.callback_metrics["loss/val"].isfinite()


def test_fast_dev_run_works():
    quiet_trainer(fast_dev_run=True).fit(task_for(), loader(), loader())


def test_scores_are_those_of_the_whole_set():
    torch.manual_seed(0)
    task, data = task_for(), samples(23)
    trainer = quiet_trainer()
    trainer.validate(task, DataLoader(data, batch_size=4), verbose=False)
    found = {key: float(value) for key, value in trainer.callback_metrics.items()}
    images = torch.stack([sample["image"] for sample in data])
    label = torch.stack([sample["label"] for sample in data])
    with torch.no_grad():
        probs = task.eval()(images).double().softmax(1)
    preds = probs.argmax(1)
    assert found["metric/accuracy/val"] == pytest.approx(sklearn.accuracy_score(label, preds))
    f1 = sklearn.f1_score(label, preds, average="macro", zero_division=0)
    assert found["metric/macro_f1/val"] == pytest.approx(f1)
    top = sklearn.top_k_accuracy_score(label, probs, k=5, labels=range(7))
    assert found["metric/accuracy_top5/val"] == pytest.approx(top)
    assert found["loss/val"] == pytest.approx(sklearn.log_loss(label, probs, labels=range(7)), 1e-4)
    for index in range(7):
        recall = sklearn.recall_score(
            label, preds, labels=[index], average=None, zero_division=math.nan
        )
        score = found[f"class/recall/class {index}/val"]
        assert score == pytest.approx(float(recall[0]), nan_ok=True)


def test_ignored_images_change_neither_loss_nor_scores():
    torch.manual_seed(0)
    task = task_for(ignore_index=-1)
    data = samples(8)
    more = [*data, {**data[0], "label": torch.tensor(-1)}]
    found = []
    for each in (data, more):
        trainer = quiet_trainer()
        trainer.validate(task, DataLoader(each, batch_size=9), verbose=False)
        found.append({k: float(v) for k, v in trainer.callback_metrics.items()})
    assert found[0] == pytest.approx(found[1], nan_ok=True)


def test_the_last_layer_has_its_own_groups_and_rate():
    task = task_for(lr=1e-2, encoder_lr_mult=0.1, weight_decay=0.05)
    groups = task.configure_optimizers().param_groups
    assert [group["name"] for group in groups] == [
        "encoder",
        "encoder/no_decay",
        "head",
        "head/no_decay",
    ]
    assert groups[0]["lr"] == pytest.approx(1e-3)
    head = sum(p.numel() for group in groups[2:] for p in group["params"])
    assert head == sum(p.numel() for p in task.model.get_classifier().parameters())


# -- any input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "seen"), [((8, 8), (64, 64)), ((32, 16), (128, 64))])
def test_small_images_are_enlarged_and_others_left_as_they_are(size, seen):
    task = ClassificationTask("test_resnet")
    assert task.resized(torch.rand(1, 3, *size)).shape[-2:] == seen
    large = torch.rand(1, 3, 80, 70)
    assert task.resized(large) is large


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_images_shrink_in_low_precision(dtype):
    found = ClassificationTask(**TINY).resized(torch.rand(1, 3, 32, 32).to(dtype))
    assert (found.dtype, found.shape[-2:]) == (dtype, (16, 16))


def test_a_model_of_one_size_gets_it():
    task = ClassificationTask("vit_tiny_patch16_224")
    with torch.no_grad():
        assert task.eval()(torch.rand(2, 3, 8, 8)).shape == (2, 2)
        assert task(torch.rand(2, 3, 300, 300)).shape == (2, 2)
    with pytest.raises(ValueError, match=r"images of 224 x 448 pixels .*crop them to squares"):
        ClassificationTask("vit_tiny_patch16_224").eval()(torch.rand(1, 3, 8, 16))


def test_uint8_and_float_images_mean_the_same_mixed_too():
    task = task_for(mixup=1.0).eval()
    images = torch.stack([sample["image"] for sample in samples(4)])
    torch.testing.assert_close(task(images), task(images / 255))
    torch.testing.assert_close(task.as_floats(images), images / 255)


@pytest.mark.parametrize("form", ["pair", "floats", "column"])
def test_other_forms_of_batches_are_accepted(form):
    label = torch.tensor([0, 1, 1, 0])
    forms = {
        "pair": ("multiclass", 2, label),
        "floats": ("multilabel", 1, label[:, None].float()),
        "column": ("multiclass", 2, label[:, None]),
    }
    kind, classes, given = forms[form]
    task = task_for(classes, task=kind)
    output = task.validation_step((torch.rand(4, 3, 16, 16), given), 0)
    assert output["targets"].dtype == torch.int64
    assert output["preds"].shape == output["targets"].shape


# -- what steps return ----------------------------------------------------------------------------


def test_predictions_hold_probabilities_labels_and_paths():
    task = task_for()
    (prediction,) = quiet_trainer().predict(task, loader(batch_size=12))
    assert set(prediction) == set(ClassificationPrediction.__annotations__)
    torch.testing.assert_close(prediction["probs"].sum(1), torch.ones(12))
    assert torch.equal(prediction["labels"], prediction["probs"].argmax(1))
    assert prediction["paths"][3] == "3.png"


def test_a_training_step_returns_the_documented_output():
    task = task_for()
    task.log = lambda *args, **kwargs: None
    output = task.training_step(next(iter(loader())), 1)
    assert set(output) == set(TrainingOutput.__annotations__)


# -- checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_loads_without_downloading_weights(tmp_path):
    task = task_for(class_names=list("abcdefg"), label_smoothing=0.1)
    task.hparams["weights"] = "imagenet"  # as if it had been trained from there
    trainer = quiet_trainer(limit_train_batches=1)
    trainer.fit(task, loader(), loader())
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    loaded = ClassificationTask.load_from_checkpoint(tmp_path / "task.ckpt").eval()
    assert loaded.hparams["weights"] is None
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded(images), task.eval()(images))
    assert loaded.class_names == list("abcdefg")


def test_weights_of_other_classes_load_but_for_the_last_layer(tmp_path):
    source = task_for(4)
    torch.save(source.model.state_dict(), tmp_path / "weights.pt")
    task = task_for(7, weights=str(tmp_path / "weights.pt"))
    theirs = source.model.state_dict()
    same = [torch.equal(v, theirs[k]) for k, v in task.model.state_dict().items() if "fc" not in k]
    assert all(same)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resumed_run_with_mixing_equals_the_unbroken_one(tmp_path):
    def fit(epochs, resume=None):
        torch.manual_seed(1)
        task = task_for(mixup=0.2, cutmix=1.0, model_args={"drop_rate": 0.2})
        kept = [ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)] if resume is None else []
        trainer = quiet_trainer(
            max_epochs=epochs, enable_checkpointing=bool(kept), callbacks=[*kept, ExactResume()]
        )
        trainer.fit(task, loader(shuffle=True), loader(), ckpt_path=resume)
        return task.state_dict()

    whole = fit(3)
    resumed = fit(3, tmp_path / "epoch=1.ckpt")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_arguments_are_plain_values():
    task = task_for(2, class_names=["a", "b"], loss={"ce": 1.0}, mixup=0.2)
    again = json.loads(json.dumps(dict(task.hparams)))
    assert ClassificationTask(**again).class_names == ["a", "b"]


# -- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "multiclas"}, ValueError, "did you mean 'multiclass'"),
        ({"num_classes": 1}, ValueError, "`2 <= num_classes` must hold"),
        ({"num_classes": 2.5}, TypeError, "`num_classes` must be a whole number"),
        ({"in_channels": 0}, ValueError, "`1 <= in_channels` must hold"),
        ({"image_size": 0}, ValueError, "`1 <= image_size` must hold"),
        ({"loss": "dice"}, ValueError, r"`loss` must be one of \['bce', 'ce', 'focal', 'mse'\]"),
        ({"loss": ["ce"]}, TypeError, "must be a name or a dict"),
        (
            {"loss": "focal", "label_smoothing": 0.1},
            ValueError,
            "`label_smoothing` is for the loss",
        ),
        ({"label_smoothing": 1.5}, ValueError, "`0 <= label_smoothing <= 1` must hold"),
        (
            {"label_smoothing": 0.1, "loss_args": {"ce": {"label_smoothing": 0.2}}},
            ValueError,
            "repeats 'label_smoothing'",
        ),
        ({"loss_args": {"ce": {"smooth": 1}}}, TypeError, "loss 'ce' takes no argument 'smooth'"),
        ({"class_weights": [1.0] * 3}, ValueError, r"needs 2 values \(num_classes\), got 3"),
        ({"class_names": ["a", "a"]}, ValueError, "needs 2 different names"),
        ({"mixup": -1}, ValueError, "`0.0 <= mixup` must hold, got mixup=-1"),
        ({"weights": "imagnet"}, ValueError, r"\['imagenet'\] or a file, got 'imagnet'"),
        ({"weights": "no/such.pt"}, FileNotFoundError, "does not exist"),
        ({"optimizer": "AdamX"}, ValueError, "did you mean 'Adam"),
        ({"threshold": 2}, ValueError, "`0 <= threshold <= 1` must hold"),
        ({"mean": [0.5]}, ValueError, "need 3 values"),
    ],
)
def test_bad_arguments_are_refused_when_the_task_is_created(options, error, message):
    with pytest.raises(error, match=message):
        ClassificationTask(**{**TINY, **options})


@pytest.mark.parametrize(
    ("label", "task", "error", "message"),
    [
        ([0, 9], "multiclass", ValueError, "1.png has label 9 but the classes are 0..1"),
        ([0, 2], "multiclass", ValueError, "subtract 1 if classes count from 1, pass num_cl"),
        ([1, -1], "multiclass", ValueError, "pass ignore_index=-1 if it means unlabelled"),
        ([[0, 1], [1, 0]], "multiclass", ValueError, r"got \(2, 2\); pass task='multilabel'"),
        ([[0.3, 0.7], [1.0, 0.0]], "multiclass", ValueError, "pass mixup= or cutmix= to the task"),
        ([0.0, 1.0], "multiclass", TypeError, "class indices, got torch.float32; convert"),
        ([[0.0, 1.0], [0.5, 0.0]], "multilabel", ValueError, "1.png has label 0.5 .*; correct"),
        ([[0.0, 1.0], [math.nan, 0.0]], "multilabel", ValueError, "1.png has label nan"),
        ([0, 1], "multilabel", ValueError, r"\(2, 2\) of 0 and 1 .* got \(2,\); pass task="),
        (None, "multiclass", ValueError, "a batch must be a dict of tensors 'image' and 'label'"),
    ],
)
def test_bad_labels_raise_before_the_first_optimizer_step(label, task, error, message):
    batch = {"image": torch.rand(2, 3, 16, 16), "path": ["0.png", "1.png"]}
    if label is not None:
        batch["label"] = torch.tensor(label)
    trainer = quiet_trainer(num_sanity_val_steps=0)
    data = DataLoader([batch], batch_size=None)
    with pytest.raises(error, match=message):
        trainer.fit(task_for(2, task=task), data, data)
    assert trainer.global_step == 0


@pytest.mark.parametrize("mixup", [0.0, 0.2])
@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.rand(2, 1, 16, 16), ValueError, r"must be \(N, 3, H, W\), got \(2, 1"),
        (torch.full((2, 3, 16, 16), math.nan), ValueError, "0.png holds NaN"),
        (torch.zeros(2, 3, 16, 16).short(), TypeError, "uint8 or floating point"),
    ],
)
def test_bad_images_raise_before_the_first_optimizer_step(image, error, message, mixup):
    batch = {"image": image, "label": torch.tensor([0, 1]), "path": ["0.png", "1.png"]}
    trainer = quiet_trainer(num_sanity_val_steps=0)
    data = DataLoader([batch], batch_size=None)
    with pytest.raises(error, match=message):
        trainer.fit(task_for(2, mixup=mixup), data, data)
    assert trainer.global_step == 0


@pytest.mark.parametrize("step", ["training_step", "validation_step", "test_step", "predict_step"])
def test_a_batch_without_images_is_refused_in_every_step(step):
    batch = {"img": torch.rand(2, 3, 16, 16), "label": torch.zeros(2).long()}
    with pytest.raises(ValueError, match="dict of tensors 'image' and 'label', or a pair"):
        getattr(task_for(), step)(batch, 0)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_the_monitors_show_a_classification_without_an_argument(tmp_path, kind):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    monitors = [MetricMonitor(pr_curves=True, calibration=True), PredictionMonitor()]
    task, data = task_for(task=kind), loader(task=kind)
    quiet_trainer(logger=logger, callbacks=monitors, log_every_n_steps=1).fit(task, data, data)
    tags = read_events(logger.log_dir).Tags()
    assert {"calibration/val", "val_worst/00"} <= set(tags["images"])
    assert ("confusion/val" in tags["images"]) == (kind == "multiclass")
    assert any(tag.startswith("pr/class 3") for tag in tags["tensors"])
    assert {"class/recall/class 3/val", "best/metric/macro_f1/val"} <= set(tags["scalars"])
