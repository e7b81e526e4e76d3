"""Bounds of each parameter group, from a requested rate or a cycling momentum."""

import pytest
from hypothesis import given, strategies as st

from lightning_hparams.schedules import MomentumCycle, RateBound, as_rates

rates = st.lists(st.floats(1e-6, 10), min_size=1, max_size=5)


@given(rates=rates, asked=st.floats(1e-6, 10))
def test_a_number_sets_the_largest_rate_exactly_and_the_others_in_ratio(rates, asked):
    bound = RateBound.among("max_lr", asked, rates)
    bounds = [bound.at(rate, index) for index, rate in enumerate(rates)]
    assert max(bounds) == asked
    for rate, value in zip(rates, bounds, strict=True):
        assert value / asked == pytest.approx(rate / max(rates))


@given(rates=rates)
def test_none_keeps_the_configured_rates_and_a_list_sets_each(rates):
    unset = RateBound.among("max_lr", None, rates)
    listed = RateBound.among("max_lr", [rate * 2 for rate in rates], rates)
    for index, rate in enumerate(rates):
        assert unset.at(rate, index) == rate
        assert listed.at(rate, index) == rate * 2
    assert listed.at(0.5, None) == 0.5  # a group added later has no entry in the list


def test_rates_that_do_not_fit_the_groups_are_refused():
    with pytest.raises(ValueError, match=r"a rate for each of 2 parameter groups, got \[0.1\]"):
        RateBound.among("max_lr", [0.1], [1.0, 2.0])
    with pytest.raises(ValueError, match="all are configured as 0; configure their ratio"):
        RateBound.among("max_lr", 0.1, [0.0, 0.0])
    for bad in (0, -1.0, [0.1, 0.0]):
        with pytest.raises(ValueError, match=r"`0.0 < base_lr` must hold"):
            as_rates("base_lr", bad)
    as_rates("base_lr", None)


@pytest.mark.parametrize(
    ("group", "auto", "if_true"),
    [
        ({"momentum": 0.9}, True, True),
        ({"betas": (0.9, 0.999)}, False, True),
        ({"momentum": 0}, False, None),
        ({"betas": (0.0, 0.999)}, False, None),
        ({"lr": 0.1}, False, None),
    ],
)
def test_momentum_cycles_only_in_groups_that_have_one(group, auto, if_true):
    assert MomentumCycle("auto", 0.85, 0.95).cycles(group) is auto
    assert MomentumCycle(False, 0.85, 0.95).cycles(group) is False
    if if_true:
        assert MomentumCycle(True, 0.85, 0.95).cycles(group) is True
    else:
        with pytest.raises(ValueError, match="needs a momentum"):
            MomentumCycle(True, 0.85, 0.95).cycles({"name": "head", **group})


def test_the_initial_momentum_decides_whether_a_group_cycles():
    assert MomentumCycle("auto", 0.0, 0.95).cycles({"momentum": 0.0, "initial_momentum": 0.9})
