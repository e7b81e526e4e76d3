"""Scores of a classification equal scikit-learn's, whichever classes occur."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn import metrics as sklearn

from lightning_hparams.metrics import ConfusionCounts, classification_scores

NAMES = ["a", "b", "c", "d", "e"]


def scores(preds, target, task="multiclass", **options):
    counts = ConfusionCounts(5, task=task, **options)
    counts.update(preds, target)
    return classification_scores(counts.compute(), NAMES, **options)


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 10**6),
    true=st.sets(st.integers(0, 4), min_size=1),
    guessed=st.sets(st.integers(0, 4), min_size=1),
    count=st.integers(1, 40),
)
def test_scores_of_any_classes_equal_those_of_scikit_learn(seed, true, guessed, count):
    rng = np.random.default_rng(seed)
    target, preds = rng.choice(sorted(true), count), rng.choice(sorted(guessed), count)
    whole, by_class = scores(torch.tensor(preds), torch.tensor(target))
    assert float(whole["accuracy"]) == pytest.approx(sklearn.accuracy_score(target, preds))
    expected = sklearn.f1_score(target, preds, average="macro", zero_division=0)
    assert float(whole["macro_f1"]) == pytest.approx(expected)
    for label, name in enumerate(NAMES):
        for kind, values in (("recall", [target]), ("f1", [target, preds])):
            found = float(by_class[kind][name])
            if not any(label in each for each in values):
                assert np.isnan(found)
                continue
            function = getattr(sklearn, f"{kind}_score")
            theirs = function(target, preds, labels=[label], average=None, zero_division=0)
            assert found == pytest.approx(float(theirs[0]))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_scores_of_several_labels_equal_those_of_scikit_learn(seed, share):
    rng = np.random.default_rng(seed)
    target, preds = rng.random((2, 20, 5)) < [[[share]], [[0.4]]]
    whole, by_class = scores(torch.tensor(preds), torch.tensor(target), task="multilabel")
    assert float(whole["accuracy"]) == pytest.approx((target == preds).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f1 = sklearn.f1_score(target, preds, average=None, zero_division=np.nan)
        recall = sklearn.recall_score(target, preds, average=None, zero_division=np.nan)
    for name, theirs in (("f1", f1), ("recall", recall)):
        found = [float(by_class[name][label]) for label in NAMES]
        assert found == pytest.approx(theirs.tolist(), nan_ok=True)


def test_an_ignored_class_has_no_score():
    preds, target = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])
    whole, by_class = scores(preds, target, ignore_index=2)
    assert by_class["f1"]["c"].isnan()
    assert whole["accuracy"] == pytest.approx(2 / 3)
