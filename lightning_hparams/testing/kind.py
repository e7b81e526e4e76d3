"""The contract of kinds of output: how the result of a step is checked, rated and drawn."""

from __future__ import annotations

import copy
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from ..outputs import StepOutput
from ..samples import Batch, DrawOptions, Sample, draw
from ._no_trace import no_trace

__all__ = ["KindContract"]


class KindContract(ABC):
    """Tests of a :class:`~lightning_hparams.samples.Kind`.

    Name the subclass ``Test...`` for pytest to find it.

    Attributes:
        options: Options that the kind is drawn with.
    """

    options: DrawOptions = DrawOptions()

    @abstractmethod
    def make_output(self, count: int) -> StepOutput:
        """Return the output of a step for ``count`` different samples, with ``kind`` set."""

    @abstractmethod
    def make_bad_outputs(self) -> Iterable[StepOutput]:
        """Return outputs that cannot be drawn: a wrong shape, type or value each."""

    def test_a_good_output_is_accepted(self) -> None:
        """For one sample and for several."""
        for count in (1, 4):
            self._batch(count).check("validation_step")

    def test_a_bad_output_is_refused_before_training(self) -> None:
        """By an error that names the step; never by one from inside of a drawing."""
        outputs = list(self.make_bad_outputs())
        assert outputs, "make_bad_outputs() must return at least one output"
        for position, output in enumerate(outputs):
            try:
                Batch.of(output, self.options).check("validation_step")
            except (ValueError, TypeError):
                continue
            else:
                raise AssertionError(f"bad output {position} was accepted: {_shapes(output)}")

    def test_each_sample_is_rated_by_itself(self) -> None:
        """By a number from 0 up that does not depend on the rest of its batch."""
        together = self._batch(4).losses()
        assert len(together) == 4, f"{len(together)} losses for 4 samples"
        assert all(loss >= 0 for loss in together), f"losses must be 0 or more, got {together}"
        for position in range(4):
            (alone,) = Batch.of(_one(self.make_output(4), position), self.options).losses()
            assert np.isclose(alone, together[position], rtol=1e-4), (position, alone, together)

    def test_classes_are_whole_numbers_per_sample(self) -> None:
        """From 0 up."""
        classes = self._batch(4).classes()
        assert len(classes) == 4, f"{len(classes)} lists for 4 samples"
        for found in classes:
            assert all(isinstance(each, int) and each >= 0 for each in found), found

    def test_a_sample_is_drawn_as_a_picture(self) -> None:
        """With and without a caption, and its target alone: uint8 ``(H, W, 3)``."""
        for sample in self._samples():
            pictures = [draw(sample, self.options, caption) for caption in ("", "17: 0.5")]
            pictures.append(sample.kind.draw_truth(sample, self.options, ""))
            for picture in pictures:
                assert picture.dtype == np.uint8, f"pictures must be uint8, got {picture.dtype}"
                assert picture.shape[2:] == (3,), f"pictures must be (H, W, 3), got {picture.shape}"
                assert picture.size > 0

    def test_drawing_leaves_no_trace(self) -> None:
        """The same picture twice, from an unchanged sample, without random numbers."""
        for sample in self._samples():
            with no_trace("drawing", sample):
                first = draw(sample, self.options, "caption")
            assert np.array_equal(first, draw(sample, self.options, "caption"))

    def test_samples_hold_no_batch(self) -> None:
        """A view would keep every tensor of the batch alive."""
        output = self.make_output(4)
        batch = Batch.of(output, self.options)
        sample = batch.sample(1, 1)
        kept = {each.untyped_storage().data_ptr() for each in _tensors(sample)}
        given = {
            each.untyped_storage().data_ptr()
            for value in (*output.values(), *batch.output.values())
            for each in _tensors(value)
        }
        assert not kept & given, "pick() must copy, as by `tensor.clone()`"

    def test_samples_can_be_sent_to_another_process(self) -> None:
        """Define the kind at the top level of a module."""
        for sample in self._samples():
            other = pickle.loads(pickle.dumps(sample))
            first, second = (draw(each, self.options, "") for each in (sample, other))
            assert np.array_equal(first, second)

    def test_large_images_are_drawn_reduced(self) -> None:
        """A sample is no larger than its picture needs, so positions in it are scaled."""
        sample = self._batch(1).sample(0, 0)
        assert max(sample.image.shape[-2:]) <= 512, sample.image.shape
        assert max(draw(sample, self.options, "").shape[:2]) <= 4096

    def test_scores_feed_curves(self) -> None:
        """If there are any: precision and recall are counted, confidences lie in 0..1."""
        scores = self._batch(4).scores(torch.device("cpu"))
        if scores is None:
            return
        counter = scores.make_counter()
        for update in scores.updates():
            counter.update(*update)
        assert counter.compute() is not None
        for confidences, correct in scores.confidences():
            assert len(confidences) == len(correct)
            assert bool(((confidences >= 0) & (confidences <= 1)).all()), confidences

    def test_outputs_are_only_read(self) -> None:
        """The step's own tensors go on to other callbacks."""
        output = self.make_output(3)
        before = copy.deepcopy(dict(output))
        batch = Batch.of(output, self.options)
        batch.check("validation_step")
        batch.losses()
        batch.classes()
        draw(batch.sample(0, 0), self.options, "")
        for key, value in before.items():
            assert _equal(output[key], value), f"{key!r} was changed"

    def _batch(self, count: int) -> Batch:
        return Batch.of(self.make_output(count), self.options)

    def _samples(self) -> list[Sample]:
        batch = self._batch(3)
        return [batch.sample(position, position) for position in range(len(batch))]


def _one(output: StepOutput, position: int) -> StepOutput:
    """The output for a single sample: each value with one entry per sample is cut."""
    count = len(output["images"])
    return {
        key: value[position : position + 1] if _has_entries(value, count) else value
        for key, value in output.items()
    }


def _has_entries(value: object, count: int) -> bool:
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim > 0 and len(value) == count
    return isinstance(value, list) and len(value) == count


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Sample):
        return [each for item in (value.image, value.pred, value.target, value.probs)
                for each in _tensors(item)]  # fmt: skip
    if isinstance(value, Mapping):
        return [each for item in value.values() for each in _tensors(item)]
    if isinstance(value, (list, tuple)):
        return [each for item in value for each in _tensors(item)]
    return []


def _equal(one: object, other: object) -> bool:
    found, expected = _tensors(one), _tensors(other)
    if found or expected:
        return len(found) == len(expected) and all(
            torch.equal(a.nan_to_num(), b.nan_to_num())
            for a, b in zip(found, expected, strict=True)
        )
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    return one == other or not isinstance(one, (int, float, str))


def _shapes(output: StepOutput) -> dict[str, object]:
    return {key: tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            for key, value in output.items()}  # fmt: skip
