"""Promises of every task: averaged weights, unfreezing, resuming and Lightning's callbacks."""

import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_hparams import (
    ClassificationTask,
    DetectionTask,
    DigitsData,
    ExactResume,
    MetricMonitor,
    OneCycle,
    PredictionMonitor,
    RegressionTask,
    SegmentationTask,
)
from lightning_hparams.presets import weights_by_counts
from tests.runs import SMALL, quiet_trainer, read_events, shapes

IMAGES = {"model": "test_resnet", "image_size": 32}
FCOS = {"encoder": "tu-test_resnet", "arch_args": {"fpn_channels": 32, "head_convs": 1}}
KINDS = {
    "classification": (ClassificationTask, IMAGES),
    "regression": (RegressionTask, IMAGES),
    "detection": (DetectionTask, FCOS),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def data_for(kind, **options):
    return shapes(kind, size=64, num_train=8, num_val=4, **options)


def task_for(kind, seed=0, **options):
    torch.manual_seed(seed)
    made, given = KINDS[kind]
    data = data_for(kind)
    count = {"num_values": data.num_values} if kind == "regression" else {"num_classes": 3}
    return made(**{**given, **count, "class_names": data.class_names, **options})


def fitted(task, kind, *further, epochs=3, checkpoint=None):
    trainer = quiet_trainer(
        max_epochs=epochs, callbacks=[ExactResume(), *further], enable_checkpointing=True
    )
    torch.manual_seed(1)
    trainer.fit(task, data_for(kind), ckpt_path=checkpoint)
    return trainer


def unequal(ours, theirs):
    assert ours.keys() == theirs.keys()
    return [name for name, value in ours.items() if not torch.equal(value, theirs[name])]


def epochs_of(folder):
    return ModelCheckpoint(folder, "{epoch}", save_top_k=-1)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_resumed_before_and_after_unfreezing_equals_the_unbroken_one(tmp_path, kind):
    options = {"lr": 3e-3, "freeze": "encoder", "unfreeze_at": 1}
    whole = task_for(kind, **options)
    fitted(whole, kind, epochs_of(tmp_path), OneCycle())
    for epoch in (0, 1):
        resumed = task_for(kind, seed=5, **options)
        checkpoint = tmp_path / f"epoch={epoch}.ckpt"
        fitted(
            resumed, kind, epochs_of(tmp_path / f"from {epoch}"), OneCycle(), checkpoint=checkpoint
        )
        assert not unequal(resumed.state_dict(), whole.state_dict())


@pytest.mark.skipif(
    not hasattr(callbacks, "EMAWeightAveraging"), reason="Lightning has it from 2.6 on"
)
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_averaged_weights_are_validated_saved_and_resumed(tmp_path, kind):
    def saved(name, **options):
        saving, averaging = epochs_of(tmp_path / name), callbacks.EMAWeightAveraging(decay=0.8)
        task = task_for(kind, lr=3e-3)
        trainer = fitted(task, kind, averaging, OneCycle(), saving, **options)
        checkpoint = torch.load(tmp_path / name / "epoch=2.ckpt", weights_only=True)
        return checkpoint, float(trainer.callback_metrics["loss/val"])

    whole, loss = saved("whole")
    resumed, _ = saved("resumed", checkpoint=tmp_path / "whole" / "epoch=1.ckpt")
    for part in ("state_dict", "current_model_state"):
        assert not unequal(resumed[part], whole[part])
    assert unequal(whole["state_dict"], whole["current_model_state"])
    loaded = KINDS[kind][0].load_from_checkpoint(tmp_path / "whole" / "epoch=2.ckpt")
    (found,) = quiet_trainer().validate(loaded, data_for(kind), verbose=False)
    assert found["loss/val"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist")
@pytest.mark.parametrize("options", [{}, {"model": "test_vit"}, {"model": "torchvision/resnet18"}])
def test_lightnings_callback_trains_the_last_layer_first(tmp_path, kind, options):
    if kind == "detection" and options:
        pytest.skip("a detector has an encoder")
    task = task_for(kind, **options)
    first, last = (list(each) for each in task.model_parts().values())
    assert {id(p) for p in task.backbone.parameters()} == {id(p) for p in first}
    names = {id(p): name for name, p in task.named_parameters()}
    before = {name: value.clone() for name, value in task.state_dict().items()}
    callback = BackboneFinetuning(1, backbone_initial_lr=1e-3)
    fitted(task, kind, callback, epochs_of(tmp_path), epochs=2)
    early = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)["state_dict"]
    changed = set(unequal(early, before))
    matrices = {names[id(p)] for p in first if p.ndim > 1}  # it trains batch normalisations always
    assert not changed & matrices
    assert changed & {names[id(p)] for p in last}
    later = set(unequal(task.state_dict(), early))
    assert later >= matrices


def test_class_weights_come_from_the_data():
    data = DigitsData(augment=False)
    data.setup("fit")
    options = {"num_classes": 10, "in_channels": 1, "class_weights": "auto"}
    task = ClassificationTask("test_resnet", image_size=16, **options)
    quiet_trainer(limit_train_batches=1, limit_val_batches=1).fit(task, data)
    counts = torch.bincount(torch.stack([each["label"] for each in data.train_set]), minlength=10)
    assert task.loss.class_weights.tolist() == pytest.approx(weights_by_counts(counts.tolist()))
    assert len(set(task.loss.class_weights.tolist())) > 1


def test_parameters_at_the_top_of_a_model_are_in_its_backbone():
    task = ClassificationTask("test_vit")
    assert any(p is task.model.cls_token for p in task.backbone.parameters())
    assert task.model.head not in [*task.backbone.modules()]


def test_data_says_how_many_values_an_image_has():
    assert data_for("regression").num_values == 3
    assert not hasattr(data_for("classification"), "num_values")


# -- the classes of the data ----------------------------------------------------------------------


CLASSES = {
    "classification": (ClassificationTask, IMAGES),
    "segmentation": (SegmentationTask, {"encoder": "tu-test_resnet", **SMALL}),
    "detection": (DetectionTask, FCOS),
}


PLACEHOLDERS = ["class 0", "class 1", "class 2", "class 3"]


@pytest.fixture(params=CLASSES)
def named(request):
    """A task for a number of classes, and data with 3 of them (segmentation: 4)."""
    made, options = CLASSES[request.param]
    kind = "multiclass" if request.param == "segmentation" else request.param
    data = shapes(kind, size=64, num_train=4, num_val=2)

    def make(**further):
        return made(**{**options, "num_classes": data.num_classes, **further})

    return make, data


def test_a_task_without_names_is_trained_with_those_of_the_data_and_keeps_them(tmp_path, named):
    make, data = named
    trainer = quiet_trainer(fast_dev_run=True)
    task = make()
    trainer.fit(task, data)
    assert task.class_names == data.class_names
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    loaded = type(task).load_from_checkpoint(tmp_path / "task.ckpt")
    assert loaded.class_names == data.class_names
    data.class_names = data.class_names[::-1]
    with pytest.raises(ValueError, match="`class_names` of the data must be those of") as error:
        quiet_trainer().validate(loaded, data)
    assert str(data.class_names) in str(error.value)
    assert str(loaded.class_names) in str(error.value)


@pytest.mark.parametrize("method", ["fit", "validate", "test"])
def test_names_in_another_order_are_refused_before_the_first_step(named, method):
    make, data = named
    task, trainer = make(class_names=data.class_names[::-1]), quiet_trainer(fast_dev_run=True)
    with pytest.raises(ValueError, match="`class_names` of the data must be those of the task"):
        getattr(trainer, method)(task, data)
    assert trainer.global_step == 0


def test_only_a_detector_refuses_names_of_its_own(named):
    make, data = named
    task = make(class_names=["my first", *data.class_names[1:]])
    trainer = quiet_trainer(fast_dev_run=True)
    if isinstance(task, DetectionTask):
        with pytest.raises(ValueError, match="`class_names` of the data must be those of the task"):
            trainer.fit(task, data)
    else:
        trainer.fit(task, data)
        assert task.class_names[0] == "my first"


@pytest.mark.parametrize("method", ["fit", "validate", "test"])
def test_data_with_more_classes_than_the_task_is_refused_before_the_first_step(named, method):
    make, data = named
    task, trainer = make(num_classes=data.num_classes - 1), quiet_trainer(fast_dev_run=True)
    with pytest.raises(ValueError, match=r"`num_classes` of the .* must be that of") as error:
        getattr(trainer, method)(task, data)
    assert str(data.num_classes) in str(error.value)
    assert str(task.num_classes) in str(error.value)
    assert trainer.global_step == 0


def test_a_task_with_more_classes_than_its_data_says_so_and_only_a_detector_refuses(named):
    make, data = named
    task, trainer = make(num_classes=data.num_classes + 1), quiet_trainer(fast_dev_run=True)
    if isinstance(task, DetectionTask):
        with pytest.raises(ValueError, match="`num_classes` of the data must be that of the task"):
            trainer.fit(task, data)
    else:
        with pytest.warns(UserWarning, match=f"num_classes={data.num_classes + 1} and the data"):
            trainer.fit(task, data)


@pytest.mark.parametrize("named", ["classification", "segmentation"], indirect=True)
def test_a_class_that_the_data_ignores_is_not_learned_in_silence(named):
    make, data = named
    data.ignore_index = 0
    task, trainer = make(), quiet_trainer(fast_dev_run=True)
    with pytest.raises(ValueError, match="`ignore_index` of the task must be that of the data, 0"):
        trainer.fit(task, data)
    quiet_trainer(fast_dev_run=True).fit(make(ignore_index=0), data)


@pytest.mark.parametrize("missing", [None, [], PLACEHOLDERS, object()])
def test_data_without_names_fits_any_task(named, missing):
    make, data = named
    data.class_names = missing[: data.num_classes] if isinstance(missing, list) else missing
    task = make(class_names=[f"my {each}" for each in range(data.num_classes)])
    quiet_trainer(fast_dev_run=True).fit(task, data)
    assert task.class_names[0] == "my 0"


def batches_of(targets):
    images = torch.rand(2, 4, 3, 64, 64)
    return DataLoader([{"image": image, **targets()} for image in images], batch_size=None)


def one_box():
    box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]]), "labels": torch.zeros(1).long()}
    return {"target": [box] * 4}


SINGLE = {
    "detection": (lambda: DetectionTask(**FCOS, num_classes=1), one_box),
    "labels": (
        lambda: ClassificationTask(**IMAGES, task="multilabel", num_classes=1),
        lambda: {"label": torch.tensor([[0], [1], [1], [0]])},
    ),
    "number": (
        lambda: RegressionTask(**IMAGES, num_values=1),
        lambda: {"value": torch.randn(4, 1)},
    ),
    "masks": (
        lambda: SegmentationTask(task="multilabel", num_classes=1, **SMALL),
        lambda: {"mask": torch.randint(0, 2, (4, 1, 64, 64))},
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_class_or_value_is_trained_validated_tested_and_shown(tmp_path, name):
    make, targets = SINGLE[name]
    task, logger = make(), TensorBoardLogger(tmp_path)
    trainer = quiet_trainer(
        logger=logger, callbacks=[MetricMonitor(), PredictionMonitor()], log_every_n_steps=1
    )
    trainer.fit(task, batches_of(targets), batches_of(targets))
    (scores,) = trainer.test(task, batches_of(targets), verbose=False)
    assert scores["loss/test"] > 0
    tags = read_events(logger.log_dir).Tags()["scalars"]
    assert "loss/val" in " ".join(tags)
