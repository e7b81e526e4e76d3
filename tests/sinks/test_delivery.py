"""Calls run in order, are awaited with a deadline, and are never lost silently."""

import threading
import time

import pytest

from lightning_hparams.sinks.delivery import Delivery


class Story:
    """A delivery and its messages."""

    def __init__(self, timeout=30.0, most=64):
        self.errors, self.gave_up, self.made = [], 0, []
        self.delivery = Delivery(
            "test", timeout=timeout, most=most, failed=self.errors.append, gave_up=self.give_up
        )

    def give_up(self):
        self.gave_up += 1

    def submit(self, number, call=lambda: None):
        def make():
            call()
            self.made.append(number)

        return self.delivery.submit(str(number), make)


def test_calls_run_in_order_in_another_thread():
    story, threads = Story(), set()
    for number in range(50):
        story.submit(number, lambda: threads.add(threading.current_thread()))
    assert story.delivery.join()
    assert story.made == [*range(50)]
    assert threading.main_thread() not in threads
    assert all(thread.daemon for thread in threads)


def test_an_error_is_reported_in_the_callers_thread_and_stops_no_other_call():
    story = Story()
    story.submit(0, lambda: 1 / 0)
    story.submit(1)
    assert story.delivery.join()
    assert [type(error) for error in story.errors] == [ZeroDivisionError]
    assert story.made == [1]


def test_an_unresponsive_server_is_awaited_once():
    story, never = Story(timeout=0.2), threading.Event()
    story.submit(0, lambda: never.wait(60))
    story.submit(1)
    start = time.monotonic()
    assert not story.delivery.join()
    assert 0.1 < time.monotonic() - start < 5
    start = time.monotonic()
    assert not story.delivery.join()
    assert time.monotonic() - start < 0.1
    assert (story.gave_up, story.delivery.waiting()) == (1, ["0", "1"])
    never.set()
    deadline = time.monotonic() + 5
    while story.delivery.waiting() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert story.delivery.join()  # it answers again


def test_slow_answers_extend_the_deadline():
    story = Story(timeout=0.4)
    for number in range(6):
        story.submit(number, lambda: time.sleep(0.15))
    assert story.delivery.join()
    assert story.gave_up == 0


def test_submit_waits_for_a_full_queue_but_not_for_an_unresponsive_server():
    story, never = Story(timeout=0.2, most=2), threading.Event()
    assert story.submit(0, lambda: never.wait(60))
    assert story.submit(1)
    start = time.monotonic()
    assert not story.submit(2)
    assert not story.submit(3)
    assert time.monotonic() - start < 5
    never.set()
    slow = Story(timeout=30, most=2)
    assert all(slow.submit(number, lambda: time.sleep(0.05)) for number in range(5))


def test_ctrl_c_while_waiting_is_raised_and_ends_the_wait(monkeypatch):
    story, never = Story(timeout=30), threading.Event()
    story.submit(0, lambda: never.wait(60))

    def interrupt(timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr(story.delivery._changed, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        story.delivery.join()
    start = time.monotonic()
    assert not story.delivery.join()
    assert time.monotonic() - start < 1
    never.set()
