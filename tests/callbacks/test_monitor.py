"""Once training has begun, no monitor hook ends a run or hides another error."""

import inspect
import timeit
import warnings

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

import lightning_hparams
from lightning_hparams import MetricMonitor, PredictionMonitor, RunRecorder
from lightning_hparams.callbacks._monitor import Monitor
from tests.runs import quiet_trainer

HOOKS = [
    name
    for name in vars(Callback)
    if name.startswith("on_") or name in ("setup", "teardown", "state_dict")
]


class Tiny(LightningModule):
    def __init__(self, error=None):
        super().__init__()
        self.layer, self.error = torch.nn.Linear(2, 1), error

    def training_step(self, batch, batch_idx):
        if self.error is not None and self.global_step == 2:
            raise self.error
        return self.layer(batch).sum()

    def validation_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    test_step = predict_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def loader(length=3):
    return DataLoader(torch.ones(length, 2))


def broken(*names, error=ValueError):
    """Return a monitor that raises in these hooks."""

    def hook(name):
        def fail(self, *args, **kwargs):
            self.called.append(name)
            raise error(f"broken {name}")

        return fail

    monitor = type("Broken", (Monitor,), {name: hook(name) for name in names})()
    monitor.called = []
    return monitor


def run(monitor, module=None, entry="fit", **options):
    """Return the warnings and the error raised."""
    trainer = quiet_trainer(
        callbacks=[monitor], max_epochs=2, enable_checkpointing=True, num_sanity_val_steps=0,
        **options,
    )  # fmt: skip
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if entry == "fit":
                trainer.fit(module or Tiny(), loader(), loader())
            else:
                getattr(trainer, entry)(module or Tiny(), loader())
        except Exception as raised:
            error = raised
    return [str(w.message) for w in caught if "Broken" in str(w.message)], error


LATE = [
    name
    for name in HOOKS
    if name not in ("setup", "on_fit_start", "on_load_checkpoint", "on_exception")
    and not any(part in name for part in ("sanity", "test", "predict"))
]


@pytest.mark.parametrize("name", LATE)
def test_an_error_in_training_is_one_warning_that_names_monitor_and_hook(name):
    monitor = broken(name)
    told, error = run(monitor)
    assert error is None
    assert monitor.called
    assert len(told) == 1
    assert f"Broken: could not finish `{name}`, training continues: ValueError: broken" in told[0]


@pytest.mark.parametrize("name", ["setup", "on_fit_start"])
def test_an_error_before_training_is_raised(name):
    _, error = run(broken(name))
    assert str(error) == f"broken {name}"


def test_the_sanity_check_and_a_rehearsal_raise():
    monitor = broken("on_validation_batch_end")
    trainer = quiet_trainer(callbacks=[monitor], num_sanity_val_steps=1)
    with pytest.raises(ValueError, match="broken"):
        trainer.fit(Tiny(), loader(), loader())
    trainer = quiet_trainer(callbacks=[broken("on_train_batch_end")], fast_dev_run=True)
    with pytest.raises(ValueError, match="broken"):
        trainer.fit(Tiny(), loader(), loader())


@pytest.mark.parametrize("entry", ["validate", "test", "predict"])
def test_a_standalone_evaluation_raises_up_to_its_first_batch(entry):
    stage = {"validate": "validation"}.get(entry, entry)
    for name in (f"on_{stage}_start", f"on_{stage}_batch_end"):
        _, error = run(broken(name), entry=entry)
        assert str(error) == f"broken {name}"
    told, error = run(broken(f"on_{stage}_end"), entry=entry)
    assert (len(told), error) == (1, None)


@pytest.mark.parametrize("action", ["always", "error"])
def test_the_users_error_is_raised_and_later_callbacks_are_called(action):
    class Later(Callback):
        seen = None

        def on_exception(self, trainer, pl_module, exception):
            self.seen = exception

    later, error = Later(), RuntimeError("out of memory")
    trainer = quiet_trainer(
        callbacks=[broken("on_exception", "state_dict", "teardown"), later],
        num_sanity_val_steps=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        warnings.filterwarnings("ignore", message=".*(many workers|logging interval|LeafSpec|srun)")
        with pytest.raises(RuntimeError, match="out of memory"):
            trainer.fit(Tiny(error), loader(), loader())
    assert later.seen is error


def test_an_interruption_is_not_caught():
    monitor = broken("on_train_batch_end", error=KeyboardInterrupt)
    trainer = quiet_trainer(callbacks=[monitor], num_sanity_val_steps=0)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer.fit(Tiny(), loader(), loader())


def test_each_kind_of_error_in_a_hook_is_warned_about():
    class Odd(Monitor):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            raise (ValueError, KeyError)[batch_idx % 2](trainer.global_step)

    monitor = Odd()
    trainer = quiet_trainer(callbacks=[monitor], num_sanity_val_steps=0)
    with pytest.warns(UserWarning, match="Odd: could not") as caught:
        trainer.fit(Tiny(), loader(6), loader())
    assert len([w for w in caught if "Odd" in str(w.message)]) == 2


def test_a_failing_state_dict_does_not_damage_the_checkpoint(tmp_path):
    told, error = run(broken("state_dict", "on_save_checkpoint"), default_root_dir=tmp_path)
    assert error is None
    assert len(told) == 2
    (path,) = tmp_path.rglob("*.ckpt")
    assert "Broken" not in torch.load(path, weights_only=True)["callbacks"]


@pytest.mark.parametrize("state", [{"foreign": 1}, 7, {"best": "x", "indices": None}, {"best": 3}])
def test_a_monitor_starts_anew_when_its_state_in_a_checkpoint_is_unreadable(state):
    for kind in (PredictionMonitor, RunRecorder, MetricMonitor):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kind().load_state_dict(state)
        assert all("could not finish `load_state_dict`" in str(one.message) for one in caught)
        assert caught or kind is MetricMonitor  # every one of its values may be missing


def test_all_monitors_are_guarded():
    names = ("MetricMonitor", "SpeedMonitor", "PredictionMonitor", "RunRecorder")
    for kind in (getattr(lightning_hparams, name) for name in names):
        assert issubclass(kind, Monitor)
        for name in set(HOOKS) & set(vars(kind)) - {"on_load_checkpoint"}:
            assert inspect.unwrap(vars(kind)[name]) is not vars(kind)[name]


def test_subclasses_of_a_monitor_are_guarded():
    class Mine(lightning_hparams.SpeedMonitor):
        def on_train_batch_end(self, *args):
            raise ValueError("mine")

    trainer = quiet_trainer(callbacks=[Mine()], num_sanity_val_steps=0)
    with pytest.warns(UserWarning, match="Mine: could not finish `on_train_batch_end`"):
        trainer.fit(Tiny(), loader(), loader())


def test_the_guard_costs_less_than_a_microsecond():
    class Bare(Callback):
        def on_train_batch_end(self, *args):
            pass

    class Looking(Monitor):
        def on_train_batch_end(self, *args):
            pass

    trainer, args = Trainer(logger=False, accelerator="cpu", barebones=True), (None,) * 4
    costs = [
        min(timeit.repeat(lambda c=c: c.on_train_batch_end(trainer, *args), number=2000, repeat=9))
        for c in (Bare(), Looking())
    ]
    assert costs[1] - costs[0] < 2000 * 1e-6


def test_hooks_a_monitor_does_not_define_are_skipped():
    class Looking(Monitor):
        def on_train_batch_end(self, *args):
            pass

    monitor = Looking()
    assert callable(monitor.on_train_batch_end)
    assert monitor.on_train_batch_start is None
