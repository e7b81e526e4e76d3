"""The range test beside what else a run has: callbacks, schedulers, loggers, rates anywhere."""

import gc
import math
import sys
import weakref
from argparse import Namespace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest
import torch
import yaml
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import BackboneFinetuning, BatchSizeFinder, ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.optim import SGD, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from lightning_hparams import LRRangeTest, OneCycle, lr_range_test
from tests.runs import quiet_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:the range test suggests nothing"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
    pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step"),
]

SHORT = {"min_lr": 1e-5, "num_steps": 20}


class Shared(list):
    """A list whose copies are itself."""

    def __deepcopy__(self, memo):
        return self


def rows(count=256):
    torch.manual_seed(0)
    x = torch.randn(count, 4)
    return TensorDataset(x, (x.sum(1) > 0).long())


def loader(batch_size=32, **options):
    return DataLoader(rows(), batch_size=batch_size, shuffle=True, **options)


class Net(LightningModule):
    def __init__(self, lr=0.05, make=None):
        super().__init__()
        self.lr, self.make = lr, make
        self.backbone = torch.nn.Linear(4, 8)
        self.head = torch.nn.Linear(8, 2)
        self.noted = Shared()

    def training_step(self, batch, batch_idx):
        logits = self.head(self.backbone(batch[0]).relu())
        return torch.nn.functional.cross_entropy(logits, batch[1])

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self):
        optimizer = SGD((p for p in self.parameters() if p.requires_grad), lr=self.lr)
        return optimizer if self.make is None else self.make(self, optimizer)


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append(optimizer.param_groups[0]["lr"])


def fit(module, *callbacks, data=None, **options):
    torch.manual_seed(1)
    trainer = quiet_trainer(**{"callbacks": list(callbacks), "max_epochs": 2, **options})
    if isinstance(data, LightningDataModule):
        trainer.fit(module, datamodule=data)
    else:
        trainer.fit(module, loader() if data is None else data)
    return trainer


# -- schedulers ------------------------------------------------------------------------------------

# Each takes 16 steps, and its peak is wherever it likes.
SCHEDULERS = {
    "LambdaLR": lambda o, m: lr_scheduler.LambdaLR(o, lambda n: 0.5 + math.sin(n / 5)),
    "MultiplicativeLR": lambda o, m: lr_scheduler.MultiplicativeLR(
        o, lambda n: 1.2 if n < 6 else 0.9
    ),
    "StepLR": lambda o, m: lr_scheduler.StepLR(o, 4),
    "MultiStepLR": lambda o, m: lr_scheduler.MultiStepLR(o, [4, 9]),
    "ConstantLR": lambda o, m: lr_scheduler.ConstantLR(o, 0.5, 50),
    "LinearLR": lambda o, m: lr_scheduler.LinearLR(o, 0.1, 0.8, 10),
    "ExponentialLR": lambda o, m: lr_scheduler.ExponentialLR(o, 1.1),
    "SequentialLR": lambda o, m: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, 0.9, 5), lr_scheduler.ExponentialLR(o, 0.9)], [6]
    ),
    "CosineAnnealingLR": lambda o, m: lr_scheduler.CosineAnnealingLR(o, 16),
    "ChainedScheduler": lambda o, m: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.2, 4), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "ReduceLROnPlateau": lambda o, m: lr_scheduler.ReduceLROnPlateau(o),
    "CyclicLR": lambda o, m: lr_scheduler.CyclicLR(o, m.lr / 10, m.lr, 4),
    "CosineAnnealingWarmRestarts": lambda o, m: lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
    "OneCycleLR": lambda o, m: lr_scheduler.OneCycleLR(o, m.lr, 16, pct_start=5 / 16),
    "PolynomialLR": lambda o, m: lr_scheduler.PolynomialLR(o, 16),
}


def test_every_scheduler_of_torch_is_looked_at():
    public = {name for name in lr_scheduler.__all__ if not name.startswith("_")}
    assert public - {"LRScheduler"} == set(SCHEDULERS)


def configured(name):
    def make(module, optimizer):
        config = {"scheduler": SCHEDULERS[name](optimizer, module), "interval": "step"}
        if name == "ReduceLROnPlateau":
            config |= {"monitor": "loss", "interval": "epoch", "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": config}

    return make


@pytest.mark.filterwarnings("ignore:ReduceLROnPlateau conditioned")
@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_the_suggestion_is_the_peak_of_any_scheduler(name):
    rates, test = Rates(), LRRangeTest(num_steps=60, min_lr=1e-5)
    fit(Net(make=configured(name)), test, rates)
    assert test.result.applies
    assert max(rates.seen) == pytest.approx(test.result.suggestion, rel=1e-4)
    assert len(rates.seen) == 16


def test_a_rate_that_a_scheduler_has_of_its_own_is_told():
    def make(module, optimizer):
        from torch.optim.swa_utils import SWALR

        scheduler = {"scheduler": SWALR(optimizer, 50.0, 4), "interval": "step"}
        return [optimizer], [scheduler]

    with pytest.warns(UserWarning, match="optimizers are configured with 50"):
        fit(Net(make=make), LRRangeTest(num_steps=60, min_lr=1e-5))


def test_a_group_whose_rate_does_not_depend_on_the_attribute_is_named():
    class WithFixedGroup(Net):
        def configure_optimizers(self):
            fixed, *others = self.parameters()
            return SGD([{"params": others}, {"params": [fixed], "lr": 0.001}], lr=self.lr)

    test = LRRangeTest(num_steps=60, min_lr=1e-5)
    told = "only some of them depend on `lr`: group 1 of optimizer 0 has 0.001 instead of "
    with pytest.warns(UserWarning, match=told):
        fit(WithFixedGroup(lr=0.01), test)
    assert test.result.applies


@pytest.mark.parametrize("name", ["MultiplicativeLR", "SequentialLR", "OneCycleLR", "StepLR"])
def test_a_test_in_mid_training_scales_the_whole_schedule(name):
    rates, test = Rates(), LRRangeTest(num_steps=60, min_lr=1e-5, at_epochs=[1])
    fit(Net(lr=1e-4, make=configured(name)), test, rates)
    without = Rates()
    fit(Net(lr=1e-4, make=configured(name)), without)
    factor = test.result.suggestion / max(without.seen)
    assert rates.seen[:8] == pytest.approx(without.seen[:8])
    assert rates.seen[8:] == pytest.approx([factor * rate for rate in without.seen[8:]], rel=1e-4)


# -- other callbacks -------------------------------------------------------------------------------


class Trained(Net):
    """Notes whether the backbone trains."""

    def training_step(self, batch, batch_idx):
        self.noted.append(self.backbone.weight.requires_grad)
        return super().training_step(batch, batch_idx)


@pytest.mark.filterwarnings("ignore:The provided params to be frozen")
@pytest.mark.parametrize("first", [True, False])
def test_layers_that_a_callback_freezes_are_frozen_in_any_order(first):
    test, freezing = LRRangeTest(**SHORT), BackboneFinetuning(unfreeze_backbone_at_epoch=9)
    module = Trained()
    fit(module, *([test, freezing] if first else [freezing, test]), max_steps=1)
    assert test.result.steps_run > 10
    assert set(module.noted) == {False}


class Sized(LightningDataModule):
    def __init__(self, batch_size=4):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(rows(), batch_size=self.batch_size)

    def val_dataloader(self):
        return DataLoader(rows(32), batch_size=self.batch_size)


class Sizes(Net):
    def training_step(self, batch, batch_idx):
        self.noted.append((len(batch[0]), type(self.trainer) is Trainer))
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("first", [True, False])
def test_the_rate_is_found_at_the_batch_size_that_trains(first):
    test = LRRangeTest(num_steps=60, min_lr=1e-5)
    size = BatchSizeFinder(init_val=16, max_trials=1, steps_per_trial=1)
    module, data, rates = Sizes(), Sized(), Rates()
    fit(module, *([test, size] if first else [size, test]), rates, data=data, max_epochs=1)
    tested = {size for size, own in module.noted if not own}
    assert tested == {data.batch_size}
    assert data.batch_size != 4
    assert test.result.applies
    assert rates.seen == pytest.approx([test.result.suggestion] * len(rates.seen))
    assert module.lr == pytest.approx(test.result.suggestion)


@pytest.mark.skipif(
    not hasattr(callbacks, "WeightAveraging"), reason="Lightning has it from 2.6 on"
)
def test_a_module_that_a_callback_copies_before_keeps_its_own_optimizers():
    averaging, test = callbacks.WeightAveraging(), LRRangeTest(**SHORT, apply=False)
    fit(Net(), test, averaging, max_steps=2)
    assert test.result.steps_run > 10


@pytest.mark.parametrize("order", [1, -1])
def test_two_tests_of_one_run_do_not_disturb_each_other(order):
    class Steady(Net):
        weight_decay = 0.5

    other = LRRangeTest(**SHORT, param="weight_decay", values=[0.0, 1e-3])
    test = LRRangeTest(num_steps=60, min_lr=1e-5)
    module = Steady()
    fit(module, *[test, other][::order], max_steps=1)
    assert "configure_optimizers" not in vars(module)
    assert test.result.applies
    assert len(other.result.values) == 2


def test_an_error_before_the_optimizers_gives_the_module_its_method_back():
    class Failing(Callback):
        def setup(self, trainer, pl_module, stage):
            raise RuntimeError("in setup")

    module = Net()
    with pytest.raises(RuntimeError, match="in setup"):
        fit(module, LRRangeTest(**SHORT), Failing())
    assert "configure_optimizers" not in vars(module)


# -- the Trainer as the module sees it -------------------------------------------------------------


class Counter(Callback):
    def __init__(self):
        self.counts, self.starts = [], 0

    def on_train_batch_start(self, *_):
        self.starts += 1


class Reading(Net):
    """Reads what modules read of their trainer, in a callable given."""

    def __init__(self, read):
        super().__init__()
        self.read = read

    def training_step(self, batch, batch_idx):
        self.noted.append(self.read(self))
        return super().training_step(batch, batch_idx)


def counted(module):
    counter = next(each for each in module.trainer.callbacks if isinstance(each, Counter))
    counter.counts.append(1)
    return type(counter.counts)


READ = {
    "validation loader": lambda m: len(m.trainer.val_dataloaders),
    "validation batches": lambda m: list(m.trainer.num_val_batches),
    "checkpoint folder": lambda m: m.trainer.checkpoint_callback.dirpath,
    "checkpoint callbacks": lambda m: len(m.trainer.checkpoint_callbacks),
    "logger's folders": lambda m: (m.logger.log_dir, m.logger.root_dir, m.logger.save_dir),
    "logger's names": lambda m: (m.logger.name, m.logger.version),
    "logger's kind": lambda m: isinstance(m.logger, TensorBoardLogger),
    "trainer's folder": lambda m: m.trainer.log_dir,
    "drawing": lambda m: m.logger.experiment.add_scalar("own", 1.0, 0) and None,
    "a callback by type": counted,
    "an attribute of the user's": lambda m: m.trainer.shared_with_all["key"],
    "log_every_n_steps": lambda m: m.trainer.log_every_n_steps,
}


@pytest.mark.parametrize("what", READ)
def test_a_module_reads_of_its_trainer_in_the_test_what_it_reads_in_the_fit(what, tmp_path):
    counter, module = Counter(), Reading(READ[what])
    torch.manual_seed(1)
    trainer = quiet_trainer(
        callbacks=[
            LRRangeTest(**SHORT, apply=False),
            counter,
            ModelCheckpoint(tmp_path / "weights", save_top_k=0),
        ],
        logger=TensorBoardLogger(tmp_path, name="own", version=3, default_hp_metric=False),
        enable_checkpointing=True,
        log_every_n_steps=7,
        max_steps=2,
        limit_val_batches=3,
        num_sanity_val_steps=0,
    )
    trainer.shared_with_all = {"key": 5}
    trainer.fit(module, loader(), DataLoader(rows(), batch_size=32))
    assert len(module.noted) > 12
    assert all(value == module.noted[-1] for value in module.noted)
    assert counter.starts == 2
    assert len(counter.counts) in (0, 2)  # what the test does to it, it does to a copy


def test_an_error_that_only_the_test_meets_says_where_it_happened():
    def read(module):
        if type(module.trainer) is not Trainer:
            raise KeyError("no such thing")

    with pytest.raises(KeyError) as caught:
        fit(Reading(read), LRRangeTest(**SHORT))
    text = "".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert "happened in the range test" in text
    assert "isolation='snapshot'" in text


# -- memory ----------------------------------------------------------------------------------------


class Tracked(Net):
    """Refers to itself, as modules do, and counts its copies that are alive."""

    def __init__(self):
        super().__init__()
        self.step = super().training_step
        self.alive, self.copies = Shared(), Shared()

    def on_train_start(self):
        optimizer = self.optimizers().optimizer
        self.alive.append([each for each in self.copies if each() is not None])
        self.copies.extend(map(weakref.ref, (self, self.head.weight, optimizer, self.trainer)))


@pytest.mark.parametrize(
    "options", [{"repeats": 3}, {"probe_steps": 10}, {"param": "momentum", "values": [0.0, 0.9]}]
)
def test_one_copy_of_the_model_is_alive_at_a_time_and_none_in_training(options):
    module = Tracked()
    scheduler = configured("StepLR")
    module.make = scheduler
    gc.collect()
    gc.disable()
    try:
        fit(module, LRRangeTest(num_steps=20, min_lr=1e-4, **options, apply=False), max_steps=1)
    finally:
        gc.enable()
    assert len(module.alive) > 2
    assert module.alive == [[]] * len(module.alive)


# -- where the rate lives --------------------------------------------------------------------------


class Configured(LightningModule):
    """A rate somewhere inside."""

    def __init__(self, config):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
        self.save_hyperparameters(config)
        self.steps = Shared()

    def rate(self):
        return self.hparams["optimizer"]["lr"]

    def training_step(self, batch, batch_idx):
        self.steps.append(1)
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=self.rate())


class Spaced(Configured):
    def __init__(self, config):
        super().__init__(config)
        self.settings = Namespace(optimizer=SimpleNamespace(lr=0.01))

    def rate(self):
        return self.settings.optimizer.lr


@pytest.mark.parametrize(
    ("kind", "attr"), [(Configured, "optimizer.lr"), (Spaced, "settings.optimizer.lr")]
)
def test_a_rate_inside_another_setting_is_named_with_a_dot(kind, attr):
    module = kind({"optimizer": {"lr": 0.01, "name": "SGD"}})
    rates, test = Rates(), LRRangeTest(num_steps=60, min_lr=1e-5, attr=attr)
    fit(module, test, rates, max_steps=1)
    assert rates.seen == [pytest.approx(test.result.suggestion)]
    assert module.rate() == pytest.approx(test.result.suggestion)


def test_the_recorded_hyperparameters_have_the_rate_that_was_found(tmp_path):
    class Saved(Net):
        def __init__(self, lr=0.05):
            super().__init__(lr)
            self.save_hyperparameters()

    logger, test = CSVLogger(tmp_path), LRRangeTest(num_steps=60, min_lr=1e-5)
    fit(Saved(), test, logger=logger, max_steps=1)
    recorded = yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text())
    assert recorded["lr"] == pytest.approx(test.result.suggestion)


class Nameless(Net):
    def __init__(self, made_early=False):
        super().__init__()
        del self.lr
        self.optimizer = SGD(self.parameters(), lr=0.01) if made_early else None

    def configure_optimizers(self):
        optimizer = self.optimizer or SGD(self.parameters(), lr=0.01)
        scheduler = lr_scheduler.LinearLR(optimizer, 0.5, total_iters=4)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


@pytest.mark.parametrize("made_early", [False, True])
def test_optimizers_are_scaled_where_no_attribute_has_the_rate(made_early):
    rates, test = Rates(), LRRangeTest(num_steps=60, min_lr=1e-5)
    fit(Nameless(made_early), test, rates)
    assert test.result.applies
    assert max(rates.seen) == pytest.approx(test.result.suggestion)
    assert rates.seen[0] == pytest.approx(test.result.suggestion / 2)


@pytest.mark.filterwarnings("ignore:[\\s\\S]*was deprecated in v4")  # Lightning's own call
@pytest.mark.filterwarnings("ignore:.*configure_optimizers` will be overridden")
@pytest.mark.parametrize(
    "options",
    [{}, {"isolation": "snapshot"}, {"at_epochs": [1]}, {"apply": False}],
    ids=["copy", "snapshot", "in mid-training", "not applied"],
)
def test_optimizers_that_the_command_line_made_are_scaled_and_else_left_alone(options, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train"])
    decay = {"class_path": "ExponentialLR", "init_args": {"gamma": 0.5}}
    scheduler = {} if "at_epochs" in options else {"lr_scheduler": decay}
    test, rates = LRRangeTest(num_steps=60, min_lr=1e-5, **options), Rates()
    trainer = {"callbacks": [test, rates], "max_epochs": 2, "logger": False, "accelerator": "cpu"}
    cli = LightningCLI(
        Net,
        run=False,
        args={"optimizer": {"class_path": "SGD", "init_args": {"lr": 0.01}}, **scheduler},
        trainer_defaults={**trainer, "enable_checkpointing": False, "enable_progress_bar": False},
        save_config_callback=None,
        seed_everything_default=0,
    )
    cli.trainer.fit(cli.model, loader())
    (result,) = test.results.values()
    assert result.applies
    first = 0.01 if options.keys() & {"apply", "at_epochs"} else result.suggestion
    second = result.suggestion if "at_epochs" in options else first / 2
    assert rates.seen[0] == pytest.approx(first)
    assert rates.seen[-1] == pytest.approx(second)


def test_optimizers_made_before_the_test_follow_although_an_attribute_has_the_rate():
    class Early(Net):
        def __init__(self):
            super().__init__(lr=0.01)
            self.optimizer = SGD(self.parameters(), lr=self.lr)

        def configure_optimizers(self):
            return self.optimizer

    test = LRRangeTest(num_steps=60, min_lr=1e-5)
    module = Early()
    trainer = fit(module, test)
    assert module.lr == trainer.optimizers[0].param_groups[0]["lr"] == test.result.suggestion


def test_a_schedule_made_from_the_attribute_over_an_earlier_optimizer_is_not_scaled_twice():
    class Early(Net):
        def __init__(self):
            super().__init__(lr=0.01)
            self.optimizer = SGD(self.parameters(), lr=self.lr)

        def configure_optimizers(self):
            schedule = lr_scheduler.OneCycleLR(self.optimizer, self.lr, total_steps=17)
            return [self.optimizer], [{"scheduler": schedule, "interval": "step"}]

    test, rates = LRRangeTest(num_steps=60, min_lr=1e-5), Rates()
    fit(Early(), test, rates)
    assert max(rates.seen) == pytest.approx(test.result.suggestion, rel=0.05)


@pytest.mark.parametrize(
    "lr",
    [[0.01, 0.02], {"backbone": 0.01, "head": 0.02}, lambda: (0.01, 0.02)],
    ids=["list", "dict", "function"],
)
def test_the_optimizers_are_scaled_where_lr_holds_several_rates(lr):
    class Grouped(Net):
        def configure_optimizers(self):
            first, second = 0.01, 0.02
            groups = [(self.backbone, first), (self.head, second)]
            return SGD([{"params": part.parameters(), "lr": rate} for part, rate in groups])

    test = LRRangeTest(num_steps=60, min_lr=1e-5)
    trainer = fit(Grouped(lr=lr), test)
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == pytest.approx(
        [test.result.suggestion / 2, test.result.suggestion]
    )


def test_a_test_in_mid_training_needs_no_attribute():
    test = LRRangeTest(**SHORT, at_epochs=[1])
    fit(Nameless(), test)
    assert sorted(test.results) == [1]


def test_the_function_says_all_ways_out_where_there_is_nothing_to_write_to():
    module = Nameless()
    with pytest.raises(AttributeError, match=r"name one by `attr`.*apply=False.*LRRangeTest"):
        lr_range_test(module, loader(), **SHORT)


class Buffered(Net):
    def __init__(self):
        super().__init__()
        del self.lr
        self.register_buffer("lr", torch.tensor(0.05))


class Learned(Net):
    def __init__(self):
        super().__init__()
        del self.lr
        self.lr = torch.nn.Parameter(torch.tensor(0.05))


class ReadOnly(dict):
    def __setitem__(self, key, value):
        raise PermissionError("the configuration is read-only")


class Frozen(Net):
    def __init__(self):
        super().__init__()
        del self.lr
        self.settings = ReadOnly(lr=0.05)
        self.proxy = MappingProxyType({"lr": 0.05})


@pytest.mark.parametrize(
    ("kind", "attr"),
    [(Buffered, None), (Learned, None), (Frozen, "settings.lr"), (Frozen, "proxy.lr")],
)
def test_a_rate_that_cannot_be_written_is_refused_before_the_test(kind, attr):
    class Watched(kind):
        def training_step(self, batch, batch_idx):
            self.noted.append(1)
            return super().training_step(batch, batch_idx)

    module = Watched()
    with pytest.raises(TypeError, match=r"could not write what it finds to .*lr .*by `attr`"):
        fit(module, LRRangeTest(**SHORT, attr=attr))
    assert module.noted == []


# -- resuming --------------------------------------------------------------------------------------


def stopped(tmp_path, **applied):
    test = LRRangeTest(num_steps=60, min_lr=1e-5)
    trainer = fit(Net(), test, max_epochs=1)
    path = tmp_path / "stop.ckpt"
    trainer.save_checkpoint(path)
    if applied:
        saved = torch.load(path, weights_only=False)
        saved["callbacks"]["LRRangeTest"]["applied"] = applied
        torch.save(saved, path)
    return test, path


def resumed(path, module, **options):
    test = LRRangeTest(num_steps=60, min_lr=1e-5, **options)
    trainer = quiet_trainer(callbacks=[test], max_epochs=1)
    trainer.fit(module, loader(), ckpt_path=path)
    return test


@pytest.mark.parametrize(
    "applied",
    [
        {"training_step": 1.0},
        {"head": 0.1},
        {"automatic_optimization": 1.0},
        {"other": 3.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": True},
        {"lr": "0.1"},
        {"lr": [0.1]},
        {"hparams.lr": 0.1},
    ],
)
def test_a_checkpoint_sets_only_what_a_range_test_may_set(tmp_path, applied):
    _, path = stopped(tmp_path, **applied)
    module = Net(lr=0.07)
    module.other = 2
    before = {name: vars(module).get(name) for name in ("lr", "other", "_automatic_optimization")}
    head = module.head
    with pytest.warns(UserWarning, match="would have LRRangeTest set .* left as it is"):
        resumed(path, module)
    assert before == {name: vars(module).get(name) for name in before}
    assert module.head is head
    assert "training_step" not in vars(module)


def test_a_resumed_run_has_the_rate_that_was_found(tmp_path):
    first, path = stopped(tmp_path)
    module = Net(lr=0.07)
    again = resumed(path, module)
    assert module.lr == pytest.approx(first.result.suggestion)
    assert again.result == first.result


@pytest.mark.parametrize(
    ("epochs", "said"), [(2, "more than the 16 of the run itself"), (10, "50% of the run's 80")]
)
def test_it_says_what_share_of_the_run_it_takes(caplog, epochs, said):
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        fit(Net(), LRRangeTest(min_lr=1e-6, max_lr=1e-4, num_steps=40), max_epochs=epochs)
    assert f"40 optimizer steps, {said}" in caplog.text


def test_the_function_compares_its_cost_with_a_run_only_if_it_is_given_one(caplog):
    options = {"min_lr": 1e-6, "max_lr": 1e-4, "num_steps": 10}
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        lr_range_test(Net(), loader(), **options)
        assert "LR range test: " in caplog.text
        assert "of the run" not in caplog.text
        lr_range_test(Net(), loader(), quiet_trainer(max_epochs=10), **options)
    assert "10 optimizer steps, 12% of the run's 80" in caplog.text


@pytest.mark.parametrize("limit", [{"max_epochs": 1}, {"max_steps": 4, "max_epochs": None}])
def test_a_fit_that_has_nothing_left_to_train_needs_no_test(caplog, limit):
    module, test = Net(), LRRangeTest(min_lr=1e-6, max_lr=1e-4, num_steps=10)
    trainer = fit(module, test, **limit)
    module.lr = 0.07
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        trainer.fit(module, loader())
    assert module.lr == 0.07
    assert "LRRangeTest does nothing: max_" in caplog.text


def test_worker_processes_are_kept_when_the_data_start_over(monkeypatch):
    from torch.utils.data import dataloader

    started = []
    whole = dataloader._MultiProcessingDataLoaderIter.__init__
    monkeypatch.setattr(
        dataloader._MultiProcessingDataLoaderIter,
        "__init__",
        lambda self, loader: started.append(1) or whole(self, loader),
    )
    few = DataLoader(rows(64), batch_size=32, num_workers=1)
    result = lr_range_test(Net(), few, min_lr=1e-6, max_lr=1e-4, num_steps=20)
    assert result.steps_run == 20  # ten passes over the data
    assert len(started) <= 2


def test_our_own_schedules_follow_where_optimizers_are_scaled():
    class Plain(Net):
        def __init__(self):
            super().__init__()
            del self.lr

        def configure_optimizers(self):
            return SGD(self.parameters(), lr=0.01)

    rates, test = Rates(), LRRangeTest(num_steps=60, min_lr=1e-5)
    fit(Plain(), OneCycle(), test, rates)
    assert max(rates.seen) == pytest.approx(test.result.suggestion)


@pytest.mark.parametrize(
    "state", [{"foreign": 1}, {"results": 7, "applied": {}}, {"results": {}, "applied": [1]}, 7]
)
def test_a_state_that_is_not_a_range_tests_is_refused_in_words(state):
    with pytest.raises(ValueError, match=r"must hold what LRRangeTest\.state_dict\(\) returned"):
        LRRangeTest().load_state_dict(state)


def test_callbacks_of_installed_packages_stay_out_of_the_sweep(tmp_path, monkeypatch):
    info = tmp_path / "counting_steps-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: counting-steps\nVersion: 1\n"
    )
    info.joinpath("entry_points.txt").write_text(
        "[lightning.pytorch.callbacks_factory]\ncounting = counting_steps:make\n"
    )
    tmp_path.joinpath("counting_steps.py").write_text(
        "from lightning import Callback\n"
        "steps = []\n"
        "class Counting(Callback):\n"
        "    def on_train_batch_end(self, trainer, *args):\n"
        "        steps.append(type(trainer).__name__)\n"
        "def make():\n"
        "    return Counting()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    quiet_trainer(callbacks=[LRRangeTest(**SHORT)], max_steps=3).fit(Net(), loader())
    import counting_steps

    assert counting_steps.steps == ["Trainer"] * 3
