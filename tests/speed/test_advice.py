import math

import pytest
from hypothesis import given, strategies as st

from lightning_hparams.speed import Loading, Totals, bottleneck, validations_within


@given(
    st.integers(0, 60),
    st.integers(1, 12),
    st.sampled_from([math.inf, 1, 2, 5]),
    st.sampled_from([None, 1, 2, 3]),
)
def test_validations_are_counted_as_the_trainer_runs_them(batches, per_epoch, check, every):
    count = 0
    for total in range(batches):  # Lightning's rule, batch by batch
        epoch, index = divmod(total, per_epoch)
        if every is None:
            count += (total + 1) % check == 0
        elif (epoch + 1) % every == 0:
            is_last = index + 1 == per_epoch
            count += is_last if math.isinf(check) else (index + 1) % check == 0
    assert validations_within(batches, per_epoch, check, every) == count


def test_validations_of_an_endless_loader():
    assert validations_within(100, math.inf, 10, None) == 10
    assert validations_within(100, math.inf, math.inf, 1) == 0


def loading(workers=0, persistent=False, cores=8):
    return Loading(workers, persistent, cores)


LINES = [
    ({"wait": 1}, {}, "waiting for data 1 % of the time; the bottleneck is the training step"),
    ({"wait": 41}, {}, "waiting for data 41 % of the time: try num_workers=1 in the training"),
    ({"wait": 80}, {}, "try num_workers=4 in the training DataLoader (now 0)"),
    ({"wait": 50}, {"workers": 2}, "try num_workers=4 in the training DataLoader (now 2)"),
    ({"wait": 11}, {"workers": 2}, "try num_workers=3 in the training DataLoader (now 2)"),
    ({"wait": 95}, {}, "try num_workers=8 in the training DataLoader (now 0), which is all cores"),
    ({"wait": 50}, {"workers": 8}, "num_workers=8 already uses all cores; make loading"),
    ({"wait": 50}, {"workers": None}, "make the training loader faster"),
    ({"wait": 50, "restart_wait": 40}, {"workers": 2}, "try persistent_workers=True"),
    ({"validation": 50, "wait": 20}, {}, "validation 33 % of the time: try a larger check_val"),
    ({"validation": 20}, {}, "validation 17 % of the time; the bottleneck is the training step"),
    (
        {"validation": 100, "validation_wait": 80, "wait": 20},
        {},
        "waiting for data 50 % of the time, most of it in validation: try num_workers=4 in the val",
    ),
    ({"other": 100}, {}, "checkpoints and the work between epochs 50 % of the time: try saving"),
    ({"batches": 9, "wait": 90}, {}, "too few batches were measured (9) to name a bottleneck"),
]


@pytest.mark.parametrize(("totals", "how", "line"), LINES)
def test_the_bottleneck_is_named_with_its_remedy(totals, how, line):
    totals = Totals(**{"batches": 100, "seconds": 100.0, **totals})
    text = bottleneck(totals, loading(**how), loading(**how))
    assert line in text


@given(
    st.floats(0, 100), st.floats(0, 500), st.floats(0, 500), st.integers(0, 9), st.integers(1, 9)
)
def test_a_remedy_never_asks_for_more_workers_than_cores(wait, val, other, workers, cores):
    totals = Totals(batches=50, seconds=100, wait=wait, validation=val, other=other)
    text = bottleneck(totals, loading(workers, cores=cores), loading(workers, cores=cores))
    _, _, asked = text.partition("try num_workers=")
    if asked:
        assert workers < int(asked.split()[0]) <= cores


def test_the_suggested_workers_are_just_enough_to_keep_up():
    """Loading takes 3 s and the model 1 s, for any present number of workers."""
    for workers, period in ((0, 4.0), (1, 3.0), (2, 1.5)):
        totals = Totals(batches=100, seconds=100 * period, wait=100 * (period - 1))
        assert "num_workers=3 in" in bottleneck(totals, loading(workers), loading(workers))
