"""Lightning's averaged weights are what is validated, saved and loaded; a run resumes exactly."""

import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from lightning_hparams import ExactResume, OneCycle, RegressionTask, SegmentationTask
from lightning_hparams.tasks._averaging import keep_counters
from lightning_hparams.tasks.base import VisionTask
from tests.runs import matching, quiet_trainer, shapes

if not hasattr(callbacks, "EMAWeightAveraging"):
    pytest.skip("Lightning has it from 2.6 on", allow_module_level=True)

OPTIONS = {"lr": 3e-3, "freeze": "encoder", "unfreeze_at": 1}


def fitted(task, folder, epochs=3, checkpoint=None):
    saving = ModelCheckpoint(folder, "{epoch}", monitor="loss/val", save_top_k=-1)
    averaging = callbacks.EMAWeightAveraging(decay=0.9)
    trainer = quiet_trainer(
        max_epochs=epochs,
        callbacks=[ExactResume(), averaging, OneCycle(), saving],
        enable_checkpointing=True,
    )
    torch.manual_seed(0)
    trainer.fit(task, shapes(), ckpt_path=checkpoint)
    return trainer, saving


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    task, folder = matching(shapes(), **OPTIONS), tmp_path_factory.mktemp("run")
    return task, folder, *fitted(task, folder)


def test_the_saved_and_best_weights_are_the_average_that_was_validated(run):
    _, _, _, saving = run
    loaded = SegmentationTask.load_from_checkpoint(saving.best_model_path)
    found = quiet_trainer().validate(loaded, shapes(), verbose=False)[0]["loss/val"]
    assert found == pytest.approx(float(saving.best_model_score), rel=1e-6)
    current = torch.load(saving.best_model_path, weights_only=True)["current_model_state"]
    loaded.load_state_dict(current)
    other = quiet_trainer().validate(loaded, shapes(), verbose=False)[0]["loss/val"]
    assert other != pytest.approx(found, rel=1e-3)


def test_statistics_of_batch_normalisation_are_averaged_too(run):
    _, folder, _, _ = run
    saved = torch.load(folder / "epoch=2.ckpt", weights_only=True)
    for name, value in saved["state_dict"].items():
        current = saved["current_model_state"][name]
        if name.endswith("running_mean"):
            assert not torch.equal(value, current)
        elif name in ("mean", "std"):
            assert torch.equal(value, current)


class Indexed(nn.Module):
    """As Swin, with a table of indices; as others, with a count of batches."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)
        self.norm = nn.BatchNorm2d(2, momentum=None)
        self.register_buffer("index", torch.arange(500), persistent=False)

    def forward(self, images):
        self.seen = self.index.clone()
        return self.norm(self.layer(images))


class Task(VisionTask):
    def training_step(self, batch, batch_idx):
        return self.model(self.normalise(batch)).square().mean()

    def validation_step(self, batch, batch_idx):
        self.model(self.normalise(batch))
        assert torch.equal(self.model.seen, torch.arange(500))


@pytest.mark.parametrize("decay", [0.9, 0.9999])
def test_whole_numbers_are_not_averaged(tmp_path, decay):
    task = Task(Indexed(), mean=[0.229] * 3, std=[0.224, 0.225, 0.226])
    loader = DataLoader(list(torch.rand(8, 3, 4, 4)), batch_size=4)
    saving = ModelCheckpoint(tmp_path, "last", every_n_train_steps=3)
    averaging = callbacks.EMAWeightAveraging(decay=decay)
    quiet_trainer(max_epochs=2, callbacks=[averaging, saving], enable_checkpointing=True).fit(
        task, loader, loader
    )
    assert torch.equal(task.model.index, torch.arange(500))
    assert task.model.norm.num_batches_tracked == 4
    assert task.std.flatten().tolist() == torch.tensor([0.224, 0.225, 0.226]).tolist()
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert saved["model.norm.num_batches_tracked"] == 3


def test_a_fit_ends_with_the_average(run):
    task, folder, _, _ = run
    saved = torch.load(folder / "epoch=2.ckpt", weights_only=True)["state_dict"]
    ours = task.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in saved.items())


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_resumed_run_has_the_same_average_and_weights(run, tmp_path, epoch):
    _, folder, _, _ = run
    resumed = matching(shapes(), **OPTIONS)
    fitted(resumed, tmp_path, checkpoint=folder / f"epoch={epoch}.ckpt")
    ours, theirs = (
        torch.load(place / "epoch=2.ckpt", weights_only=True) for place in (tmp_path, folder)
    )
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in theirs[part])


def test_the_scale_of_a_regression_is_copied_before_the_first_average():
    """The average is made before the scale is known, and may begin late."""
    task, averaging = RegressionTask("test_resnet"), callbacks.EMAWeightAveraging()
    averaging._average_model = AveragedModel(task, use_buffers=True)
    task.scaling.fit(torch.tensor([[900.0], [1100.0]]))
    keep_counters(quiet_trainer(callbacks=[averaging]), task)
    for name, value in task.scaling.named_buffers():
        assert torch.equal(averaging._average_model.module.scaling.get_buffer(name), value), name
