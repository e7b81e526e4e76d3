"""RegressionTask trains values of any unit, and refuses what does not fit."""

import math

import pytest
import torch
from lightning import LightningDataModule
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, Dataset

from lightning_hparams import MetricMonitor, PredictionMonitor, RegressionTask, lr_range_test
from lightning_hparams.losses import RegressionLoss
from lightning_hparams.tasks._target_scaling import training_values
from tests.runs import quiet_trainer, read_events, shapes

TINY = {"model": "test_resnet", "image_size": 16}


def samples(count=12, values=1, scale=1e3, offset=5e4):
    torch.manual_seed(count)
    images = torch.rand(count, 3, 16, 16)
    means = images.mean((2, 3))[:, :values]
    return [
        {"image": image, "value": offset + scale * mean, "index": n, "path": f"{n}.png"}
        for n, (image, mean) in enumerate(zip(images, means, strict=True))
    ]


def loader(**options):
    return DataLoader(samples(**options), batch_size=4)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "huber"},
        {"num_values": 2, "loss": {"mse": 1.0, "l1": 0.5}, "class_names": ["a", "b"]},
    ],
)
@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_unscaled_values_are_trained_validated_and_tested(options, precision):
    torch.manual_seed(0)
    # torch's bfloat16 gradient of a convolution with stride 2 is random for maps of one pixel.
    task = RegressionTask(**{**TINY, "image_size": 32}, **options)
    data = loader(values=task.num_values)
    trainer = quiet_trainer(max_epochs=1, precision=precision, accumulate_grad_batches=2)
    trainer.fit(task, data, data)
    values = torch.stack([sample["value"] for sample in data.dataset])
    torch.testing.assert_close(task.scaling.mean, values.mean(0))
    torch.testing.assert_close(task.scaling.std, values.std(0, correction=0), rtol=1e-3, atol=0)
    metrics = trainer.callback_metrics
    assert metrics["loss/train"] < 100
    assert 0 < metrics["metric/mae/val"] < 1e4
    assert ("class/r2/b/val" in metrics) == (task.num_values == 2)
    assert "metric/rmse/test" in trainer.test(task, data, verbose=False)[0]


def test_the_scale_is_that_of_the_first_training_data_and_kept_in_checkpoints(tmp_path):
    task, trainer = RegressionTask(**TINY), quiet_trainer()
    trainer.fit(task, loader(), loader())
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    loaded = RegressionTask.load_from_checkpoint(tmp_path / "task.ckpt").eval()
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded(images), task.eval()(images))
    quiet_trainer().fit(loaded.train(), loader(offset=0.0), loader(offset=0.0))
    assert torch.equal(loaded.scaling.mean, task.scaling.mean)


@pytest.mark.filterwarnings("ignore:the range test suggests nothing")
def test_a_range_test_uses_the_scale_and_leaves_the_task_as_it_was():
    torch.manual_seed(0)
    task = RegressionTask(**TINY)
    before = {key: value.clone() for key, value in task.state_dict().items()}
    result = lr_range_test(task, loader(count=40), num_steps=20)
    assert max(result.losses[:3]) < 100
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())


def test_unknown_values_are_left_out_and_told():
    data = samples()
    data[3]["value"] = torch.tensor([math.nan])
    task, trainer = RegressionTask(**TINY), quiet_trainer()
    with pytest.warns(UserWarning, match="1 of 12 training values are NaN"):
        trainer.fit(task, DataLoader(data, batch_size=4), DataLoader(data, batch_size=4))
    assert trainer.callback_metrics["loss/val"].isfinite()
    assert task.val_pairs.compute().sum() == 11


def test_predictions_have_the_unit_of_the_values():
    task = RegressionTask(**TINY, num_values=3)
    task.scaling.fit(torch.randn(100, 3) + torch.tensor([0.0, 100.0, -1e4]))
    (prediction,) = quiet_trainer().predict(task, DataLoader(samples(), batch_size=12))
    assert prediction["values"].shape == (12, 3)
    assert prediction["values"][:, 2].max() < -9e3
    assert prediction["paths"][5] == "5.png"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([[1.0], [math.inf]], ValueError, "1.png has the value inf; replace it"),
        ([[math.nan], [math.nan]], ValueError, "value 0 must be known for some training images"),
        (
            [[1.0, 2.0], [1.0, 2.0]],
            ValueError,
            r"must be \(2, 1\) .* got \(2, 2\); pass",
        ),
        (None, ValueError, "a batch must be a dict of tensors 'image' and 'value'"),
    ],
)
def test_bad_values_raise_before_the_first_optimizer_step(value, error, message):
    batch = {"image": torch.rand(2, 3, 16, 16), "path": ["0.png", "1.png"]}
    if value is not None:
        batch["value"] = torch.tensor(value)
    data, trainer = DataLoader([batch], batch_size=None), quiet_trainer(num_sanity_val_steps=0)
    with pytest.raises(error, match=message):
        trainer.fit(RegressionTask(**TINY), data, data)
    assert trainer.global_step == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hubber"}, "did you mean 'huber'"),
        ({"num_values": 0}, "`1 <= num_values` must hold"),
        ({"class_names": ["a", "b"]}, "needs 1 different names"),
        ({"loss": "huber", "loss_args": {"huber": {"delta": 0.0}}}, "`0.0 < delta` must hold"),
    ],
)
def test_bad_arguments_are_refused_when_the_task_is_created(options, message):
    with pytest.raises(ValueError, match=message):
        RegressionTask(**{**TINY, **options})


@pytest.mark.parametrize("name", ["mse", "l1", "huber"])
def test_losses_equal_torchs_and_leave_out_unknown_values(name):
    preds = torch.randn(5, 2, requires_grad=True)
    target = 3 * torch.randn(5, 2)
    target[1, 0] = math.nan
    known = ~target.isnan()
    torchs = {"mse": "mse_loss", "l1": "l1_loss", "huber": "huber_loss"}[name]
    expected = getattr(torch.nn.functional, torchs)(preds[known], target[known])
    loss = RegressionLoss(name)(preds, target)
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(loss, preds), torch.autograd.grad(expected, preds), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_the_monitors_show_a_regression_without_an_argument(tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    monitors = [MetricMonitor(), PredictionMonitor()]
    task, data = RegressionTask(**TINY, num_values=2), loader(values=2)
    quiet_trainer(logger=logger, callbacks=monitors, log_every_n_steps=1).fit(task, data, data)
    events = read_events(logger.log_dir)
    images = events.Tags()["images"]
    assert "predicted/val" in images
    assert sum(tag.startswith("val_pred/") for tag in images) == 8
    assert {"metric/mae/val", "class/r2/value 1/val", "best/metric/r2/val"} <= set(
        events.Tags()["scalars"]
    )


class Many(Dataset):
    def __len__(self):
        return 20_000_004  # the last index is no float32

    def __getitem__(self, index):
        return torch.tensor([range(len(self))[index]])


def test_the_scale_is_read_from_the_first_to_the_last_sample_of_any_number():
    values = training_values(DataLoader(Many(), batch_size=256), lambda batch: batch)
    assert (len(values), int(values[0]), int(values[-1])) == (2048, 0, 20_000_003)


def test_values_are_called_as_in_the_training_data(tmp_path):
    data = shapes("regression", size=64, num_train=8, num_val=4)
    task = RegressionTask("test_resnet", num_values=3, image_size=32)
    trainer = quiet_trainer(fast_dev_run=True)
    trainer.fit(task, data)
    assert "class/mae/radius/val" in trainer.callback_metrics
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert RegressionTask.load_from_checkpoint(tmp_path / "a.ckpt").class_names == data.class_names
    swapped = RegressionTask("test_resnet", num_values=3, class_names=["y", "x", "radius"])
    with pytest.raises(ValueError, match="`class_names` of the data must be those of the task"):
        quiet_trainer().validate(swapped, data, verbose=False)


def test_another_number_of_values_than_in_the_data_is_refused():
    data = shapes("regression", size=64, num_train=8, num_val=4)
    with pytest.raises(ValueError, match="`num_values` of the data must be that of the task, 2"):
        quiet_trainer().fit(RegressionTask(**TINY, num_values=2), data)


def test_names_of_classes_are_not_those_of_values():
    data = LightningDataModule()
    data.train_dataloader = data.val_dataloader = lambda: loader(values=2)
    data.class_names = ["cat", "dog"]
    task = RegressionTask(**TINY, num_values=2)
    quiet_trainer(fast_dev_run=True).fit(task, data)
    assert task.class_names == ["value 0", "value 1"]
