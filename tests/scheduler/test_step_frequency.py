"""A schedule that does not fit an optimizer's steps is reported, with the remedy."""

import pytest

from lightning_hparams.scheduler.step_frequency import Frequency, frequency_warning


def warning(*, taken, stepped=20, batches=20, total=100, **changed):
    found = Frequency(0, "SGD", taken=taken, stepped=stepped, batches=batches, total=total)
    usual = {"is_only": True, "is_manual": False, "is_given": False, "is_scaled": False}
    return frequency_warning(found, **usual | changed)


@pytest.mark.parametrize("manual", [False, True])
def test_a_step_per_batch_is_as_expected(manual):
    assert warning(taken=20, is_manual=manual) is None


def test_steps_without_hooks_are_reported_unless_a_scaler_may_have_skipped_them():
    assert "none of the 20 steps of SGD was counted" in warning(taken=0)
    assert "none of the 20 steps" in warning(taken=0, is_scaled=True)
    assert warning(taken=0, stepped=10, is_scaled=True) is None
    assert warning(taken=0, is_only=False) is None


def test_twice_the_trainers_steps_end_the_schedule_early():
    assert "took 40 steps where the Trainer counts 20" in warning(taken=40)
    assert warning(taken=39) is None


@pytest.mark.parametrize("taken", [10, 21])
def test_manual_optimization_expects_a_step_in_more_than_half_of_the_batches(taken):
    assert f"took {taken} steps in 20 batches" in warning(taken=taken, is_manual=True)
    assert warning(taken=11, is_manual=True) is None


@pytest.mark.parametrize("manual", [False, True])
def test_a_length_that_is_given_is_not_questioned(manual):
    assert warning(taken=40, is_manual=manual, is_given=True) is None
