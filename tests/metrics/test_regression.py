"""Errors of a regression equal scikit-learn's, in any batches and on any number of ranks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn import metrics as sklearn

from lightning_hparams.metrics import RegressionErrors, ValueCounts


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(2, 50),
    batch=st.integers(1, 20),
    offset=st.sampled_from([0.0, 1e3, -1e5]),
    unknown=st.booleans(),
)
def test_errors_equal_those_of_scikit_learn(seed, count, batch, offset, unknown):
    rng = np.random.default_rng(seed)
    target = rng.normal(offset, 10.0, (count, 2)).astype(np.float32)
    preds = target + rng.normal(0, 3.0, (count, 2)).astype(np.float32)
    if unknown:
        target[rng.random((count, 2)) < 0.2] = np.nan
    errors = RegressionErrors(2)
    for start in range(0, count, batch):
        part = slice(start, start + batch)
        errors.update(torch.tensor(preds[part]), torch.tensor(target[part]))
    for value, (mae, rmse, r2) in enumerate(errors.compute().T.tolist()):
        known = ~np.isnan(target[:, value])
        ours, theirs = preds[known, value].astype(float), target[known, value].astype(float)
        if not known.any():
            assert math.isnan(mae)
            continue
        assert mae == pytest.approx(sklearn.mean_absolute_error(theirs, ours), rel=1e-4)
        assert rmse == pytest.approx(sklearn.mean_squared_error(theirs, ours) ** 0.5, rel=1e-4)
        if known.sum() > 1 and theirs.std() > 0.1:
            assert r2 == pytest.approx(sklearn.r2_score(theirs, ours), rel=1e-3, abs=1e-3)


def test_ranks_are_merged_like_batches():
    """States that torchmetrics gathers are stacked, one row per rank."""
    torch.manual_seed(0)
    target = torch.randn(9, 2) * 5 + 1e4
    preds = target + torch.randn(9, 2)
    whole, ranks = RegressionErrors(2), [RegressionErrors(2) for _ in range(3)]
    whole.update(preds, target)
    for rank, part in zip(ranks, (slice(0, 7), slice(7, 7), slice(7, 9)), strict=True):
        rank.update(preds[part], target[part])
    gathered = RegressionErrors(2)
    for name in ("count", "mean", "squares", "absolute", "squared"):
        setattr(gathered, name, torch.stack([getattr(rank, name) for rank in ranks]))
    gathered._update_count = 1
    torch.testing.assert_close(gathered.compute(), whole.compute(), rtol=1e-5, atol=0)


def test_constant_values_have_no_r2_and_a_diverged_prediction_shows():
    errors = RegressionErrors(2)
    errors.update(torch.tensor([[1.0, math.nan], [3.0, 1.0]]), torch.tensor([[2.0, 0.0], [2.0, 1]]))
    mae, rmse, r2 = errors.compute().tolist()
    assert mae[0] == rmse[0] == 1.0
    assert math.isnan(r2[0])
    assert math.isnan(mae[1])


def test_pairs_are_counted_in_cells_and_clamped_to_the_outer_ones():
    counts = ValueCounts(2, bins=4)
    counts.edges = torch.tensor([[0.0, 4.0], [-100.0, 100.0]])
    target = torch.tensor([[0.5, -100.0], [3.5, 0.0], [math.nan, 100.0]])
    preds = torch.tensor([[1.5, -math.inf], [9.0, 1.0], [1.0, math.nan]])
    counts.update(preds, target)
    found = counts.compute()
    assert found[0].nonzero().tolist() == [[0, 1], [3, 3]]
    assert found[1].nonzero().tolist() == [[0, 0], [2, 2]]
