"""A scheduled value holds at each step, whatever else sets it."""

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import BaseFinetuning, StochasticWeightAveraging
from torch.optim import lr_scheduler

from lightning_hparams import Cyclic, OneCycle, ParamScheduler
from lightning_hparams.scheduler import GroupValues
from tests.callbacks.schedule_runs import Line, curve, first, fit, sgd


class Recorded(torch.optim.SGD):
    """Records the rate of each update."""

    def __init__(self, params, lr=0.1, momentum=0.0):
        super().__init__(params, lr, momentum=momentum)
        self.used = []

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        self.used.append([group["lr"] for group in self.param_groups])
        super().step()
        return loss


def used(**options):
    run = fit(**{"module": Line(Recorded), **options})
    return first(run.trainer.optimizers[0].used)


class Sets(Callback):
    """Sets the rate in one hook, as users do by hand."""

    def __init__(self, hook, value=0.7):
        setattr(self, hook, self.set)
        self.value = value

    def set(self, trainer, *_, **__):
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.value


HOOKS = [
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_train_epoch_end",
]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("order", [1, -1])
def test_a_rate_set_in_a_hook_is_not_used_and_warned_about_once(hook, order):
    callbacks = [OneCycle(), Sets(hook)][::order]
    with pytest.warns(UserWarning, match=r"set the lr of a parameter group to 0.7") as warned:
        rates = used(callback=callbacks[0], also=callbacks[1:])
    assert rates == pytest.approx(curve(16))
    assert sum("OneCycle" in str(each.message) for each in warned) == 1


class WarmsUp(Line):
    """The warm-up of Lightning's documentation."""

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        optimizer.step(closure=optimizer_closure)
        for group in optimizer.param_groups:
            group["lr"] = min(1.0, self.trainer.global_step / 4) * 0.1


class WarmsUpBefore(Line):
    def on_before_optimizer_step(self, optimizer):
        for group in optimizer.param_groups:
            group["lr"] *= 0.5


@pytest.mark.parametrize(
    ("kind", "name"),
    [(WarmsUp, "WarmsUp.optimizer_step"), (WarmsUpBefore, "WarmsUpBefore.on_before_optimizer")],
)
def test_a_manual_warm_up_is_not_used_and_is_named(kind, name):
    with pytest.warns(UserWarning, match=name):
        rates = used(module=kind(Recorded))
    assert rates == pytest.approx(curve(16))


@pytest.mark.parametrize("make", [OneCycle, Cyclic, lambda: ParamScheduler("linear")])
def test_weight_averaging_does_not_set_the_rates(make):
    alone = used(callback=make())
    with pytest.warns(UserWarning, match="StochasticWeightAveraging adds its own scheduler"):
        averaged = used(
            callback=make(), also=[StochasticWeightAveraging(0.5, swa_epoch_start=1)], epochs=2
        )
    assert averaged == alone


class Unfreezes(BaseFinetuning):
    def freeze_before_training(self, pl_module):
        pass

    def finetune_function(self, pl_module, epoch, optimizer):
        optimizer.param_groups[0]["lr"] = 0.7


def test_a_finetuning_callback_that_sets_rates_is_named():
    with pytest.warns(UserWarning, match="Unfreezes set the lr"):
        rates = used(also=[Unfreezes()])
    assert rates == pytest.approx(curve(16))


class Steps(Line):
    """Steps a scheduler that Lightning does not know."""

    def on_train_batch_start(self, batch, batch_idx):
        if self.trainer.global_step == 0:
            self.hidden = lr_scheduler.StepLR(self.trainer.optimizers[0], 1)
        self.hidden.step()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_scheduler_that_lightning_does_not_know_does_not_set_the_rates():
    with pytest.warns(UserWarning, match="OneCycle sets it at every step"):
        assert used(module=Steps(Recorded)) == pytest.approx(curve(16))


class Restarts(Line):
    """Starts its second epoch with another optimizer, in one of the usual ways."""

    def __init__(self, way):
        super().__init__(Recorded)
        self.way = way

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.first = self.trainer.optimizers[0].used
            self.way(self.trainer)


def assign(trainer):
    trainer.optimizers = [Recorded(trainer.lightning_module.parameters())]


def set_up_again(trainer):
    trainer.strategy.setup_optimizers(trainer)


def replace_group(trainer):
    groups = trainer.optimizers[0].param_groups
    groups[0] = {**groups[0], "lr": 0.7}


@pytest.mark.parametrize("way", [assign, set_up_again, replace_group])
def test_an_optimizer_or_group_put_in_place_of_another_goes_on_along_the_curve(way):
    module = Restarts(way)
    run = fit(module=module)
    second = run.trainer.optimizers[0].used
    rates = second if second is module.first else module.first + second
    assert first(rates) == pytest.approx(curve(16))


def test_optimizers_of_another_number_in_mid_training_are_warned_about():
    def add(trainer):
        assign(trainer)
        trainer.optimizers = [*trainer.optimizers, torch.optim.SGD([torch.zeros(1)], lr=0.1)]

    with pytest.warns(UserWarning, match="optimizers was 1 at the start of training and is 2 now"):
        fit(module=Restarts(add))


class SetsDecay(Callback):
    def on_after_backward(self, trainer, pl_module):
        trainer.optimizers[0].param_groups[0]["weight_decay"] = 0.5


def test_any_scheduled_value_is_held():
    with pytest.warns(UserWarning, match=r"SetsDecay.on_after_backward set the weight_decay"):
        run = fit(callback=ParamScheduler("linear", "weight_decay"), also=[SetsDecay()])
    assert run.trainer.optimizers[0].param_groups[0]["weight_decay"] == 0.0


def test_cycling_momentum_is_held():
    class SetsMomentum(Callback):
        def on_after_backward(self, trainer, pl_module):
            trainer.optimizers[0].param_groups[0]["momentum"] = 0.1

    with pytest.warns(UserWarning, match=r"set the momentum of a parameter group to 0.1"):
        fit(module=Line(sgd), also=[SetsMomentum()])


# Optimizers whose steps cannot be counted


class Lookahead(torch.optim.Optimizer):
    """Wraps an optimizer without calling ``super().__init__``, as some published ones do."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.param_groups = optimizer.param_groups
        self.defaults = optimizer.defaults
        self.state = optimizer.state

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure=None):
        return self.optimizer.step(closure)


class Silent(torch.optim.SGD):
    """Runs no hooks, since its step is replaced after construction."""

    def __init__(self, params):
        super().__init__(params, lr=0.1)
        inner = torch.optim.SGD(self.param_groups, lr=0.1)
        self.step = inner.step


def test_a_wrapper_without_step_hooks_is_refused_before_training():
    with pytest.raises(TypeError, match=r"Lookahead.__init__ does not call super\(\).__init__"):
        fit(module=Line(lambda groups: Lookahead(torch.optim.SGD(groups))))


def test_a_schedule_that_does_not_advance_warns_after_an_epoch():
    with pytest.warns(UserWarning, match="none of the 8 steps of Silent was counted"):
        fit(module=Line(Silent), epochs=1)


@pytest.mark.filterwarnings("ignore:OneCycle. training continues past the 8 steps")
def test_an_optimizer_that_steps_twice_warns():
    class Twice(torch.optim.SGD):
        def step(self, closure=None):
            loss = super().step(closure)
            for hook in self._optimizer_step_post_hooks.values():
                hook(self, (self,), {})
            return loss

    fit(module=Line(torch.optim.SGD))
    with pytest.warns(UserWarning, match="took 16 steps where the Trainer counts 8"):
        fit(module=Line(Twice), epochs=2, max_steps=8)


# Without a Trainer


def test_only_changed_values_are_set_again():
    optimizer = torch.optim.Adam(
        [
            {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": torch.tensor(0.1)},
            {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.2},
        ],
        foreach=False,
    )
    tensor = optimizer.param_groups[0]["lr"]
    shapes = {"lr": lambda step, total: 1 / 3, "momentum": lambda step, total: 0.5}
    values = GroupValues(
        optimizer, shapes, lambda group, index: {"lr": (0.0, 0.3), "momentum": (0.8, 0.9)}, 0, 2
    )
    values.set(0, 1)
    values.lay_out()
    assert values.hold() is None
    tensor.fill_(0.7)
    assert values.hold() == ("lr", pytest.approx(0.7), pytest.approx(0.1))
    assert values.hold() is None
    assert optimizer.param_groups[0]["lr"] is tensor
    optimizer.param_groups[1]["betas"] = (0.0, 0.999)
    assert values.hold() == ("momentum", 0.0, pytest.approx(0.85))
    assert optimizer.param_groups[1]["betas"] == (pytest.approx(0.85), 0.999)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 5.0})
    assert values.hold() is None
    assert optimizer.param_groups[2]["lr"] == pytest.approx(0.1)


def test_a_schedule_of_several_parameters_is_evaluated_once_a_step():
    optimizer = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(3)], lr=0.1, momentum=0.9
    )
    asked = []

    def shape(step, total):
        asked.append((step, total))
        return step / total

    spans = {"lr": (0.0, 0.1), "momentum": (0.9, 0.8)}
    values = GroupValues(optimizer, dict.fromkeys(spans, shape), lambda *_: spans, 0, 3)
    values.lay_out()
    for step, total in (0, 4), (2, 4), (2, 8):
        values.set(step, total)
        assert asked.pop() == (step, total)
        assert not asked
    for group in optimizer.param_groups:
        assert (group["lr"], group["momentum"]) == pytest.approx((0.025, 0.875))
