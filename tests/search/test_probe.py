"""Before the first trial: is the metric logged in each of them?"""

import pytest
from lightning import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader

from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Int, Space, check_metric
from lightning_hparams.search.first_validation import no_validation
from tests.search import tiny


class Seldom(tiny.Net):
    """Logs in every third epoch."""

    def log(self, name, value, **options):
        if self.current_epoch % 3 == 2:
            super().log(name, value, **options)


def check(tmp_path, trainer, metric="val_loss", module=None, **changes):
    data = tiny.configuration(trainer=trainer)
    if module is not None:
        data["model"]["class_path"] = module
    check_metric(Configuration.load(data), tiny.settings(tmp_path, metric=metric, **changes))


def test_a_metric_that_is_logged_in_some_epochs_is_accepted(tmp_path):
    check(tmp_path, {"max_epochs": 4}, module=f"{__name__}.Seldom")
    with pytest.raises(ValueError, match="must be logged by the module"):
        check(tmp_path, {"max_epochs": 2}, module=f"{__name__}.Seldom")


NONE = [
    ({"limit_val_batches": 0}, "limit_val_batches=0"),
    ({"limit_val_batches": 0.0}, "limit_val_batches=0"),
    ({"max_epochs": 0}, "max_epochs=0 trains nothing"),
    ({"max_epochs": 3, "check_val_every_n_epoch": 4}, "check_val_every_n_epoch=4"),
    ({"max_epochs": None, "max_steps": 5}, "after 6 batches"),
    ({"max_steps": 3, "val_check_interval": 4}, "after 4 batches"),
    ({"max_steps": 7, "check_val_every_n_epoch": 2}, "after 12 batches"),
]
SOME = [
    {},
    {"max_epochs": 4, "check_val_every_n_epoch": 4},
    {"max_epochs": None, "max_steps": 6},
    {"max_steps": 3, "val_check_interval": 0.5},
    {"max_steps": 3, "accumulate_grad_batches": 2},
    {"max_steps": 3, "limit_train_batches": 3},
    {"max_steps": 3, "limit_train_batches": 0.5},
    {"max_steps": 4, "val_check_interval": 4, "check_val_every_n_epoch": None},
    {"max_epochs": -1},
    {"max_epochs": 1, "max_time": "00:00:01:00"},
]


class Count(Callback):
    count = 0

    def on_validation_end(self, trainer, pl_module):
        self.count += 1


@pytest.mark.parametrize("options", [*[options for options, _ in NONE], *SOME])
def test_a_run_is_said_to_end_without_a_validation_if_it_does(options):
    counted = Count()
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing"), False)
    given = {"max_steps": 8, **options} if options.get("max_epochs") == -1 else options
    trainer = Trainer(
        **{"max_epochs": 2, "num_sanity_val_steps": 0, **given}, **quiet,
        enable_model_summary=False, accelerator="cpu", callbacks=[counted],
    )  # fmt: skip
    module = BoringModel()
    loader = DataLoader(module.train_dataloader().dataset, batch_size=11)
    assert len(loader) == 6
    trainer.fit(module, loader, loader)
    said = no_validation({"max_epochs": 2, "check_val_every_n_epoch": 1, **options}, 6)
    assert bool(said) == (counted.count == 0)


@pytest.mark.parametrize(("trainer", "words"), NONE)
def test_a_metric_of_validation_needs_one(tmp_path, trainer, words):
    with pytest.raises(ValueError, match=f"'val_loss' is logged in a validation, and .*{words}"):
        check(tmp_path, trainer)


def test_a_metric_of_training_needs_no_validation(tmp_path):
    check(tmp_path, {"limit_val_batches": 0}, "train_loss", f"{__name__}.Trained")


class Trained(tiny.Net):
    """Logs in training."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss)
        return loss


def test_a_sampled_length_is_not_judged_by_that_of_the_configuration(tmp_path):
    check(tmp_path, {"max_epochs": 0}, space=Space({"trainer.max_epochs": Int(1, 2)}))
