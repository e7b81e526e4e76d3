"""Values are logged at Lightning's steps, and a resumed run has each of them once."""

import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path

import lightning
import pytest
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from packaging.version import Version
from torch.utils.data import DataLoader

from lightning_hparams import MetricMonitor, RunRecorder
from tests.runs import quiet_trainer, read_events

# Of the data, which are the same in every epoch here.
MID_EPOCH = "ignore:You're resuming from a checkpoint that ended before the epoch ended"


class Tiny(LightningModule):
    """Logs in validation only; everything else is written by the monitors."""

    def __init__(self, manual=False):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.automatic_optimization = not manual

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().sum()
        if not self.automatic_optimization:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
        return {"loss": loss}

    def validation_step(self, batch, batch_idx):
        self.log("loss/val", self.layer(batch).square().sum())

    def configure_optimizers(self):
        made = [torch.optim.SGD([p], 0.01) for p in self.layer.parameters()]
        return torch.optim.SGD(self.parameters(), 0.01) if self.automatic_optimization else made


def loader(length):
    return DataLoader(torch.randn(length, 2, generator=torch.Generator().manual_seed(0)))


def fit(root, manual, ckpt_path=None, epochs=2, **options):
    torch.manual_seed(0)
    options.setdefault("enable_checkpointing", ckpt_path is None)
    loggers = [CSVLogger(root, "csv", 0), TensorBoardLogger(root, "board", 0)]
    trainer = quiet_trainer(
        logger=loggers, max_epochs=epochs, log_every_n_steps=1, num_sanity_val_steps=0,
        **options,
    )  # fmt: skip
    trainer.fit(Tiny(manual), loader(6), loader(2), ckpt_path=ckpt_path)


def written(root):
    """How often each value occurs in the table and in TensorBoard."""
    lines = (root / "csv/version_0/scalars.csv").read_text().splitlines()[1:]
    table = Counter((tag, int(step)) for step, tag, _ in (line.split(",") for line in lines))
    events = read_events(root / "board/version_0")
    board = Counter(
        (tag, point.step) for tag in events.Tags()["scalars"] for point in events.Scalars(tag)
    )
    return table, board


WHEN = {
    "steps": {"every_n_train_steps": 1},
    "validations": {},
    "epochs": {"save_on_train_epoch_end": True},
}


@pytest.mark.filterwarnings(MID_EPOCH)
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:Experiment logs directory")
@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize(
    ("when", "options", "manual"),
    [
        ("steps", {}, False),
        ("steps", {"accumulate_grad_batches": 4}, False),
        ("steps", {}, True),
        ("validations", {"val_check_interval": 2}, False),
        ("epochs", {}, False),
    ],
)
def test_a_run_resumed_at_any_step_has_each_value_exactly_once(tmp_path, when, options, manual):
    kept = tmp_path / "kept"
    saving = ModelCheckpoint(kept, save_top_k=-1, **WHEN[when])
    fit(tmp_path / "whole", manual, callbacks=[MetricMonitor(), RunRecorder(), saving], **options)
    table, board = written(tmp_path / "whole")
    assert set(table.values()) == set(board.values()) == {1}
    rates = {step for tag, step in table if tag.startswith("lr/")}
    assert rates == set(range(max(rates) + 1))
    paths = sorted(kept.glob("*.ckpt"))
    assert len(paths) >= 2
    for path in paths:
        root = tmp_path / path.stem
        shutil.copytree(tmp_path / "whole", root)  # the run continued after the checkpoint
        monitors = [MetricMonitor(), RunRecorder()]
        fit(root, manual, path, callbacks=monitors, **options)
        assert written(root) == (table, board), path


class SavesIn(Callback):
    """Saves a checkpoint whenever a hook is called."""

    def __init__(self, hook, folder):
        self.count = 0

        def save(trainer, *args):
            trainer.save_checkpoint(folder / f"{self.count:02d}.ckpt")
            self.count += 1

        setattr(self, hook, save)


@pytest.mark.filterwarnings(MID_EPOCH)
@pytest.mark.filterwarnings("ignore:Experiment logs directory")
@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_after_backward"])
def test_a_checkpoint_from_before_or_within_a_batch_leaves_no_gap_and_repeats_no_value(
    tmp_path, hook
):
    """As one saved on an exception is."""
    kept = tmp_path / "kept"
    monitors = [MetricMonitor(), RunRecorder(), SavesIn(hook, kept)]
    fit(tmp_path / "whole", False, callbacks=monitors, enable_checkpointing=False)
    paths = sorted(kept.glob("*.ckpt"))
    assert len(paths) == 12
    for path in paths[::3]:  # among them one before any step
        root = tmp_path / path.stem
        shutil.copytree(tmp_path / "whole", root)
        fit(root, False, path, callbacks=[MetricMonitor(), RunRecorder()])
        assert written(root) == written(tmp_path / "whole"), path


@pytest.mark.filterwarnings(MID_EPOCH)
@pytest.mark.filterwarnings("ignore:Experiment logs directory")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_validation_within_an_accumulation_is_kept_with_its_checkpoint(tmp_path):
    """Lightning logs it at the step to come."""
    options = {"accumulate_grad_batches": 3, "val_check_interval": 2, "epochs": 1}
    whole, kept = tmp_path / "whole", tmp_path / "kept"
    saving = ModelCheckpoint(kept, save_top_k=-1)
    fit(whole, False, callbacks=[MetricMonitor(), RunRecorder(), saving], **options)
    table, board = written(whole)
    paths = sorted(kept.glob("*.ckpt"))
    assert len(paths) == 2
    for path in paths:
        root = tmp_path / path.stem
        shutil.copytree(whole, root)
        fit(root, False, path, callbacks=[MetricMonitor(), RunRecorder()], **options)
        found = written(root)
        assert not table - found[0]
        assert not board - found[1]


class Stop(Callback):
    """Crashes so many steps after the checkpoint that the run goes on from."""

    def __init__(self, steps):
        self.steps, self.first = steps, None

    def on_train_batch_end(self, trainer, *args):
        self.first = trainer.global_step if self.first is None else self.first
        if trainer.global_step == self.first + self.steps:
            raise RuntimeError("crash")


@pytest.mark.filterwarnings(MID_EPOCH)
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_a_run_that_is_resumed_again_and_again_has_every_value_once(tmp_path):
    """Lightning's own counter loses a step on the way."""
    last = tmp_path / "kept" / "last.ckpt"
    options = {"epochs": 8, "enable_checkpointing": True}
    for _ in range(11):
        saving = ModelCheckpoint(last.parent, save_last=True, every_n_train_steps=5)
        monitors = [MetricMonitor(), RunRecorder(), Stop(6), saving]
        with suppress(RuntimeError):
            fit(tmp_path, False, last if last.exists() else None, callbacks=monitors, **options)
    table, board = written(tmp_path)
    # Lightning may repeat an epoch; version 2.5 skips the rest of one, without our callbacks, too.
    least = 8 * 6 if Version(lightning.__version__) >= Version("2.6") else 7 * 6
    for found in (table, board):
        assert set(found.values()) == {1}
        rates = sorted(step for tag, step in found if tag == "lr/group 0")
        assert rates == [*range(max(least, len(rates)))]


@pytest.mark.parametrize("every", [1, 3])
def test_values_are_logged_at_the_first_step_and_at_lightnings_steps(tmp_path, every):
    options = {"log_every_n_steps": every, "max_epochs": 1, "num_sanity_val_steps": 0}
    logger = CSVLogger(tmp_path, "csv", 0)
    trainer = quiet_trainer(logger=logger, callbacks=[MetricMonitor()], **options)
    trainer.fit(Tiny(), loader(8), loader(1))
    lines = Path(logger.log_dir, "scalars.csv").read_text().splitlines()
    steps = [int(line.split(",")[0]) for line in lines if ",loss/train," in line]
    assert steps == sorted({0, *range(every - 1, 8, every)})
