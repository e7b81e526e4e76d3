import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

import lightning_hparams
from lightning_hparams.range_test import RULES, RangeTestResult, Sweep, analyse, lr_values, probe

LRS = lr_values(1e-7, 10, 100)
X = np.log10(LRS)


def curve(fall=-3.0, rise=0.0, depth=1.5, noise=0.03, seed=0):
    """A loss of 2.3 that falls about 10**fall and explodes about 10**rise."""
    losses = 2.3 - depth / (1 + np.exp(-4 * (X - fall))) + np.exp(np.minimum(6 * (X - rise), 50))
    return losses + noise * np.random.default_rng(seed).normal(size=len(X))


def ranged(losses, rule="edge"):
    return analyse([Sweep(LRS[: len(losses)], list(losses))], rule)


# -- the status


def trained(seed):
    """Nothing left to learn, until it explodes."""
    return curve(depth=0, seed=seed)


def noise(seed):
    return 2 + 0.1 * np.random.default_rng(seed).normal(size=100)


@pytest.mark.parametrize(
    ("losses", "status"),
    [
        (curve(), "ok"),
        (curve(noise=0), "ok"),
        ([*curve()[:80], math.nan], "ok"),  # diverged to NaN after it had fallen
        (curve(rise=9), "no_divergence"),
        (curve()[:65], "no_divergence"),
        ([2.3] * 100, "no_descent"),
        (noise(0), "no_descent"),
        (trained(0), "no_descent"),
        (np.linspace(1, 2, 100), "no_descent"),
        ([math.nan], "non_finite"),
        ([math.nan] * 100, "non_finite"),
        ([2.3] * 5 + [math.inf], "non_finite"),
        ([*noise(1)[:50], math.nan], "non_finite"),
        ([], "too_few_points"),
        (curve()[:9], "too_few_points"),
    ],
)
def test_a_curve_is_called_what_it_is_and_only_a_fall_gets_a_suggestion(losses, status):
    result = ranged(losses)
    assert result.status == status
    assert result.applies == (status in ("ok", "no_divergence"))
    for found in (result.suggestion, result.base_lr, result.max_lr, result.per_repeat[0]):
        assert (found is not None) == result.applies
    assert result.reason in result.summary() == str(result)
    assert status in str(result)


@pytest.mark.parametrize("kind", [noise, trained])
def test_noise_gets_no_suggestion(kind):
    """Some one in a thousand curves does, see `lr_sweep`."""
    refused = sum(ranged(kind(seed)).status == "no_descent" for seed in range(1000))
    assert refused >= 996


def test_what_a_trained_network_bears_is_told():
    result = ranged(trained(0))
    assert 0.05 < result.edge < 1
    assert f"did not rise below {result.edge:.2g}" in result.reason


def test_a_notebook_shows_a_result_without_its_hundreds_of_points():
    shown = repr(ranged(trained(0)))
    assert "status='no_descent'" in shown
    assert "losses" not in shown
    assert len(shown) < 400


# -- the suggestion


@given(
    seed=st.integers(0, 10**6),
    shift=st.floats(-100, 100),
    scale=st.floats(1e-3, 1e3),
    rule=st.sampled_from(sorted(RULES)),
)
def test_a_suggestion_depends_on_neither_level_nor_unit_of_the_loss(seed, shift, scale, rule):
    here, there = (
        ranged(losses, rule) for losses in (curve(seed=seed), scale * (curve(seed=seed) + shift))
    )
    assert there.status == here.status == "ok"
    assert there.suggestion == pytest.approx(here.suggestion, rel=1e-6)
    assert there.base_lr == pytest.approx(here.base_lr, rel=1e-6)
    assert there.diverged_at == here.diverged_at


@given(seed=st.integers(0, 10**6), fall=st.floats(-4.5, -2.5), width=st.floats(1.5, 2.5))
def test_the_range_lies_below_the_divergence_and_has_the_suggestion_as_its_top(seed, fall, width):
    result = ranged(curve(fall, fall + width, seed=seed))
    assert result.status == "ok"
    assert result.max_lr == result.suggestion
    assert result.max_lr / 100 <= result.base_lr <= result.max_lr / 4
    assert result.suggestion < result.edge < result.diverged_at
    assert fall - 0.5 < math.log10(result.suggestion) < fall + width


def test_a_sweep_of_another_length_suggests_alike():
    for count in (50, 200, 1000):
        lrs = lr_values(1e-7, 10, count)
        losses = np.interp(np.log10(lrs), X, curve(noise=0))
        found = analyse([Sweep(lrs, losses.tolist())]).suggestion
        assert abs(math.log10(found / ranged(curve(noise=0)).suggestion)) < 0.1


def test_a_rule_of_ones_own_is_asked_and_named():
    def mine(found):
        return float(found.lrs[found.low]) / 7

    result = ranged(curve(), mine)
    assert result.suggestion == pytest.approx(ranged(curve(), "min").suggestion * 3 / 7)
    assert result.rule == "mine"
    with pytest.raises(ValueError, match="`rule` must return a learning rate above 0, got -1"):
        ranged(curve(), lambda found: -1)
    with pytest.raises(ValueError, match="`rule` must be one of"):
        ranged(curve(), "gradient")


# -- repeats


def test_repeats_give_the_geometric_mean_and_say_how_far_apart_they_are():
    sweeps = [Sweep(LRS, curve(rise=rise, seed=rise)) for rise in (0, 1)]
    alone = [analyse([sweep]).suggestion for sweep in sweeps]
    both = analyse(sweeps)
    assert both.per_repeat == tuple(alone)
    assert both.suggestion == pytest.approx(math.sqrt(alone[0] * alone[1]))
    assert both.spread == pytest.approx(math.log10(alone[1] / alone[0]))
    assert both.steps_run == 200
    assert both.losses[10] == pytest.approx((sweeps[0].losses[10] + sweeps[1].losses[10]) / 2)
    assert analyse(sweeps[:1]).spread is None


def test_repeats_vary_less_than_single_sweeps():
    single = [ranged(curve(noise=0.2, seed=seed)).suggestion for seed in range(60)]
    triple = [
        analyse([Sweep(LRS, curve(noise=0.2, seed=3 * seed + k)) for k in range(3)]).suggestion
        for seed in range(20)
    ]
    assert np.std(np.log(triple)) < 0.8 * np.std(np.log(single))


def test_most_repeats_decide_on_the_status_and_the_worse_one_of_two():
    good, flat = Sweep(LRS, curve()), Sweep(LRS, trained(0))
    assert analyse([good, flat, good]).status == "ok"
    assert analyse([good, flat, flat]).status == "no_descent"
    endless = Sweep(LRS, curve(rise=9))
    assert analyse([flat, endless, good]).status == "no_divergence"
    split = analyse([good, flat])
    assert (split.status, split.suggestion) == ("no_descent", None)


def test_repeats_of_unequal_length_are_drawn_over_the_rates_that_each_has():
    cut = Sweep(LRS[:50], [1.0] * 50)
    both = analyse([cut, Sweep(LRS, [3.0] * 100)])
    assert both.lrs == tuple(LRS)
    assert both.losses == (2.0,) * 50 + (3.0,) * 50


def test_no_sweep_is_an_error():
    with pytest.raises(ValueError, match="at least one sweep, got none"):
        analyse([])


# -- text


losses = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=0, max_size=40)


@given(runs=st.lists(losses, min_size=1, max_size=3), seconds=st.floats(0, 1e6))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_json_is_strict_and_gives_back_an_equal_result(runs, seconds):
    result = analyse([Sweep(LRS[: len(run)], run) for run in runs], seconds=seconds)
    text = result.to_json()
    json.loads(text, parse_constant=pytest.fail)
    again = RangeTestResult.from_json(text)
    assert again == result
    assert hash(again) == hash(result)


def test_json_of_something_else_is_refused():
    values = json.loads(ranged(curve()).to_json())
    values["sugestion"] = values.pop("suggestion")
    for text in (json.dumps(values), "[]", "{}"):
        with pytest.raises(ValueError, match="not the JSON of a RangeTestResult"):
            RangeTestResult.from_json(text)


# -- pictures


def test_every_result_has_a_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for index, kept in enumerate((curve(), trained(0), [math.nan], [], [2.3] * 100)):
        path = ranged(kept).plot(tmp_path / "new" / f"{index}.png")
        assert path.stat().st_size > 1000
    with pytest.raises(ModuleNotFoundError):
        ranged(curve()).plot("curve.svg")


def test_it_draws_on_axes():
    pyplot = pytest.importorskip("matplotlib.figure")
    axes = pyplot.Figure().subplots()
    result = ranged(curve())
    assert result.plot(axes) is axes
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["range", "measured", "smoothed", f"suggested: {result.suggestion:.2g}"]
    assert result.reason in axes.get_xlabel()


# -- probes


def trainer(best, died_above=math.inf):
    """Final loss of trainings that are best at one peak; and what they were called with."""
    called = []

    def train(peak):
        called.append(peak)
        return math.nan if peak > died_above else 0.5 + 0.3 * abs(math.log10(peak / best))

    return train, called


def test_two_probes_leave_a_good_suggestion_alone():
    result = ranged(curve())
    train, called = trainer(result.suggestion)
    probed = probe(result, train)
    assert called == [result.suggestion, result.suggestion / 3]
    assert [rate for rate, _ in probed.probes] == called
    assert (probed.suggestion, probed.base_lr) == (result.suggestion, result.base_lr)
    assert "checked by 2 short trainings" in probed.summary()
    assert RangeTestResult.from_json(probed.to_json()) == probed


def test_probes_lower_a_rate_that_kills_later():
    result = ranged(curve())
    train, called = trainer(result.suggestion / 30, died_above=result.suggestion / 10)
    probed = probe(result, train)
    assert probed.suggestion == pytest.approx(result.suggestion / 27)
    assert probed.base_lr <= probed.max_lr / 4
    assert len(called) == 5
    assert probed.probes[0][1] == math.inf


def test_probes_never_try_a_higher_rate_and_stop_at_the_limit():
    result = ranged(curve())
    train, called = trainer(1e-30)
    probe(result, train, limit=4)
    assert called == [result.suggestion / 3**index for index in range(4)]


def test_probes_find_the_rate_of_a_network_that_a_sweep_saw_nothing_of():
    result = ranged(trained(0))
    train, _ = trainer(result.edge / 2)
    probed = probe(result, train)
    assert (probed.status, probed.suggestion) == ("ok", result.edge / 2)


@pytest.mark.parametrize("loss", [math.nan, 2.31])
def test_probes_that_train_nothing_suggest_nothing(loss):
    fell, flat = ranged(curve()), ranged(trained(0))
    assert probe(fell, lambda peak: loss).status == "not_trained"
    assert probe(fell, lambda peak: loss).suggestion is None
    probed = probe(flat, lambda peak: loss)
    assert (probed.status, probed.suggestion) == (flat.status, None)


def test_without_a_place_to_begin_nothing_is_probed():
    result = ranged([2.3] * 100)
    assert probe(result, lambda peak: pytest.fail("trained")) is result


def test_the_result_is_public():
    assert lightning_hparams.RangeTestResult is RangeTestResult


def fallen(losses):
    lrs = lr_values(1e-7, 10, len(losses))
    return analyse([Sweep(lrs[: len(losses)], losses)])


V_SHAPED = [10.0] * 40 + [10 - 0.3 * n for n in range(30)] + [1 + 2.0**n for n in range(20)]


@pytest.mark.parametrize("ends", [[10.0, 9.9, 10.1], [math.inf] * 6, [8.0, 7.5, 7.6]])
def test_a_rate_at_which_no_short_training_gets_far_is_no_suggestion(ends):
    result = fallen(V_SHAPED)
    assert result.applies
    given = iter([*ends, *ends])
    probed = probe(result, lambda rate: next(given))
    assert probed.status == "not_trained"
    assert probed.suggestion is probed.max_lr is probed.base_lr is None
    for rate, loss in probed.probes:
        assert f"{loss:.3g} at {rate:.2g}" in probed.reason
    assert RangeTestResult.from_json(probed.to_json()) == probed
    assert probed.picture().ndim == 3


def test_the_losses_of_short_trainings_are_in_the_message():
    given = iter([5.0, 2.0, 3.0])
    probed = probe(fallen(V_SHAPED), lambda rate: next(given))
    assert probed.status == "ok"
    for rate, loss in probed.probes:
        assert f"{loss:.3g} at {rate:.2g}" in probed.summary()


def test_a_longer_training_that_stays_low_leaves_the_rate_alone():
    result = ranged(curve())
    plain = probe(result, trainer(result.suggestion)[0])
    held = probe(result, trainer(result.suggestion)[0], lambda rate: 0.4)
    assert held.longer == ((plain.suggestion, 0.4),)
    assert replace(held, longer=()) == plain
    assert "and 1 longer training (loss 0.4 at" in held.summary()


def test_a_rate_at_which_a_longer_training_fails_is_lowered():
    result = ranged(curve())
    train, _ = trainer(result.suggestion)
    held = probe(result, train, lambda rate: math.nan if rate > result.suggestion / 5 else 0.6)
    assert held.status == "ok"
    assert held.suggestion == held.max_lr == pytest.approx(result.suggestion / 9)
    assert held.base_lr <= held.max_lr / 4
    assert [loss for _, loss in held.longer] == [math.inf, math.inf, 0.6]
    for rate, loss in (*held.probes, *held.longer):
        assert f"{loss:.3g} at {rate:.2g}" in held.summary()
    assert RangeTestResult.from_json(held.to_json()) == held


@pytest.mark.parametrize("end", [math.nan, math.inf, 2.3])
def test_a_rate_at_which_no_longer_training_keeps_the_fall_is_no_suggestion(end):
    fell, flat = ranged(curve()), ranged(trained(0))
    for result, seen in ((fell, "the loss fell in the sweep"), (flat, "the loss did not fall")):
        held = probe(result, trainer(result.edge / 2)[0], lambda rate: end)
        assert held.status == "not_trained"
        assert held.suggestion is held.max_lr is held.base_lr is None
        assert held.reason.startswith(seen)
        for rate, loss in (*held.probes, *held.longer):
            assert f"{loss:.3g} at {rate:.2g}" in held.reason


def test_the_losses_of_short_trainings_are_in_the_message_of_every_status():
    results = [ranged(trained(0)), fallen(V_SHAPED[:70]), fallen(V_SHAPED)]
    assert [each.status for each in results] == ["no_descent", "no_divergence", "ok"]
    for result in results:
        for end in (0.5, 1e9):
            assert f"{end:.3g} at" in probe(result, lambda rate, end=end: end).reason


def test_a_result_saved_before_there_were_longer_trainings_is_read():
    result = ranged(curve())
    values = json.loads(result.to_json())
    del values["longer"]
    assert RangeTestResult.from_json(json.dumps(values)) == result


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_loss_that_rises_from_the_first_rate_on_is_asked_about(noise):
    rng = np.random.default_rng(0)
    rising = [72 + 0.56 * step + noise * rng.normal() for step in range(100)]
    result = fallen(rising)
    assert result.status == "no_descent"
    assert "rises from the first rate on" in result.reason
    assert "depend on the step" in result.reason


def test_noise_is_not_taken_for_a_rise():
    rng = np.random.default_rng(0)
    for _ in range(200):
        reason = fallen(rng.normal(size=100).tolist()).reason
        assert "rises from the first" not in reason


def test_losses_too_large_to_add_up_have_diverged():
    lrs = lr_values(1e-7, 1, 14)
    falling = [2.0 - index / 10 for index in range(12)]
    for huge in (8.98846567431158e307, -8.98846567431158e307, 1e101):
        result = analyse([Sweep(lrs, [*falling, huge, huge])])
        assert result.diverged_at == lrs[12]
    assert (
        analyse([Sweep(lrs, [0.0, 0.0, *[-8.9e307] * 2, *[0.0] * 10])]).status == "too_few_points"
    )
