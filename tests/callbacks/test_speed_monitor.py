"""SpeedMonitor measures any training loop, on a clock that only simulated work advances."""

import contextlib
import os
import re
import subprocess
import sys
import textwrap

import pytest
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset

from lightning_hparams import SpeedMonitor, speed
from lightning_hparams.callbacks import _flop_rate, _speed_values
from lightning_hparams.sinks import TensorBoardSink
from tests.callbacks.test_metric_monitor import documented, scalars
from tests.runs import matching, quiet_trainer, read_events, shapes

LOAD, WORK, VAL, SAVE = 3.0, 1.0, 0.5, 40.0  # seconds of the clock below


class Clock:
    """A clock that advances only with simulated work."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock(monkeypatch):
    """The clock that SpeedMonitor reads."""
    clock = Clock()
    monkeypatch.setattr(speed.HostTimer, "now", clock)
    return clock


class Data:
    """Takes ``LOAD`` seconds to load a sample."""

    def __init__(self, clock, count=8):
        self.clock, self.count = clock, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError
        self.clock.time += LOAD
        return torch.ones(3)


class Stream(IterableDataset):
    def __init__(self, clock, count=8):
        self.clock, self.count = clock, count

    def __iter__(self):
        return (Data(self.clock, self.count)[index] for index in range(self.count))


class Model(LightningModule):
    """Takes ``WORK`` seconds per batch."""

    def __init__(self, clock, optimizers=1):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, 2) for _ in range(optimizers))
        self.clock = clock
        self.automatic_optimization = optimizers == 1

    def training_step(self, batch, batch_idx):
        self.clock.time += WORK
        losses = [layer(batch).square().mean() for layer in self.layers]
        if self.automatic_optimization:
            return losses[0]
        for optimizer, loss in zip(self.optimizers(), losses, strict=True):
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return None

    def configure_optimizers(self):
        return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in self.layers]


class Validated(Model):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.clock.time += VAL
        self.log("seen", 1.0)

    test_step = validation_step


def loader(clock, count=8, batch_size=1):
    return DataLoader(Data(clock, count), batch_size=batch_size)


def fit(clock, module=None, train=None, val=None, monitor=None, **options):
    logger = TensorBoardLogger(".", default_hp_metric=False)
    options = {"log_every_n_steps": 2, "num_sanity_val_steps": 0, "logger": logger, **options}
    callbacks = [monitor or SpeedMonitor(), *options.pop("callbacks", [])]
    trainer = quiet_trainer(callbacks=callbacks, **options)
    module = module or (Model(clock) if val is None else Validated(clock))
    trainer.fit(module, loader(clock) if train is None else train, val)
    return trainer, scalars(read_events(logger.log_dir)) if trainer.logger is logger else {}


def values(points):
    return [value for _, value in points]


def steps(points):
    return [step for step, _ in points]


def test_the_tags_written_are_those_of_the_docstring(monkeypatch):
    peaks = {"rss": 1.0, "cuda_peak_allocated": 2.0, "cuda_peak_reserved": 3.0}
    monkeypatch.setattr(_speed_values, "memory_mib", lambda device: peaks)
    data = shapes()
    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitor = SpeedMonitor(flops=True, peak_flops=1e12)
    trainer = quiet_trainer(logger=logger, callbacks=[monitor], log_every_n_steps=2)
    trainer.fit(matching(data), data)
    trainer.test(trainer.lightning_module, data, verbose=False)
    tags = {tag for tag in scalars(read_events(logger.log_dir)) if tag.startswith("perf/")}
    patterns = documented(SpeedMonitor)
    assert [tag for tag in tags if not any(re.fullmatch(p, tag) for p in patterns)] == []
    for pattern in patterns:
        stages = 3 if "val" in pattern else 1
        assert len([tag for tag in tags if re.fullmatch(pattern, tag)]) == stages, pattern


def test_waiting_is_distinguished_from_working(clock):
    _, found = fit(clock)
    share = LOAD / (LOAD + WORK)
    assert values(found["perf/data_wait_frac/train"]) == pytest.approx([share] * 4)
    assert values(found["perf/samples_per_sec/train"]) == pytest.approx([1 / (LOAD + WORK)] * 4)
    for percent in (50, 90, 99):
        times = values(found[f"perf/step_ms_p{percent}/train"])
        assert times == pytest.approx([1000 * (LOAD + WORK)] * 4)


def test_it_writes_at_the_second_step_and_every_n(clock):
    _, found = fit(clock, log_every_n_steps=5)
    assert steps(found["perf/batches_per_sec/train"]) == [1, 4]
    _, found = fit(clock, log_every_n_steps=50)
    assert steps(found["perf/batches_per_sec/train"]) == [1]


class Busy(Callback):
    """Takes time in the given hooks."""

    def __init__(self, clock, *hooks):
        for hook in hooks:
            setattr(self, hook, lambda *args, **kwargs: setattr(clock, "time", clock.time + SAVE))


def test_the_rest_of_the_loop_is_part_of_the_step(clock):
    _, found = fit(clock, callbacks=[Busy(clock, "on_train_batch_end")])
    each = LOAD + WORK + SAVE
    assert values(found["perf/batches_per_sec/train"])[-1] == pytest.approx(1 / each)
    assert values(found["perf/data_wait_frac/train"])[-1] == pytest.approx(LOAD / each)


PAUSES = {
    "validation": {"val_check_interval": 2},
    "sanity check": {"num_sanity_val_steps": 2},
    "checkpoints": {"enable_checkpointing": True},
    "epochs": {"max_epochs": 4},
}


@pytest.mark.parametrize("name", PAUSES)
def test_pauses_are_excluded_from_rates(clock, name):
    saving = [Busy(clock, "on_validation_end", "on_train_epoch_end", "on_save_checkpoint")]
    if name == "checkpoints":
        saving.append(ModelCheckpoint("saved", every_n_train_steps=2, save_top_k=-1))
    _, found = fit(clock, val=loader(clock, 4), callbacks=saving, **PAUSES[name])
    share = LOAD / (LOAD + WORK)
    assert values(found["perf/data_wait_frac/train"]) == pytest.approx(
        [share] * len(found["perf/data_wait_frac/train"])
    )
    assert set(values(found["perf/step_ms_p99/train"])) == {1000 * (LOAD + WORK)}


@pytest.mark.parametrize("count", [1, 20])
def test_rates_of_a_short_validation_are_written(clock, count):
    _, found = fit(clock, val=loader(clock, count), max_epochs=2)
    assert steps(found["perf/batches_per_sec/val"]) == [7, 15]
    assert values(found["perf/samples_per_sec/val"]) == pytest.approx([1 / (LOAD + VAL)] * 2)
    assert values(found["perf/data_wait_frac/val"]) == pytest.approx([LOAD / (LOAD + VAL)] * 2)


def test_rates_of_standalone_validate_and_test_are_written(clock):
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[SpeedMonitor()])
    trainer.validate(Validated(clock), [loader(clock, 4), loader(clock, 4)], verbose=False)
    trainer.test(Validated(clock), loader(clock, 4), verbose=False)
    found = scalars(read_events(logger.log_dir))
    for stage in ("val", "test"):
        assert values(found[f"perf/batches_per_sec/{stage}"]) == pytest.approx([1 / (LOAD + VAL)])
    assert "perf/batches_per_sec/train" not in found


def test_a_later_validation_uses_lightnings_steps(clock):
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[SpeedMonitor()], num_sanity_val_steps=0)
    module = Validated(clock)
    trainer.validate(module, loader(clock, 2), verbose=False)
    trainer.validate(module, loader(clock, 4, batch_size=2), verbose=False)  # at another rate
    trainer.fit(module, loader(clock, 4), loader(clock, 2))
    trainer.validate(module, loader(clock, 2), verbose=False)
    found = scalars(read_events(logger.log_dir))
    assert len(found["seen"]) == 4
    assert steps(found["perf/batches_per_sec/val"]) == steps(found["seen"])


def test_a_step_of_several_batches_counts_all_of_them(clock):
    _, found = fit(clock, accumulate_grad_batches=2, log_every_n_steps=1)
    assert steps(found["perf/batches_per_sec/train"]) == [0, 1, 2, 3]
    assert values(found["perf/batches_per_sec/train"])[-1] == pytest.approx(1 / (LOAD + WORK))
    # Seven batches are measured, in four of which the optimizer stepped.
    assert values(found["perf/steps_per_sec/train"])[-1] == pytest.approx(4 / 7 / (LOAD + WORK))


def test_several_optimizers_may_skip_the_logging_step(clock):
    _, found = fit(clock, Model(clock, optimizers=3), log_every_n_steps=4)
    assert steps(found["perf/batches_per_sec/train"]) == [1, 3, 7]
    assert values(found["perf/steps_per_sec/train"])[-1] == pytest.approx(3 / (LOAD + WORK))


def test_the_last_batch_counts_with_its_own_size(clock):
    _, found = fit(clock, train=loader(clock, 7, batch_size=3), log_every_n_steps=1)
    # Batches of 3, 3 and 1; the first is not measured.
    assert values(found["perf/samples_per_sec/train"])[-1] == pytest.approx(
        4 / (4 * LOAD + 2 * WORK)
    )


def test_a_loader_without_length_is_measured(clock):
    _, found = fit(clock, train=DataLoader(Stream(clock), batch_size=1), max_epochs=3)
    share = LOAD / (LOAD + WORK)
    # Lightning fetches ahead by one, so the last batch of an epoch is not waited for, and the
    # first is for two.
    assert values(found["perf/data_wait_frac/train"])[-1] == pytest.approx(share, abs=0.02)
    # The length of an epoch is known from the second one on.
    assert found["perf/eta_s"][0] == (9, pytest.approx((14 + 1 / 8) * LOAD + 14 * WORK, rel=0.05))


@pytest.mark.filterwarnings("ignore:Found `dataloader_iter` argument")
@pytest.mark.filterwarnings("ignore:You are using the `dataloader_iter` step flavor")
def test_a_step_that_fetches_its_own_batches_is_measured(clock):
    class Iterates(Model):
        def training_step(self, dataloader_iter):
            batch, batch_idx, _ = next(dataloader_iter)
            return super().training_step(batch, batch_idx)

    _, found = fit(clock, Iterates(clock))
    share = LOAD / (LOAD + WORK)
    assert values(found["perf/data_wait_frac/train"])[-1] == pytest.approx(share)
    assert values(found["perf/samples_per_sec/train"])[-1] == pytest.approx(1 / (LOAD + WORK))


def test_a_batch_size_that_is_not_found_can_be_given(clock):
    class Odd(Model):
        def training_step(self, batch, batch_idx):
            return super().training_step(torch.ones(1, 3), batch_idx)

    def run(**options):
        odd = DataLoader(Data(clock), batch_size=None, collate_fn=lambda sample: object())
        return fit(clock, Odd(clock), odd, monitor=SpeedMonitor(**options))[1]

    with pytest.warns(UserWarning, match="no batch size found in a object.*pass batch_size="):
        found = run()
    assert "perf/samples_per_sec/train" not in found
    assert len(found["perf/batches_per_sec/train"]) == 4
    found = run(batch_size=lambda batch: 5)
    assert values(found["perf/samples_per_sec/train"])[-1] == pytest.approx(5 / (LOAD + WORK))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_epochs": 3},
        {"max_epochs": 2, "val_check_interval": 2},
        {"max_epochs": 4, "check_val_every_n_epoch": 2, "num_sanity_val_steps": 1},
        {"max_epochs": -1, "max_steps": 18},
        {"max_epochs": 3, "accumulate_grad_batches": 2, "max_steps": 9},
        {"max_epochs": 2, "check_val_every_n_epoch": None, "val_check_interval": 5},
        {"max_epochs": 2, "limit_val_batches": 0},
    ],
)
def test_the_time_left_is_correct(clock, options):
    noted = {}

    class Note(Callback):
        def on_train_batch_end(self, trainer, *args):
            noted.setdefault(trainer.global_step - 1, clock.time)

    # A validation batch that takes as long as one of training, so that even the first guess holds.
    class Even(Model):
        def validation_step(self, batch, batch_idx):
            self.clock.time += WORK

    _, found = fit(
        clock, Even(clock), val=loader(clock, 4), callbacks=[Note()], log_every_n_steps=1, **options
    )
    for step, left in found["perf/eta_s"]:
        assert noted[step] + left == pytest.approx(clock.time, abs=1e-3), step


def test_the_time_left_includes_checkpoints_and_validations(clock):
    saving = Busy(clock, "on_train_epoch_end", "on_validation_end")
    _, found = fit(clock, val=loader(clock, 4), callbacks=[saving], max_epochs=20)
    epoch = 8 * (LOAD + WORK) + 4 * (LOAD + VAL) + 2 * SAVE
    left = dict(found["perf/eta_s"])
    assert left[79] == pytest.approx(10 * epoch + epoch - 8 * (LOAD + WORK), rel=0.01)


def test_a_run_without_an_end_has_no_time_left(clock):
    class Stops(Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = trainer.global_step >= 6

    _, found = fit(clock, callbacks=[Stops()], max_epochs=-1)
    assert "perf/eta_s" not in found
    assert found["perf/batches_per_sec/train"]


def test_the_time_left_is_at_most_the_time_limit(clock):
    _, found = fit(clock, max_epochs=1000, max_time={"seconds": 0.5})
    assert max(values(found["perf/eta_s"])) <= 0.5


def test_a_resumed_run_writes_no_step_twice(clock, tmp_path):
    logger = TensorBoardLogger(tmp_path, version=0, default_hp_metric=False)
    first, _ = fit(clock, logger=logger, log_every_n_steps=1)
    first.save_checkpoint("stop.ckpt")
    again = quiet_trainer(
        max_epochs=2, logger=logger, callbacks=[SpeedMonitor()], log_every_n_steps=1
    )
    again.fit(Model(clock), loader(clock), ckpt_path="stop.ckpt")
    found = steps(scalars(read_events(logger.log_dir))["perf/batches_per_sec/train"])
    assert found == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15]


def said(caplog):
    return [r.message for r in caplog.records if r.message.startswith("SpeedMonitor: ")]


def test_the_bottleneck_is_reported_at_the_end(clock, caplog, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    fit(clock, max_epochs=2, logger=False)
    assert said(caplog) == [
        "SpeedMonitor: 0.25 batches/s, 0.25 samples/s; waiting for data 75 % of the time: "
        "try num_workers=3 in the training DataLoader (now 0)"
    ]


def test_a_bottleneck_in_validation_is_reported(clock, caplog):
    fit(clock, val={"a": loader(clock, 80)}, max_epochs=2, logger=False)
    assert "most of it in validation: try num_workers=" in said(caplog)[0]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_aborted_training_reports_it_too_and_restores_the_loops(clock, caplog, error):
    class Fails(Model):
        def training_step(self, batch, batch_idx):
            if self.trainer.global_step == 14:
                raise error
            return super().training_step(batch, batch_idx)

    trainer = quiet_trainer(max_epochs=2, callbacks=[SpeedMonitor()])
    with pytest.raises((error, SystemExit)):
        trainer.fit(Fails(clock), loader(clock))
    assert len(said(caplog)) == 1
    assert "waiting for data 75 %" in said(caplog)[0]
    assert "_on_before_fetch" not in vars(trainer.fit_loop.epoch_loop)


def test_a_cuda_error_is_not_hidden_by_another(clock, monkeypatch):
    class Fails(Model):
        def training_step(self, batch, batch_idx):
            if self.trainer.global_step == 3:
                monkeypatch.setattr(speed.HostTimer, "wait_for", lost)
                raise MemoryError("first")
            return super().training_step(batch, batch_idx)

    def lost(self, moment):
        raise RuntimeError("second")

    trainer = quiet_trainer(callbacks=[SpeedMonitor()])
    with pytest.raises(MemoryError, match="first"):
        trainer.fit(Fails(clock), loader(clock))


@pytest.mark.parametrize("options", [{"logger": False}, {"fast_dev_run": True}])
def test_without_a_logger_or_in_a_fast_dev_run_nothing_is_reported(clock, options):
    trainer, _ = fit(clock, val=loader(clock, 2), monitor=SpeedMonitor(flops=True), **options)
    assert "_on_before_fetch" not in vars(trainer.fit_loop.epoch_loop)


def test_several_loggers_get_the_same_values(clock, tmp_path):
    tensorboard = TensorBoardLogger(tmp_path, default_hp_metric=False)
    fit(clock, logger=[tensorboard, CSVLogger(tmp_path / "csv")])
    rows = (tmp_path / "csv" / "lightning_logs" / "version_0" / "scalars.csv").read_text()
    ours = {line.split(",")[1] for line in rows.splitlines()[1:]}
    assert "perf/data_wait_frac/train" in ours
    assert ours == {tag for tag in scalars(read_events(tensorboard.log_dir)) if "perf/" in tag}


def test_loaders_of_every_form_are_measured(clock):
    pair = CombinedLoader({"a": loader(clock), "b": loader(clock)}, "min_size")

    class Pair(Model):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["a"], batch_idx)

    _, found = fit(clock, Pair(clock), pair)
    share = 2 * LOAD / (2 * LOAD + WORK)
    assert values(found["perf/data_wait_frac/train"])[-1] == pytest.approx(share)


# Forward and weight gradient of Linear(3, 2) are a product of 2 x 3 x 2 operations a sample each.
FLOPS = 24


@pytest.mark.parametrize("optimizers", [1, 2])
def test_operations_are_those_of_the_model(clock, optimizers):
    monitor = SpeedMonitor(flops=True, peak_flops=1e3)
    found = fit(clock, Model(clock, optimizers), loader(clock, batch_size=2), monitor=monitor)[1]
    rate = values(found["perf/samples_per_sec/train"])[-1] * FLOPS * optimizers
    assert values(found["perf/flops_per_sec/train"])[-1] == pytest.approx(rate)
    assert values(found["perf/mfu/train"])[-1] == pytest.approx(rate / 1e3)


def test_counting_operations_has_no_side_effects(clock):
    class Random(Model):
        def __init__(self, clock):
            super().__init__(clock)
            self.norm = torch.nn.BatchNorm1d(3)
            self.seen = []

        def training_step(self, batch, batch_idx):
            self.seen.append(float(batch.sum()))
            self.log("noise", torch.rand(()))
            self.logger.experiment.add_scalar("own", 1.0, self.global_step)
            batch += torch.randn_like(batch)
            return super().training_step(self.norm(batch), batch_idx)

    def run(**options):
        torch.manual_seed(5)
        module = Random(clock)
        data = loader(clock, batch_size=2)
        _, found = fit(clock, module, data, monitor=SpeedMonitor(**options), max_epochs=2)
        return list(module.state_dict().values()), module.seen, found, torch.get_rng_state()

    (plain, seen, points, state), (watched, seen_too, points_too, state_too) = (
        run(),
        run(flops=True),
    )
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert seen == seen_too
    assert torch.equal(state, state_too)
    assert points["own"] == points_too["own"]
    assert points["noise"] == points_too["noise"]
    assert points_too["perf/flops_per_sec/train"]
    assert "perf/mfu/train" not in points_too  # the peak of a CPU is unknown


def test_a_module_that_steps_its_own_schedule_has_its_operations_counted(clock):
    class Scheduled(Model):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            self.lr_schedulers().step()

        def configure_optimizers(self):
            (first, second) = super().configure_optimizers()
            return [first, second], [torch.optim.lr_scheduler.ConstantLR(first)]

    found = fit(clock, Scheduled(clock, 2), monitor=SpeedMonitor(flops=True))[1]
    assert found["perf/flops_per_sec/train"]


def test_counting_operations_does_not_count_for_the_time_left(clock, monkeypatch):
    def counts_slowly(*args):
        clock.time += 1000.0
        return FLOPS

    monkeypatch.setattr(_flop_rate, "count_flops", counts_slowly)
    _, found = fit(clock, monitor=SpeedMonitor(flops=True), log_every_n_steps=1)
    for step, left in found["perf/eta_s"]:
        assert left == pytest.approx((7 - step) * (LOAD + WORK))


def test_memory_and_time_left_are_written_once_a_second(clock, monkeypatch):
    monkeypatch.setattr("tests.callbacks.test_speed_monitor.LOAD", 0.0)
    monkeypatch.setattr("tests.callbacks.test_speed_monitor.WORK", 0.25)
    _, found = fit(clock, train=loader(clock, 16), log_every_n_steps=1)
    assert steps(found["perf/step_ms_p50/train"]) == list(range(1, 16))
    assert steps(found["perf/eta_s"]) == steps(found["perf/memory_mib/rss"]) == [1, 5, 9, 13]


def test_two_monitors_can_measure_one_training(clock):
    trainer, _ = fit(clock, callbacks=[SpeedMonitor(window=5)])
    assert "_on_before_fetch" not in vars(trainer.fit_loop.epoch_loop)


class Hooked(SpeedMonitor):
    """Overrides a hook that SpeedMonitor does not define, and calls ``super()``."""

    calls = 0

    def on_before_zero_grad(self, *args):
        super().on_before_zero_grad(*args)
        self.calls += 1


def test_a_subclass_may_override_any_hook(clock):
    monitor = Hooked()
    fit(clock, monitor=monitor)
    assert monitor.calls == 8


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_nothing_written_is_lost_however_training_ends(clock, error, monkeypatch):
    class Ends(Model):
        def training_step(self, batch, batch_idx):
            if error and batch_idx == 5:
                raise error
            return super().training_step(batch, batch_idx)

    flushed = []
    monkeypatch.setattr(TensorBoardSink, "flush", lambda sink: flushed.append(sink))
    with contextlib.suppress(RuntimeError):
        fit(clock, Ends(clock))
    assert len(flushed) == 1


def test_a_failure_to_count_operations_does_not_end_training(clock):
    class Locked(Model):
        def __init__(self, clock):
            super().__init__(clock)
            self.file = open(os.devnull)  # noqa: SIM115

    module = Locked(clock)
    with pytest.warns(UserWarning, match=r"writes no FLOP/s: TypeError: Locked.file cannot be"):
        _, found = fit(clock, module, monitor=SpeedMonitor(flops=True))
    module.file.close()
    assert found["perf/batches_per_sec/train"]
    assert "perf/flops_per_sec/train" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "`1 <= window` must hold, got window=0"),
        ({"warmup": -1}, "`0 <= warmup` must hold, got warmup=-1"),
        ({"peak_flops": 0.0, "flops": True}, "`0.0 < peak_flops` must hold"),
        ({"peak_flops": 1e12}, "needs flops=True"),
    ],
)
def test_bad_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SpeedMonitor(**arguments)


DDP = """
    import sys, torch, lightning
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning_hparams import SpeedMonitor, speed
    from tests.callbacks.test_speed_monitor import Clock, Validated, loader

    if __name__ == "__main__":
        clock = Clock()
        speed.HostTimer.now = clock
        module = Validated(clock)
        trainer = lightning.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=3, log_every_n_steps=1,
            logger=TensorBoardLogger("runs", default_hp_metric=False), num_sanity_val_steps=1,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[SpeedMonitor(flops=True)],
        )
        class Slow(lightning.Callback):
            def on_train_batch_start(self, trainer, *args):
                clock.time += 4.0 * trainer.global_rank
        trainer.callbacks.append(Slow())
        trainer.fit(module, loader(clock, 8), loader(clock, 4))
"""


@pytest.mark.slow
def test_two_processes_add_their_rates_and_report_the_longer_wait(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(DDP))
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    result = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = scalars(read_events(tmp_path / "runs" / "lightning_logs" / "version_0"))
    both = 1 / (LOAD + WORK) + 1 / (LOAD + WORK + 4)
    assert values(found["perf/samples_per_sec/train"])[-1] == pytest.approx(both)
    assert values(found["perf/batches_per_sec/train"])[-1] == pytest.approx(both)
    assert values(found["perf/steps_per_sec/train"])[-1] == pytest.approx(1 / (LOAD + WORK))
    assert values(found["perf/data_wait_frac/train"])[-1] == pytest.approx(LOAD / (LOAD + WORK))
    assert values(found["perf/flops_per_sec/train"])[-1] == pytest.approx(FLOPS * both)
    assert values(found["perf/samples_per_sec/val"])[-1] == pytest.approx(2 / (LOAD + VAL))
    assert steps(found["perf/batches_per_sec/train"]) == list(range(1, 12))
    assert len(re.findall("SpeedMonitor: ", result.stderr + result.stdout)) == 1


def test_rates_of_a_prediction_are_written(clock):
    class Predicts(Model):
        def predict_step(self, batch, batch_idx):
            clock.time += WORK
            return batch

    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[SpeedMonitor()])
    trainer.predict(Predicts(clock), loader(clock, 4))
    found = scalars(read_events(logger.log_dir))
    assert values(found["perf/samples_per_sec/predict"]) == [pytest.approx(1 / (LOAD + WORK))]
    assert values(found["perf/data_wait_frac/predict"]) == [pytest.approx(LOAD / (LOAD + WORK))]


def test_a_failing_batch_size_function_does_not_end_training(clock):
    with pytest.warns(UserWarning, match="could not find the batch size.*: ZeroDivisionError"):
        _, found = fit(clock, Model(clock), monitor=SpeedMonitor(batch_size=lambda batch: 1 // 0))
    assert found["perf/batches_per_sec/train"]
    assert "perf/samples_per_sec/train" not in found
