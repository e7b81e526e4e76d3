"""AugmentationSheet shows the first training samples as the module gets them, and changes none."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch.utils.data import DataLoader

from lightning_hparams import AugmentationSheet, DigitsData, mlflow_logger
from tests.runs import documented, quiet_trainer, read_events, shapes

KINDS = [
    "multiclass", "binary", "multilabel", "classification", "multilabel_classification",
    "regression", "detection",
]  # fmt: skip


class Module(LightningModule):
    """Trains on the mean of the images, and remembers each batch before changing it."""

    def __init__(self, data=None, fails_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.dropout = torch.nn.Dropout(0.5)
        self.batches, self.fails_at = [], fails_at
        for name in ("class_names", "ignore_index", "task"):
            setattr(self, name, getattr(data, name, None))

    def training_step(self, batch, batch_idx):
        images = batch["image"] if isinstance(batch, dict) else batch[0]
        self.batches.append([image.clone() for image in images])
        if batch_idx == self.fails_at:
            raise RuntimeError("the user's error")
        mean = torch.stack([image.float().mean() for image in images]).mean()
        for image in images:
            image.zero_()
        return (self.dropout(self.weight.expand(8)) * mean).sum()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def run(callbacks, data=None, module=None, logger=None, ckpt_path=None, **options):
    data = data or shapes()
    logger = logger or TensorBoardLogger(".", version=0, default_hp_metric=False)
    options = {"limit_val_batches": 0, **options}
    trainer = quiet_trainer(logger=logger, callbacks=callbacks, **options)
    module = module or Module(data)
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer


def sheets(logger):
    events = read_events(logger.log_dir)
    return {tag: [p.step for p in events.Images(tag)] for tag in events.Tags()["images"]}


@pytest.mark.parametrize("task", KINDS)
def test_one_sheet_is_written_for_batches_of_every_kind(task):
    sheet = AugmentationSheet()
    trainer = run([sheet], shapes(task, num_train=32), max_epochs=3)
    (tag,) = found = sheets(trainer.logger)
    assert found[tag] == [3]  # the batch that completes the 16 samples
    assert re.fullmatch(documented(sheet)[0], tag)
    assert len(sheet.pictures) == 16


def test_the_samples_are_those_of_the_loop_before_the_step_changes_them():
    data, sheet = shapes("classification", size=64), AugmentationSheet(6)
    module = Module(data)
    run([sheet], data, module, max_epochs=2)
    first = [image for batch in module.batches for image in batch][:6]
    for picture, image in zip(sheet.pictures, first, strict=True):
        shown = picture[20 : 20 + 256, :256].astype(float)  # 4 by 4 pixels each
        shown = shown.reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(shown - image.permute(1, 2, 0).numpy()).mean() < 8


def test_training_and_random_states_are_the_same_as_without_it():
    results = []
    for callbacks in ([], [AugmentationSheet()]):
        torch.manual_seed(3)
        data = DigitsData(batch_size=8)
        module = Module(data)
        run(callbacks, data, module, limit_train_batches=4, max_epochs=2)
        results.append((module.weight.detach(), torch.get_rng_state(), module.batches))
    (weight, state, batches), (other, other_state, other_batches) = results
    assert torch.equal(weight, other)
    assert torch.equal(state, other_state)
    for batch, same in zip(batches, other_batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, same, strict=True))


def test_a_resumed_run_writes_no_other_sheet():
    trainer = run([AugmentationSheet(4)], enable_checkpointing=False)
    trainer.save_checkpoint("last.ckpt")
    again = AugmentationSheet(4)
    resumed = run([again], max_epochs=2, ckpt_path="last.ckpt")
    assert resumed.current_epoch == 2
    assert again.pictures == []
    assert sheets(resumed.logger) == {"train_samples/sheet": [0]}


def test_a_second_fit_of_the_run_writes_no_other_sheet_but_a_new_run_does():
    sheet = AugmentationSheet(4)
    trainer = run([sheet])
    trainer.fit_loop.max_epochs = 2
    trainer.fit(Module(), shapes())
    assert sheets(trainer.logger) == {"train_samples/sheet": [0]}
    other = run([sheet], logger=TensorBoardLogger(".", version=1))
    assert sheets(other.logger) == {"train_samples/sheet": [0]}
    assert len(sheet.pictures) == 4


def test_nothing_is_drawn_in_a_fast_dev_run():
    sheet = AugmentationSheet()
    run([sheet], fast_dev_run=2)
    assert sheet.pictures == []


def test_a_short_epoch_gives_a_smaller_sheet():
    sheet = AugmentationSheet()
    trainer = run([sheet], limit_train_batches=2, max_epochs=3)
    assert sheets(trainer.logger) == {"train_samples/sheet": [1]}
    assert len(sheet.pictures) == 8


def test_the_sheet_is_written_when_training_fails():
    data = shapes()
    with pytest.raises(RuntimeError, match="the user's error"):
        run([AugmentationSheet()], data, Module(data, fails_at=1))
    (file,) = Path("lightning_logs/version_0").glob("events*")
    assert read_events(file).Tags()["images"] == ["train_samples/sheet"]


def test_batches_after_the_sheet_call_no_hook():
    sheet = AugmentationSheet(4)
    run([sheet])
    assert sheet.on_train_batch_start is None


class Pairs(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0].flatten(1)[:, :3]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def fit_pairs(sheet, *tensors, **options):
    pairs = list(zip(*tensors, strict=True))
    trainer = quiet_trainer(
        logger=TensorBoardLogger(".", version=0), callbacks=[sheet], log_every_n_steps=1, **options
    )
    trainer.fit(Pairs(), DataLoader(pairs, 4))
    return trainer


def test_a_foreign_batch_costs_one_line_of_advice():
    with pytest.warns(UserWarning, match=r"draws no sheet.*pass adapter=") as told:
        trainer = fit_pairs(AugmentationSheet(), torch.rand(8, 3), torch.rand(8), max_epochs=2)
    assert len([each for each in told if "AugmentationSheet" in str(each.message)]) == 1
    assert trainer.global_step == 4
    assert sheets(trainer.logger) == {}


def test_an_adapter_reads_a_foreign_batch():
    def adapter(batch):
        return {"kind": "regression", "images": batch[0].view(-1, 1, 8, 8), "targets": batch[1]}

    trainer = fit_pairs(AugmentationSheet(4, adapter=adapter), torch.rand(8, 64), torch.rand(8))
    assert sheets(trainer.logger) == {"train_samples/sheet": [0]}


@pytest.mark.parametrize("result", [None, {"kind": "regression"}])
def test_an_adapter_that_returns_no_output_is_a_warning(result):
    with pytest.warns(UserWarning, match="could not draw training samples.*must return a dict"):
        trainer = fit_pairs(
            AugmentationSheet(adapter=lambda batch: result), torch.rand(8, 3), torch.rand(8)
        )
    assert trainer.global_step == 2


def test_mlflow_gets_the_same_sheet():
    logger = mlflow_logger("sqlite:///a.db")
    run([AugmentationSheet(4)], logger=logger)
    files = logger.experiment.list_artifacts(logger.run_id, "images")
    (picture,) = [each.path for each in files if each.path.endswith(".png")]
    name = re.sub("[#%]", lambda mark: "~+"["#%".index(mark[0])], picture)  # MLflow 3.1's marks
    assert name.startswith("images/train_samples~sheet+step+0+")


def test_the_sheet_can_be_saved():
    sheet = AugmentationSheet(4)
    with pytest.raises(RuntimeError, match="no sample has been drawn"):
        sheet.save_sheet("sheet.png")
    run([sheet], logger=False)
    with Image.open(sheet.save_sheet("folder/sheet.png")) as saved:
        assert saved.width > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "1 <= num_samples"),
        ({"rgb": (0, 1)}, "`rgb` needs 3 channels"),
        ({"mean": [0.5]}, "must be given together"),
        ({"class_names": "cat"}, "class_names"),
        ({"adapter": "segmentation"}, "`adapter` must be a function"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        AugmentationSheet(**arguments)
