"""Cycles compared with torch's and with fastai's formula, and promises of all of them."""

import math
from functools import partial

import pytest
from hypothesis import given, strategies as st
from torch.optim import lr_scheduler

from lightning_hparams.schedules import exp_range, one_cycle, triangular, triangular2
from tests.schedules.peers import along, torch_values


def torch_one_cycle(total, **shape):
    return torch_values(
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=total, **shape), total
    )


WHOLE_STEPS = [(10, 0.3), (20, 0.25), (100, 0.3), (50, 0.5), (1000, 0.4)]


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize(("total", "pct_start"), WHOLE_STEPS)
def test_one_cycle_equals_torchs_where_its_phases_end_on_whole_steps(
    total, pct_start, strategy, three_phase
):
    shape = {"pct_start": pct_start, "anneal_strategy": strategy, "three_phase": three_phase}
    rates, momenta = torch_one_cycle(total, **shape)
    assert along(one_cycle, total, **shape) == pytest.approx(rates, abs=1e-6)
    heights = along(one_cycle, total, **shape, div_factor=math.inf)
    assert [0.95 - 0.1 * height for height in heights] == pytest.approx(momenta, abs=1e-6)


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("total", range(1, 61))
def test_one_cycle_hits_its_peak_exactly_and_ends_at_its_final_value(total, three_phase):
    for tenths in range(11):
        values = along(one_cycle, total, pct_start=tenths / 10, three_phase=three_phase)
        assert max(values) == 1.0
        peak = values.index(1.0)
        assert peak == min(max(round(tenths / 10 * total) - 1, 0), total - 1)
        assert values[: peak + 1] == sorted(values[: peak + 1])
        assert values[peak:] == sorted(values[peak:], reverse=True)
        if peak < total - 1:
            assert values[-1] == 1 / 25 / 1e4


@given(
    total=st.integers(1, 500),
    beyond=st.integers(0, 10**6),
    pct=st.floats(0, 1),
    div=st.floats(1, 1e3),
    three_phase=st.booleans(),
    strategy=st.sampled_from(["cos", "linear"]),
)
def test_one_cycle_keeps_its_promises_for_any_shape(total, beyond, pct, div, three_phase, strategy):
    shape = {
        "pct_start": pct,
        "div_factor": div,
        "anneal_strategy": strategy,
        "three_phase": three_phase,
    }
    values = along(one_cycle, total, **shape)
    final = 1 / div / 1e4
    peak = min(max(round(pct * total) - 1, 0), total - 1)
    assert values[peak] == 1.0
    assert max(values) <= 1.0 + 1e-15
    assert min(values) >= final * (1 - 1e-12)
    if peak < total - 1:
        assert values[-1] == final
    assert one_cycle(total + beyond, total, **shape) == values[-1]


def fastai_fit_one_cycle(share, pct_start=0.25, div=25.0, div_final=1e5):
    """``combined_cos(pct_start, lr_max / div, lr_max, lr_max / div_final)`` at a share of a run."""
    start, end, into = 1 / div, 1.0, share / pct_start
    if share >= pct_start:
        start, end, into = 1.0, 1 / div_final, (share - pct_start) / (1 - pct_start)
    return start + (1 + math.cos(math.pi * (1 - into))) * (end - start) / 2


def test_one_cycle_reproduces_fastais_fit_one_cycle():
    shape = {"pct_start": 0.25, "div_factor": 25.0, "final_div_factor": 4e3}
    total, peak = 1000, 249
    for at, ours in enumerate(along(one_cycle, total, **shape)):
        # fastai's phases end where the next begins, ours on their last step.
        share = 0.25 * at / peak if at <= peak else 0.25 + 0.75 * (at - peak) / (999 - peak)
        assert ours == pytest.approx(fastai_fit_one_cycle(share), abs=1e-12)
        assert ours == pytest.approx(fastai_fit_one_cycle(at / total), abs=0.007)


@pytest.mark.parametrize(("up", "down"), [(5, None), (4, 7), (2.5, None), (1, 3)])
@pytest.mark.parametrize(
    ("mode", "schedule"),
    [
        ("triangular", triangular),
        ("triangular2", triangular2),
        ("exp_range", partial(exp_range, gamma=0.97)),
    ],
)
def test_cyclic_schedules_equal_torchs(mode, schedule, up, down):
    rates, momenta = torch_values(
        lambda o: lr_scheduler.CyclicLR(o, 0.2, 1.0, up, down, mode=mode, gamma=0.97), 60
    )
    sizes = {"step_size_up": up, "step_size_down": down}
    assert along(schedule, 60, base=0.2, **sizes) == pytest.approx(rates, abs=1e-6)
    heights = along(schedule, 60, base=0.0, **sizes)
    assert [0.9 - 0.1 * height for height in heights] == pytest.approx(momenta, abs=1e-6)


@given(
    total=st.integers(2, 300),
    up=st.floats(0, 1, exclude_min=True, exclude_max=True),
    down=st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_step_sizes_below_one_are_shares_of_the_run(total, up, down):
    values = along(triangular2, total, base=0.1, step_size_up=up, step_size_down=down)
    steps = max(up * (total - 1), 1.0)
    back = steps if down is None else max(down * (total - 1), 1.0)
    whole = {"step_size_up": steps, "step_size_down": back}
    assert values == along(triangular2, total, base=0.1, **whole)
    assert max(values) > 0.1


@given(total=st.integers(1, 500))
def test_cyclic_schedules_end_at_the_foot_of_a_whole_number_of_cycles(total):
    values = along(triangular, total, base=0.25)
    assert values[0] == 0.25
    assert values[-1] == pytest.approx(0.25, abs=1e-9) or total == 2
    assert min(values) >= 0.25
    assert max(values) <= 1.0
