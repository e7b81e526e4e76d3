"""Schedules by name and in sequence, and promises of all of them."""

import pickle
from functools import partial

import pytest
from hypothesis import given, strategies as st
from torch.optim import lr_scheduler

import lightning_hparams
from lightning_hparams.schedules import (
    SCHEDULES,
    as_schedule,
    constant,
    cosine,
    curve_of,
    exp_range,
    flat_cosine,
    join,
    linear,
    one_cycle,
    polynomial,
    step,
    triangular,
    triangular2,
    warmup,
    wsd,
)
from tests.schedules.peers import along, torch_values

# `join` needs schedules to join.
EACH = {name: s for name, s in SCHEDULES.items() if name != "join"}
EACH["join"] = partial(join, schedules=["linear", cosine, "wsd"], milestones=[0.3, 0.5])


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # torch 2.6's own
def test_warmup_then_another_equals_torchs_sequence():
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


@pytest.mark.parametrize("name", EACH)
@given(total=st.integers(1, 300), at=st.integers(0, 300), beyond=st.integers(0, 10**6))
def test_every_schedule_is_bounded_and_holds_past_the_end(name, total, at, beyond):
    schedule = EACH[name]
    assert 0 <= schedule(at, total) <= 1
    assert schedule(total + beyond, total) == schedule(total - 1, total)


@pytest.mark.parametrize(
    "schedule",
    [
        *(partial(schedule) for schedule in EACH.values()),
        partial(one_cycle, div_factor=10.0, anneal_strategy="linear"),
        partial(one_cycle, pct_start=0.4, three_phase=True),
        partial(triangular, base=0.1, step_size_up=7.0),
        partial(triangular2, step_size_up=3.0, step_size_down=5.0),
        partial(triangular, step_size_up=0.1, step_size_down=0.2),
        partial(partial(exp_range, gamma=0.9), base=0.0),
        lambda step, total: step / total,
    ],
)
@given(total=st.integers(1, 300), at=st.integers(0, 400))
def test_a_schedule_of_known_length_has_the_same_values(schedule, total, at):
    assert curve_of(schedule, total)(at) == schedule(at, total)


@pytest.mark.parametrize("name", EACH)
def test_every_schedule_refuses_an_invalid_step_or_length(name):
    with pytest.raises(ValueError, match="`1 <= total` must hold, got total=0"):
        EACH[name](0, 0)
    with pytest.raises(ValueError, match="`0 <= step` must hold, got step=-1"):
        EACH[name](-1, 10)


def test_every_schedule_has_a_name_and_can_be_pickled():
    names = set(lightning_hparams.schedules.__all__)
    others = {"as_rates", "as_schedule", "check_call", "curve_of"}
    public = {name for name in names if name.islower()} - others
    assert set(SCHEDULES) == public
    for name, schedule in SCHEDULES.items():
        assert as_schedule(name) is schedule
        assert pickle.loads(pickle.dumps(partial(schedule))).func is schedule


def test_an_unknown_name_is_refused_with_a_similar_one():
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


@pytest.mark.parametrize("milestones", [{5: 0.1}, {0.5}, frozenset([2, 4]), "5"])
def test_milestones_must_be_a_list(milestones):
    with pytest.raises(TypeError, match="`milestones` must be a list in the order of steps, got"):
        step(0, 10, milestones=milestones)
    with pytest.raises(TypeError, match="`milestones` must be a list in the order of steps, got"):
        join(0, 10, schedules=[linear, linear], milestones=milestones)


def test_joined_schedules_must_be_a_list():
    with pytest.raises(TypeError, match="`schedules` must be a list in the order of steps, got"):
        join(0, 10, schedules={"linear": 1, "cosine": 2}, milestones=[0.5])
