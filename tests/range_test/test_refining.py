"""Short trainings to both sides of a suggestion, from measured losses alone."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lightning_hparams.range_test import Sweep, Trained, analyse, lr_values, refine, training_steps

RATES = lr_values(1e-7, 10, 100)


def swept(edge=0.3):
    """A sweep whose loss falls from 1e-4 on, and rises at the edge."""
    losses = [
        2.3 - 1.5 / (1 + (1e-3 / lr) ** 1.5) + (0.0 if lr < edge else 3 * math.log(lr / edge))
        for lr in RATES
    ]
    return analyse([Sweep(RATES, losses)])


def run_to(loss, start=2.3, middle=None, steps=100):
    """A training whose loss falls to this, on eight batches that differ a little."""
    middle = (start + loss) / 2 if middle is None else middle
    losses = [start] * 20 + [middle] * 50 + [loss] * 30
    batches = [0.01 * index for index in range(8)]
    if not math.isfinite(loss):
        return Trained([start] * 5, [start + b for b in batches], ())
    after = [loss + b * (1.1 if index % 2 else 0.9) for index, b in enumerate(batches)]
    return Trained(losses, [start + b for b in batches], after)


class Bowl:
    """Trainings whose final loss is lowest at one rate, and which diverge above another."""

    def __init__(self, best, depth=0.5, width=1.0, diverges=math.inf, start=2.3, middle=None):
        self.best, self.depth, self.width = best, depth, width
        self.diverges, self.start, self.middle = diverges, start, middle
        self.tried = []

    def __call__(self, rate):
        self.tried.append(rate)
        away = abs(math.log10(rate / self.best)) / self.width
        loss = self.depth + (self.start - self.depth) * min(away**2, 1.0)
        loss = math.inf if rate > self.diverges else loss
        return run_to(loss, self.start, self.middle)


@given(st.floats(-3.5, 0.5))
def test_the_best_rate_is_found_above_and_below_the_suggestion(exponent):
    bowl = Bowl(10**exponent, width=3)
    found = refine(swept(), bowl, first=1e-3, limit=20)
    assert abs(math.log10(found.suggestion) - exponent) < 1
    assert found.max_lr == found.suggestion
    assert found.base_lr <= found.suggestion / 4
    assert [rate for rate, _ in found.probes] == sorted(bowl.tried)


def test_of_rates_that_train_alike_the_lowest_is_chosen():
    found = refine(swept(), lambda rate: run_to(0.5 if 1e-3 < rate < 1 else 2.0), first=1e-3)
    assert 5e-4 < found.suggestion < 5e-3


def test_what_trains_alike_is_measured_against_the_late_gain_and_not_the_first_fall():
    """From 100 to a constant prediction of 1.0 at any rate, and only high ones go on to 0.5."""

    def train(rate):
        return run_to(0.5 if 0.05 < rate < 0.6 else 1.0, start=100.0, middle=1.0)

    assert refine(swept(), train, first=1e-3).suggestion > 0.03


def test_a_rate_that_diverges_is_never_chosen():
    bowl = Bowl(0.3, diverges=0.04, width=3)
    assert refine(swept(), bowl, first=1e-3).suggestion <= 0.04
    assert any(rate > 0.04 for rate in bowl.tried)


@given(st.integers(2, 12), st.floats(-6, 1))
def test_no_more_trainings_are_run_than_allowed(limit, exponent):
    bowl = Bowl(10**exponent, width=9)
    found = refine(swept(), bowl, first=1e-3, limit=limit)
    assert len(bowl.tried) <= limit
    assert found.steps_run == 100 + 100 * len(bowl.tried)


@given(st.floats(-50, 50))
def test_adding_a_constant_to_all_losses_changes_nothing(shift):
    def moved(rate):
        run = Bowl(0.02)(rate)
        return Trained(*([loss + shift for loss in part] for part in vars(run).values()))

    found = refine(swept(), moved, first=1e-3).suggestion
    assert found == pytest.approx(refine(swept(), Bowl(0.02), first=1e-3).suggestion, rel=1e-6)


def nothing_learnt(rate):
    batches = [2.3 + 0.1 * (-1) ** index for index in range(8)]
    return Trained([2.3] * 100, batches, [2.3 + 0.09 * (-1) ** (index // 2) for index in range(8)])


def test_without_a_fall_in_any_training_there_is_no_suggestion():
    result = refine(swept(), nothing_learnt, first=1e-3)
    assert (result.status, result.suggestion) == ("not_trained", None)
    assert "the loss fell in the sweep, but not in" in result.reason


@given(st.integers(0, 15))
def test_a_fall_in_nearly_all_batches_counts_though_one_holds_most_of_the_loss(rises):
    """Batches of counts: the fall of one is a thousand times that of the others."""
    falls = [1e3] + [1.0] * (15 - rises) + [-1.0] * rises
    run = Trained([9.0, 8.0] * 50, [2e3] * 16, [2e3 - fall for fall in falls[:16]])
    assert run.fell == (rises <= 1)


@pytest.mark.parametrize("last", [2.3, 0.5])
def test_a_smaller_fall_of_few_samples_counts_where_the_training_loss_fell_too(last):
    """Three of sixteen batches rise, and the mean fall is 3.88 standard errors."""
    falls = [-0.23, -0.13, -0.08, 0.07, 0.12, 0.17, 0.22, 0.22]
    falls += [0.27, 0.27, 0.32, 0.32, 0.37, 0.42, 0.47, 0.52]
    assert np.mean(falls) / (np.std(falls, ddof=1) / 4) == pytest.approx(3.88, abs=0.01)
    losses = [level + 0.1 * (-1) ** step for step, level in enumerate(np.linspace(2.3, last, 100))]
    run = Trained(losses, [2.3] * 16, [2.3 - fall for fall in falls])
    assert run.fell == (last < 2)


@pytest.mark.parametrize("losses", [[2.3, 0.5], [2.3] * 9, [2.3] * 10])
def test_a_training_too_short_to_have_fallen_is_judged_by_the_held_out_samples(losses):
    assert not Trained(losses, [2.3] * 2, [2.2, 2.35]).fell
    assert Trained(losses, [2.3, 2.4] * 8, [0.5, 0.7] * 8).fell


DRAWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "heavy tails": lambda rng, size: rng.standard_t(3, size=size),
    "skew to falls": lambda rng, size: 1 - rng.exponential(size=size),
    "skew to rises": lambda rng, size: rng.exponential(size=size) - 1,
    "overconfident": lambda rng, size: rng.normal(size=size) + 0.5,
}


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("status", ["ok", "no_descent"])
@pytest.mark.parametrize("last", [2.3, 0.5])
def test_trainings_that_learn_nothing_get_no_suggestion(kind, status, last):
    """Their held-out losses change by chance, or rise; the training loss may fall, by heart."""
    rng = np.random.default_rng(0)
    result = swept() if status == "ok" else flat()
    assert result.status == status

    def train(rate):
        before = 2.3 + 0.2 * rng.normal(size=16)
        after = before + 0.1 * DRAWS[kind](rng, (16, 5)).mean(1)  # batches of five samples
        return Trained(np.linspace(2.3, last, 100).tolist(), before.tolist(), after.tolist())

    found = [refine(result, train, first=1e-3) for _ in range(400)]
    assert sum(not each.applies for each in found) >= 396


def flat():
    return analyse([Sweep(RATES, [2.3 + 0.05 * math.sin(7 * i * i) for i in range(100)])])


def test_a_flat_sweep_is_helped_by_trainings_that_learn_and_stays_without_a_rate_otherwise():
    assert flat().status == "no_descent"
    helped = refine(flat(), Bowl(0.01), first=1e-3)
    assert helped.status == "ok"
    assert 1e-3 < helped.suggestion < 0.02
    left = refine(flat(), nothing_learnt, first=1e-3)
    assert (left.status, left.suggestion) == ("no_descent", None)


def test_an_unreadable_sweep_is_not_followed_by_trainings():
    broken = analyse([Sweep(RATES[:20], [math.nan] * 20)])
    assert refine(broken, Bowl(0.01), first=1e-3) == broken


def test_the_steps_of_a_training_follow_from_the_budget():
    assert training_steps(0.1, 3400, 100) == 0
    assert training_steps(0.1, 3500, 100) == 50
    assert training_steps(0.1, 1e6, 100) == 300
    assert training_steps(0.1, math.inf, 100) == 0
    assert training_steps(0, 1e6, 100) == 0
    assert training_steps(600, 300, 100) == 100


def test_by_default_trainings_take_at_most_a_quarter_of_a_run_and_a_tenth_of_a_long_one():
    assert training_steps(None, 2399, 100) == 0
    assert training_steps(None, 2400, 100) == 100
    assert training_steps(None, 6000, 100) == 100
    assert training_steps(None, 11_000, 100) == 200
    assert training_steps(None, 1e6, 100) == 300
    assert training_steps(None, math.inf, 100) == 0


def test_without_a_suggestion_trainings_may_by_default_take_as_many_steps_as_the_run():
    assert training_steps(None, 249, 100, suggests=False) == 0
    assert training_steps(None, 300, 100, suggests=False) == 60
    assert training_steps(None, 2000, 100, suggests=False) == 100
    assert training_steps(None, math.inf, 100, suggests=False) == 0
    assert training_steps(0, 2000, 100, suggests=False) == 0
