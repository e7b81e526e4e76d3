"""Schedules set the values of each step from the optimizer's own steps alone."""

import os
import subprocess
import sys
import textwrap
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    Timer,
)
from lightning.pytorch.plugins import MixedPrecision
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset

from lightning_hparams import Cyclic, LRRangeTest, OneCycle, ParamScheduler
from lightning_hparams.schedules import cosine, linear, one_cycle, triangular
from tests.callbacks.schedule_runs import (
    MID_EPOCH,
    Line,
    SaveEach,
    Seen,
    Two,
    batches,
    curve,
    equal,
    first,
    fit,
    sgd,
    weights,
)

# Following the curve


@pytest.mark.parametrize("manual", [False, True])
def test_every_group_follows_the_curve_at_its_own_ratio(manual):
    rates = fit(module=Line(manual=manual)).rates
    assert first(rates) == pytest.approx(curve(16))
    assert [bias for _, bias in rates] == pytest.approx(curve(16, 0.01))


@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_matches_the_rates_and_momenta_of_torch(three_phase):
    def torchs(optimizer):
        scheduler = lr_scheduler.OneCycleLR(
            optimizer, [0.1, 0.01], 40, three_phase=three_phase, pct_start=0.3
        )
        return {"scheduler": scheduler, "interval": "step"}

    theirs = fit(epochs=5, module=Line(sgd, scheduler=torchs), callback=Callback(), max_steps=40)
    ours = fit(epochs=5, module=Line(sgd), callback=OneCycle(three_phase=three_phase))
    assert len(ours.rates) == 40
    assert np.allclose(ours.rates, theirs.rates, rtol=0, atol=1e-6)
    assert np.allclose(ours.momenta, theirs.momenta, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_cyclic_matches_the_rates_and_momenta_of_torch(mode):
    shape = {"step_size_up": 3, "step_size_down": 5, "mode": mode, "gamma": 0.98}

    def torchs(optimizer):
        scheduler = lr_scheduler.CyclicLR(optimizer, [0.02, 0.002], [0.1, 0.01], **shape)
        return {"scheduler": scheduler, "interval": "step"}

    theirs = fit(epochs=5, module=Line(sgd, scheduler=torchs), callback=Callback())
    ours = fit(epochs=5, module=Line(sgd), callback=Cyclic(base_lr=0.02, **shape))
    assert np.allclose(ours.rates, theirs.rates, rtol=0, atol=1e-6)
    assert np.allclose(ours.momenta, theirs.momenta, rtol=0, atol=1e-6)


def test_max_lr_is_the_peak_of_the_largest_group():
    rates = fit(callback=OneCycle(max_lr=0.3)).rates
    assert max(first(rates)) == 0.3
    assert max(bias for _, bias in rates) == pytest.approx(0.03)


def test_max_lr_may_be_a_list_with_a_peak_per_group():
    rates = fit(callback=OneCycle(max_lr=[0.3, 0.7])).rates
    assert [max(group) for group in zip(*rates, strict=True)] == [0.3, 0.7]


def test_max_lr_keeps_the_ratio_between_optimizers():
    rates = fit(module=Two(), callback=OneCycle(max_lr=0.8)).all_rates
    assert max(first(rates[0])) == pytest.approx(0.2)
    assert max(first(rates[1])) == 0.8


def test_any_key_can_follow_any_schedule():
    decay = Seen("weight_decay")
    scheduler = ParamScheduler("linear", "weight_decay", schedule_args={"end_factor": 2.0})
    fit(callback=scheduler, also=[decay])
    expected = [0.01 * (1 + step / 15) for step in range(16)]  # AdamW's default
    assert first(decay.seen[0]) == pytest.approx(expected)


def test_two_schedulers_may_set_different_keys_and_resume(tmp_path):
    def callbacks():
        return {
            "callback": ParamScheduler(cosine),
            "also": [ParamScheduler(linear, "weight_decay"), Seen("weight_decay")],
        }

    whole = callbacks()
    fit(**{**whole, "also": [*whole["also"], SaveEach(tmp_path)]})
    resumed = callbacks()
    fit(**resumed, ckpt_path=tmp_path / "8.ckpt")
    assert resumed["also"][1].seen[0] == whole["also"][1].seen[0][8:]


def test_a_user_defined_schedule_works():
    rates = fit(callback=ParamScheduler(lambda step, total: 1 / (1 + step))).rates
    assert first(rates) == pytest.approx([0.1 / (1 + step) for step in range(16)])


def test_a_rate_that_is_a_tensor_stays_the_same_tensor():
    rate = torch.tensor(0.1)

    class Tensors(Line):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=rate, foreach=False)

    run = fit(module=Tensors())
    assert run.trainer.optimizers[0].param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.1 / 25 / 1e4)


# Length of the run


def test_the_length_counts_optimizer_steps_under_accumulation_with_a_remainder():
    rates = fit(accumulate_grad_batches=3).rates  # 3 steps an epoch of 8 batches
    assert first(rates) == pytest.approx(curve(6))


def test_the_length_accounts_for_changing_accumulation():
    rates = fit(epochs=3, also=[GradientAccumulationScheduler({0: 1, 1: 3})]).rates
    assert first(rates) == pytest.approx(curve(8 + 3 + 3))


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({"epochs": -1, "max_steps": 11}, 11),
        ({"max_steps": 11}, 11),
        ({"max_steps": 99}, 16),
        ({"limit_train_batches": 3}, 6),
        ({"limit_train_batches": 0.5}, 8),
        ({"fast_dev_run": 4}, 4),
    ],
)
def test_the_length_is_the_one_planned_by_the_trainer(options, total):
    assert first(fit(**options).rates) == pytest.approx(curve(total))


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.ones(3)


@pytest.mark.parametrize("epochs", [-1, 2])
def test_an_endless_loader_needs_a_length(epochs):
    loader = DataLoader(Endless(), batch_size=2)
    with pytest.raises(ValueError, match=r"pass OneCycle\(total_steps=...\) or Trainer\(max_s"):
        fit(loader=loader, epochs=epochs, limit_train_batches=None)
    rates = fit(loader=loader, epochs=epochs, max_steps=5).rates
    assert first(rates) == pytest.approx(curve(5))


class Clock(Timer):
    """0.01 s per step, and 0.5 s for the first."""

    steps = 0

    def time_elapsed(self, stage="train"):
        return 0.01 * self.steps + (0.49 if self.steps else 0)

    def load_state_dict(self, state_dict):
        self.steps = round(100 * (state_dict["time_elapsed"]["train"] - 0.49))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self.steps += 1


@pytest.mark.parametrize("epochs", [-1, 100])
def test_under_max_time_the_schedule_ends_with_the_time(epochs):
    clock = Clock(timedelta(seconds=2.0))
    rates = first(fit(epochs=epochs, also=[clock], loader=batches(50)).rates)
    assert len(rates) == 151  # 0.5 s for the first step and 0.01 for each of the others
    for step, rate in enumerate(rates[1:], 1):
        share = (0.49 + 0.01 * step) / 2
        smooth = 0.1 * one_cycle(round(share * 10_000), 10_000)
        # The estimate is rough during the first steps.
        assert rate == pytest.approx(smooth, abs=0.003 if step > 10 else 0.03)
    assert rates[-1] < 1e-4


@pytest.mark.filterwarnings(MID_EPOCH)
def test_a_run_with_a_time_limit_resumes_where_it_stopped(tmp_path):
    def run(*also, **options):
        clock = Clock(timedelta(seconds=2.0))
        return fit(epochs=-1, also=[clock, *also], loader=batches(50), **options).rates

    rates = run(SaveEach(tmp_path))
    assert run(ckpt_path=tmp_path / "40.ckpt") == rates[40:]


def test_a_time_limit_that_is_not_reached_changes_nothing():
    clock = Clock(timedelta(hours=1))
    assert first(fit(also=[clock]).rates) == pytest.approx(curve(16))


def test_past_the_end_the_last_value_holds_and_one_warning_says_so():
    with pytest.warns(UserWarning, match="past the 10 steps of the schedule") as warned:
        rates = fit(callback=OneCycle(total_steps=10)).rates
    assert len([w for w in warned if "past the 10 steps" in str(w.message)]) == 1
    assert first(rates[:10]) == pytest.approx(curve(10))
    assert set(first(rates[9:])) == {0.1 * (1 / 25 / 1e4)}


# Several optimizers


class StopAfter(Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_each_optimizer_has_its_own_count():
    module = Two(often=3)
    rates = fit(module=module, callback=OneCycle(total_steps=[16, 48])).all_rates
    assert first(rates[0]) == pytest.approx(curve(16))
    assert first(rates[1]) == pytest.approx(curve(48, 0.4))


def test_max_steps_counts_the_steps_of_all_optimizers():
    rates = fit(module=Two(), max_steps=12).all_rates
    assert first(rates[0]) == pytest.approx(curve(6))
    assert first(rates[1]) == pytest.approx(curve(6, 0.4))


@pytest.mark.parametrize("module", [{"often": 2}, {"rare": 4}])
def test_an_unplanned_step_frequency_warns_after_the_first_epoch(module):
    taken = 16 if module.get("often") else 2
    message = f"optimizer 1 took {taken} steps in 8 batches, .* one per batch, 16 in all"
    with pytest.warns(UserWarning, match=message) as warned:
        fit(module=Two(**module), also=[StopAfter(1)])
    assert len([w for w in warned if "OneCycle" in str(w.message)]) == 1


def test_several_optimizers_resume(tmp_path):
    def run(**options):
        return fit(module=Two(often=2), callback=OneCycle(total_steps=[16, 32]), **options)

    whole = run(also=[SaveEach(tmp_path)])
    resumed = run(ckpt_path=tmp_path / "24.ckpt")
    assert resumed.all_rates == {0: whole.all_rates[0][8:], 1: whole.all_rates[1][16:]}
    assert equal(weights(whole.module), weights(resumed.module))


# Resuming


@pytest.mark.filterwarnings(MID_EPOCH)
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (OneCycle, {}),
        (partial(OneCycle, max_lr=[0.3, 0.2], three_phase=True), {}),
        (partial(OneCycle, max_lr=0.7), {"accumulate_grad_batches": 3}),
        (partial(Cyclic, mode="triangular2", step_size_up=2), {}),
        (partial(ParamScheduler, "wsd"), {}),
        (partial(ParamScheduler, triangular, "momentum"), {}),
    ],
)
def test_a_run_stopped_at_any_step_and_resumed_equals_one_that_never_stopped(
    make, options, tmp_path
):
    whole = fit(module=Line(sgd), callback=make(), also=[SaveEach(tmp_path)], **options)
    total = len(whole.rates)
    for step in range(1, total):
        resumed = fit(
            module=Line(sgd), callback=make(), ckpt_path=tmp_path / f"{step}.ckpt", **options
        )
        assert resumed.rates == whole.rates[step:]
        assert resumed.momenta == whole.momenta[step:]
        assert equal(weights(whole.module), weights(resumed.module))


def stopped(tmp_path, callback=None, at=8, module=None, also=()):
    fit(callback=callback, module=module, also=[*also, SaveEach(tmp_path)])
    return tmp_path / f"{at}.ckpt"


@pytest.mark.parametrize(("epochs", "total"), [(4, 32), (1.5, 12)])
def test_a_resumed_run_of_another_length_follows_the_curve_of_that_length(tmp_path, epochs, total):
    path = stopped(tmp_path)
    options = {"epochs": epochs} if epochs == 4 else {"max_steps": total}
    assert first(fit(ckpt_path=path, **options).rates) == pytest.approx(curve(total)[8:])


def test_a_resumed_run_may_keep_its_curve(tmp_path):
    path = stopped(tmp_path)
    with pytest.warns(UserWarning, match="past the 16 steps of the schedule"):
        rates = fit(callback=OneCycle(on_resume="continue"), ckpt_path=path, epochs=4).rates
    assert first(rates) == pytest.approx([*curve(16)[8:], *[curve(16)[-1]] * 16])


def test_an_explicit_length_wins_even_where_the_curve_is_to_be_kept(tmp_path):
    path = stopped(tmp_path)
    callback = OneCycle(total_steps=32, on_resume="continue")
    assert first(fit(callback=callback, ckpt_path=path).rates) == pytest.approx(curve(32)[8:16])


def test_a_resumed_run_may_insist_on_its_length_before_training(tmp_path):
    path = stopped(tmp_path)
    resumed = fit(callback=OneCycle(on_resume="strict"), ckpt_path=path)
    assert first(resumed.rates) == pytest.approx(curve(16)[8:])
    seen = Seen()
    with pytest.raises(ValueError, match=r"had \[16\] optimizer steps and this one has \[32\]"):
        fit(callback=OneCycle(on_resume="strict"), ckpt_path=path, epochs=4, also=[seen])
    assert seen.seen == {}


@pytest.mark.parametrize("max_lr", [0.5, [0.5, 0.05]])
def test_a_peak_changed_on_resume_takes_effect(tmp_path, max_lr):
    path = stopped(tmp_path, OneCycle(max_lr=0.1))
    rates = fit(callback=OneCycle(max_lr=max_lr), ckpt_path=path).rates
    assert np.allclose(rates, [[r, r / 10] for r in curve(16, 0.5)[8:]])


def test_a_rate_reconfigured_on_resume_takes_effect(tmp_path):
    path = stopped(tmp_path)
    rates = fit(module=Line(lr=0.4), ckpt_path=path).rates
    assert first(rates) == pytest.approx(curve(16, 0.4)[8:])


def test_a_checkpoint_saved_without_the_callback_resumes_at_its_step_of_the_curve(tmp_path):
    path = stopped(tmp_path, Callback())
    assert first(fit(ckpt_path=path).rates) == pytest.approx(curve(16)[8:])


def test_a_callback_may_be_used_for_a_second_fit():
    callback = OneCycle()
    for _ in range(2):
        assert first(fit(callback=callback).rates) == pytest.approx(curve(16))


def test_a_second_fit_continues_on_the_curve_of_the_whole_run():
    run = fit()
    seen = run.trainer.callbacks[0]
    run.trainer.fit_loop.max_epochs = 4
    run.trainer.fit(run.module, batches())
    assert first(seen.seen[0][16:]) == pytest.approx(curve(32)[16:])


# After a range test


class RangeTest(Callback):
    """Acts as a range test: sets the rate, and remembers its result."""

    def __init__(self, status="ok", apply=True):
        self.status, self.apply = status, apply
        self.result = None

    def setup(self, trainer, pl_module, stage):
        if trainer.ckpt_path is None:
            self.result = SimpleNamespace(base_lr=0.012, max_lr=0.3, status=self.status)
            if self.apply and self.status in ("ok", "no_divergence"):
                pl_module.lr = 0.3

    def state_dict(self):
        return vars(self.result)

    def load_state_dict(self, state_dict):
        self.result = SimpleNamespace(**state_dict)


def swings(rates):
    return (min(first(rates)), max(first(rates)))


@pytest.mark.parametrize("order", [1, -1])
def test_cyclic_swings_between_the_bounds_of_a_range_test(order):
    callbacks = [Cyclic(step_size_up=4), RangeTest()][::order]
    seen = Seen()
    fit(callback=seen, also=callbacks)
    assert swings(seen.seen[0]) == (0.012, 0.3)
    assert swings([group[1:] for group in seen.seen[0]]) == pytest.approx((0.0012, 0.03))


@pytest.mark.parametrize("test", [{"status": "no_descent"}, {"apply": False}])
def test_cyclic_swings_between_a_quarter_and_the_configured_rate_otherwise(test):
    run = fit(callback=Cyclic(step_size_up=4), also=[RangeTest(**test)])
    assert swings(run.rates) == (0.025, 0.1)


def test_given_bounds_take_precedence_over_those_of_a_range_test():
    assert swings(fit(callback=Cyclic(0.1, 0.2, step_size_up=4), also=[RangeTest()]).rates) == (
        0.1,
        0.2,
    )
    assert swings(fit(callback=Cyclic(base_lr=0.1, step_size_up=4), also=[RangeTest()]).rates) == (
        0.1,
        0.3,
    )


@pytest.mark.parametrize("make", [OneCycle, partial(Cyclic, step_size_up=3)])
@pytest.mark.parametrize("also", [[RangeTest], []])
def test_a_rate_found_by_a_range_test_survives_a_resume(tmp_path, make, also):
    whole = fit(callback=make(), also=[RangeTest(), SaveEach(tmp_path)])
    assert max(first(whole.rates)) == pytest.approx(0.3)
    with warnings_of_callbacks_left_out(also):
        resumed = fit(
            callback=make(), also=[test() for test in also], ckpt_path=tmp_path / "8.ckpt"
        )
    assert resumed.rates == whole.rates[8:]
    assert equal(weights(whole.module), weights(resumed.module))


def warnings_of_callbacks_left_out(also):
    if also:
        return pytest.MonkeyPatch.context()
    return pytest.warns(UserWarning, match="Be aware that when using `ckpt_path`, callbacks used")


def test_max_lr_takes_precedence_over_a_range_test_on_resume(tmp_path):
    path = stopped(tmp_path, also=[RangeTest()])
    run = fit(callback=OneCycle(max_lr=0.5), also=[RangeTest()], ckpt_path=path)
    assert first(run.rates) == pytest.approx(curve(16, 0.5)[8:])


# Groups added during training


class Unfreeze(BaseFinetuning):
    """Unfreezes the bias in the second epoch."""

    def freeze_before_training(self, pl_module):
        pl_module.layer.bias.requires_grad = False

    def on_fit_start(self, trainer, pl_module):
        super().on_fit_start(trainer, pl_module)  # restores the group of a resumed run
        pl_module.layer.bias.requires_grad = len(trainer.optimizers[0].param_groups) > 1

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            pl_module.layer.bias.requires_grad = True
            optimizer.add_param_group({"params": [pl_module.layer.bias], "lr": 0.5})


class Frozen(Line):
    def configure_optimizers(self):
        return torch.optim.SGD([self.layer.weight], lr=0.1, momentum=0.9)


@pytest.mark.filterwarnings(MID_EPOCH)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("options", [{}, {"max_lr": 0.2}])
def test_a_group_added_later_is_scheduled_from_its_first_step_and_resumes(tmp_path, order, options):
    def run(*also, **more):
        seen, momenta = Seen(), Seen("momentum")
        callbacks = [OneCycle(**options), Unfreeze()][::order]
        result = fit(
            module=Frozen(), callback=seen, epochs=3, also=[momenta, *callbacks, *also], **more
        )
        return seen.seen[0], momenta.seen[0], weights(result.module)

    rates, momenta, end = run(SaveEach(tmp_path))
    scale = options.get("max_lr", 0.1) / 0.1
    assert [len(groups) for groups in rates] == [1] * 8 + [2] * 16
    assert [groups[1] for groups in rates[8:]] == pytest.approx(curve(24, 0.5 * scale)[8:])
    assert [groups[0] for groups in momenta] == pytest.approx([g[-1] for g in momenta])
    for step in (4, 9, 20):
        again, again_momenta, again_end = run(ckpt_path=tmp_path / f"{step}.ckpt")
        assert again == rates[step:]
        assert again_momenta == momenta[step:]
        assert equal(end, again_end)


# Gradient scaling


class Overflows(Line):
    """Its third and fourth batch overflow."""

    def loss(self, batch, batch_idx):
        loss = super().loss(batch, batch_idx)
        return loss * float("inf") if batch_idx in (2, 3) else loss


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("manual", [False, True])
def test_a_step_that_the_gradient_scaler_skips_does_not_count(fused, manual):
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    run = fit(
        module=Overflows(partial(torch.optim.SGD, fused=fused), manual=manual),
        epochs=1,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
    )
    expected = curve(8)
    places = [0, 1, 2, 2, 2, 3, 4, 5]
    assert first(run.rates) == pytest.approx([expected[place] for place in places])
    assert all(torch.isfinite(weight).all() for weight in weights(run.module))


@pytest.mark.filterwarnings(MID_EPOCH)
def test_a_resumed_run_remembers_the_steps_that_the_scaler_skipped(tmp_path):
    def run(**options):
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        plugins = [MixedPrecision("16-mixed", "cpu", scaler)]
        return fit(module=Overflows(torch.optim.SGD), plugins=plugins, **options)

    whole = run(also=[SaveEach(tmp_path)])
    for step in range(1, 16):
        resumed = run(ckpt_path=tmp_path / f"{step}.ckpt")
        assert resumed.rates == whole.rates[step:]
        assert equal(weights(whole.module), weights(resumed.module))


def test_a_step_that_calls_its_parent_class_counts_once():
    class Doubled(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    fit(module=Line(torch.optim.SGD))  # torch patches the class on the first optimizer
    assert first(fit(module=Line(Doubled)).rates) == pytest.approx(curve(16))


def test_an_optimizer_state_loaded_during_training_returns_to_the_curve():
    class Reload(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            (optimizer,) = trainer.optimizers
            optimizer.load_state_dict(optimizer.state_dict())

    assert first(fit(also=[Reload()]).rates) == pytest.approx(curve(16))


# Momentum


def test_momentum_mirrors_the_rate_and_is_restored():
    run = fit(module=Line(sgd))
    heights = [one_cycle(step, 16, div_factor=float("inf")) for step in range(16)]
    assert first(run.momenta) == pytest.approx([0.95 - 0.1 * height for height in heights])
    assert min(first(run.momenta)) == 0.85
    assert [g["momentum"] for g in run.trainer.optimizers[0].param_groups] == [0.9, 0.9]


def test_momentum_is_restored_after_an_error():
    class Fails(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.optimizer = trainer.optimizers[0]
            if batch_idx == 3:
                raise RuntimeError("out of memory")

    fails = Fails()
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(module=Line(sgd), also=[fails])
    assert fails.optimizer.param_groups[0]["momentum"] == 0.9
    assert not fails.optimizer._optimizer_step_post_hooks


def test_betas_cycle_only_on_request():
    betas = Seen("betas")
    fit(also=[betas])
    assert set(first(betas.seen[0])) == {(0.9, 0.999)}
    betas = Seen("betas")
    run = fit(callback=OneCycle(cycle_momentum=True), also=[betas])
    assert min(first(betas.seen[0])) == (0.85, 0.999)
    assert run.trainer.optimizers[0].param_groups[0]["betas"] == (0.9, 0.999)


def test_momentum_0_does_not_cycle_and_cannot_be_made_to():
    momenta = Seen("momentum")
    fit(module=Line(torch.optim.SGD), also=[momenta])
    assert set(first(momenta.seen[0])) == {0}
    for optimizer in (torch.optim.SGD, torch.optim.Adagrad):
        with pytest.raises(ValueError, match=r"needs a momentum .* above 0 in every group"):
            fit(module=Line(optimizer), callback=OneCycle(cycle_momentum=True))


# Schedulers of the module


def step_lr(optimizer):
    return lr_scheduler.StepLR(optimizer, 1)


def warming(optimizer):
    return lr_scheduler.LambdaLR(optimizer, lambda epoch: epoch / 10)


def torch_one_cycle(optimizer):
    return lr_scheduler.OneCycleLR(optimizer, [0.1, 0.01], 100)


def test_a_scheduler_of_the_module_is_refused():
    with pytest.raises(RuntimeError, match=r"OneCycle and StepLR .* would both set the learning"):
        fit(module=Line(scheduler=step_lr))
    fit(module=Line(scheduler=step_lr), callback=ParamScheduler(linear, "weight_decay"))


def test_a_scheduler_of_the_module_that_cycles_momentum_is_refused():
    module = Line(sgd, scheduler=torch_one_cycle)
    with pytest.raises(RuntimeError, match=r"ParamScheduler and OneCycleLR .* set the momentum"):
        fit(module=module, callback=ParamScheduler(linear, "momentum"))


@pytest.mark.parametrize("scheduler", [step_lr, warming, torch_one_cycle])
def test_override_replaces_a_scheduler_of_the_module_and_resumes(tmp_path, scheduler):
    def run(**options):
        return fit(
            module=Line(sgd, scheduler=scheduler), callback=OneCycle(override=True), **options
        ).rates

    rates = run(also=[SaveEach(tmp_path)])
    assert first(rates) == pytest.approx(curve(16))
    assert run(ckpt_path=tmp_path / "8.ckpt") == rates[8:]


def test_override_cannot_replace_a_scheduler_under_manual_optimization():
    with pytest.raises(RuntimeError, match="which the module steps itself under manual"):
        fit(module=Line(scheduler=step_lr, manual=True), callback=OneCycle(override=True))


def test_two_callbacks_that_set_the_same_value_are_refused():
    with pytest.raises(RuntimeError, match="OneCycle and Cyclic would both set"):
        fit(also=[Cyclic()])


@pytest.mark.parametrize(
    ("also", "epochs", "message"),
    [([Cyclic()], 2, "OneCycle and Cyclic would both set"), ([], -1, "unknown for an endless run")],
)
def test_no_range_test_runs_before_a_schedule_that_cannot_work(also, epochs, message):
    range_test = LRRangeTest(num_steps=10)
    with pytest.raises((RuntimeError, ValueError), match=message):
        fit(also=[range_test, *also], epochs=epochs)
    assert range_test.result is None


# Invalid arguments


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(OneCycle, max_lr=0), "`0.0 < max_lr` must hold"),
        (partial(OneCycle, max_lr=[0.1, -1]), "`0.0 < max_lr` must hold"),
        (partial(OneCycle, total_steps=0), "`1 <= total_steps` must hold"),
        (partial(OneCycle, total_steps=[8, 0]), "`1 <= total_steps` must hold"),
        (partial(OneCycle, pct_start=2), "`0 <= pct_start <= 1` must hold"),
        (partial(OneCycle, anneal_strategy="cosinus"), "did you mean 'cos'"),
        (partial(OneCycle, base_momentum=0.99), "`0.0 <= base_momentum <= 0.95` must hold"),
        (partial(OneCycle, max_momentum=1.0), "`0.0 <= max_momentum <= 0.99"),
        (partial(OneCycle, cycle_momentum="yes"), "`cycle_momentum` must be True, False or 'auto'"),
        (partial(OneCycle, on_resume="stretch"), "did you mean 'strict'"),
        (partial(Cyclic, base_lr=0), "`0.0 < base_lr` must hold"),
        (partial(Cyclic, step_size_up=0), "`0.0 < step_size_up` must hold"),
        (partial(Cyclic, mode="triangular3"), "did you mean 'triangular"),
        (partial(Cyclic, mode="exp_range", gamma=2), "`0.0 < gamma <= 1.0` must hold"),
        (partial(ParamScheduler, "cosines"), "did you mean 'cosine'"),
    ],
)
def test_bad_arguments_are_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_schedule_must_return_a_number():
    with pytest.raises(TypeError, match=r"must return a number, got None at \(0, 1000\)"):
        ParamScheduler(lambda step, total: None)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (OneCycle(max_lr=[0.1]), "`max_lr` must have a rate for each of 2 parameter groups"),
        (OneCycle(total_steps=[8, 8]), "`total_steps` must have a number for each of 1 optimizers"),
        (Cyclic(base_lr=0.2), "`0.0 <= base_lr <= 0.1` must hold, got base_lr=0.2"),
        (ParamScheduler(linear, "weight_decy"), "did you mean 'weight_decay'"),
    ],
)
def test_arguments_that_do_not_fit_the_optimizer_are_refused_before_the_first_step(
    callback, message
):
    seen = Seen()
    with pytest.raises(ValueError, match=message):
        fit(callback=callback, also=[seen])
    assert seen.seen == {}


def test_rates_of_0_have_no_ratio():
    with pytest.raises(ValueError, match=r"`max_lr=0.1` replaces .* all are configured as 0"):
        fit(module=Line(lr=0.0), callback=OneCycle(max_lr=0.1))


# Schedule-free optimizers


class Averaged(torch.optim.SGD):
    """Trains with its own weights, and swaps in their average elsewhere, as in 2405.15682."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        for group in self.param_groups:
            group["train_mode"] = False

    def _swap(self, mode):
        for group in self.param_groups:
            for parameter in group["params"] if group["train_mode"] != mode else ():
                if "other" in self.state[parameter]:
                    other = self.state[parameter]["other"]
                    keep = parameter.detach().clone()
                    parameter.data.copy_(other)
                    other.copy_(keep)
            group["train_mode"] = mode

    def train(self):
        self._swap(True)

    def eval(self):
        self._swap(False)

    def step(self, closure=None):
        assert all(group["train_mode"] for group in self.param_groups)
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state.setdefault("other", parameter.detach().clone())
                state["other"].lerp_(parameter.detach(), 0.1)
        return loss


class Watch(Callback):
    """Records the optimizer's mode in the hooks where it matters."""

    def __init__(self):
        self.training, self.validating = [], []

    def mode(self, trainer):
        return trainer.optimizers[0].param_groups[0]["train_mode"]

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.training.append(self.mode(trainer))

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validating.append(self.mode(trainer))


class Validated(Line):
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch, batch_idx))


def test_a_schedule_free_optimizer_trains_in_train_mode_and_is_evaluated_in_eval_mode(tmp_path):
    watch = Watch()
    saves = ModelCheckpoint(tmp_path, monitor="val_loss", save_weights_only=True)
    run = fit(
        module=Validated(Averaged),
        callback=ParamScheduler("warmup"),
        also=[watch, SaveEach(tmp_path), saves],
        val_dataloaders=batches(2),
        enable_checkpointing=True,
    )
    assert set(watch.training) == {True}
    assert set(watch.validating) == {False}
    optimizer = run.trainer.optimizers[0]
    assert not optimizer.param_groups[0]["train_mode"]
    saved = torch.load(tmp_path / "12.ckpt", weights_only=False)
    assert not saved["optimizer_states"][0]["param_groups"][0]["train_mode"]
    best = torch.load(saves.best_model_path, weights_only=False)["state_dict"]
    judged = Validated(Averaged)
    judged.load_state_dict(best)
    loss = judged.loss(torch.tensor([[1.0, -2.0, 0.5]]), 0).item()
    assert loss == pytest.approx(float(saves.best_model_score), rel=1e-6)


@pytest.mark.filterwarnings(MID_EPOCH)
def test_a_schedule_free_optimizer_resumes(tmp_path):
    def run(**options):
        module = Validated(Averaged)
        callback = ParamScheduler("warmup")
        return fit(module=module, callback=callback, val_dataloaders=batches(1), **options).module

    whole = run(also=[SaveEach(tmp_path)])
    for step in (3, 8, 13):
        assert equal(weights(whole), weights(run(ckpt_path=tmp_path / f"{step}.ckpt")))


# Without a Trainer


def test_the_preview_shows_the_values_that_a_run_uses():
    run = fit(module=Line(sgd), callback=OneCycle(max_lr=0.5))
    preview = OneCycle(max_lr=0.5).preview(16)
    assert preview["lr"].tolist() == first(run.rates)
    assert preview["momentum"].tolist() == first(run.momenta)


def test_the_preview_shows_multiples_or_a_column_per_group():
    assert OneCycle(cycle_momentum=False).preview(10).keys() == {"lr"}
    assert Cyclic().preview(17)["lr"].max() == 1.0
    assert OneCycle(max_lr=[0.1, 0.3]).preview(10)["lr"].max(0).tolist() == [0.1, 0.3]
    assert ParamScheduler("linear", "weight_decay").preview(3)["weight_decay"].tolist() == [
        1.0,
        0.5,
        0.0,
    ]
    with pytest.raises(ValueError, match="`1 <= total` must hold"):
        OneCycle().preview(0)


def test_the_preview_can_be_plotted(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    pyplot = pytest.importorskip("matplotlib.pyplot")
    axes = OneCycle(max_lr=0.1).plot(50, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert axes.lines[0].get_ydata().max() == 0.1
    assert Cyclic().plot(50, figure.add_subplot()).figure is figure
    shown = OneCycle(max_lr=[0.1, 0.2]).plot(50)
    assert shown.lines[1].get_ydata().max() == 0.2
    assert shown.figure.number in pyplot.get_fignums()  # so that a notebook shows it
    pyplot.close(shown.figure)


# Two processes


DDP = """
    import sys, torch, lightning
    from datetime import timedelta
    from lightning_hparams import OneCycle
    from tests.callbacks.schedule_runs import Line, Seen, batches

    if __name__ == "__main__":
        for max_time in (None, timedelta(seconds=1)):
            torch.manual_seed(0)
            seen = Seen()
            trainer = lightning.Trainer(
                accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, max_time=max_time,
                enable_checkpointing=False, logger=False, enable_progress_bar=False,
                enable_model_summary=False, callbacks=[seen, OneCycle()],
            )
            module = Line()
            trainer.fit(module, batches(40))
            name = "timed" if max_time else "planned"
            end = [p.detach() for p in module.parameters()]
            torch.save((seen.seen[0], end), f"{name}{trainer.global_rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_follow_one_curve(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(DDP))
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for name in ("planned", "timed"):
        (rates, end), (other_rates, other_end) = (
            torch.load(tmp_path / f"{name}{rank}.pt") for rank in (0, 1)
        )
        assert rates == other_rates
        assert equal(end, other_end)
        if name == "planned":
            assert first(rates) == pytest.approx(curve(40))  # 40 batches per epoch, 20 per process


@pytest.mark.parametrize("steps", [30.0, [10, 2.5]])
def test_a_number_of_steps_must_be_whole(steps):
    with pytest.raises(TypeError, match="`total_steps` must be a whole number"):
        OneCycle(total_steps=steps)


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_a_module_without_an_optimizer_is_refused():
    class Without(Line):
        def configure_optimizers(self):
            return None

    with pytest.raises(ValueError, match="OneCycle has nothing to schedule"):
        fit(module=Without())
