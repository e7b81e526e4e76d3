"""PredictionMonitor draws the same samples each time, on a schedule that TensorBoard keeps."""

import io
import os
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import CombinedLoader
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    SequentialSampler,
    SubsetRandomSampler,
    default_collate,
)

from lightning_hparams import MetricMonitor, PredictionMonitor, RunRecorder, SpeedMonitor
from lightning_hparams.callbacks._log_step import pictures_due
from lightning_hparams.samples.segmentation import Multiclass
from tests.runs import documented, matching, quiet_trainer, read_events, shapes


def run(monitor, data=None, module=None, logger=None, loaders=None, **options):
    data = data or shapes(num_val=20)
    logger = logger or TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[monitor], **options)
    if loaders:
        trainer.fit(module, *loaders)
    else:
        trainer.fit(module or matching(data), data, ckpt_path=None)
    return trainer


def images(logger, of="pred"):
    """Pictures of the chosen or the worst samples, by tag."""
    events = read_events(logger.log_dir)
    tags = [tag for tag in events.Tags()["images"] if f"_{of}/" in tag]
    return {tag: events.Images(tag) for tag in tags}


def test_each_sample_has_its_own_tag_and_a_picture_per_drawing():
    trainer = run(PredictionMonitor(num_samples=3), max_epochs=4)
    found = images(trainer.logger)
    assert sorted(found) == ["val_pred/00_idx00003", "val_pred/01_idx00010", "val_pred/02_idx00016"]
    for pictures in found.values():
        assert [p.step for p in pictures] == [3, 7, 11, 15]  # epochs 0, 1, 2 and the last
        assert Image.open(io.BytesIO(pictures[0].encoded_image_string)).format == "JPEG"


def test_pictures_are_drawn_at_0_1_2_4_8_and_last():
    trainer = run(PredictionMonitor(num_samples=1), max_epochs=7, limit_train_batches=1)
    (pictures,) = images(trainer.logger).values()
    assert [p.step for p in pictures] == [0, 1, 2, 4, 6]


def test_the_last_validation_is_drawn_however_training_ends():
    trainer = run(PredictionMonitor(1), max_epochs=-1, max_steps=6, limit_train_batches=1)
    (pictures,) = images(trainer.logger).values()
    assert [p.step for p in pictures] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("total", [1, 2, 10, 100, 256, 257, 1000, 10_000])
def test_a_run_of_any_length_fits_tensorboards_ten(total):
    due = [n for n in range(total) if pictures_due(n, total)]
    assert due[0] == 0
    assert len({*due, total - 1}) <= 10
    assert len({*due, total - 1}) >= min(total, 6)


def test_schedule_every_draws_all_validations():
    trainer = run(PredictionMonitor(1, schedule="every"), max_epochs=4, limit_train_batches=1)
    (pictures,) = images(trainer.logger).values()
    assert [p.step for p in pictures] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("select", "expected"),
    [("first", [0, 1, 2]), ([7, 2, 19], [7, 2, 19]), ("spread", [3, 10, 16])],
)
def test_samples_are_selected_by_their_index(select, expected):
    monitor = PredictionMonitor(3, select)
    trainer = run(monitor)
    assert sorted(images(trainer.logger)) == [
        f"val_pred/{place:02d}_idx{index:05d}" for place, index in enumerate(expected)
    ]


def test_the_picture_shows_the_sample_it_names():
    data = shapes(num_val=20)
    monitor = PredictionMonitor(1, [13])
    run(monitor, data)
    image = data.val_set[13]["image"].permute(1, 2, 0).numpy()
    panel = monitor.pictures[0][20 : 20 + 256, :256]
    enlarged = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR))
    assert np.abs(panel.astype(int) - enlarged).mean() < 3


def test_all_samples_are_shown_if_there_are_fewer_than_requested():
    assert len(images(run(PredictionMonitor(50), shapes(num_val=5)).logger)) == 5


def test_only_reachable_samples_are_chosen():
    trainer = run(PredictionMonitor(2), limit_val_batches=2)  # 8 of 20
    assert sorted(images(trainer.logger)) == ["val_pred/00_idx00002", "val_pred/01_idx00006"]


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_other_kinds_of_masks_are_drawn(kind):
    assert len(images(run(PredictionMonitor(2), shapes(kind)).logger)) == 2


def test_a_resumed_run_keeps_samples_and_schedule(tmp_path):
    logger = TensorBoardLogger(tmp_path, version=0, default_hp_metric=False)
    data = shapes(num_val=20)
    first = run(PredictionMonitor(2), data, logger=logger, max_epochs=3, limit_train_batches=1)
    first.save_checkpoint(tmp_path / "stop.ckpt")
    trainer = quiet_trainer(
        logger=logger, callbacks=[PredictionMonitor(5)], max_epochs=6, limit_train_batches=1
    )
    trainer.fit(matching(data), data, ckpt_path=tmp_path / "stop.ckpt")
    found = images(logger)
    assert sorted(found) == ["val_pred/00_idx00005", "val_pred/01_idx00015"]
    assert [p.step for p in found["val_pred/00_idx00005"]] == [0, 1, 2, 4, 5]


def test_test_pictures_have_their_own_tags():
    data = shapes()
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[PredictionMonitor(2)])
    trainer.test(matching(data), data, verbose=False)
    assert sorted(images(logger)) == ["test_pred/00_idx00001", "test_pred/01_idx00004"]


def test_pictures_are_written_to_files_too(tmp_path):
    run(PredictionMonitor(2), logger=CSVLogger(tmp_path))
    assert len(list(tmp_path.rglob("images/val_pred/*/step_00000003.jpg"))) == 2


def test_the_sheet_shows_all_samples(tmp_path):
    monitor = PredictionMonitor(3)
    with pytest.raises(RuntimeError, match="no picture has been drawn yet"):
        monitor.save_sheet(tmp_path / "sheet.png")
    run(monitor)
    with Image.open(monitor.save_sheet(tmp_path / "new" / "sheet.png")) as sheet:
        assert sheet.height >= sum(len(picture) for picture in monitor.pictures)


def test_without_a_logger_only_the_sheet_is_available(tmp_path):
    data = shapes()
    monitor = PredictionMonitor(2)
    quiet_trainer(callbacks=[monitor]).fit(matching(data), data)
    assert list(tmp_path.iterdir()) == []
    with Image.open(monitor.save_sheet("sheet.png")) as sheet:
        assert sheet.height >= sum(len(picture) for picture in monitor.pictures) > 500


def note_captions(monkeypatch):
    """Records the captions of all drawn pictures."""
    captions = []
    draw = Multiclass.draw

    def noted(self, sample, options, caption):
        captions.append(caption)
        return draw(self, sample, options, caption)

    monkeypatch.setattr(Multiclass, "draw", noted)
    return captions


@pytest.mark.parametrize("logger", [True, False])
def test_only_pictures_that_are_shown_are_drawn(monkeypatch, logger):
    drawn = note_captions(monkeypatch)
    data = shapes()
    logger = TensorBoardLogger(".", default_hp_metric=False) if logger else False
    trainer = quiet_trainer(
        logger=logger, callbacks=[PredictionMonitor(1, worst_k=0)], max_epochs=6
    )
    trainer.fit(matching(data), data)
    assert drawn[0] == ""  # the rehearsal
    assert len(drawn) == 1 + (5 if logger else 1)


def test_the_sheet_is_the_same_with_and_without_a_logger(tmp_path):
    sheets = []
    for logger in (TensorBoardLogger(".", default_hp_metric=False), False):
        torch.manual_seed(0)
        data, monitor = shapes(), PredictionMonitor(2)
        quiet_trainer(logger=logger, callbacks=[monitor]).fit(matching(data), data)
        sheets.append(monitor.save_sheet("sheet.png").read_bytes())
    assert sheets[0] == sheets[1]


def test_a_rehearsal_draws_one_picture_and_writes_nothing(tmp_path):
    data = shapes()
    monitor = PredictionMonitor(2)
    quiet_trainer(fast_dev_run=True, callbacks=[monitor]).fit(matching(data), data)
    assert len(monitor.pictures) == 1
    assert list(tmp_path.iterdir()) == []
    monitor = PredictionMonitor(select=[5])  # not in the one batch
    quiet_trainer(fast_dev_run=True, callbacks=[monitor]).fit(matching(data), data)
    assert len(monitor.pictures) == 1
    monitor = PredictionMonitor(class_names=["a"])
    with pytest.raises(ValueError, match="class_names has 1 entries"):
        quiet_trainer(fast_dev_run=True, callbacks=[monitor]).fit(matching(data), data)


class Foreign(LightningModule):
    def __init__(self, returned):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 1)
        self.returned = returned

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch, batch_idx):
        return self.returned(self, batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def pairs(shuffle=False):
    samples = [(torch.rand(3, 16, 16), torch.randint(0, 2, (16, 16))) for _ in range(6)]
    return DataLoader(samples, batch_size=2, shuffle=shuffle)


def fit_foreign(module, monitor, loader=None):
    logger = TensorBoardLogger(".", default_hp_metric=False)
    loader = loader or pairs()
    quiet_trainer(logger=logger, callbacks=[monitor]).fit(module, pairs(), loader)
    return images(logger)


def adapter(outputs, batch):
    return {
        "kind": "multiclass",
        "images": batch[0],
        "preds": outputs.argmax(1),
        "targets": batch[1],
    }


def test_an_adapter_makes_pictures_of_any_module():
    module = Foreign(lambda self, batch: self.layer(batch[0]))
    found = fit_foreign(module, PredictionMonitor(2, adapter=adapter))
    assert sorted(found) == ["val_pred/00_idx00001", "val_pred/01_idx00004"]


def test_a_module_that_returns_the_outputs_needs_no_adapter():
    module = Foreign(lambda self, batch: adapter(self.layer(batch[0]), batch))
    assert len(fit_foreign(module, PredictionMonitor(2))) == 2


def drawn_with(names, **options):
    torch.manual_seed(0)
    module = Foreign(lambda self, batch: adapter(self.layer(batch[0]), batch))
    module.class_names = names
    return {
        tag: [picture.encoded_image_string for picture in pictures]
        for tag, pictures in fit_foreign(module, PredictionMonitor(1, **options)).items()
    }


@pytest.mark.parametrize(
    "given", [{"cell": 1, "nothing": 0}, np.array(["nothing", "cell"]), lambda: ["nothing", "cell"]]
)
def test_class_names_of_a_module_may_be_of_any_type(given):
    assert drawn_with(given) == drawn_with(None, class_names=["nothing", "cell"])


def test_unreadable_class_names_of_a_module_are_ignored_with_one_warning():
    with pytest.warns(UserWarning, match="class_names left out") as warned:
        found = drawn_with({"cell": 0, "other": 7})
    assert sum("class_names" in str(one.message) for one in warned) == 1
    assert found == drawn_with(None)


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (lambda self, batch: None, "None"),
        (lambda self, batch: {"a": 1, 0: 2}, r"\['0', 'a'\]"),
        (lambda self, batch: {"a": 1}, r"\['a'\]"),
        (lambda self, batch: self.layer(batch[0]).mean(), "Tensor"),
    ],
)
def test_a_module_without_outputs_gets_one_line_of_advice(returned, got):
    with pytest.warns(UserWarning, match=rf"validation_step returns {got}; pass adapter=") as told:
        assert fit_foreign(Foreign(returned), PredictionMonitor()) == {}
    assert sum("PredictionMonitor" in str(one.message) for one in told) == 1


def test_an_incomplete_output_is_an_error_before_training():
    module = Foreign(lambda self, batch: {"kind": "multiclass", "images": batch[0]})
    before = module.layer.weight.detach().clone()
    with pytest.raises(TypeError, match=r"must be a dict with kind, images, preds, targets .* add"):
        fit_foreign(module, PredictionMonitor())
    assert torch.equal(module.layer.weight, before)


@pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling")
def test_a_shuffling_loader_causes_a_warning():
    module = Foreign(lambda self, batch: adapter(self.layer(batch[0]), batch))
    with pytest.warns(UserWarning, match="loader shuffles, and its batches have no 'index'"):
        fit_foreign(module, PredictionMonitor(2), pairs(shuffle=True))


@pytest.mark.parametrize("layout", ["samples", "sheet"])
def test_every_tag_of_the_table_is_written_and_no_other(layout):
    data = shapes()
    task = matching(data)
    trainer = run(PredictionMonitor(2, layout=layout), data, task)
    trainer.test(task, data, verbose=False)
    tags = set(read_events(trainer.logger.log_dir).Tags()["images"])
    patterns = [
        p for p in documented(PredictionMonitor) if p.endswith("sheet") == (layout == "sheet")
    ]
    assert [tag for tag in tags if not any(re.fullmatch(p, tag) for p in patterns)] == []
    assert [p for p in patterns if not any(re.fullmatch(p, tag) for tag in tags)] == []


class Pictured(Foreign):
    """Returns samples with known losses, from a dataset of ``(image, index)``."""

    def __init__(self, losses):
        super().__init__(None)
        self.losses = torch.tensor(losses)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch, batch_idx):
        images, indices = batch
        masks = torch.zeros(len(images), 16, 16, dtype=torch.long)
        return {
            "kind": "multiclass",
            "images": images,
            "preds": masks,
            "targets": masks,
            "losses": self.losses[indices],
            "indices": indices,
        }


def test_the_worst_samples_of_the_whole_set_are_drawn_in_descending_order(monkeypatch):
    captions = note_captions(monkeypatch)
    losses = [0.5, 0.1, float("nan"), 0.0, 0.7, 0.5, 0.2]
    loader = DataLoader([(torch.rand(3, 16, 16), n) for n in range(7)], batch_size=2)
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[PredictionMonitor(1, worst_k=4)])
    trainer.fit(Pictured(losses), loader, loader)
    assert captions == [
        "",  # in the sanity check, to test whether it can be drawn
        "sample 3",
        "worst 1: sample 2",
        "worst 2: sample 4",
        "worst 3: sample 0",
        "worst 4: sample 5",
    ]
    assert sorted(images(logger, "worst")) == [f"val_worst/0{n}" for n in range(4)]


def test_no_worst_samples_are_drawn_if_worst_k_is_zero():
    trainer = run(PredictionMonitor(2, worst_k=0))
    assert images(trainer.logger, "worst") == {}


def boxed(self, batch):
    box = torch.tensor([[2.0, 2.0, 12.0, 12.0]])
    truth = {"boxes": box, "labels": torch.tensor([1])}
    guess = {**truth, "scores": torch.tensor([0.9])}
    count = len(batch[0])
    return {
        "kind": "detection",
        "images": list(batch[0]),
        "preds": [guess] * count,
        "targets": [truth] * (count - 1) + [{**truth, "labels": torch.tensor([2])}],
    }


def sorted_into(self, batch):
    logits = self.layer(batch[0]).mean((2, 3))
    return {
        "kind": "classification",
        "images": batch[0],
        "logits": logits,
        "preds": logits.argmax(1),
        "targets": torch.arange(len(logits)) % 2,
    }


@pytest.mark.parametrize("returned", [boxed, sorted_into])
def test_detection_and_classification_outputs_are_drawn(returned):
    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitor = PredictionMonitor(2, class_names=["nothing", "cell", "other"])
    trainer = quiet_trainer(logger=logger, callbacks=[monitor])
    trainer.fit(Foreign(lambda module, batch: returned(module, batch)), pairs(), pairs())
    assert sorted(images(logger)) == ["val_pred/00_idx00001", "val_pred/01_idx00004"]
    worst = images(logger, "worst")
    # Boxes: the last image of each of three batches has a miss and a false positive.
    assert len(worst) == (3 if returned is boxed else 4)


def test_relative_box_coordinates_are_an_error_before_training():
    def returned(module, batch):
        output = boxed(module, batch)
        for target in output["targets"]:
            target["boxes"] = target["boxes"] / 16
        return output

    module = Foreign(returned)
    before = module.layer.weight.detach().clone()
    with pytest.raises(ValueError, match="targets: boxes must be xyxy in pixels, got values <= 1"):
        fit_foreign(module, PredictionMonitor(2))
    assert torch.equal(before, module.layer.weight)


def normalised(self, batch):
    return {**adapter(self.layer(batch[0]), batch), "images": (batch[0] - 0.5) / 0.25}


def test_normalised_images_cause_one_warning_and_can_be_restored():
    with pytest.warns(UserWarning, match=r"image values are -2.0..2.0, not 0..1, .*; pass mean="):
        fit_foreign(Foreign(normalised), PredictionMonitor(2))
    monitor = PredictionMonitor(1, [0], mean=[0.5] * 3, std=[0.25] * 3)
    loader = pairs()
    fit_foreign(Foreign(normalised), monitor, loader)
    expected = (loader.dataset[0][0].permute(1, 2, 0) * 255).round().numpy()
    shown = monitor.pictures[0][20 + 8 : 20 + 256 : 16, 8:256:16]  # the centres of its pixels
    assert np.abs(shown - expected).mean() < 12


@pytest.mark.parametrize("kwargs", [{"mean": [0.5]}, {"mean": [0.5], "std": [0.1, 0.2]}])
def test_a_mean_without_a_standard_deviation_is_refused(kwargs):
    with pytest.raises(ValueError, match="`mean` and `std` must be given together"):
        PredictionMonitor(**kwargs)


@pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling")
def test_a_shuffling_loader_with_indices_causes_no_warning():
    data = shapes()
    data.setup("fit")
    monitor = PredictionMonitor(2)
    trainer = quiet_trainer(callbacks=[monitor], max_epochs=2)
    loader = DataLoader(data.val_set, batch_size=2, shuffle=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*cannot show the same samples")
        trainer.fit(matching(data), data.train_dataloader(), loader)
    image = data.val_set[1]["image"].permute(1, 2, 0).numpy()
    panel = monitor.pictures[0][20 : 20 + 256, :256]
    enlarged = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR))
    assert np.abs(panel.astype(int) - enlarged).mean() < 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_samples": 0}, ValueError, "`1 <= num_samples` must hold"),
        ({"num_samples": 2.5}, TypeError, "`num_samples` must be a whole number"),
        (
            {"select": "worst"},
            ValueError,
            r"`select` must be one of \['spread', .*, 'per_class'\]",
        ),
        (
            {"select": 3},
            TypeError,
            "`select` must be one of .* or a list of .*, got 3",
        ),
        ({"select": [1.5]}, TypeError, "`select` must be a whole number, got 1.5"),
        ({"select": [-1]}, ValueError, "`0 <= select` must hold"),
        ({"class_colors": [(0, 0)]}, ValueError, r"needs \(red, green, blue\), got \(0, 0\)"),
        ({"class_colors": [(0, 0, 300)]}, ValueError, "`0 <= class_colors <= 255` must hold"),
        ({"worst_k": -1}, ValueError, "`0 <= worst_k` must hold"),
        ({"min_score": 2}, ValueError, "`0 <= min_score <= 1` must hold"),
        ({"layout": "grid"}, ValueError, r"`layout` must be one of \['samples', 'sheet'\]"),
        ({"schedule": "always"}, ValueError, r"`schedule` must be one of \['log', 'every'\]"),
        ({"class_names": "abc"}, TypeError, "`class_names` must be a list of names, got 'abc'"),
        ({"background": -2}, ValueError, "`-1 <= background` must hold.*-1 paints every class"),
        ({"background": "sky"}, TypeError, "`background` must be a whole number, got 'sky'"),
        ({"rgb": (0,)}, ValueError, r"`rgb` needs 3 channels, got \(0,\)"),
        ({"rgb": (0, 1, -1)}, ValueError, "`0 <= rgb` must hold"),
    ],
)
def test_invalid_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        PredictionMonitor(**options)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["a"]}, r"class_names has 1 entries, but there are \d classes"),
        ({"rgb": (0, 1, 7)}, "`rgb` has channel 7, but images have 3"),
        ({"background": 77}, "`-1 <= background <= [123]` must hold, got background=77"),
        ({"class_colors": [(0, 0, 0)]}, "class_colors has 1 entries, but there are . classes"),
    ],
)
def test_arguments_that_do_not_match_the_data_are_an_error_before_training(kind, options, message):
    data = shapes(kind)
    trainer = quiet_trainer(callbacks=[PredictionMonitor(**options)])
    with pytest.raises(ValueError, match=message):
        trainer.fit(matching(data), data)
    assert trainer.global_step == 0


@pytest.mark.parametrize(
    ("index", "options"), [(50, {}), (9, {"limit_val_batches": 2}), (9, {"limit_val_batches": 0.4})]
)
def test_an_index_outside_the_set_is_an_error_before_training(index, options):
    data = shapes(num_val=20)
    trainer = quiet_trainer(callbacks=[PredictionMonitor(select=[2, index])], **options)
    with pytest.raises(ValueError, match=rf"outside the validation set: \[{index}\], .* samples"):
        trainer.fit(matching(data), data)
    assert trainer.global_step == 0


def test_a_test_shows_the_selected_indices_it_has():
    data = shapes(num_val=6)
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[PredictionMonitor(select=[2, 50])])
    trainer.test(matching(data), data, verbose=False)
    assert list(images(logger)) == ["test_pred/00_idx00002"]


# -- loaders


class Numbered(Foreign):
    """Returns the index of each sample."""

    def __init__(self):
        super().__init__(None)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        output = adapter(self.layer(batch[0]), batch)
        return {**output, "indices": batch[2]}


def numbered(count=20, **options):
    samples = [(torch.rand(3, 16, 16), torch.randint(0, 2, (16, 16)), n) for n in range(count)]
    return DataLoader(samples, **(options or {"batch_size": 4}))


def shown(monitor, loader, **options):
    """The dataset indices of the pictures."""
    logger = TensorBoardLogger(".", default_hp_metric=False)
    quiet_trainer(logger=logger, callbacks=[monitor], **options).fit(Numbered(), pairs(), loader)
    return [int(tag[-5:]) for tag in sorted(images(logger))]


def in_batches(count):
    return BatchSampler(SequentialSampler(range(count)), 4, drop_last=False)


def test_samples_of_a_batch_sampler_are_reachable():
    loader = numbered(batch_sampler=in_batches(20))
    assert shown(PredictionMonitor(8), loader, limit_val_batches=2) == list(range(8))


@pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling")
def test_samples_are_chosen_among_those_of_the_sampler():
    sampler = SubsetRandomSampler(range(12, 20))
    for options in (
        {"batch_size": 4, "sampler": sampler},
        {"batch_sampler": BatchSampler(sampler, 4, drop_last=False)},
    ):
        assert shown(PredictionMonitor(2), numbered(**options)) == [14, 18]
        assert shown(PredictionMonitor(select=[13, 19]), numbered(**options)) == [13, 19]
    with pytest.raises(ValueError, match=r"outside the validation set: \[3\], which shows 8"):
        shown(PredictionMonitor(select=[3]), numbered(**options))


@pytest.mark.parametrize("given", [dict, CombinedLoader, list])
def test_the_first_of_several_loaders_is_shown_in_whatever_form_they_are_given(given):
    loaders = {"a": numbered(), "b": numbered(3)}
    if given is CombinedLoader:
        loaders = CombinedLoader(loaders, "sequential")
    elif given is list:
        loaders = list(loaders.values())
    assert shown(PredictionMonitor(2), loaders) == [5, 15]


def test_a_second_run_chooses_from_its_own_set():
    monitor = PredictionMonitor(2)
    assert shown(monitor, numbered(100)) == [25, 75]
    assert shown(monitor, numbered(12)) == [3, 9]


def test_a_validation_of_another_set_chooses_from_it():
    monitor, module = PredictionMonitor(2, worst_k=0), Numbered()
    trainer = quiet_trainer(callbacks=[monitor])
    trainer.fit(module, pairs(), numbered(100))
    monitor.pictures = []
    trainer.validate(module, numbered(12), verbose=False)
    assert len(monitor.pictures) == 2


def test_one_warning_is_issued_if_no_chosen_sample_is_seen():
    loader = numbered(8)
    loader.dataset[:] = [(image, mask, n % 2) for image, mask, n in loader.dataset]
    with pytest.warns(UserWarning, match=r"returned none of the samples \[2, 6\]") as told:
        assert shown(PredictionMonitor(2), loader, max_epochs=3) == []
    assert sum("PredictionMonitor" in str(one.message) for one in told) == 1


def test_a_checkpoint_with_numpy_indices_can_be_loaded(tmp_path):
    data = shapes()
    trainer = quiet_trainer(callbacks=[PredictionMonitor(select=np.array([1, 2]))])
    trainer.fit(matching(data), data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["callbacks"]["PredictionMonitor"]
    assert saved["indices"] == [1, 2]


class Classes(Foreign):
    """Sample ``n`` has the n-th of the given classes."""

    def __init__(self, classes):
        super().__init__(None)
        self.classes = torch.tensor(classes)

    def validation_step(self, batch, batch_idx):
        targets = self.classes[batch[2]]
        kind, preds = "classification", torch.zeros_like(targets)
        return {
            "kind": kind,
            "images": batch[0],
            "preds": preds,
            "targets": targets,
            "indices": batch[2],
        }


def test_classes_are_shown_in_turn_in_a_resumed_run_too(tmp_path):
    classes = [0] * 9 + [1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 1]
    logger = TensorBoardLogger(tmp_path, version=0, default_hp_metric=False)
    options = {"logger": logger, "callbacks": [PredictionMonitor(5, "per_class", worst_k=0)]}
    trainer = quiet_trainer(**options)
    trainer.fit(Classes(classes), pairs(), numbered())
    chosen = [0, 9, 12, 1, 13]
    expected = [f"val_pred/{place:02d}_idx{n:05d}" for place, n in enumerate(chosen)]
    assert sorted(images(logger)) == expected
    trainer.save_checkpoint(tmp_path / "stop.ckpt")
    options["callbacks"] = [PredictionMonitor(5, "per_class", worst_k=0)]
    trainer = quiet_trainer(**options, max_epochs=2)
    trainer.fit(Classes(classes[::-1]), pairs(), numbered(), ckpt_path=tmp_path / "stop.ckpt")
    assert sorted(images(logger)) == expected
    assert [len(pictures) for pictures in images(logger).values()] == [2] * 5


def test_classes_have_the_given_colours():
    colors = [(0, 0, 0), (255, 0, 255), (255, 0, 255), (255, 0, 255)]
    monitor = PredictionMonitor(1, class_colors=colors)
    run(monitor)
    assert (monitor.pictures[0] == (255, 0, 255)).all(-1).any()


# -- failures


class Changing(Foreign):
    """Validates with one function before training and with another from the first epoch on."""

    def __init__(self, before, after):
        super().__init__(None)
        self.before, self.after = before, after

    def validation_step(self, batch, batch_idx):
        return (self.after if self.global_step else self.before)(self, batch)


def test_a_small_box_during_training_is_not_an_error():
    def small(module, batch):
        output = boxed(module, batch)
        guess = {**output["preds"][0], "boxes": torch.tensor([[0.0, 0.0, 0.8, 0.9]])}
        return {**output, "preds": [guess] * len(batch[0])}

    assert len(fit_foreign(Changing(boxed, small), PredictionMonitor(2))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preds": torch.full((2, 16, 16), 9)}, "could not draw sample 1, .* there are 10 classes"),
        ({"losses": "none"}, "could not keep samples, training continues: AttributeError"),
        ({"images": torch.zeros(1)}, "could not keep samples, training continues"),
    ],
)
def test_a_drawing_error_during_training_causes_one_warning(change, message):
    def before(module, batch):
        return adapter(module.layer(batch[0]), batch)

    def after(module, batch):
        return {**before(module, batch), **change}

    monitor = PredictionMonitor(2, class_names=["a", "b"])
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[monitor], max_epochs=3)
    with pytest.warns(UserWarning, match=message) as told:
        trainer.fit(Changing(before, after), pairs(), pairs())
    assert sum("PredictionMonitor" in str(one.message) for one in told) == 1
    assert trainer.current_epoch == 3


def test_a_rating_error_is_raised_before_training(monkeypatch):
    def failing(self, output, options):
        raise RuntimeError("no loss")

    monkeypatch.setattr(Multiclass, "losses", failing)
    data = shapes()
    trainer = quiet_trainer(callbacks=[PredictionMonitor(1)])
    with pytest.raises(RuntimeError, match="no loss"):
        trainer.fit(matching(data), data)
    assert trainer.global_step == 0


def test_a_mask_value_that_is_not_a_class_is_an_error_before_training():
    def returned(module, batch):
        return {**adapter(module.layer(batch[0]), batch), "targets": batch[1] + 254}

    trainer = quiet_trainer(callbacks=[PredictionMonitor(class_names=["a", "b"])])
    with pytest.raises(ValueError, match=r"value 25. is outside 0\.\.1; set ignore_index=25."):
        trainer.fit(Foreign(returned), pairs(), pairs())
    assert trainer.global_step == 0


class StopsIn(Callback):
    def __init__(self, epoch, error):
        self.epoch, self.error = epoch, error

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == self.epoch:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_last_validation_before_a_crash_is_drawn(error):
    data, logger = shapes(), TensorBoardLogger(".", default_hp_metric=False)
    callbacks = [PredictionMonitor(1), StopsIn(4, error)]
    trainer = quiet_trainer(logger=logger, callbacks=callbacks, max_epochs=9, limit_train_batches=1)
    with pytest.raises((error, SystemExit)):
        trainer.fit(matching(data), data)
    (pictures,) = images(logger).values()
    assert [p.step for p in pictures] == [0, 1, 2, 3]


def test_samples_are_released_once_drawn():
    monitor = PredictionMonitor(2)
    run(monitor)
    assert not monitor._pass.gallery.samples
    assert not monitor._pass.gallery.worst
    assert monitor._pending is None


# -- other people's modules


class Counting:
    """An adapter that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, outputs, batch, module):
        self.calls += 1
        return adapter(module.layer(batch[0]), batch)


def test_an_adapter_is_called_once_per_drawn_batch():
    counting = Counting()
    trainer = run(
        PredictionMonitor(1, worst_k=0, adapter=counting),
        module=Foreign(lambda self, batch: None),
        loaders=(pairs(), pairs()),
        max_epochs=12,
    )
    (pictures,) = images(trainer.logger).values()
    assert len(pictures) == 6  # 0, 1, 2, 4, 8 and the last
    assert counting.calls == 1 + 6  # the first in the sanity check


def test_an_adapter_is_called_for_all_batches_if_the_worst_are_drawn():
    counting = Counting()
    monitor = PredictionMonitor(1, worst_k=1, adapter=counting)
    loaders = (pairs(), pairs())
    run(monitor, module=Foreign(lambda self, batch: None), loaders=loaders, max_epochs=6)
    assert counting.calls == 1 + 3 * len([0, 1, 2, 4, 5])


def test_an_adapter_is_called_for_all_batches_of_unknown_size_of_drawn_validations_only():
    def opaque(samples):
        return dict(enumerate(default_collate(samples)))

    counting = Counting()
    loaders = [DataLoader(pairs().dataset, batch_size=2, collate_fn=opaque) for _ in range(2)]
    monitor = PredictionMonitor(1, worst_k=0, adapter=counting)
    run(monitor, module=Foreign(lambda self, batch: None), loaders=loaders, max_epochs=6)
    assert counting.calls == 1 + 3 * len([0, 1, 2, 4, 5])


def test_an_adapter_is_not_called_twice_for_the_first_batch():
    counting = Counting()
    monitor = PredictionMonitor(6, worst_k=1, adapter=counting)
    trainer = quiet_trainer(logger=False, callbacks=[monitor])
    trainer.validate(Foreign(lambda self, batch: None), pairs(), verbose=False)
    assert counting.calls == 3
    assert len(monitor.pictures) == 6


def test_a_run_that_stops_early_draws_its_last_validation_with_an_adapter_too():
    counting = Counting()
    loaders, logger = (pairs(), pairs()), TensorBoardLogger(".", default_hp_metric=False)
    module = Foreign(lambda self, batch: self.log("loss", 1.0 + self.current_epoch))
    monitor = PredictionMonitor(1, worst_k=0, adapter=counting)
    stop = EarlyStopping("loss", patience=3)
    trainer = quiet_trainer(logger=logger, callbacks=[monitor, stop], max_epochs=50)
    trainer.fit(module, *loaders)
    (pictures,) = images(logger).values()
    assert [p.step for p in pictures] == [2, 5, 8, 11]


class Lake(LightningModule):
    """Like torchgeo's tasks: batches are dicts, and validation_step returns nothing."""

    def __init__(self, model, loss, key):
        super().__init__()
        self.save_hyperparameters({"ignore_index": 9})
        self.model, self.loss, self.key = model, loss, key

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        return sum(p.square().mean() for p in self.parameters())

    def validation_step(self, batch, batch_idx):
        loss = self.loss(self(batch["image"]), batch[self.key])
        self.log("val_loss", loss, batch_size=len(batch["image"]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Pool(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, classes, 1)

    def forward(self, x):
        return self.layer(x).mean((2, 3))


class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        corners = torch.tensor([[2.0, 2, 12, 12]])
        found = {"boxes": corners, "labels": torch.tensor([1]), "scores": torch.tensor([0.8])}
        return [found] * len(x)


def lakes(**entries):
    data = [
        {"image": torch.rand(3, 16, 16), **{key: value(n) for key, value in entries.items()}}
        for n in range(6)
    ]

    def collate(samples):
        together = {key: [sample[key] for sample in samples] for key in samples[0]}
        boxed = "bbox_xyxy" in together
        return {
            key: value if boxed and key != "image" else torch.stack(value)
            for key, value in together.items()
        }

    return DataLoader(data, batch_size=2, collate_fn=collate)


def segmenter():
    loss = torch.nn.CrossEntropyLoss(ignore_index=9)
    loader = lakes(mask=lambda n: torch.randint(0, 2, (16, 16)).fill_diagonal_(9))
    return Lake(torch.nn.Conv2d(3, 2, 1), loss, "mask"), loader


def classifier():
    return Lake(Pool(4), torch.nn.CrossEntropyLoss(), "label"), lakes(
        label=lambda n: torch.tensor(n % 4)
    )


def regressor():
    model = Lake(Pool(1), lambda x, y: (x[:, 0] - y).square().mean(), "label")
    return model, lakes(label=lambda n: torch.tensor(float(n)))


def detector():
    return Lake(Detector(), lambda x, y: torch.tensor(1.0), "label"), lakes(
        bbox_xyxy=lambda n: torch.tensor([[2.0, 2, 12, 12]] * (n % 2 + 1)),
        label=lambda n: torch.tensor([1] * (n % 2 + 1)),
    )


WORDS = [
    ("segmentation", segmenter),
    ("classification", classifier),
    ("regression", regressor),
    ("detection", detector),
]


@pytest.mark.parametrize(("word", "made"), WORDS)
def test_a_built_in_adapter_makes_pictures_of_a_module_that_returns_nothing(word, made):
    module, loader = made()
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[PredictionMonitor(2, adapter=word)])
    trainer.fit(module, loader, loader)
    assert sorted(images(logger)) == ["val_pred/00_idx00001", "val_pred/01_idx00004"]
    assert images(logger, "worst")


DDP = """
    import datetime
    import lightning
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.strategies import DDPStrategy
    from lightning_hparams import PredictionMonitor
    from tests.callbacks.test_prediction_monitor import segmenter

    class FailsOnce(lightning.Callback):
        def on_validation_start(self, trainer, module):
            vars(module.model).pop("forward", None)
            if trainer.global_rank == 1 and trainer.current_epoch == 1:
                module.model.forward = fail

    def fail(images):
        raise RuntimeError("only on one process")

    if __name__ == "__main__":
        module, loader = segmenter()
        module.validation_step = lambda batch, batch_idx: None
        trainer = lightning.Trainer(
            accelerator="cpu", devices=2, max_epochs=3, log_every_n_steps=1,
            strategy=DDPStrategy(timeout=datetime.timedelta(seconds=60)),
            logger=TensorBoardLogger(".", name="", version="", default_hp_metric=False),
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
            callbacks=[PredictionMonitor(2, adapter="segmentation"), FailsOnce()],
        )
        trainer.fit(module, loader, loader)
"""


@pytest.mark.slow
def test_a_built_in_adapter_shows_samples_of_two_processes_and_survives_an_error_in_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(DDP))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "only on one process" in done.stderr
    events = read_events(tmp_path)
    steps = {
        tag: [picture.step for picture in events.Images(tag)] for tag in events.Tags()["images"]
    }
    ends = [1, 3, 5]  # a process has 3 samples in 2 batches an epoch
    assert steps["val_pred/00_idx00001"] == [ends[0], ends[2]]  # of the process that fails once
    assert steps["val_pred/01_idx00004"] == ends
    assert {f"val_worst/{n:02d}" for n in range(4)} <= set(steps)


@pytest.mark.parametrize(("word", "made"), WORDS)
def test_a_built_in_adapter_does_not_change_training(word, made):
    weights = []
    for callbacks in ([], [PredictionMonitor(2, adapter=word)]):
        torch.manual_seed(0)
        module, loader = made()
        logger = TensorBoardLogger(".", default_hp_metric=False)
        quiet_trainer(logger=logger, callbacks=callbacks, max_epochs=2).fit(module, loader, loader)
        weights.append([*module.state_dict().values(), torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize(("word", "made"), WORDS)
def test_the_four_monitors_watch_a_foreign_module_with_one_line_of_advice(word, made):
    module, loader = made()
    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitors = [MetricMonitor(), PredictionMonitor(), SpeedMonitor(), RunRecorder()]
    with pytest.warns(UserWarning, match="pass adapter=, one of .*'segmentation'") as told:
        quiet_trainer(logger=logger, callbacks=monitors, max_epochs=3).fit(module, loader, loader)
    assert sum("PredictionMonitor" in str(one.message) for one in told) == 1
    assert "best/val_loss" in read_events(logger.log_dir).Tags()["scalars"]


def test_an_adapter_can_be_named_in_a_configuration_file(tmp_path):
    parser = ArgumentParser()
    parser.add_subclass_arguments(PredictionMonitor, "monitor")
    for adapter in ("segmentation", f"{__name__}.adapter"):
        config = {"monitor": {"class_path": "lightning_hparams.PredictionMonitor"}}
        config["monitor"]["init_args"] = {"adapter": adapter, "value_range": [0, 255]}
        parsed = parser.parse_object(config)
        again = parser.parse_string(parser.dump(parsed))
        assert parser.instantiate(again)["monitor"].adapter == adapter


@pytest.mark.parametrize("value_range", [(0,), (5, 5), (255, 0)])
def test_an_empty_value_range_is_refused(value_range):
    with pytest.raises(ValueError, match="`value_range` must be the lowest and highest value"):
        PredictionMonitor(value_range=value_range)


def test_a_resumed_run_keeps_the_value_range(tmp_path):
    def returned(module, batch):
        scale = 255 if module.trainer.current_epoch == 0 else 9  # darker later on
        return {**adapter(module.layer(batch[0]), batch), "images": batch[0] * scale}

    monitor = PredictionMonitor(1, worst_k=0)
    trainer = quiet_trainer(callbacks=[monitor], max_epochs=2)
    with pytest.warns(UserWarning, match="0 as black and 255 as white"):
        trainer.fit(Foreign(returned), pairs(), pairs())
    assert monitor.pictures[0][20:276, :256].max() <= 9
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    monitor = PredictionMonitor(1, worst_k=0)
    trainer = quiet_trainer(callbacks=[monitor], max_epochs=3)
    trainer.fit(Foreign(returned), pairs(), pairs(), ckpt_path=tmp_path / "a.ckpt")
    assert monitor.pictures[0][20:276, :256].max() <= 9


def test_an_empty_first_batch_is_skipped():
    def returned(module, batch):
        output = adapter(module.layer(batch[0]), batch)
        self_count = 0 if module.seen == 0 else len(batch[0])
        module.seen += 1
        return {key: v if key == "kind" else v[:self_count] for key, v in output.items()}

    module = Foreign(returned)
    module.seen = 0
    assert len(fit_foreign(module, PredictionMonitor(2))) == 2


@pytest.mark.parametrize("indices", [["a", "b"], [10_000, 10_001], [0]])
def test_invalid_indices_are_an_error_before_training(indices):
    def returned(module, batch):
        return {**adapter(module.layer(batch[0]), batch), "indices": indices}

    trainer = quiet_trainer(callbacks=[PredictionMonitor(1)])
    with pytest.raises((TypeError, ValueError), match="validation_step: indices must be"):
        trainer.fit(Foreign(returned), pairs(), pairs())
    assert trainer.global_step == 0
