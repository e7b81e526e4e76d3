"""OneCycle sets the rate of each step from the step alone."""

import pytest
import torch
from lightning import Callback, LightningModule
from torch.utils.data import DataLoader, IterableDataset

from lightning_hparams import OneCycle
from lightning_hparams.schedules import one_cycle
from tests.runs import quiet_trainer


class Line(LightningModule):
    """Two parameter groups whose rates differ by a factor of ten."""

    def __init__(self, scheduler=None, manual=False):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.scheduler = scheduler
        self.automatic_optimization = not manual

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().mean()
        if self.automatic_optimization:
            return loss
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return None

    def configure_optimizers(self):
        groups = [
            {"params": [self.layer.weight], "lr": 0.1},
            {"params": [self.layer.bias], "lr": 0.01},
        ]
        optimizer = torch.optim.AdamW(groups)
        if self.scheduler is None:
            return optimizer
        return [optimizer], [self.scheduler(optimizer)]


class Rates(Callback):
    """The rates that each optimizer step used."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([group["lr"] for group in optimizer.param_groups])


def batches(count=8):
    # All alike, since Lightning does not put a loader back to the middle of an epoch.
    return DataLoader([torch.tensor([1.0, -2.0, 0.5])] * count, batch_size=1)


def fit(*, epochs=2, module=None, callback=None, ckpt_path=None, loader=None, **options):
    torch.manual_seed(0)
    module = module or Line()
    rates = Rates()
    trainer = quiet_trainer(max_epochs=epochs, callbacks=[rates, callback or OneCycle()], **options)
    trainer.fit(module, batches() if loader is None else loader, ckpt_path=ckpt_path)
    return module, rates.seen, trainer


@pytest.mark.parametrize("manual", [False, True])
def test_every_group_follows_the_curve_in_its_own_ratio(manual):
    _, rates, _ = fit(module=Line(manual=manual))
    for step, (weight, bias) in enumerate(rates):
        assert weight == pytest.approx(0.1 * one_cycle(step, 16))
        assert bias == pytest.approx(0.01 * one_cycle(step, 16))
    assert len(rates) == 16


def test_max_lr_is_the_peak_of_the_largest_group():
    _, rates, _ = fit(callback=OneCycle(max_lr=0.5))
    assert max(rate for rate, _ in rates) == 0.5
    assert max(rate for _, rate in rates) == pytest.approx(0.05)


def test_the_length_counts_optimizer_steps_under_accumulation_with_a_remainder():
    _, rates, _ = fit(accumulate_grad_batches=3)  # 3 steps an epoch of 8 batches
    assert [rate for rate, _ in rates] == pytest.approx([0.1 * one_cycle(k, 6) for k in range(6)])


def test_max_steps_is_the_length():
    _, rates, _ = fit(epochs=-1, max_steps=11)
    assert [rate for rate, _ in rates] == pytest.approx([0.1 * one_cycle(k, 11) for k in range(11)])


def test_past_the_end_it_holds():
    _, rates, _ = fit(callback=OneCycle(total_steps=10))
    assert len({rate for rate, _ in rates[9:]}) == 1
    assert rates[-1][0] == pytest.approx(0.1 / 25 / 1e4)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.parametrize("stop", [1, 5, 8, 11, 15])
def test_a_run_stopped_and_resumed_equals_one_that_never_stopped(stop, tmp_path):
    whole, expected, _ = fit()

    class Stop(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == stop:
                trainer.save_checkpoint(tmp_path / "stop.ckpt")

    torch.manual_seed(0)
    rates = Rates()
    trainer = quiet_trainer(max_epochs=2, callbacks=[rates, OneCycle(), Stop()])
    trainer.fit(Line(), batches())
    resumed, rest, _ = fit(ckpt_path=tmp_path / "stop.ckpt")
    assert rest == expected[stop:]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_scheduler_of_the_module_is_refused():
    with pytest.raises(RuntimeError, match=r"OneCycle and StepLR .* would both set the learning"):
        fit(module=Line(scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 5)))


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.ones(3)


def test_an_endless_loader_needs_a_length():
    loader = DataLoader(Endless(), batch_size=2)
    with pytest.raises(ValueError, match=r"the trainer says inf; pass OneCycle\(total_steps=...\)"):
        fit(loader=loader, epochs=-1, limit_train_batches=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_lr": 0}, "`0.0 < max_lr` must hold"),
        ({"total_steps": 0}, "`1 <= total` must hold"),
        ({"pct_start": 2}, "`0 <= pct_start <= 1` must hold"),
        ({"anneal_strategy": "cosinus"}, "did you mean 'cos'"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        OneCycle(**options)
