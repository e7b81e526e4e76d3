"""Every number follows from the times that are passed in, without a clock."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from lightning_hparams.speed import CudaTimer, StepClock


def run(clock, batches, start=0.0):
    """Feed batches of (gap, wait, work) seconds to a clock; return the time at the end."""
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
    # The gap before the first batch does not count: there is no earlier batch.
    gap, wait, work = (sum(column) for column in zip(*batches, strict=True))
    total = gap - batches[0][0] + wait + work
    speed = clock.speed()
    assert speed.batches_per_sec == pytest.approx(len(batches) / total)
    assert speed.samples_per_sec == pytest.approx(4 * len(batches) / total)
    assert speed.steps_per_sec == pytest.approx(len(batches) / total)
    assert speed.data_wait_frac == pytest.approx(wait / total)
    assert clock.totals().seconds == pytest.approx(total)


@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=2, max_size=30), st.integers(1, 9))
def test_percentiles_equal_numpys_over_the_window(batches, window):
    clock = StepClock(window, warmup=1)
    run(clock, batches)
    times = [sum(batch) for batch in batches[1:]][-window:]
    speed = clock.speed()
    for percent in (50, 90, 99):
        expected = np.percentile(times, percent, method="inverted_cdf") * 1e3
        assert getattr(speed, f"step_ms_p{percent}") == pytest.approx(expected)


def test_rates_start_with_the_second_batch():
    clock = StepClock()
    run(clock, [(0, 1, 9)])
    assert not clock.is_warm
    assert clock.speed().batches_per_sec == 0
    run(clock, [(0, 1, 1)], start=10)
    assert clock.is_warm
    assert clock.speed().batches_per_sec == 0.5


@pytest.mark.parametrize("what", ["validation", "other"])
def test_a_pause_is_not_part_of_any_batch(what):
    clock = StepClock(warmup=0)
    now = run(clock, [(0, 1, 1)] * 3)
    clock.leave_out(what)
    run(clock, [(100, 1, 1)], now)
    assert clock.speed().batches_per_sec == 0.5
    totals = clock.totals()
    assert (totals.validation, totals.other) == ((100, 0) if what == "validation" else (0, 100))
    assert totals.validations == (what == "validation")
    assert totals.all_seconds == 108


def test_a_checkpoint_after_a_validation_counts_as_validation():
    clock = StepClock(warmup=0)
    now = run(clock, [(0, 1, 1)])
    clock.leave_out("validation")
    clock.leave_out("other")
    clock.stopped(now + 5)
    clock.stopped(now + 50)
    assert (clock.totals().validation, clock.totals().other) == (5, 0)


def test_a_batch_interrupted_by_a_pause_does_not_count():
    clock = StepClock(warmup=0)
    clock.fetching(0)
    clock.fetched(1)
    clock.leave_out("other")
    clock.batch_done(100, 4, 1)
    assert clock.speed().batches_per_sec == 0
    run(clock, [(0, 1, 1)], 100)
    assert clock.speed().batches_per_sec == 0.5


def test_starting_the_loader_of_an_epoch_counts_as_waiting():
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
    """A GPU that lags behind: it starts new work when it has finished the queued work."""

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
def test_on_a_stream_only_idle_time_counts_as_waiting(load, work, idle):
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
def test_cuda_events_measure_time():
    timer = CudaTimer()
    start = timer.now()
    torch.cuda._sleep(10_000_000)
    end = timer.now()
    timer.wait_for(end)
    assert timer.between(start, end) > 1e-3


def test_pending_batches_do_not_pile_up():
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
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StepClock(**arguments)
