"""A part of a model that is frozen, for a while, in runs that are resumed."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_hparams import ExactResume
from lightning_hparams.tasks.base import VisionTask
from tests.runs import quiet_trainer


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        norms = nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4, affine=False))
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 1), *norms)
        self.decoder = nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))

    def forward(self, images):
        return self.decoder(self.encoder(images))


class Task(VisionTask):
    def __init__(self, **options):
        super().__init__(Net(), mean=[0.5] * 3, std=[0.5] * 3, lr=0.01, **options)
        self.was_training = []

    def training_step(self, batch, batch_idx):
        norms = [m for m in self.model.modules() if isinstance(m, nn.BatchNorm2d)]
        self.was_training.append([norm.training for norm in norms])
        return self.model(self.normalise(batch)).square().mean()

    def validation_step(self, batch, batch_idx):
        self.model(self.normalise(batch))


def seeded(**options):
    torch.manual_seed(0)
    return Task(**options)


def loader():
    generator = torch.Generator().manual_seed(1)
    return DataLoader(list(torch.rand(8, 3, 4, 4, generator=generator)), batch_size=4)


def fitted(task, *callbacks, epochs=3, checkpoint=None, **options):
    trainer = quiet_trainer(max_epochs=epochs, callbacks=list(callbacks), **options)
    trainer.fit(task, loader(), loader(), ckpt_path=checkpoint)
    return trainer


def states(task):
    return {name: value.clone() for name, value in task.state_dict().items()}


def changed(before, after, part):
    names = [name for name in before if name.startswith(f"model.{part}")]
    return [name for name in names if not torch.equal(before[name], after[name])]


def test_a_frozen_part_keeps_its_weights_and_statistics():
    task = seeded(freeze="encoder")
    before = states(task)
    fitted(task)
    assert not changed(before, states(task), "encoder")
    assert len(changed(before, states(task), "decoder")) == len(states(task.model.decoder))


def test_its_batch_normalisations_are_in_evaluation_mode_until_it_is_trained():
    task = seeded(freeze="encoder", unfreeze_at=2)
    fitted(task)
    assert task.was_training == [[False, False, True]] * 4 + [[True] * 3] * 2


def test_a_part_is_trained_from_the_epoch_that_unfreezes_it():
    task = seeded(freeze="encoder", unfreeze_at=1)
    before = states(task)
    fitted(task, epochs=1)
    assert not changed(before, states(task), "encoder")
    task = seeded(freeze="encoder", unfreeze_at=1)
    fitted(task, epochs=2)
    assert len(changed(before, states(task), "encoder")) == len(states(task.model.encoder))


def test_frozen_parameters_are_in_the_optimizer():
    task = seeded(freeze="encoder")
    task.setup("fit")
    groups = task.configure_optimizers().param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(task.parameters()))


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("step", [2, 3, 4, 5, 6])
def test_a_resumed_run_equals_the_unbroken_one_before_and_after_unfreezing(tmp_path, step):
    """Within an epoch of two steps and between two, the third of which unfreezes."""
    options = {"freeze": "encoder", "unfreeze_at": 2, "weight_decay": 0.1}
    whole, resumed, start = seeded(**options), Task(**options), tmp_path / f"step={step}.ckpt"
    for task, checkpoint in ((whole, None), (resumed, start)):
        saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=step, save_top_k=-1)
        run = {"epochs": 4, "checkpoint": checkpoint, "enable_checkpointing": True}
        fitted(task, ExactResume(), saving, **run)
    assert resumed.was_training == whole.was_training[step:]
    assert not changed(states(whole), states(resumed), "")


@pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist")
@pytest.mark.parametrize("train_bn", [True, False])
def test_lightnings_callback_unfreezes_and_resumes_too(tmp_path, train_bn):
    def callback():
        return BackboneFinetuning(1, backbone_initial_lr=1e-3, train_bn=train_bn)

    whole = seeded()
    before = states(whole)
    trainer = fitted(whole, callback())
    assert any(name.endswith("0.weight") for name in changed(before, states(whole), "encoder.0"))
    groups = trainer.optimizers[0].param_groups
    assert groups[-1]["params"][0] is whole.model.encoder[0].weight
    by_name = {group.get("name"): group["lr"] for group in groups}
    assert by_name["decoder"] == by_name["decoder/no_decay"] == 0.01
    fitted(seeded(), callback(), epochs=2).save_checkpoint(tmp_path / "part.ckpt")
    resumed = Task()
    fitted(resumed, callback(), checkpoint=tmp_path / "part.ckpt")
    assert not changed(states(whole), states(resumed), "")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"freeze": "encoders"}, ValueError, "did you mean 'encoder'"),
        ({"unfreeze_at": 2}, ValueError, "`unfreeze_at` needs freeze='encoder', got unfreeze_at=2"),
        ({"freeze": "encoder", "unfreeze_at": 0}, ValueError, "`1 <= unfreeze_at` must hold"),
        ({"freeze": "encoder", "unfreeze_at": 1.5}, TypeError, "must be a whole number, got 1.5"),
        ({"layer_decay": 0.0}, ValueError, "`0.0 < layer_decay <= 1.0` must hold"),
        ({"grad_checkpointing": True}, ValueError, "needs a model of timm that supports it"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Task(**options)


TWO = """
    import sys, torch
    from tests.runs import quiet_trainer
    from tests.tasks.test_freezing import loader, seeded, states

    if __name__ == "__main__":
        devices = int(sys.argv[1])
        task = seeded(freeze="encoder", unfreeze_at=1, optimizer="SGD")
        task.eval()  # one process sees other batches than two
        trainer = quiet_trainer(
            max_epochs=3, devices=devices, strategy="ddp" if devices > 1 else "auto",
            accumulate_grad_batches=2 // devices, limit_val_batches=0,
        )
        trainer.fit(task, loader())
        torch.save(states(task), f"{trainer.global_rank}_of_{devices}.pt")
"""


@pytest.mark.slow
def test_two_processes_train_an_unfrozen_part_as_one_does(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(TWO))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    for devices in "12":
        command = [sys.executable, "script.py", devices]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=300)
    one, first, second = (torch.load(tmp_path / f"{n}.pt") for n in ("0_of_1", "0_of_2", "1_of_2"))
    assert changed(states(seeded()), one, "encoder")
    for name, value in one.items():
        torch.testing.assert_close(first[name], value)
        assert torch.equal(first[name], second[name])
