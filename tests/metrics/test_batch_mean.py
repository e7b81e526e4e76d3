import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from lightning_hparams.metrics import BatchMean


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_shows_in_the_mean(value):
    metric = BatchMean()
    for loss in (1.0, value, 2.0):
        metric.update(torch.tensor(loss), 4)
    assert str(metric.compute().item()) == str(value)
    metric.reset()
    metric.update(torch.tensor(1.0), 3)
    assert metric.compute() == 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-10, 10, width=32), st.integers(1, 9)), min_size=1, max_size=20)
)
def test_batches_are_weighted_by_their_number_of_images(batches):
    metric = BatchMean()
    for value, images in batches:
        metric.update(torch.tensor(value), images)
    expected = np.average([v for v, _ in batches], weights=[n for _, n in batches])
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-5, abs=1e-5)
