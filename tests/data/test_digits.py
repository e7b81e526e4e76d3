"""Handwritten digits: real data without a download."""

import pytest
import torch
from hypothesis import given, strategies as st

from lightning_hparams import DigitsData
from lightning_hparams.data.splits import stratified_split

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


@pytest.fixture(scope="module")
def digits():
    data = DigitsData(augment=False)
    data.setup("fit")
    return data


def test_every_digit_has_its_share_in_every_split(digits):
    sets = (digits.train_set, digits.val_set, digits.test_set)
    counts = [torch.bincount(one.labels, minlength=10) for one in sets]
    total = sum(counts)
    assert int(total.sum()) == 1797
    for count, share in zip(counts, (0.64, 0.16, 0.2), strict=True):
        assert (count - total * share).abs().max() <= 1
    assert digits.class_counts() == counts[0].tolist()


def test_the_test_set_is_the_same_for_every_seed(digits):
    other = DigitsData(seed=1)
    other.setup("fit")
    assert other.test_set.names == digits.test_set.names
    assert other.val_set.names != digits.val_set.names
    assert not set(other.test_set.names) & {*other.train_set.names, *other.val_set.names}


def test_a_batch_of_digits_has_the_form_that_a_task_expects(digits):
    batch = next(iter(digits.val_dataloader()))
    assert batch["image"].shape == (32, 1, 32, 32)
    assert batch["image"].dtype == torch.uint8
    assert batch["label"].dtype == torch.int64
    assert batch["index"].tolist() == list(range(32))


def test_digit_statistics_are_those_of_the_images(digits):
    images = digits.train_set.images / 255
    assert digits.mean == [pytest.approx(float(images.mean()), abs=0.01)]
    assert digits.std == [pytest.approx(float(images.std()), abs=0.01)]


def test_augmentation_moves_training_digits_only():
    data = DigitsData()
    data.setup("fit")
    assert not torch.equal(data.train_set[0]["image"], data.train_set.images[0])
    assert torch.equal(data.val_set[0]["image"], data.val_set.images[0])


@given(
    labels=st.lists(st.sampled_from("abcd"), min_size=1, max_size=80),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 9),
)
def test_a_stratified_split_keeps_the_share_of_each_label(labels, fraction, seed):
    train, val = stratified_split(labels, fraction, seed)
    assert sorted(train + val) == list(range(len(labels)))
    for label in set(labels):
        count = sum(labels[index] == label for index in val)
        assert abs(count - labels.count(label) * fraction) <= 1
        assert count < labels.count(label)
