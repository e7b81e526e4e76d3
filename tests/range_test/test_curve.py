import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lightning_hparams.range_test import (
    RULES,
    Stop,
    Sweep,
    check_range_test,
    lr_values,
    read,
    rule_named,
    smooth,
)

LRS = lr_values(1e-7, 10, 100)


def curve(fall=-3.0, rise=0.0, depth=1.5, noise=0.0, seed=0, lrs=LRS):
    """A loss of 2.3 that falls about 10**fall and explodes about 10**rise."""
    x = np.log10(lrs)
    losses = 2.3 - depth / (1 + np.exp(-4 * (x - fall))) + np.exp(np.minimum(6 * (x - rise), 50))
    return losses + noise * np.random.default_rng(seed).normal(size=len(lrs))


# -- the sweep


@given(
    low=st.floats(1e-12, 1e3),
    ratio=st.floats(1.001, 1e12),
    count=st.integers(10, 500),
    mode=st.sampled_from(["exp", "linear"]),
)
@settings(deadline=None)  # the first warning imports Lightning
@pytest.mark.filterwarnings("ignore:mode=")
def test_a_sweep_begins_and_ends_exactly_and_skips_nothing(low, ratio, count, mode):
    values = lr_values(low, low * ratio, count, mode)
    assert (values[0], values[-1], len(values)) == (low, low * ratio, count)
    steps = np.diff(np.log(values) if mode == "exp" else values)
    assert steps.min() == pytest.approx(steps.max(), rel=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"min_lr": 0}, r"`0.0 < min_lr` must hold, got min_lr=0; 1e-7 is usual"),
        ({"min_lr": math.nan}, "must hold, got min_lr=nan"),
        ({"max_lr": 1e-7}, "`1e-07 < max_lr <= 1e[+]300` must hold, got max_lr=1e-07; 10 is usual"),
        ({"max_lr": math.inf}, "must hold, got max_lr=inf"),
        ({"num_steps": 9}, "`10 <= num_steps` must hold, got num_steps=9; 100 is usual"),
        ({"mode": "expo"}, "`mode` must be one of .* got 'expo'; did you mean 'exp'"),
        ({"param": "learning_rate"}, "`param` must be one of"),
        ({"param": "momentun"}, "did you mean 'momentum'"),
        ({"rule": "egde"}, "`rule` must be one of .* did you mean 'edge'"),
        ({"repeats": 0}, "`1 <= repeats` must hold, got repeats=0; 1 runs one sweep"),
    ],
)
def test_bad_arguments_are_told_with_the_remedy(changed, message):
    with pytest.raises(ValueError, match=message):
        check_range_test(**{"min_lr": 1e-7, "max_lr": 10.0, "num_steps": 100, **changed})


def test_a_linear_sweep_over_many_decades_is_warned_of():
    with pytest.warns(UserWarning, match='use mode="exp", or at most two decades'):
        lr_values(1e-4, 1, 100, "linear")
    lr_values(1e-2, 1, 100, "linear")


def test_a_sweep_needs_a_loss_for_each_rate():
    with pytest.raises(ValueError, match="got 1 losses for 2 learning rates"):
        Sweep([0.1, 0.2], [1.0])


# -- the stop rule


def stops_at(losses):
    stop = Stop()
    return next((index for index, loss in enumerate(losses) if stop.add(loss)), None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_sweep_stops_at_a_loss_that_is_not_finite(bad):
    assert stops_at([2.0, bad]) == 1
    assert stops_at([*curve()[:50], bad]) == 50


@given(seed=st.integers(0, 10**6), shift=st.floats(-100, 100), scale=st.floats(1e-3, 1e3))
def test_where_a_sweep_stops_depends_on_neither_level_nor_unit_of_the_loss(seed, shift, scale):
    losses = curve(noise=0.1, seed=seed)
    assert stops_at(losses) is not None
    assert stops_at(scale * (losses + shift)) == stops_at(losses)


def test_a_sweep_of_negative_losses_runs_to_its_divergence():
    stopped = stops_at(curve(noise=0.05) - 5)
    assert 0 < math.log10(LRS[stopped]) < 1


def test_one_odd_batch_stops_nothing():
    losses = curve(rise=9, noise=0.05)
    losses[60] = 1e9
    assert stops_at(losses) is None


@given(seed=st.integers(0, 10**6))
def test_noise_stops_nothing(seed):
    assert stops_at(2 + 0.5 * np.random.default_rng(seed).normal(size=200)) is None


def test_a_rise_without_noise_before_the_fall_stops_nothing():
    """A validation loss while the statistics of a BatchNorm settle."""
    settling = 0.3 * (1 - np.exp(-np.arange(100) / 10))
    assert stops_at((curve(rise=9) + settling).tolist()) is None


# -- smoothing


@given(level=st.floats(-1e6, 1e6), slope=st.floats(-1e3, 1e3), width=st.floats(0, 20))
def test_smoothing_keeps_a_line_up_to_its_ends(level, slope, width):
    line = level + slope * np.arange(100)
    np.testing.assert_allclose(smooth(line, width), line, rtol=1e-9, atol=1e-7)


@given(value=st.floats(-1e9, 1e9), count=st.integers(1, 200), width=st.floats(0, 30))
def test_smoothing_keeps_a_constant_exactly(value, count, width):
    assert smooth([value] * count, width).tolist() == [value] * count


@given(values=st.lists(st.floats(-100, 100), min_size=3, max_size=60))
def test_smoothing_has_no_lag(values):
    """What a filter does to the reversed series is the reverse of what it does, if it has none."""
    there, back = smooth(values, 4), smooth(values[::-1], 4)[::-1]
    np.testing.assert_allclose(there, back, atol=1e-8)


def test_smoothing_takes_noise_away():
    noise = np.random.default_rng(0).normal(size=1000)
    theory = 1 / math.sqrt(2 * math.sqrt(math.pi) * 5)  # of a mean under a Gaussian of width 5
    assert smooth(noise, 5)[20:-20].std() == pytest.approx(theory, rel=0.2)


# -- the curve and the rules


def test_a_curve_knows_its_parts():
    found = read(Sweep(LRS, curve(noise=0.02)))
    assert found.start == pytest.approx(2.3, abs=0.02)
    assert found.noise == pytest.approx(0.02, rel=0.3)
    assert found.drop == pytest.approx(1.5, rel=0.1)
    assert found.fell
    assert found.left
    assert math.log10(found.fallen(0.5)) == pytest.approx(-3, abs=0.15)
    assert found.lrs[found.low] <= found.edge <= found.ended
    truth = next(lr for lr, loss in zip(LRS, curve(), strict=True) if lr > 0.1 and loss > 0.95)
    assert 0 <= math.log10(truth / found.edge) < 0.45  # the kernel is 0.35 decades wide


def test_rules_find_what_they_are_named_after():
    losses = curve()
    found = read(Sweep(LRS, losses))
    suggested = {name: math.log10(rule(found)) for name, rule in RULES.items()}
    lowest = math.log10(LRS[int(np.argmin(losses))])
    assert suggested["min"] == pytest.approx(lowest - math.log10(3), abs=0.25)
    assert suggested["steep"] == pytest.approx(-3, abs=0.15)
    assert suggested["valley"] == pytest.approx(-3, abs=0.15)
    assert -3 < suggested["slide"] < lowest
    middle = statistics.mean(map(math.log10, (found.fallen(0.9), found.edge)))
    assert suggested["edge"] == pytest.approx(middle - math.log10(3), abs=1e-9)


@given(
    name=st.sampled_from(sorted(RULES)),
    fall=st.floats(-4.5, -2),
    width=st.floats(1.5, 3),
    seed=st.integers(0, 10**6),
)
def test_every_rule_stays_between_the_fall_and_the_rise(name, fall, width, seed):
    found = read(Sweep(LRS, curve(fall, fall + width, noise=0.03, seed=seed)))
    assert fall - 1 < math.log10(RULES[name](found)) < fall + width


@given(name=st.sampled_from(sorted(RULES)), seed=st.integers(0, 10**6), move=st.integers(-10, 5))
def test_every_rule_moves_with_the_curve(name, seed, move):
    noise = 0.03 * np.random.default_rng(seed).normal(size=100)
    step = math.log10(LRS[1] / LRS[0])
    here = read(Sweep(LRS, curve() + noise))
    there = read(Sweep([lr * 10 ** (move * step) for lr in LRS], curve() + noise))
    moved = math.log10(RULES[name](there) / RULES[name](here))
    assert moved == pytest.approx(move * step, abs=1e-9)


def test_a_rule_of_the_users_own_is_taken_as_it_is():
    assert rule_named(len) is len
    assert rule_named("edge") is RULES["edge"]


@pytest.mark.parametrize("count", [0, 1, 9])
def test_few_points_make_no_curve(count):
    assert read(Sweep(LRS[:count], curve()[:count])) is None


def test_what_follows_a_divergence_is_not_read():
    losses = curve(noise=0.02)
    stopped = stops_at(losses)
    cut = read(Sweep(LRS[: stopped + 1], losses[: stopped + 1]))
    full = read(Sweep(LRS, losses))
    assert RULES["edge"](cut) == RULES["edge"](full)
    assert cut.ended == full.ended == LRS[stopped]
