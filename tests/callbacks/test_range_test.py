"""The range test leaves no trace, runs exactly its steps, and what it suggests is what trains."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchmetrics import MeanMetric

from lightning_hparams import Cyclic, LRRangeTest, OneCycle, RangeTestResult, lr_range_test
from tests.runs import quiet_trainer, read_events

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    # Most of these sweeps are too short or too odd to suggest anything, and say so.
    pytest.mark.filterwarnings("ignore:the range test suggests nothing"),
]

STEPS = {"num_steps": 30, "min_lr": 1e-5}
SMALL = {"min_lr": 1e-6, "max_lr": 1e-4, "num_steps": 50}  # never diverges


class Blobs(Dataset):
    """Two classes; reading uses all three random generators and counts."""

    def __init__(self, count=64):
        rng = np.random.default_rng(0)
        self.targets = rng.integers(0, 2, count)
        self.inputs = (rng.normal(size=(count, 4)) + 2 * self.targets[:, None]).astype(np.float32)
        self.reads = 0

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        self.reads += 1
        noise = random.random() + np.random.rand() + torch.rand(1).item()
        x = torch.from_numpy(self.inputs[index]) + 0.01 * noise + 1e-4 * self.reads
        return x, int(self.targets[index])


class Stream(IterableDataset):
    """Goes on where it stood, in whatever iterator."""

    def __init__(self, count=64):
        self.blobs = Blobs(count)
        self.cursor = 0

    def __iter__(self):
        for _ in range(len(self.blobs)):
            self.cursor += 1
            yield self.blobs[self.cursor % len(self.blobs)]


def cross_entropy(logits, y):
    return torch.nn.functional.cross_entropy(logits, y)


class Net(LightningModule):
    """BatchNorm, dropout, a metric, a buffer that is not saved, and a counter."""

    def __init__(self, lr=0.05, scheduler=None, shift=0.0, optimizer=torch.optim.SGD):
        super().__init__()
        self.lr = lr
        self.scheduler = scheduler
        self.shift = shift
        self.optimizer = optimizer
        self.body = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.2), torch.nn.ReLU()
        )
        self.head = torch.nn.Linear(8, 2)
        self.mean = MeanMetric()
        self.register_buffer("seen", torch.zeros(1), persistent=False)
        self.steps = 0
        self.losses = []
        self.batches = []

    def loss(self, batch):
        x, y = batch
        return cross_entropy(self.head(self.body(x)), y) + self.shift

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.steps += 1
        self.seen += len(batch[0])
        self.mean.update(loss.detach())
        self.log("loss", loss)
        self.losses.append(loss.item())
        self.batches.append(batch[0].sum().item())
        return loss + 1e-3 * self.steps + 1e-5 * self.seen.sum()

    def validation_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("val_loss", loss)
        return loss

    def configure_optimizers(self):
        groups = [
            {"params": self.body.parameters(), "lr": self.lr / 10},
            {"params": self.head.parameters(), "lr": self.lr},
        ]
        options = {"momentum": 0.9} if self.optimizer is torch.optim.SGD else {}
        optimizer = self.optimizer(groups, **options)
        return (
            optimizer
            if self.scheduler is None
            else [[optimizer], [self.scheduler(self, optimizer)]]
        )


def loader(with_generator=False, stream=False, shuffle=True, **options):
    generator = torch.Generator().manual_seed(5) if with_generator else None
    if stream:
        return DataLoader(Stream(), batch_size=8, generator=generator, **options)
    return DataLoader(Blobs(), batch_size=8, shuffle=shuffle, generator=generator, **options)


def easy(shuffle=True):
    """Large batches, so that the loss is seen to fall."""
    blobs = Blobs(512)
    data = [(torch.from_numpy(x), int(y)) for x, y in zip(blobs.inputs, blobs.targets, strict=True)]
    return DataLoader(data, batch_size=64, shuffle=shuffle)


def seeded(seed=1):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def state_of(module, data):
    """Everything that a trace could be in."""
    dataset = data.dataset
    return {
        "weights": [value.clone() for value in module.state_dict().values()],
        "buffer": module.seen.item(),
        "metric": module.mean.compute().item(),
        "steps": module.steps,
        "losses": module.losses,
        "order": module.batches,
        "reads": dataset.blobs.reads if isinstance(dataset, Stream) else dataset.reads,
        "cursor": getattr(dataset, "cursor", None),
        "random": (random.random(), np.random.rand(), torch.rand(1).item()),
        "generator": None if data.generator is None else data.generator.get_state().tolist(),
        "rate": module.lr,
    }


def assert_same(one, other):
    for key in one:
        if key == "weights":
            assert all(torch.equal(a, b) for a, b in zip(one[key], other[key], strict=True))
        else:
            assert one[key] == other[key], key


def fit(callbacks=(), *, module=None, data=None, before=None, **options):
    seeded()
    module = (module or Net)()
    data = loader() if data is None else data
    trainer = quiet_trainer(**{"max_epochs": 2, "callbacks": list(callbacks), **options})
    if before is not None:
        before(module, data, trainer)
    trainer.fit(module, data)
    return module, trainer, state_of(module, data)


# -- no trace --------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["copy", "snapshot"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("with_generator", [False, True])
@pytest.mark.parametrize("entry", ["callback", "function"])
def test_the_fit_after_it_equals_the_fit_without_it_bit_for_bit(
    entry, with_generator, stream, isolation
):
    def data():
        return loader(with_generator, stream)

    options = {**STEPS, "apply": False, "isolation": isolation}
    _, _, without = fit(data=data())
    if entry == "callback":
        test = LRRangeTest(**options)
        _, _, after = fit([test], data=data())
        result = test.result
    else:
        found = []
        _, _, after = fit(
            data=data(), before=lambda *given: found.append(lr_range_test(*given, **options))
        )
        (result,) = found
    assert result.steps_run > 10
    assert_same(without, after)


class Module(Net):
    """Makes its own loader, from a data set of its own."""

    def __init__(self):
        super().__init__()
        self.data = Blobs()

    def train_dataloader(self):
        return DataLoader(self.data, batch_size=8, shuffle=True)


class Data(LightningDataModule):
    def __init__(self, batch_size=8):
        super().__init__()
        self.batch_size = batch_size
        self.set_up = self.torn_down = self.asked = 0

    def setup(self, stage):
        self.set_up += 1
        self.blobs = Blobs()

    def teardown(self, stage):
        self.torn_down += 1

    def train_dataloader(self):
        self.asked += 1
        return DataLoader(self.blobs, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(Blobs(24), batch_size=8)


@pytest.mark.parametrize("kind", ["datamodule", "module"])
def test_data_of_a_module_or_data_module_is_left_alone(kind):
    states = []
    for callbacks in ([], [LRRangeTest(**STEPS, apply=False)]):
        seeded()
        module = Module() if kind == "module" else Net()
        data = None if kind == "module" else Data()
        quiet_trainer(callbacks=callbacks, limit_val_batches=0).fit(module, datamodule=data)
        owner = module.data if kind == "module" else data.blobs
        states.append((module.batches, module.losses, owner.reads, torch.rand(1).item()))
        if data is not None:
            assert (data.set_up, data.torn_down, data.asked) == (1, 1, 1)
    assert states[0] == states[1]


def test_workers_are_started_for_it_and_gone_after_it():
    def data():
        return loader(num_workers=1, persistent_workers=True)

    _, _, without = fit(data=data(), max_epochs=1)
    _, _, after = fit([LRRangeTest(**STEPS, apply=False)], data=data(), max_epochs=1)
    assert_same(without, after)


class Failing(Net):
    """Raises after a few steps of the test, and not in the fit after it."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def training_step(self, batch, batch_idx):
        if self.steps == 7 and self.error is not None:
            raise self.error("in mid-sweep")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("isolation", ["copy", "snapshot"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_its_middle_leaves_no_trace_either(error, isolation):
    def before(module, data, trainer):
        callbacks, limits = list(trainer.callbacks), (trainer.max_steps, trainer.max_epochs)
        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(error, match="in mid-sweep"):
            lr_range_test(module, data, trainer, **STEPS, isolation=isolation)
        assert signal.getsignal(signal.SIGINT) is handler
        assert (trainer.callbacks, (trainer.max_steps, trainer.max_epochs)) == (callbacks, limits)
        assert module._trainer is None
        module.error = None

    _, _, without = fit(module=partial(Failing, None), data=loader(True))
    _, _, after = fit(module=partial(Failing, error), data=loader(True), before=before)
    assert_same(without, after)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_the_callback_reaches_the_user_and_leaves_the_trainer_as_it_was(error):
    seeded()
    module, data = Failing(error), loader(True)
    test = LRRangeTest(**STEPS)
    trainer = quiet_trainer(max_epochs=2, callbacks=[test])
    before = [value.clone() for value in module.state_dict().values()]
    random_state = torch.get_rng_state()
    with pytest.raises(SystemExit if error is KeyboardInterrupt else error):
        trainer.fit(module, data)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves it ignored
    assert test in trainer.callbacks
    assert (trainer.max_steps, trainer.max_epochs, trainer.limit_val_batches) == (-1, 2, 1.0)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values(), strict=True))
    assert (module.steps, module.lr) == (0, 0.05)


def test_a_killed_process_leaves_no_file(tmp_path):
    script = """
        import os
        from lightning_hparams import lr_range_test
        from tests.callbacks.test_range_test import Net, loader
        class Killed(Net):
            def training_step(self, batch, batch_idx):
                if self.steps == 5:
                    os._exit(7)
                return super().training_step(batch, batch_idx)
        lr_range_test(Killed(), loader())
    """
    result = python(script, tmp_path)
    assert result.returncode == 7, result.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_where_nobody_logs(tmp_path):
    fit([LRRangeTest(**STEPS)])
    assert list(Path.cwd().rglob("*")) == []


class Hooked(Net):
    """A hook that reaches back into the module: a copy's would fill the original's list."""

    def __init__(self):
        super().__init__()
        self.features = []
        self.head.register_forward_hook(lambda *given: self.features.append(given[2].sum().item()))


class Compiled(Net):
    def __init__(self):
        super().__init__()
        whole = self.loss
        self.loss = lambda batch: whole(batch)


@pytest.mark.parametrize("kind", [Hooked, Compiled])
def test_a_module_whose_functions_reach_back_into_it_is_put_back(kind):
    plain, _, without = fit(module=kind)
    tested, _, after = fit([LRRangeTest(**STEPS, apply=False)], module=kind)
    assert_same(without, after)
    assert getattr(plain, "features", None) == getattr(tested, "features", None)


class Curious(Net):
    """Reads what modules read of their trainer, at any time and in any hook."""

    def __init__(self):
        super().__init__(scheduler=one_cycle)
        self.noted, self.ends = Shared(), Shared()

    def training_step(self, batch, batch_idx):
        rate = self.lr_schedulers().get_last_lr()[0]
        self.log("rate", rate)
        steps = self.trainer.estimated_stepping_batches
        self.noted.append((self.trainer.max_epochs, self.trainer.max_steps, steps))
        self.computed = self.head(torch.zeros(1, 8))  # a result, which deepcopy refuses
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self):
        self.ends.append(self.trainer.callback_metrics["loss"])

    def on_train_end(self):
        self.ends.append("end")
        self.trainer.save_checkpoint("end.ckpt")


def test_the_module_sees_its_own_run_and_no_end_of_it():
    test = LRRangeTest(**STEPS, at_epochs=[0, 1], apply=False)
    module, *_ = fit([test], module=Curious, max_epochs=2)
    assert set(module.noted) == {(2, -1, 16)}
    assert len(module.ends) == 3
    assert sorted(test.results) == [0, 1]


def test_a_bare_optimizer_of_manual_optimization_is_seen_to_step():
    class Bare(Net):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers(use_pl_optimizer=False)
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    assert lr_range_test(Bare(), loader(), **SMALL).steps_run == 50


# -- exactly its steps -----------------------------------------------------------------------------


class Counting(Net):
    """Counts over all copies, in a list that they share."""

    def __init__(self, **options):
        super().__init__(**options)
        self.counts = Shared()

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        self.counts.append("step")
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def validation_step(self, batch, batch_idx):
        self.counts.append("validation")
        return super().validation_step(batch, batch_idx)


class Shared(list):
    """A list whose copies are itself."""

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 1},
        {"max_epochs": -1, "max_steps": 3},
        {"limit_train_batches": 2},
        {"limit_train_batches": 0.5, "accumulate_grad_batches": 3},
        {"overfit_batches": 1},
    ],
)
def test_it_takes_exactly_its_steps_whatever_limits_the_fit(options):
    module = Counting()
    seeded()
    trainer = quiet_trainer(**options)
    result = lr_range_test(module, loader(shuffle=False), trainer, **SMALL)
    assert module.counts == ["step"] * 50
    assert result.steps_run == 50
    assert result.lrs[0] == 1e-6
    assert result.lrs[-1] == 1e-4


def test_no_validation_step_is_taken_that_was_not_asked_for():
    module = Counting()
    seeded()
    trainer = quiet_trainer(
        callbacks=[LRRangeTest(**SMALL)], max_epochs=1, limit_val_batches=1, num_sanity_val_steps=0
    )
    trainer.fit(module, loader(), loader(shuffle=False))
    assert module.counts.count("validation") == 1
    assert module.counts.count("step") == 50 + 8


def test_validation_loss_is_of_the_batches_asked_for():
    module = Counting()
    result = lr_range_test(
        module,
        loader(),
        val_data=loader(),
        stage="val",
        val_batches=2,
        **{**SMALL, "num_steps": 10},
    )
    assert module.counts.count("validation") == 20
    assert result.status in ("no_divergence", "no_descent")


def test_the_loss_of_a_point_is_the_mean_over_its_accumulation_window():
    class Known(Net):
        def training_step(self, batch, batch_idx):
            self.steps += 1
            return super().loss(batch) * 0 + self.steps

    result = lr_range_test(Known(), loader(), quiet_trainer(accumulate_grad_batches=4), **SMALL)
    assert list(result.losses[:3]) == pytest.approx([2.5, 6.5, 10.5])


def test_a_step_that_the_gradient_scaler_skipped_is_no_point():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=10**6)
    precision = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    seeded()
    module = Counting()
    result = lr_range_test(module, loader(), quiet_trainer(plugins=[precision]), **SMALL)
    assert len(module.counts) > 50
    assert result.steps_run == 50
    assert scaler.get_scale() == 2.0**30


# -- what it suggests is what trains ---------------------------------------------------------------


def one_cycle(module, optimizer):
    total, rates = module.trainer.estimated_stepping_batches, [module.lr / 10, module.lr]
    lr = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total, pct_start=0.25)
    return {"scheduler": lr, "interval": "step"}


def cyclic(module, optimizer):
    rates = [module.lr / 10, module.lr]
    lr = torch.optim.lr_scheduler.CyclicLR(optimizer, [r / 10 for r in rates], rates, 4)
    return {"scheduler": lr, "interval": "step"}


def warmup(module, optimizer):
    lr = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 5))
    return {"scheduler": lr, "interval": "step"}


def cosine(module, optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)


def step_lr(module, optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1)


def plateau(module, optimizer):
    lr = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return {"scheduler": lr, "monitor": "val_loss"}


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([group["lr"] for group in optimizer.param_groups])


@pytest.mark.parametrize("scheduler", [None, one_cycle, cyclic, warmup, cosine, step_lr, plateau])
def test_the_suggestion_is_the_peak_of_the_fit(scheduler):
    seeded()
    rates, test = Rates(), LRRangeTest(num_steps=100)
    module = Net(scheduler=scheduler)
    quiet_trainer(callbacks=[test, rates], max_epochs=2).fit(module, easy(), easy(shuffle=False))
    assert test.result.applies
    assert max(head for _, head in rates.seen) == pytest.approx(test.result.suggestion)
    assert all(head == pytest.approx(10 * body) for body, head in rates.seen)
    assert test.result.suggestion != pytest.approx(0.05)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("schedule", [OneCycle, Cyclic])
def test_our_schedules_peak_at_it_in_any_order_of_the_callbacks(schedule, first):
    seeded()
    rates, test = Rates(), LRRangeTest(num_steps=100)
    options = {"step_size_up": 4} if schedule.__name__ == "Cyclic" else {}
    callbacks = [test, schedule(**options)] if first else [schedule(**options), test]
    quiet_trainer(callbacks=[*callbacks, rates], max_epochs=2).fit(Net(), easy())
    assert max(head for _, head in rates.seen) == pytest.approx(test.result.suggestion)
    if schedule.__name__ == "Cyclic":
        assert min(head for _, head in rates.seen) == pytest.approx(test.result.base_lr)


def test_an_attribute_that_is_a_multiple_of_the_rate_is_scaled():
    class Tenth(Net):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr / 10)

    seeded()
    rates, test = Rates(), LRRangeTest(num_steps=100)
    module = Tenth()
    quiet_trainer(callbacks=[test, rates]).fit(module, easy())
    assert rates.seen[0] == [pytest.approx(test.result.suggestion)]
    assert module.lr == pytest.approx(10 * test.result.suggestion)


def test_hyperparameter_and_attribute_are_both_set():
    class Saved(Net):
        def __init__(self, lr=0.05):
            super().__init__(lr)
            self.save_hyperparameters()

    seeded()
    module = Saved()
    result = lr_range_test(module, easy(), num_steps=100)
    assert module.lr == module.hparams.lr == pytest.approx(result.suggestion)


def test_an_optimizer_that_does_not_take_the_rate_is_told():
    class Deaf(Net):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.03)

    seeded()
    with pytest.warns(UserWarning, match=r"set `lr` for a peak of .* configured with 0.03"):
        quiet_trainer(callbacks=[LRRangeTest(num_steps=100)]).fit(Deaf(), easy())


def test_the_optimizers_of_a_module_that_steps_by_itself_rise_together():
    class Manual(Net):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.seen_rates = Shared()

        def training_step(self, batch, batch_idx):
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()
            self.seen_rates.append([o.param_groups[0]["lr"] for o in self.optimizers()])

        def configure_optimizers(self):
            return [
                torch.optim.SGD(self.body.parameters(), lr=self.lr / 5),
                torch.optim.Adam(self.head.parameters(), lr=self.lr),
            ]

    seeded()
    module = Manual()
    test = LRRangeTest(num_steps=100)
    trainer = quiet_trainer(callbacks=[test])
    trainer.fit(module, easy())
    swept = module.seen_rates[: test.result.steps_run]
    assert [rate for _, rate in swept] == pytest.approx(list(test.result.lrs))
    assert all(adam == pytest.approx(5 * sgd) for sgd, adam in module.seen_rates)
    assert test.result.losses[0] > 1.2  # twice ln 2, less a little
    assert trainer.optimizers[1].param_groups[0]["lr"] == pytest.approx(module.lr)


def test_layers_made_in_setup_and_configure_model_are_tested():
    class Late(Net):
        def setup(self, stage):
            self.extra = torch.nn.Linear(2, 2)

        def configure_model(self):
            if not hasattr(self, "last"):
                self.last = torch.nn.Linear(2, 2)

        def loss(self, batch):
            x, y = batch
            return cross_entropy(self.last(self.extra(self.head(self.body(x)))), y)

    seeded()
    test = LRRangeTest(**STEPS)
    quiet_trainer(callbacks=[test]).fit(Late(), easy())
    assert test.result.steps_run > 10


# -- honest ----------------------------------------------------------------------------------------


class Odd(Net):
    """Losses that say nothing."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        if self.kind == "constant":
            return 0 * loss + 2
        return 0 * loss + (torch.randn(()) if self.kind == "noise" else torch.nan)


@pytest.mark.parametrize(
    ("kind", "status"), [("constant", "no_descent"), ("noise", "no_descent"), ("nan", "non_finite")]
)
def test_a_curve_that_says_nothing_changes_nothing_and_says_why(kind, status):
    seeded()
    test, module = LRRangeTest(**STEPS), Odd(kind)
    with pytest.warns(UserWarning, match=f"suggests nothing \\({status}\\)"):
        quiet_trainer(callbacks=[test]).fit(module, easy())
    assert test.result.status == status
    assert test.result.suggestion is None
    assert module.lr == 0.05


def test_it_raises_instead_if_asked():
    with pytest.raises(RuntimeError, match=r"suggests nothing \(no_descent\).*on_fail='keep'"):
        lr_range_test(Odd("constant"), loader(), **STEPS, on_fail="raise")


def test_a_shifted_loss_gives_the_same_suggestion():
    results = []
    for shift in (0.0, -5.0):
        seeded()
        results.append(lr_range_test(Net(shift=shift).double(), doubles(), num_steps=100))
    plain, shifted = results
    assert plain.status == shifted.status != "no_descent"
    assert shifted.suggestion == pytest.approx(plain.suggestion, rel=1e-6)
    assert shifted.diverged_at == plain.diverged_at


def doubles():
    data = [(x.double(), y) for x, y in easy().dataset]
    return DataLoader(data, batch_size=64, shuffle=True)


def test_repeats_tell_how_far_apart_their_suggestions_are():
    seeded()
    result = lr_range_test(Net(), easy(), num_steps=100, repeats=3)
    assert len(result.per_repeat) == 3
    assert len(set(result.per_repeat)) > 1
    assert result.spread > 0


def test_short_trainings_lower_a_rate_that_a_sweep_is_too_short_to_refuse():
    class Unscaled(Net):
        """Targets of a few hundred: large gradients, from which one step at a rate recovers."""

        def loss(self, batch):
            x, y = batch
            return (self.head(self.body(x))[:, 0] - 300 * y).square().mean()

    results = []
    for probe_steps in (0, 50):
        seeded()
        module = Unscaled()
        results.append(lr_range_test(module, easy(), probe_steps=probe_steps))
        assert module.lr == pytest.approx(results[-1].suggestion)
        assert module.steps == 0
    plain, probed = results
    assert plain.probes == ()
    assert probed.probes[0][0] == pytest.approx(plain.suggestion)
    assert 2 <= len(probed.probes) <= 6
    best = min(probed.probes, key=lambda pair: pair[1])
    assert probed.suggestion == best[0]


class Sleeping(LightningModule):
    """Two quadratics; at rates above 0.2 the second one grows, from far below the first."""

    def __init__(self):
        super().__init__()
        self.lr = 0.1
        self.at = torch.nn.Parameter(torch.tensor([1.0, 1e-40], dtype=torch.float64))

    def training_step(self, batch, batch_idx):
        return (torch.tensor([1.0, 10.0]) * self.at**2).sum() / 2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def end_of_training(lr, steps):
    module = Sleeping()
    module.lr = lr
    quiet_trainer(max_steps=steps, max_epochs=-1).fit(module, easy())
    return module.training_step(None, 0).item()


def test_a_rate_that_trains_for_fifty_steps_and_diverges_by_three_hundred_is_lowered():
    kept = lr_range_test(Sleeping(), easy(), probe_steps=50, apply=False)
    (best, low), *_ = kept.longer
    assert low == float("inf")
    assert best == min(kept.probes, key=lambda pair: pair[1])[0]
    assert end_of_training(best, 50) < 0.5
    assert not end_of_training(best, 300) < 0.5
    assert kept.applies
    assert kept.suggestion == pytest.approx(best / 3)
    assert end_of_training(kept.suggestion, 300) < 0.5


@pytest.mark.parametrize(("max_steps", "checked"), [(60, True), (50, False)])
def test_a_longer_training_is_no_longer_than_the_run(max_steps, checked):
    trainer = quiet_trainer(max_steps=max_steps, max_epochs=-1)
    result = lr_range_test(Sleeping(), easy(), trainer, probe_steps=50, apply=False)
    assert bool(result.longer) == checked


def test_the_same_seed_gives_the_same_result():
    def run():
        seeded()
        return lr_range_test(Net(), loader(True), num_steps=60)

    assert replace(run(), seconds=0) == replace(run(), seconds=0)


# -- other parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize("param", ["weight_decay", "momentum"])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_another_parameter_is_chosen_by_a_sweep_at_each_value(param, optimizer):
    class Decayed(Net):
        weight_decay = momentum = 0.5

    seeded()
    module = Decayed(optimizer=optimizer)
    values = [0.0, 0.9]
    result = lr_range_test(module, easy(), param=param, values=values)
    assert list(result.values) == values
    assert result.chosen in values
    assert getattr(module, param) == result.chosen
    assert module.lr == 0.05


def test_batch_sizes_are_tried_on_the_data_module():
    seeded()
    data = Data(batch_size=4)
    result = lr_range_test(Net(), data, param="batch_size", num_steps=40, apply=False)
    assert list(result.values) == [4, 8, 16]
    assert data.batch_size == 4


# -- milestones, checkpoints, loggers --------------------------------------------------------------


@pytest.mark.parametrize("schedule", [step_lr, None, OneCycle, Cyclic])
def test_it_runs_in_mid_training_and_the_rates_follow(schedule):
    seeded()
    rates, test = Rates(), LRRangeTest(at_epochs=[1])
    own = [] if schedule in (step_lr, None) else [schedule(cycle_momentum=False)]
    module = Net(lr=1e-5, scheduler=None if own else schedule)  # learns nothing before
    quiet_trainer(callbacks=[test, *own, rates], max_epochs=3).fit(module, easy())
    assert list(test.results) == [1]
    assert test.result.applies
    heads = [head for _, head in rates.seen]
    assert all(head == pytest.approx(10 * body) for body, head in rates.seen)
    assert max(heads[:8]) <= 1.001e-5
    if not own:
        decayed = 1 if schedule is None else 0.1  # the schedule keeps its shape
        assert heads[8] == pytest.approx(decayed * test.result.suggestion)
        return
    bounds = {"max_lr": test.result.suggestion}
    if schedule is Cyclic:
        bounds["base_lr"] = test.result.base_lr
    expected = schedule(**bounds, cycle_momentum=False).preview(24)["lr"]
    assert heads[8:] == pytest.approx([float(np.max(rate)) for rate in expected[8:]])


def test_mid_training_leaves_no_trace_either():
    _, _, without = fit(data=loader(True), max_epochs=3)
    test = LRRangeTest(**STEPS, at_epochs=[1, 2], apply=False)
    _, _, after = fit([test], data=loader(True), max_epochs=3)
    assert sorted(test.results) == [1, 2]
    assert_same(without, after)


def test_a_resumed_run_keeps_the_rate_and_does_not_test_again(tmp_path):
    seeded()
    first = LRRangeTest(num_steps=100)
    trainer = quiet_trainer(callbacks=[first], max_epochs=1)
    trainer.fit(Net(scheduler=one_cycle), easy())
    trainer.save_checkpoint(tmp_path / "stop.ckpt")
    again = LRRangeTest(num_steps=100)
    module = Counting(scheduler=one_cycle)
    trainer = quiet_trainer(callbacks=[again], max_epochs=1)
    trainer.fit(module, easy(), ckpt_path=tmp_path / "stop.ckpt")
    assert again.result == first.result
    assert module.lr == pytest.approx(first.result.suggestion)
    assert module.counts == []


def test_the_curve_is_in_the_logger_under_a_tag_of_its_own(tmp_path):
    seeded()
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    test = LRRangeTest(**STEPS)
    quiet_trainer(callbacks=[test], logger=logger).fit(Net(), easy())
    events = read_events(logger.log_dir)
    assert "lr_range_test/curve" in events.Tags()["images"]
    losses = [event.value for event in events.Scalars("lr_range_test/loss")]
    assert losses == pytest.approx(list(test.result.losses), rel=1e-5)


def test_a_result_survives_json_and_draws_itself(tmp_path):
    seeded()
    result = lr_range_test(Net(), loader(), **STEPS)
    assert RangeTestResult.from_json(result.to_json()) == result
    path = result.plot(tmp_path / "lr.png")
    assert Path(path).stat().st_size > 1000


class Broken(Net):
    """A loss that stops being a number, some steps after the fit or the sweep began."""

    def __init__(self, value, after):
        super().__init__()
        self.value, self.after = value, after

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return self.loss(batch) * (1.0 if self.steps <= self.after else self.value)


@pytest.mark.parametrize("after", [0, 1, 9, 10, 20])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_sweep_that_ends_in_no_number_ends_no_fit_that_is_logged(tmp_path, value, after):
    seeded()
    test, logger = LRRangeTest(**STEPS), TensorBoardLogger(tmp_path, default_hp_metric=False)
    trainer = quiet_trainer(callbacks=[test], logger=logger, max_steps=1, limit_val_batches=0)
    trainer.fit(Broken(value, after), easy())
    assert test.result.steps_run == after + 1
    assert trainer.global_step == 1
    events = read_events(logger.log_dir)
    assert "lr_range_test/curve" in events.Tags()["images"]
    assert len(events.Scalars("lr_range_test/loss")) == after + 1


class Epochs(Net):
    """Has a value for each epoch of its run and no other."""

    def __init__(self):
        super().__init__()
        self.scale, self.noted = [1.0, 1.1, 1.2], Shared()

    def loss(self, batch):
        self.noted.append((self.current_epoch, self.trainer.current_epoch))
        return super().loss(batch) * self.scale[self.trainer.current_epoch]


class Noting(Callback):
    def __init__(self):
        self.epochs = Shared()

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs.append(trainer.current_epoch)


@pytest.mark.parametrize("epoch", [0, 2])
def test_every_step_of_a_sweep_sees_the_epoch_of_the_users_own_run(epoch):
    seeded()
    noting, module = Noting(), Epochs()
    test = LRRangeTest(**SMALL, at_epochs=[epoch], callbacks=[noting], apply=False)
    quiet_trainer(callbacks=[test], max_epochs=3, limit_val_batches=0).fit(module, loader())
    steps = 8 * epoch + 50 + 8 * (3 - epoch)  # the data of 8 batches start over six times
    assert len(module.noted) == steps
    assert set(module.noted[8 * epoch : 8 * epoch + 50]) == {(epoch, epoch)}
    assert set(noting.epochs) == {epoch}


@pytest.mark.parametrize("options", [{"fast_dev_run": True}])
def test_a_rehearsal_does_not_test(options):
    test = LRRangeTest()
    quiet_trainer(callbacks=[test], **options).fit(Net(), easy())
    assert test.result is None


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_lr": 0}, "`0.0 < min_lr` must hold"),
        ({"min_lr": 1, "max_lr": 0.1}, "max_lr.* must hold"),
        ({"num_steps": 5}, "`10 <= num_steps` must hold"),
        ({"repeats": 0}, "`1 <= repeats` must hold"),
        ({"mode": "log"}, "`mode` must be one of"),
        ({"rule": "steepest"}, "did you mean 'steep'"),
        ({"param": "decay"}, "`param` must be one of"),
        ({"stage": "valid"}, "did you mean 'val'"),
        ({"on_fail": "rise"}, "did you mean 'raise'"),
        ({"isolation": "coppy"}, "did you mean 'copy'"),
        ({"values": [1, 2]}, "`values` goes with another `param`"),
        ({"param": "momentum", "values": [0.9]}, "at least two different values"),
        ({"at_epochs": [-1]}, "`0 <= at_epochs` must hold"),
        ({"val_batches": 0}, "`1 <= val_batches` must hold"),
        ({"probe_steps": 5}, "`10 <= probe_steps` must hold"),
        ({"probe_steps": 50, "param": "momentum"}, "`probe_steps` goes with param='lr'"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        LRRangeTest(**options)


def refused(module, error, message, data=None, trainer=None, **options):
    with pytest.raises(error, match=message):
        lr_range_test(module, loader() if data is None else data, trainer, **{**STEPS, **options})


def test_a_missing_attribute_is_told_with_those_that_look_alike():
    module = Net()
    del module.lr
    module.head_lr = 0.1
    refused(module, AttributeError, r"no attribute 'lr' or 'learning_rate'.*it has head_lr.*`attr`")


def test_two_different_rates_are_asked_about():
    module = Net()
    module.learning_rate = 0.5
    refused(module, ValueError, "lr=0.05 and learning_rate=0.5; say by `attr`")


def test_a_rate_that_is_no_number_is_told():
    refused(Net(lr=None), ValueError, "`lr` must be a number above 0 .* got None")


def test_no_optimizer_is_told():
    class Without(Net):
        def configure_optimizers(self):
            return None

    refused(Without(), ValueError, "configure_optimizers returned no optimizer")


def test_no_loss_is_told():
    class Silent(Net):
        def training_step(self, batch, batch_idx):
            return None

    refused(Silent(), RuntimeError, "20 batches in a row gave the range test no loss")


@pytest.mark.parametrize(("silent", "steps"), [(19, 30), (20, None)])
def test_some_batches_without_a_loss_are_passed_over(silent, steps):
    class Late(Net):
        """Has no loss in its first batches, of the fit and of each sweep."""

        def __init__(self):
            super().__init__()
            self.batches_seen = Shared()

        def training_step(self, batch, batch_idx):
            self.batches_seen.append(1)
            if len(self.batches_seen) <= silent:
                return None
            return super().training_step(batch, batch_idx)

    module = Late()
    if steps is None:
        refused(module, RuntimeError, "20 batches in a row gave")
        assert len(module.batches_seen) == 20
    else:
        assert lr_range_test(module, loader(), **SMALL, apply=False).steps_run == 50
        assert len(module.batches_seen) == 69


class Noisy(Blobs):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return self.noise(x), y


class Drawing:
    """Transforms, as people write them, around a random generator."""

    def __init__(self):
        self.numpy, self.torch = np.random.default_rng(1), torch.Generator().manual_seed(1)

    def loaders(self):
        numpy, torch_ = self.numpy, self.torch

        def collate(items):
            x = torch.stack([x for x, _ in items])
            return x + torch.rand(1, generator=torch_), torch.tensor([y for _, y in items])

        data = Noisy()
        data.noise = lambda x: x + 0.1 * float(numpy.random())
        return DataLoader(data, batch_size=8, shuffle=True, collate_fn=collate)


@pytest.mark.parametrize("isolation", ["copy", "snapshot"])
def test_generators_inside_functions_of_the_data_are_left_as_they_were(isolation):
    _, _, without = fit(data=Drawing().loaders(), max_epochs=1)
    test = LRRangeTest(**STEPS, apply=False, isolation=isolation)
    _, _, after = fit([test], data=Drawing().loaders(), max_epochs=1)
    assert test.result.steps_run > 10
    assert_same(without, after)


class Jittered(Net):
    """A random generator in a function of the module's."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.jitter = lambda x: x + torch.randn(x.shape, generator=generator)

    def loss(self, batch):
        return super().loss((self.jitter(batch[0]), batch[1]))


@pytest.mark.parametrize("isolation", ["copy", "snapshot"])
def test_generators_inside_functions_of_the_module_are_left_as_they_were(isolation):
    _, _, without = fit(module=Jittered, max_epochs=1)
    test = LRRangeTest(**STEPS, apply=False, isolation=isolation)
    _, _, after = fit([test], module=Jittered, max_epochs=1)
    assert test.result.steps_run > 10
    assert_same(without, after)


def test_an_empty_loader_is_told():
    refused(Net(), ValueError, "got no batch", data=DataLoader([]))


def test_validation_without_a_loader_or_a_loss_is_told():
    refused(Net(), ValueError, "stage='val' needs a validation loader", stage="val")

    class Mute(Net):
        def validation_step(self, batch, batch_idx):
            return None

    refused(
        Mute(), ValueError, "validation_step to return its loss", stage="val", val_data=loader()
    )


def test_momentum_of_an_optimizer_without_any_is_told():
    module = Net(optimizer=torch.optim.Adagrad)
    refused(
        module,
        ValueError,
        "Adagrad has neither 'momentum' nor 'betas'",
        param="momentum",
        apply=False,
    )


def test_batch_size_without_the_attribute_is_told():
    refused(Net(), AttributeError, "needs a module or data module", param="batch_size", apply=False)


def test_a_module_that_cannot_be_copied_is_told_and_may_be_used_in_place(tmp_path):
    module = Net()
    with (tmp_path / "log").open("w") as file:
        module.file = file
        refused(module, TypeError, r"Net.file cannot be copied .*isolation='snapshot'")
        result = lr_range_test(module, loader(), **STEPS, isolation="snapshot")
        assert module.file is file
    assert result.steps_run > 10
    assert module.steps == 0


def test_what_cannot_be_copied_of_the_data_is_read_in_place_with_a_warning(tmp_path):
    _, _, without = fit(data=loader(True))
    data = loader(True)
    data.dataset.lock = threading.Lock()  # no word of it
    told = pytest.warns(UserWarning, match="reads from the same TextIOWrapper as the training")
    with (tmp_path / "log").open("w") as data.dataset.file, told:
        _, _, after = fit([LRRangeTest(**STEPS, apply=False)], data=data)
    assert_same(without, after)


def test_data_that_can_be_read_once_only_is_told():
    batches = (loader().dataset[index] for index in range(8))
    refused(Net(), TypeError, "reads from a Python generator", data=DataLoader(Once(batches)))


def test_data_that_does_not_start_anew_is_told():
    class Spent(IterableDataset):
        blobs, left = Blobs(), 24

        def __iter__(self):
            while self.left:
                self.left -= 1
                yield self.blobs[self.left]

    data = DataLoader(Spent(), batch_size=8)
    refused(Net(), RuntimeError, "ended after 3 of 30 steps .* did not start anew", data=data)


class Once(IterableDataset):
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return self.items


# -- two processes ---------------------------------------------------------------------------------

DDP = """
    import sys, torch
    from lightning import Trainer
    from lightning_hparams import Cyclic, LRRangeTest, lr_range_test
    from tests.callbacks.test_range_test import Net, loader, seeded, state_of

    class Ranked(Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * 0 + 1.0 + 2 * self.global_rank if RANKS else loss

    if __name__ == "__main__":
        entry = sys.argv[1]
        RANKS = entry == "ranks"
        stream = "stream" in sys.argv
        states = []
        result = None
        for tested in (False, True):
            seeded()
            module, data = Ranked(), loader(True, stream)
            isolation = "snapshot" if entry == "snapshot" else "copy"
            options = dict(num_steps=20, min_lr=1e-5, apply=False, isolation=isolation)
            test = LRRangeTest(**options)
            trainer = Trainer(
                accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                callbacks=[test] if tested and entry != "function" else [],
            )
            if tested and entry == "function":
                result = lr_range_test(module, data, trainer, **options)
            trainer.fit(module, data)
            result = test.result or result
            module.mean.reset()
            module.mean.update(1.0)
            states.append(state_of(module, data))
        torch.save((states, result.to_json()), f"rank{trainer.global_rank}.pt")
        # As torch asks for: gloo's threads may abort a process that ends while they run.
        torch.distributed.destroy_process_group()
"""


def python(script, folder, *arguments):
    path = folder / "script.py"
    code = textwrap.dedent(script)
    if "__main__" not in code:
        command = [sys.executable, "-c", code, *arguments]
    else:
        path.write_text(code)
        command = [sys.executable, str(path), *arguments]
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "arguments", [["callback"], ["snapshot"], ["function"], ["callback", "stream"], ["ranks"]]
)
def test_two_processes_leave_no_trace_and_agree(arguments, tmp_path):
    result = python(DDP, tmp_path, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)]
    for states, _ in ranks:
        assert_same(*states)
    assert ranks[0][1] == ranks[1][1]
    found = RangeTestResult.from_json(ranks[0][1])
    if arguments == ["ranks"]:
        assert set(found.losses) == {2.0}
    else:
        assert found.steps_run == 20
    assert {path.name for path in tmp_path.iterdir()} == {"script.py", "rank0.pt", "rank1.pt"}
