import math

import pytest
from torch.optim import lr_scheduler

from lightning_hparams.schedules import (
    constant,
    cosine,
    flat_cosine,
    linear,
    polynomial,
    step,
    warmup,
    wsd,
)
from tests.schedules.peers import along, torch_values

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
def test_schedules_that_torch_has_equal_torchs(schedule, shape, make):
    assert along(schedule, 40, **shape) == pytest.approx(torch_values(make, 40)[0], abs=1e-6)


def test_flat_cosine_stays_flat_and_then_falls_as_a_cosine():
    values = along(flat_cosine, 40, pct_start=0.5, end_factor=0.1)
    assert values[:20] == [1.0] * 20
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * k / 20)) / 2 for k in range(1, 21)]
    assert values[20:] == pytest.approx(expected)


def test_wsd_stays_flat_and_then_falls_as_one_minus_the_square_root():
    values = along(wsd, 100, warmup=5, decay=0.2)
    assert values[:6] == pytest.approx([0.04 + 0.96 * k / 5 for k in range(6)])
    assert values[5:80] == [1.0] * 75
    assert values[80:] == pytest.approx([1 - math.sqrt(k / 20) for k in range(1, 21)])


def test_wsd_does_not_depend_on_the_length_before_it_decays():
    for at in range(80):
        assert wsd(at, 100, warmup=5, decay=20) == wsd(at, 10_000, warmup=5, decay=20)
