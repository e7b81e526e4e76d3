import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_hparams.schedules import one_cycle


def torch_one_cycle(total, **shape):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=total, cycle_momentum=False, **shape
    )
    values = []
    for _ in range(total):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(values) < total:
            scheduler.step()
    return values


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize(("total", "pct_start"), [(10, 0.3), (20, 0.25), (100, 0.3), (50, 0.5)])
def test_one_cycle_is_torchs_where_its_phases_end_on_whole_steps(total, pct_start, strategy):
    ours = [
        one_cycle(step, total, pct_start=pct_start, anneal_strategy=strategy)
        for step in range(total)
    ]
    theirs = torch_one_cycle(total, pct_start=pct_start, anneal_strategy=strategy)
    assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("total", range(1, 61))
def test_one_cycle_hits_its_peak_exactly_and_ends_at_its_final_value(total):
    for tenths in range(11):
        values = [one_cycle(step, total, pct_start=tenths / 10) for step in range(total)]
        assert max(values) == 1.0
        peak = values.index(1.0)
        assert values[: peak + 1] == sorted(values[: peak + 1])
        assert values[peak:] == sorted(values[peak:], reverse=True)
        if peak < total - 1:
            assert values[-1] == 1 / 25 / 1e4


@given(total=st.integers(1, 500), beyond=st.integers(0, 10**6), pct=st.floats(0, 1))
def test_one_cycle_holds_its_last_value_past_the_end(total, beyond, pct):
    last = one_cycle(total - 1, total, pct_start=pct)
    assert one_cycle(total + beyond, total, pct_start=pct) == last


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"total": 0}, "`1 <= total` must hold, got total=0"),
        ({"step": -1}, "`0 <= step` must hold, got step=-1"),
        ({"pct_start": 1.5}, "`0 <= pct_start <= 1` must hold"),
        ({"div_factor": 0}, "`0.0 < div_factor` must hold"),
        ({"anneal_strategy": "cosine"}, "did you mean 'cos'"),
    ],
)
def test_one_cycle_refuses_values_out_of_range(changed, message):
    with pytest.raises(ValueError, match=message):
        one_cycle(**{"step": 0, "total": 10, **changed})
