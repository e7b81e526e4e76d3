"""Schedule-free optimizers and Prodigy, by name: what is validated, saved, loaded and tested."""

import copy

import pytest
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_hparams import (
    ClassificationTask,
    ExactResume,
    LRRangeTest,
    OneCycle,
    lr_range_test,
)
from lightning_hparams.optim import make_optimizer, named_groups, shown_rate, switch_weights
from tests.runs import quiet_trainer, shapes

pytest.importorskip("schedulefree")
pytest.importorskip("prodigyopt")

FREE = {"AdamWScheduleFree": 0.0025, "RAdamScheduleFree": 0.0025, "SGDScheduleFree": 1.0}
RATES = {**FREE, "Prodigy": 1.0}


def data():
    return shapes("classification", size=32, num_train=24, num_val=8, batch_size=4)


def task_for(optimizer="AdamWScheduleFree", **options):
    torch.manual_seed(0)
    given = {"model": "test_resnet", "image_size": 32, "num_classes": 3, "lr": RATES[optimizer]}
    return ClassificationTask(**{**given, "optimizer": optimizer, **options})


def fitted(task, *callbacks, epochs=2, **options):
    saves = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    trainer = quiet_trainer(
        max_epochs=epochs, callbacks=list(callbacks), enable_checkpointing=saves
    )
    torch.manual_seed(1)
    trainer.fit(task, data(), **options)
    return trainer


def averaged(optimizer):
    return not any(group.get("train_mode") for group in optimizer.param_groups)


class Watch(Callback):
    """Records whether the weights are averages, and what a fresh copy would score."""

    def __init__(self):
        self.stepping, self.validating = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.stepping.append(averaged(optimizer))

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validating.append(averaged(trainer.optimizers[0]))


@pytest.mark.parametrize("name", FREE)
def test_the_average_is_validated_saved_and_left_without_any_callback(name, tmp_path):
    watch = Watch()
    saving = ModelCheckpoint(tmp_path, monitor="loss/val", save_weights_only=True)
    task = task_for(name)
    trainer = fitted(task, watch, saving)
    assert not any(watch.stepping)
    assert all(watch.validating)
    assert averaged(trainer.optimizers[0])
    loaded = ClassificationTask.load_from_checkpoint(saving.best_model_path)
    found = quiet_trainer().validate(loaded, data(), verbose=False)[0]["loss/val"]
    assert found == pytest.approx(float(saving.best_model_score), rel=1e-5)


def test_a_checkpoint_within_an_epoch_holds_the_average_too(tmp_path):
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4, save_top_k=-1)
    fitted(task_for(), saving)
    saved = torch.load(tmp_path / "step=4.ckpt", weights_only=True)
    (state,) = saved["optimizer_states"]
    assert not any(group["train_mode"] for group in state["param_groups"])


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_resumed_at_an_epoch_equals_the_unbroken_one(tmp_path):
    whole = task_for()
    fitted(whole, ExactResume(), ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1))
    resumed, again = task_for(), ModelCheckpoint(tmp_path / "resumed")
    fitted(resumed, ExactResume(), again, ckpt_path=tmp_path / "epoch=0.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_statistics_of_batch_normalisations_belong_to_the_averaged_weights():
    """As the authors recommend: a mean over training batches, taken with the averaged weights."""
    task = task_for()
    seen = []

    class Keep(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(batch["image"].clone())

    fitted(task, Keep(), epochs=1)
    expected = copy.deepcopy(task)
    loader = [expected.resized(expected.normalise(images)) for images in seen]
    torch.optim.swa_utils.update_bn(loader, expected.model)
    for name, value in expected.state_dict().items():
        if "running" in name:
            assert torch.allclose(value, task.state_dict()[name], rtol=1e-4, atol=1e-5), name


def test_frozen_statistics_stay(tmp_path):
    task = task_for(freeze="encoder")
    before = {k: v.clone() for k, v in task.state_dict().items() if "running" in k}
    fitted(task, epochs=1)
    assert all(torch.equal(value, task.state_dict()[name]) for name, value in before.items())


def test_statistics_spend_no_random_numbers_of_training():
    states = []

    class States(Callback):
        def on_validation_start(self, trainer, pl_module):
            states.append(torch.get_rng_state())

        def on_validation_epoch_start(self, trainer, pl_module):
            states.append(torch.get_rng_state())

    fitted(task_for(model_args={"drop_rate": 0.5}), States(), epochs=1)
    assert torch.equal(*states[-2:])


@pytest.mark.filterwarnings("ignore:the range test suggests nothing")  # after so few steps
def test_the_range_test_trains_with_the_right_weights_and_leaves_no_trace():
    plain, tested = task_for(), task_for()
    fitted(plain)
    test = LRRangeTest(num_steps=50, apply=False)
    fitted(tested, test)
    assert len(test.result.losses) > 10
    for name, value in plain.state_dict().items():
        assert torch.equal(value, tested.state_dict()[name]), name


def test_the_validation_loss_of_a_range_test_is_that_of_the_average():
    modes = []

    class Task(ClassificationTask):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            modes.append(averaged(self.optimizers().optimizer))
            return super().validation_step(batch, batch_idx)

    torch.manual_seed(0)
    task = Task(
        model="test_resnet", num_classes=3, image_size=32, optimizer="SGDScheduleFree", lr=1.0
    )
    with pytest.warns(UserWarning, match="suggests nothing"):  # after so few steps
        lr_range_test(task, data(), stage="val", num_steps=12, val_batches=1, apply=False)
    assert modes
    assert all(modes)


def test_a_range_test_of_an_optimizer_that_estimates_its_rate_is_refused():
    with pytest.raises(ValueError, match="got Prodigy, which estimates its rate; leave out"):
        lr_range_test(task_for("Prodigy"), data())


def test_prodigy_trains_and_its_own_rate_is_shown():
    trainer = fitted(task_for("Prodigy"), OneCycle(), epochs=1)
    (group, *_) = trainer.optimizers[0].param_groups
    assert shown_rate(group) == pytest.approx(group["lr"] * group["d"])


def test_prodigy_takes_one_rate_for_all_groups():
    with pytest.raises(ValueError, match=r"one rate for all groups, got encoder_lr_mult=0\.1"):
        task_for("Prodigy", encoder_lr_mult=0.1)


def test_an_absent_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "schedulefree", None)
    with pytest.raises(ModuleNotFoundError, match=r"'lightning-hparams\[optimizers\]'"):
        task_for("SGDScheduleFree")


@pytest.mark.parametrize("name", RATES)
def test_arguments_of_the_class_are_checked_and_reach_it(name):
    groups = named_groups({"head": (nn.Linear(2, 2).parameters(), 1.0)})
    optimizer = make_optimizer(
        name,
        groups,
        lr=1.0,
        weight_decay=0.1,
        args={"eps": 1e-6} if "SGD" not in name else {"momentum": 0.8},
    )
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    with pytest.raises(TypeError, match=f"{name} takes no argument 'warmup'"):
        make_optimizer(name, groups, lr=1.0, args={"warmup": 5})


def test_other_optimizers_have_one_set_of_weights():
    assert not switch_weights([torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)], "eval")


class Plain(LightningModule):
    """A module that leaves the modes of its optimizer to a callback."""

    def __init__(self):
        super().__init__()
        self.layer, self.lr = nn.Linear(2, 1), 1.0

    def training_step(self, batch, batch_idx):
        return (self.layer(batch) - 1).square().mean()

    def configure_optimizers(self):
        kind = pytest.importorskip("schedulefree").SGDScheduleFree
        return kind(self.parameters(), lr=self.lr)


def test_the_range_test_switches_the_optimizer_of_a_module_that_leaves_it_to_a_callback():
    result = lr_range_test(Plain(), DataLoader(torch.randn(64, 2), 8), apply=False)
    assert result.suggestion is not None
