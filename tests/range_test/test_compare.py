import json
import math

import numpy as np
import pytest

from lightning_hparams.range_test import ParamTestResult, Sweep, compare_values, lr_values

LRS = lr_values(1e-7, 10, 100)
X = np.log10(LRS)


def sweeps(depth=1.5, move=0.0, noise=0.02, seed=0, repeats=1):
    """A loss that falls by `depth` about 10**(move - 3) and explodes about 10**move."""
    clean = 2.3 - depth / (1 + np.exp(-4 * (X - move + 3))) + np.exp(6 * (X - move))
    rng = np.random.default_rng(seed)
    return [Sweep(LRS, clean + noise * rng.normal(size=100)) for _ in range(repeats)]


def test_the_largest_of_the_values_that_train_as_well_is_chosen():
    by_value = {0.0: sweeps(1.5), 1e-4: sweeps(1.505, seed=1), 1e-2: sweeps(1.5, seed=2)}
    result = compare_values("weight_decay", {**by_value, 1.0: sweeps(1.0, seed=3)})
    assert result.chosen == 1e-2
    assert result.suggestion == result.results[2].suggestion
    assert result.values == (0.0, 1e-4, 1e-2, 1.0)
    assert result.lowest[3] - result.lowest[2] == pytest.approx(0.5, abs=0.05)
    assert result.status == "ok"


def test_a_clearly_lower_loss_wins_against_a_larger_value():
    result = compare_values("momentum", {0.85: sweeps(1.8), 0.9: sweeps(1.5), 0.95: sweeps(1.4)})
    assert result.chosen == 0.85


def test_values_come_in_any_order_and_with_repeats():
    result = compare_values("momentum", {0.9: sweeps(repeats=3), 0.8: sweeps(1.0, repeats=3)})
    assert result.values == (0.8, 0.9)
    assert result.chosen == 0.9
    assert result.steps_run == 600
    assert result.results[1].spread is not None
    single = compare_values("momentum", {0.9: sweeps(), 0.8: sweeps(1.0)})
    assert result.noise[1] < single.noise[1]


def test_the_learning_rate_is_set_against_the_rules_of_thumb_for_batch_sizes():
    result = compare_values(
        "batch_size",
        {size: sweeps(move=math.log10(size / 32) / 2, seed=size) for size in (32, 64, 128)},
    )
    assert [(row.value, row.linear) for row in result.lr_scale] == [(32, 1), (64, 2), (128, 4)]
    for row in result.lr_scale:
        assert row.sqrt == pytest.approx(math.sqrt(row.value / 32))
        assert row.seen == pytest.approx(row.sqrt, rel=0.25)
    assert "lr grew by (linear, sqrt)" in result.table()


def test_nothing_is_chosen_where_nothing_fell():
    flat = sweeps(depth=0)
    result = compare_values("weight_decay", {0.0: flat, 0.1: flat})
    assert (result.chosen, result.suggestion, result.applies) == (None, None, False)
    assert result.status == "no_descent"
    assert "no suggestion; no_descent: at no weight_decay: the loss never fell" in str(result)
    assert result.lr_scale[1].seen is None
    assert result.picture().shape == (440, 760, 3)


def test_a_value_that_cannot_be_read_is_left_out():
    result = compare_values("momentum", {0.9: sweeps(), 0.99: [Sweep(LRS[:1], [math.nan])]})
    assert result.chosen == 0.9
    assert math.isnan(result.lowest[1])


@pytest.mark.parametrize("broken", [False, True])
def test_json_gives_back_an_equal_result(broken):
    second = [Sweep(LRS[:1], [math.nan])] if broken else sweeps(seed=1)
    result = compare_values("batch_size", {16: sweeps(), 32: second})
    text = result.to_json()
    json.loads(text, parse_constant=pytest.fail)
    assert ParamTestResult.from_json(text) == result


def test_it_says_what_it_chose(tmp_path):
    result = compare_values("momentum", {0.9: sweeps(1.0), 0.95: sweeps(1.5)})
    assert str(result).startswith(
        f"momentum range test: 0.95, learning rate {result.suggestion:.2g}"
    )
    lines = result.table().splitlines()
    assert len(lines) == 3
    assert lines[2].endswith("<- chosen")
    assert result.plot(tmp_path / "values.png").stat().st_size > 1000


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match="at least two values of momentum, got"):
        compare_values("momentum", {0.9: sweeps()})
    with pytest.raises(ValueError, match="`param` must be one of"):
        compare_values("lr", {0.9: sweeps(), 0.8: sweeps()})
