"""Each test of a contract fails for an extension that breaks what it is about."""

import random
from functools import partial
from pickle import PicklingError

import numpy as np
import pytest
import torch

from lightning_hparams.callbacks import RunRecorder
from lightning_hparams.metrics import ScoreCounts
from lightning_hparams.samples import Scores
from lightning_hparams.testing import (
    KindContract,
    RuleContract,
    ScheduleContract,
    SinkContract,
    TaskContract,
)
from tests.testing.test_toys import TestJournal as GoodSink, TestKeypoint as GoodKind
from tests.testing.toy_journal import JournalSink
from tests.testing.toy_keypoints import Keypoint, KeypointData, KeypointTask, sawtooth

CONTRACTS = (KindContract, RuleContract, ScheduleContract, SinkContract, TaskContract)


# -- sinks


class Forgetful(JournalSink):
    def scalars(self, values, step):
        super().scalars({tag: value for tag, value in values.items() if value == value}, step)


class Repeating(JournalSink):
    def scalars(self, values, step):
        self.seen = {}
        super().scalars(values, step)


class Appending(JournalSink):
    def _forget(self, step):
        pass


class Closing(JournalSink):
    def write(self, what, step=None, **record):
        if any(each["what"] == "finish" for each in self.records()):
            raise ValueError("the file is closed")
        super().write(what, step, **record)


class Drawing(JournalSink):
    def histogram(self, tag, counts, edges, step):
        counts /= counts.sum()


class Linking(JournalSink):
    def artifact(self, path):
        self.linked = path

    def flush(self, *, wait=False):
        if hasattr(self, "linked"):
            self.linked.read_text()


def sink(kind):
    class Contract(GoodSink):
        def make_sink(self, folder):
            return kind(folder / "journal.jsonl")

    return Contract()


# -- kinds


class Lax(Keypoint):
    def check(self, output, step, options):
        pass


class Relative(Keypoint):
    def losses(self, output, options):
        losses = super().losses(output, options)
        return losses / losses.sum()


class Named(Keypoint):
    def classes(self, output, options):
        return [["point"] for _ in output["images"]]


class Floating(Keypoint):
    def draw(self, sample, options, caption):
        return super().draw(sample, options, caption) / 255


class Dithering(Keypoint):
    def draw(self, sample, options, caption):
        picture = super().draw(sample, options, caption)
        return picture + np.random.randint(0, 2, picture.shape, np.uint8)


class Viewing(Keypoint):
    def pick(self, output, position, scale):
        return {key: output[f"{key}s"][position] for key in ("pred", "target")}


class Percent(Keypoint):
    def scores(self, output, options, device):
        sure = torch.full((len(output["images"]),), 75.0)
        hits = (sure[:, None] / 100, torch.ones(len(sure), 1))
        return Scores(
            lambda: ScoreCounts(1), lambda: iter([hits]), lambda: iter([(sure, sure > 0)])
        )


class Writing(Keypoint):
    def losses(self, output, options):
        return output["preds"].sub_(output["targets"]).norm(dim=1)


class Marking(Keypoint):
    def losses(self, output, options):
        output["depths"] += 1
        return super().losses(output, options)


class WithArrays(GoodKind):
    def make_output(self, count):
        return {**super().make_output(count), "depths": np.ones(count), "kind": Marking()}


def kind(cls):
    class Contract(GoodKind):
        def make_output(self, count):
            return {**super().make_output(count), "kind": cls()}

    return Contract()


def local():
    class Local(Keypoint):
        pass

    return kind(Local)


class Large(GoodKind):
    def make_output(self, count):
        images = torch.zeros(count, 3, 600, 900)
        return {**super().make_output(count), "images": images, "kind": Enlarging()}


class Enlarging(Keypoint):
    def draw(self, sample, options, caption):
        return super().draw(sample, options, caption).repeat(20, 0)


# -- schedules and rules


class Counting:
    """Counts its own calls instead of looking at the step."""

    def __init__(self):
        self.calls = 0

    def __call__(self, step, total):
        self.calls += 1
        return 1 / self.calls


def noisy(step, total):
    return random.random()


def falling(step, total):
    return 1 - step / max(total - 1, 1)


def singular(step, total):
    return 1.0 if step == 0 else step / (total - 2) if total > 2 else float("inf")


def schedule(function):
    class Contract(ScheduleContract):
        def make_schedule(self):
            return function

    return Contract()


def rule(function):
    class Contract(RuleContract):
        def make_rule(self):
            return function

    return Contract()


def writing(curve):
    curve.losses[0] = 0
    return float(curve.lrs[curve.low]) / 3


def boundless(curve):
    return 100.0


def absolute(curve):
    return float(curve.lrs[np.argmax(curve.smoothed < 2)])


def guessing(curve):
    return 0.001


# -- tasks


class Mute(KeypointTask):
    def log(self, *args, **kwargs):
        pass


class Bare(KeypointTask):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)


class Shaken(KeypointTask):
    """Whether a monitor is there changes training."""

    def training_step(self, batch, batch_idx):
        watched = any(isinstance(each, RunRecorder) for each in self.trainer.callbacks)
        return super().training_step(batch, batch_idx) * (2 if watched else 1)


class Fixed(KeypointTask):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


class Remembering(KeypointTask):
    """Keeps state that no checkpoint holds."""

    steps = 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return super().training_step(batch, batch_idx) * self.steps


class Everywhere(KeypointTask):
    """Keeps state outside of the module, which a range test cannot restore."""

    steps = {}  # noqa: RUF012

    def training_step(self, batch, batch_idx):
        tested = any(type(each).__name__ == "LRRangeTest" for each in self.trainer.callbacks)
        return super().training_step(batch, batch_idx) * (2 if tested else 1)


class Resetting(KeypointTask):
    def on_load_checkpoint(self, checkpoint):
        for value in checkpoint["state_dict"].values():
            value.zero_()


def task(cls):
    class Contract(TaskContract):
        def make_task(self):
            return cls()

        def make_data(self):
            return KeypointData()

    return Contract()


FOUND = (AssertionError, AttributeError, OSError, PicklingError, TypeError, ValueError)
BROKEN = [
    (sink(Forgetful), "values_are_stored_with_their_steps"),
    (sink(Repeating), "a_value_written_by_two_monitors_is_stored_once"),
    (sink(Appending), "a_resumed_run_repeats_no_step"),
    (sink(Closing), "every_call_of_a_monitor_is_accepted"),
    (sink(Drawing), "writing_leaves_arguments_and_random_generators_alone"),
    (sink(Linking), "a_stored_file_may_be_removed"),
    (kind(Lax), "a_bad_output_is_refused_before_training"),
    (kind(Relative), "each_sample_is_rated_by_itself"),
    (kind(Named), "classes_are_whole_numbers_per_sample"),
    (kind(Floating), "a_sample_is_drawn_as_a_picture"),
    (kind(Dithering), "drawing_leaves_no_trace"),
    (kind(Viewing), "samples_hold_no_batch"),
    (local(), "samples_can_be_sent_to_another_process"),
    (Large(), "large_images_are_drawn_reduced"),
    (kind(Percent), "scores_feed_curves"),
    (kind(Writing), "outputs_are_only_read"),
    (schedule(lambda step: 1.0), "it_is_called_with_step_and_total"),
    (schedule(singular), "every_multiplier_is_finite_and_not_negative"),
    (schedule(falling), "past_the_end_the_last_value_holds"),
    (schedule(Counting()), "a_step_has_one_value_in_any_order"),
    (schedule(noisy), "it_draws_no_random_numbers"),
    (schedule(lambda step, total: 1.0), "it_can_be_pickled"),
    (schedule(Counting()), "an_optimizer_follows_it"),
    (rule(boundless), "a_suggestion_is_a_rate_of_the_sweep_or_a_little_below"),
    (rule(absolute), "level_and_unit_of_the_loss_do_not_matter"),
    (rule(guessing), "the_suggestion_follows_the_rates"),
    (rule(writing), "a_curve_is_only_read"),
    (task(Bare), "validation_returns_what_monitors_draw"),
    (task(Mute), "validation_logs_a_number"),
    (task(Shaken), "monitors_do_not_change_training"),
    (task(Everywhere), "a_range_test_leaves_no_trace"),
    (task(Fixed), "every_rate_follows_the_attribute_that_a_range_test_sets"),
    (task(Remembering), "a_resumed_run_equals_one_that_never_stopped"),
    (task(Resetting), "it_is_loaded_from_its_checkpoint"),
]
HELD_ELSEWHERE = {
    "test_a_good_output_is_accepted",  # by its errors, which are those of the kind
    "test_a_curve_that_never_falls_gets_no_suggestion",  # by the range test, whatever the rule says
}


@pytest.mark.parametrize(("contract", "promise"), BROKEN, ids=[promise for _, promise in BROKEN])
def test_a_broken_promise_is_found(tmp_path, contract, promise):
    test = getattr(contract, f"test_{promise}")
    arguments = [tmp_path] if "tmp_path" in test.__code__.co_varnames else []
    with pytest.raises(FOUND):
        test(*arguments)


def test_every_test_of_a_contract_has_a_broken_promise():
    tests = {name for each in CONTRACTS for name in vars(each) if name.startswith("test_")}
    assert tests - HELD_ELSEWHERE == {f"test_{promise}" for _, promise in BROKEN}


def test_a_kind_that_writes_to_an_array_is_found():
    with pytest.raises(AssertionError, match="'depths' was changed"):
        WithArrays().test_outputs_are_only_read()


def test_a_schedule_with_arguments_is_a_partial():
    contract = schedule(partial(sawtooth, teeth=3))
    contract.test_past_the_end_the_last_value_holds()
    contract.test_it_can_be_pickled()
