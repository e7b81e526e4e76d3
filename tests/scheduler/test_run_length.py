"""The length of a run is the number of steps taken and remaining."""

import math
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, strategies as st
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer
from torch.utils.data import DataLoader

from lightning_hparams import Cyclic, OneCycle, ParamScheduler
from lightning_hparams.scheduler import EpochSteps, Position, RunLength
from tests.callbacks.schedule_runs import (
    MID_EPOCH,
    Line,
    SaveEach,
    Seen,
    batches,
    curve,
    first,
    fit,
)
from tests.runs import quiet_trainer

sizes = st.dictionaries(st.integers(0, 6), st.integers(1, 5), max_size=3).map(
    lambda found: tuple(sorted({0: 1, **found}.items()))
)


def walk(batch_count, accumulation, epochs):
    """(Epoch, processed batches) after each batch, and whether a Trainer takes a step there."""
    for epoch in range(epochs):
        size = [size for first, size in accumulation if first <= epoch][-1]
        for batch in range(1, batch_count + 1):
            yield epoch, batch, batch % size == 0 or batch == batch_count


@given(st.integers(1, 12), sizes, st.integers(1, 8))
def test_remaining_steps_are_those_that_a_trainer_takes(batch_count, accumulation, epochs):
    steps = EpochSteps(batch_count, accumulation)
    walked = list(walk(batch_count, accumulation, epochs))
    assert steps.in_epochs(0, epochs) == sum(took for *_, took in walked)
    assert steps.to_come(0, 0, epochs) == steps.in_epochs(0, epochs)
    for index, (epoch, batch, _) in enumerate(walked):
        ahead = sum(took for *_, took in walked[index + 1 :])
        assert steps.to_come(epoch, batch, epochs) == ahead
    assert steps.to_come(epochs, 0, epochs) == 0


def trainer(**options):
    return SimpleNamespace(
        **{
            "num_training_batches": 8,
            "max_epochs": 2,
            "max_steps": -1,
            "accumulate_grad_batches": 1,
            "callbacks": [],
            **options,
        }
    )


AUTOMATIC, MANUAL = (SimpleNamespace(automatic_optimization=auto) for auto in (True, False))


@pytest.mark.parametrize(
    ("options", "module", "taken", "totals"),
    [
        ({}, AUTOMATIC, [0], [16]),
        ({"accumulate_grad_batches": 3}, AUTOMATIC, [0], [6]),
        ({"max_steps": 11}, AUTOMATIC, [0], [11]),
        ({"max_steps": 11}, MANUAL, [0, 0], [6, 6]),
        ({"max_epochs": -1, "max_steps": 7}, AUTOMATIC, [0], [7]),
        ({"num_training_batches": math.inf, "max_steps": 7}, AUTOMATIC, [0], [7]),
        ({"callbacks": [GradientAccumulationScheduler({1: 4})]}, AUTOMATIC, [0], [10]),
    ],
)
def test_the_length_is_the_one_planned_by_a_trainer(options, module, taken, totals):
    assert (
        RunLength(None, "OneCycle").totals(trainer(**options), module, taken, Position(0, 0))
        == totals
    )


def test_an_unknown_length_is_an_error_unless_the_run_has_a_time_limit():
    endless = {"num_training_batches": math.inf}
    with pytest.raises(ValueError, match=r"pass OneCycle\(total_steps=...\)"):
        RunLength(None, "OneCycle").totals(trainer(**endless), AUTOMATIC, [0], Position(0, 0))
    timed = trainer(**endless, callbacks=[Timer(timedelta(hours=1))])
    assert RunLength(None, "OneCycle").totals(timed, AUTOMATIC, [0], Position(0, 0))[0] > 1e6


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3)), min_size=2),
    st.booleans(),
)
def test_a_run_of_changing_sizes_is_as_long_as_the_steps_it_takes(parts, restarted):
    """Each part of the run has a loader length, an accumulation and a number of epochs."""
    epochs = sum(count for *_, count in parts)
    length, taken, epoch = RunLength(None, "OneCycle"), 0, 0
    for batch_count, size, count in parts:
        now = trainer(
            num_training_batches=batch_count, accumulate_grad_batches=size, max_epochs=epochs
        )
        if restarted:
            state, length = length.state_dict(Position(epoch, 0)), RunLength(None, "OneCycle")
            length.load_state_dict(state)
        planned = length.totals(now, AUTOMATIC, [taken], Position(epoch, 0))
        assert planned == [taken + (epochs - epoch) * math.ceil(batch_count / size)]
        taken += count * math.ceil(batch_count / size)
        epoch += count
    assert planned == [taken]


# In a Trainer


@pytest.mark.filterwarnings(MID_EPOCH)  # Lightning divides all steps by the present epochs'
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"loader": batches(4)}),
        ({}, {"loader": batches(16)}),
        ({"loader": batches(5)}, {"loader": batches(8)}),
        ({}, {"accumulate_grad_batches": 2}),
        ({"accumulate_grad_batches": 4}, {}),
        ({}, {"also_in_second": GradientAccumulationScheduler({0: 1, 2: 4})}),
    ],
)
@pytest.mark.parametrize("later", [0, 1])
def test_a_run_resumed_at_another_size_ends_where_its_curve_ends(tmp_path, before, after, later):
    at = math.ceil(len(before.get("loader", batches())) / before.get("accumulate_grad_batches", 1))
    at *= 1 + later
    also = [after["also_in_second"]] if "also_in_second" in after else []
    fit(epochs=4, also=[SaveEach(tmp_path)], **before)
    options = {key: value for key, value in after.items() if key != "also_in_second"}
    rates = first(fit(epochs=4, ckpt_path=tmp_path / f"{at}.ckpt", also=also, **options).rates)
    assert rates == pytest.approx(curve(at + len(rates))[at:])


@pytest.mark.filterwarnings(MID_EPOCH)
@pytest.mark.parametrize("at", [1, 3, 7, 8, 9, 15])
@pytest.mark.parametrize("count", [4, 8, 12, 16])
def test_a_run_resumed_within_an_epoch_at_another_size_ends_where_its_curve_ends(
    tmp_path, at, count
):
    fit(epochs=3, also=[SaveEach(tmp_path)])
    run = fit(epochs=3, loader=batches(count), ckpt_path=tmp_path / f"{at}.ckpt")
    rates = first(run.rates)
    assert rates
    assert rates == pytest.approx(curve(at + len(rates))[at:])


def test_a_second_fit_at_another_size_ends_where_its_curve_ends():
    run = fit()
    seen = run.trainer.callbacks[0]
    run.trainer.fit_loop.max_epochs = 4
    run.trainer.fit(run.module, batches(5))
    assert first(seen.seen[0][16:]) == pytest.approx(curve(16 + 10)[16:])


@pytest.mark.filterwarnings(MID_EPOCH)
@pytest.mark.parametrize("at", [5, 9, 11, 14])
def test_a_run_resumed_twice_at_other_sizes_ends_where_its_curve_ends(tmp_path, at):
    second = tmp_path / "second"
    fit(epochs=3, also=[SaveEach(tmp_path)])
    fit(epochs=3, loader=batches(5), ckpt_path=tmp_path / "4.ckpt", also=[SaveEach(second)])
    rates = first(fit(epochs=3, loader=batches(6), ckpt_path=second / f"{at}.ckpt").rates)
    assert rates == pytest.approx(curve(at + len(rates))[at:])


def test_a_resumed_run_that_insists_on_its_length_refuses_another_size(tmp_path):
    fit(also=[SaveEach(tmp_path)])
    with pytest.raises(ValueError, match=r"had \[16\] optimizer steps and this one has \[12\]"):
        fit(
            callback=OneCycle(on_resume="strict"),
            loader=batches(4),
            ckpt_path=tmp_path / "8.ckpt",
        )


def test_a_resumed_run_of_another_size_may_keep_its_curve(tmp_path):
    fit(also=[SaveEach(tmp_path)])
    run = fit(
        callback=OneCycle(on_resume="continue"), loader=batches(4), ckpt_path=tmp_path / "8.ckpt"
    )
    assert first(run.rates) == pytest.approx(curve(16)[8:12])


class Growing(Line):
    """Its loader is recreated in each epoch, one batch longer each time."""

    def train_dataloader(self):
        return DataLoader(torch.ones(3 + self.current_epoch, 3), batch_size=1)


def test_recreated_loaders_of_another_length_count_from_then_on():
    module = Growing()
    seen = Seen()
    quiet_trainer(
        max_epochs=3, reload_dataloaders_every_n_epochs=1, callbacks=[seen, OneCycle()]
    ).fit(module)
    rates = first(seen.seen[0])
    assert len(rates) == 3 + 4 + 5
    assert rates[:3] == pytest.approx(curve(9)[:3])
    assert rates[3:7] == pytest.approx(curve(3 + 8)[3:7])
    assert rates[7:] == pytest.approx(curve(12)[7:])


def test_another_number_of_optimizers_is_refused_on_resume(tmp_path):
    fit(also=[SaveEach(tmp_path)])
    checkpoint = torch.load(tmp_path / "8.ckpt", weights_only=True)
    (state,) = (value for key, value in checkpoint["callbacks"].items() if "OneCycle" in key)
    state["steps"] = [8, 8]
    torch.save(checkpoint, tmp_path / "two.ckpt")
    with pytest.raises(ValueError, match="had 2 optimizers and this one has 1"):
        fit(ckpt_path=tmp_path / "two.ckpt")


def test_a_checkpoint_of_an_earlier_version_resumes(tmp_path):
    whole = fit(also=[SaveEach(tmp_path)])
    checkpoint = torch.load(tmp_path / "8.ckpt", weights_only=True)
    (state,) = (value for key, value in checkpoint["callbacks"].items() if "OneCycle" in key)
    del state["length"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    assert fit(ckpt_path=tmp_path / "old.ckpt").rates == whole.rates[8:]


@pytest.mark.parametrize("make", [OneCycle, Cyclic, lambda: ParamScheduler("cosine")])
def test_a_length_that_is_only_lightnings_default_warns(make):
    with (
        pytest.warns(UserWarning, match="`max_epochs` was not set"),
        pytest.warns(UserWarning, match=r"over 1000 epochs.*pass Trainer\(max_epochs=...\)"),
    ):
        fit(epochs=None, callback=make(), limit_train_batches=1, also=[_StopAtOnce()])
    fit(epochs=3, callback=make())


class _StopAtOnce(SaveEach):
    def __init__(self):
        pass

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop = True
