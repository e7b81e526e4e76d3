"""Where time goes: every number from times that are given, without a clock."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from lightning_hparams.speed import (
    CudaTimer,
    Loading,
    StepClock,
    Totals,
    batch_size,
    bottleneck,
    validations_within,
)


def run(clock, batches, start=0.0):
    """Batches of (gap, wait, work) seconds, one after the other; the time at their end."""
    now = start
    for gap, wait, work in batches:
        clock.fetching(now + gap)
        clock.fetched(now + gap + wait)
        now += gap + wait + work
        clock.batch_done(now, samples=4, steps=1)
    return now


seconds = st.floats(0.001, 10)


@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=1, max_size=30))
def test_rates_and_shares_are_sums_over_the_batches(batches):
    clock = StepClock(warmup=0)
    run(clock, batches)
    # Before the first batch there is no batch to measure from.
    gap, wait, work = (sum(column) for column in zip(*batches, strict=True))
    total = gap - batches[0][0] + wait + work
    speed = clock.speed()
    assert speed.batches_per_sec == pytest.approx(len(batches) / total)
    assert speed.samples_per_sec == pytest.approx(4 * len(batches) / total)
    assert speed.steps_per_sec == pytest.approx(len(batches) / total)
    assert speed.data_wait_frac == pytest.approx(wait / total)
    assert clock.totals().seconds == pytest.approx(total)


@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=2, max_size=30), st.integers(1, 9))
def test_percentiles_are_those_of_numpy_over_the_window(batches, window):
    clock = StepClock(window, warmup=1)
    run(clock, batches)
    times = [sum(batch) for batch in batches[1:]][-window:]
    speed = clock.speed()
    for percent in (50, 90, 99):
        expected = np.percentile(times, percent, method="inverted_cdf") * 1e3
        assert getattr(speed, f"step_ms_p{percent}") == pytest.approx(expected)


def test_there_is_a_rate_from_the_second_batch_on():
    clock = StepClock()
    run(clock, [(0, 1, 9)])
    assert not clock.is_warm
    assert clock.speed().batches_per_sec == 0
    run(clock, [(0, 1, 1)], start=10)
    assert clock.is_warm
    assert clock.speed().batches_per_sec == 0.5


@pytest.mark.parametrize("what", ["validation", "other"])
def test_what_is_left_out_is_in_no_batch(what):
    clock = StepClock(warmup=0)
    now = run(clock, [(0, 1, 1)] * 3)
    clock.leave_out(what)
    run(clock, [(100, 1, 1)], now)
    assert clock.speed().batches_per_sec == 0.5
    totals = clock.totals()
    assert (totals.validation, totals.other) == ((100, 0) if what == "validation" else (0, 100))
    assert totals.validations == (what == "validation")
    assert totals.all_seconds == 108


def test_a_checkpoint_after_validation_is_part_of_that():
    clock = StepClock(warmup=0)
    now = run(clock, [(0, 1, 1)])
    clock.leave_out("validation")
    clock.leave_out("other")
    clock.stopped(now + 5)
    clock.stopped(now + 50)
    assert (clock.totals().validation, clock.totals().other) == (5, 0)


def test_a_batch_in_which_something_was_saved_does_not_count():
    clock = StepClock(warmup=0)
    clock.fetching(0)
    clock.fetched(1)
    clock.leave_out("other")
    clock.batch_done(100, 4, 1)
    assert clock.speed().batches_per_sec == 0
    run(clock, [(0, 1, 1)], 100)
    assert clock.speed().batches_per_sec == 0.5


def test_starting_the_loader_of_an_epoch_is_waiting():
    clock = StepClock(warmup=0)
    now = run(clock, [(0, 1, 1)] * 2)
    clock.leave_out("other")
    clock.epoch_started(now + 7)
    clock.fetching(now + 9)  # the loader has started its workers by now
    clock.fetched(now + 10)
    clock.batch_done(now + 11, 4, 1)
    totals = clock.totals()
    assert (totals.restart_wait, totals.wait, totals.other) == (3, 5, 7)


def test_several_fetches_in_a_batch_add_up():
    clock = StepClock(warmup=0)
    for now in (0, 2):
        clock.fetching(now)
        clock.fetched(now + 1)
    clock.batch_done(4, 4, 1)
    assert clock.speed().data_wait_frac == 0.5


class Stream:
    """A GPU that is behind: it starts what is asked of it when it has done the rest."""

    def __init__(self):
        self.host = self.device = 0.0
        self.waited_for = []

    def work(self, seconds):
        self.device = max(self.device, self.host) + seconds

    def now(self):
        self.device = max(self.device, self.host)
        return self.device

    def between(self, start, end):
        assert self.waited_for
        assert end <= self.waited_for[-1]
        return end - start

    def wait_for(self, moment):
        self.waited_for.append(moment)


@pytest.mark.parametrize(("load", "work", "idle"), [(1, 4, 0), (4, 1, 3 / 4)])
def test_on_a_stream_only_the_time_without_work_is_waiting(load, work, idle):
    stream = Stream()
    clock = StepClock(timer=stream)
    for _ in range(200):
        clock.fetching(stream.now())
        stream.host += load
        clock.fetched(stream.now())
        stream.work(work)
        clock.batch_done(stream.now(), 1, 1)
    assert stream.waited_for == []
    speed = clock.speed()
    assert len(stream.waited_for) == 1
    assert speed.data_wait_frac == pytest.approx(idle, abs=0.01)
    assert speed.step_ms_p50 == pytest.approx(1000 * max(load, work))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_events_of_cuda_are_moments():
    timer = CudaTimer()
    start = timer.now()
    torch.cuda._sleep(10_000_000)
    end = timer.now()
    timer.wait_for(end)
    assert timer.between(start, end) > 1e-3


def test_what_nobody_asks_for_does_not_pile_up():
    clock = StepClock()
    run(clock, [(0, 1, 1)] * 20_100)
    assert len(clock._pending) < 10_000
    assert clock.totals().batches == 20_099


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, r"`1 <= window` must hold, got window=0"),
        ({"warmup": -1}, r"`0 <= warmup` must hold, got warmup=-1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        StepClock(**arguments)


@dataclass
class Sample:
    image: torch.Tensor
    name: str = "x"


def image(n, channels=3):
    return torch.ones(n, channels, 8, 6)


N = 5
BATCHES = {
    "tensor": image(N),
    "array": np.ones((N, 3)),
    "pair": [image(N), torch.ones(N)],
    "dict": {"image": image(N), "mask": torch.ones(N, 8, 6), "path": ["a"] * N},
    "scalar first": {"scale": torch.tensor(2.0), "image": image(N)},
    "weights first": (torch.ones(21), image(N)),
    "two views": ([image(N), image(N)], torch.ones(N)),
    "detection": ([torch.ones(3, 8, 9)] * N, [{"boxes": torch.ones(2, 4)}] * N),
    "detection, tuples": (
        tuple(torch.ones(3, 8, 9 + i) for i in range(N)),
        tuple({"boxes": torch.ones(i, 4), "masks": torch.ones(i, 8, 9)} for i in range(N)),
    ),
    "detection, stacked": (image(N), [{"labels": torch.ones(7)}] * N),
    "detection, 13 bands": ([torch.ones(13, 8, 9)] * N, [{"boxes": torch.ones(2, 4)}] * N),
    "one dict a sample": [{"image": torch.ones(3, 8, 9), "label": 1}] * N,
    "list of images": [torch.ones(3, 8, 9 + i) for i in range(N)],
    "list of grey images": [torch.ones(1, 8, 9)] * N,
    "a batch of dicts of batches": [{"data": image(N), "label": torch.ones(N)}],
    "dataclass": Sample(image(N)),
    "list of dataclasses": [Sample(torch.ones(3, 8, 9))] * N,
    "names only": {"path": ["a"] * N},
    "nested": {"a": {"b": (image(N), {"c": torch.ones(N)})}},
}


@pytest.mark.parametrize("name", BATCHES)
def test_the_batch_size_is_found(name):
    assert batch_size(BATCHES[name]) == N


@pytest.mark.parametrize("n", [1, 3, 4, 5])
def test_grey_images_and_their_masks_are_two_inputs(n):
    assert batch_size([torch.ones(n, 8, 9), torch.ones(n, 8, 9, dtype=torch.long)]) == n


@pytest.mark.parametrize("batch", [torch.tensor(1.0), None, [], {}, "text", object(), 3])
def test_a_batch_that_does_not_tell_has_no_size(batch):
    assert batch_size(batch) is None


@given(st.integers(1, 64), st.permutations(["image", "mask", "label", "scale", "weights"]))
def test_the_order_of_a_dict_does_not_matter(n, order):
    parts = {
        "image": image(n),
        "mask": torch.ones(n, 8, 6),
        "label": torch.ones(n),
        "scale": torch.tensor(1.0),
        "weights": torch.ones(21),
    }
    assert batch_size({key: parts[key] for key in order}) == n


@given(
    st.integers(0, 60),
    st.integers(1, 12),
    st.sampled_from([math.inf, 1, 2, 5]),
    st.sampled_from([None, 1, 2, 3]),
)
def test_validations_are_counted_as_the_trainer_has_them(batches, per_epoch, check, every):
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
    ({"wait": 50}, {"workers": 8}, "num_workers=8 are as many as there are cores; make loading"),
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
    ({"batches": 9, "wait": 90}, {}, "9 measured batches are too few to name a bottleneck"),
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


def test_workers_that_keep_up_are_enough():
    """Loading takes 3 s and the model 1 s: by their number, what is waited and what is asked."""
    for workers, period in ((0, 4.0), (1, 3.0), (2, 1.5)):
        totals = Totals(batches=100, seconds=100 * period, wait=100 * (period - 1))
        assert "num_workers=3 in" in bottleneck(totals, loading(workers), loading(workers))
