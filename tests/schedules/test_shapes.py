"""Schedules against torch's, against fastai's formula, and against what holds for all of them."""

import math
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given, strategies as st
from torch.optim import lr_scheduler

from lightning_hparams.schedules import (
    SCHEDULES,
    as_schedule,
    constant,
    cosine,
    exp_range,
    flat_cosine,
    join,
    linear,
    one_cycle,
    polynomial,
    shapes,
    step,
    triangular,
    triangular2,
    warmup,
    wsd,
)

# `join` has nothing to join by itself.
EACH = {name: s for name, s in SCHEDULES.items() if name != "join"}
EACH["join"] = partial(join, schedules=["linear", cosine, "wsd"], milestones=[0.3, 0.5])


def along(schedule, total, **shape):
    return [schedule(at, total, **shape) for at in range(total)]


def torch_values(make, total, lr=1.0):
    """The rates that a scheduler of torch gives to ``total`` steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    scheduler = make(optimizer)
    rates, momenta = [], []
    for taken in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if taken < total - 1:
            scheduler.step()
    return rates, momenta


def torch_one_cycle(total, **shape):
    return torch_values(
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=total, **shape), total
    )


WHOLE_STEPS = [(10, 0.3), (20, 0.25), (100, 0.3), (50, 0.5), (1000, 0.4)]


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize(("total", "pct_start"), WHOLE_STEPS)
def test_one_cycle_is_torchs_where_its_phases_end_on_whole_steps(
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


def test_one_cycle_gives_fastais_fit_one_cycle_by_arguments():
    shape = {"pct_start": 0.25, "div_factor": 25.0, "final_div_factor": 4e3}
    total, peak = 1000, 249
    for at, ours in enumerate(along(one_cycle, total, **shape)):
        # Its phases end where the next begins, ours on their last step.
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
def test_cyclic_ones_are_torchs(mode, schedule, up, down):
    rates, momenta = torch_values(
        lambda o: lr_scheduler.CyclicLR(o, 0.2, 1.0, up, down, mode=mode, gamma=0.97), 60
    )
    sizes = {"step_size_up": up, "step_size_down": down}
    assert along(schedule, 60, base=0.2, **sizes) == pytest.approx(rates, abs=1e-6)
    heights = along(schedule, 60, base=0.0, **sizes)
    assert [0.9 - 0.1 * height for height in heights] == pytest.approx(momenta, abs=1e-6)


@given(total=st.integers(1, 500))
def test_cyclic_ones_end_at_the_foot_of_a_whole_number_of_cycles(total):
    values = along(triangular, total, base=0.25)
    assert values[0] == 0.25
    assert values[-1] == pytest.approx(0.25, abs=1e-9) or total == 2
    assert min(values) >= 0.25
    assert max(values) <= 1.0


SAME = [
    (cosine, {}, lambda o: lr_scheduler.CosineAnnealingLR(o, 39)),
    (cosine, {"end_factor": 0.1}, lambda o: lr_scheduler.CosineAnnealingLR(o, 39, 0.1)),
    (cosine, {"T_0": 10}, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10)),
    (cosine, {"T_0": 0.25}, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10)),
    (
        cosine,
        {"T_0": 5, "T_mult": 2, "end_factor": 0.01},
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5, 2, 0.01),
    ),
    (polynomial, {"power": 0.9}, lambda o: lr_scheduler.PolynomialLR(o, 39, 0.9)),
    (
        linear,
        {"start_factor": 1 / 3, "end_factor": 0.5},
        lambda o: lr_scheduler.LinearLR(o, 1 / 3, 0.5, total_iters=39),
    ),
    (step, {"milestones": [0.5, 0.75]}, lambda o: lr_scheduler.MultiStepLR(o, [20, 30])),
    (
        step,
        {"milestones": (7, 11, 12), "gamma": 0.5},
        lambda o: lr_scheduler.MultiStepLR(o, [7, 11, 12], 0.5),
    ),
    (constant, {"factor": 0.3}, lambda o: lr_scheduler.ConstantLR(o, 0.3, total_iters=100)),
    (
        warmup,
        {"warmup": 8, "start_factor": 0.1},
        lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=8),
    ),
]


@pytest.mark.parametrize(("schedule", "shape", "make"), SAME)
def test_the_others_are_torchs_where_it_has_them(schedule, shape, make):
    assert along(schedule, 40, **shape) == pytest.approx(torch_values(make, 40)[0], abs=1e-6)


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # torch 2.6's own
def test_warmup_then_another_is_torchs_sequence():
    def make(optimizer):
        parts = [
            lr_scheduler.LinearLR(optimizer, 0.04, total_iters=10),
            lr_scheduler.CosineAnnealingLR(optimizer, 29),
        ]
        return lr_scheduler.SequentialLR(optimizer, parts, [10])

    rates, _ = torch_values(make, 40)
    assert along(warmup, 40, warmup=10, then="cosine") == pytest.approx(rates, abs=1e-6)
    rising = partial(warmup, warmup=10)
    joined = along(join, 40, schedules=[rising, cosine], milestones=[10])
    assert joined == pytest.approx(rates, abs=1e-6)


def test_flat_cosine_is_flat_and_then_falls_as_a_cosine():
    values = along(flat_cosine, 40, pct_start=0.5, end_factor=0.1)
    assert values[:20] == [1.0] * 20
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * k / 20)) / 2 for k in range(1, 21)]
    assert values[20:] == pytest.approx(expected)


def test_wsd_falls_as_one_minus_the_root_and_is_stable_before():
    values = along(wsd, 100, warmup=5, decay=0.2)
    assert values[:6] == pytest.approx([0.04 + 0.96 * k / 5 for k in range(6)])
    assert values[5:80] == [1.0] * 75
    assert values[80:] == pytest.approx([1 - math.sqrt(k / 20) for k in range(1, 21)])


def test_wsd_does_not_depend_on_the_length_before_it_decays():
    for at in range(80):
        assert wsd(at, 100, warmup=5, decay=20) == wsd(at, 10_000, warmup=5, decay=20)


@pytest.mark.parametrize("name", EACH)
@given(total=st.integers(1, 300), at=st.integers(0, 300), beyond=st.integers(0, 10**6))
def test_every_schedule_is_bounded_and_holds_past_the_end(name, total, at, beyond):
    schedule = EACH[name]
    assert 0 <= schedule(at, total) <= 1
    assert schedule(total + beyond, total) == schedule(total - 1, total)


@pytest.mark.parametrize("name", EACH)
def test_every_schedule_refuses_a_step_or_length_that_is_none(name):
    with pytest.raises(ValueError, match="`1 <= total` must hold, got total=0"):
        EACH[name](0, 0)
    with pytest.raises(ValueError, match="`0 <= step` must hold, got step=-1"):
        EACH[name](-1, 10)


def test_every_schedule_has_its_name_and_can_be_sent_to_a_process():
    public = {name for name in shapes.__all__ if name.islower() and name != "as_schedule"}
    assert set(SCHEDULES) == public
    for name, schedule in SCHEDULES.items():
        assert as_schedule(name) is schedule
        assert pickle.loads(pickle.dumps(partial(schedule))).func is schedule


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="got 'one_cicle'; did you mean 'one_cycle'"):
        as_schedule("one_cicle")


@pytest.mark.parametrize(
    ("schedule", "shape", "message"),
    [
        (one_cycle, {"pct_start": 1.5}, "`0 <= pct_start <= 1` must hold"),
        (one_cycle, {"div_factor": 0}, "`0.0 < div_factor` must hold"),
        (one_cycle, {"final_div_factor": -1}, "`0.0 < final_div_factor` must hold"),
        (one_cycle, {"anneal_strategy": "cosine"}, "did you mean 'cos'"),
        (triangular, {"base": 2}, "`0.0 <= base <= 1.0` must hold"),
        (triangular2, {"step_size_up": 0}, "`0.0 < step_size_up` must hold"),
        (triangular, {"step_size_up": 2, "step_size_down": 0}, "`0.0 < step_size_down` must"),
        (triangular, {"step_size_down": 4}, "`step_size_down=4` needs `step_size_up`"),
        (exp_range, {"gamma": 1.1}, "`0.0 < gamma <= 1.0` must hold"),
        (cosine, {"end_factor": -1}, "`0.0 <= end_factor` must hold"),
        (cosine, {"T_0": -2}, "`0 <= T_0` must hold"),
        (cosine, {"T_0": 3, "T_mult": 0}, "`1 <= T_mult` must hold"),
        (polynomial, {"power": 0}, "`0.0 < power` must hold"),
        (linear, {"start_factor": -1}, "`0.0 <= start_factor` must hold"),
        (step, {"milestones": [1.5]}, "`0.0 <= milestones <= 1.0` must hold"),
        (step, {"gamma": -1}, "`0.0 <= gamma` must hold"),
        (constant, {"factor": -1}, "`0.0 <= factor` must hold"),
        (flat_cosine, {"pct_start": 1.2}, "`0.0 <= pct_start <= 1.0` must hold"),
        (wsd, {"warmup": 0.5, "decay": 0.6}, r"`0.0 <= warmup \+ decay <= 1.0` must hold"),
        (wsd, {"anneal_strategy": "sqrt"}, "did you mean '1-sqrt'"),
        (warmup, {"start_factor": -0.1}, "`0.0 <= start_factor` must hold"),
        (warmup, {"warmup": 0, "then": "cosin"}, "did you mean 'cosine'"),
        (join, {"schedules": [linear], "milestones": [0.5]}, "1 schedules need 0 milestones"),
        (
            join,
            {"schedules": [linear, linear, linear], "milestones": [0.5, 0.4]},
            r"`milestones` must rise, got \[0.5, 0.4\]",
        ),
    ],
)
def test_values_out_of_range_are_refused(schedule, shape, message):
    with pytest.raises(ValueError, match=message):
        schedule(0, 10, **shape)
