"""Class weights follow from the training data, and are kept in checkpoints."""

import pytest
import torch
from hypothesis import given, strategies as st
from torch.utils.data import DataLoader

from lightning_hparams import SegmentationTask
from lightning_hparams.presets import weights_by_counts
from tests.runs import SMALL, matching, quiet_trainer, shapes


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=9).filter(any))
def test_rarer_classes_weigh_more_and_the_mean_of_the_samples_is_one(counts):
    weights = weights_by_counts(counts)
    mean = sum(c * w for c, w in zip(counts, weights, strict=True)) / sum(counts)
    assert mean == pytest.approx(1)
    by_count = [w for _, w in sorted(zip(counts, weights, strict=True), key=lambda pair: -pair[0])]
    assert by_count == sorted(by_count)
    assert max(weights) <= 10.001 * min(weights)


def test_the_weights_are_those_of_the_data_and_stay_in_the_checkpoint(tmp_path):
    data = shapes()
    task = matching(data, class_weights="auto")
    trainer = quiet_trainer(limit_train_batches=1)
    trainer.fit(task, data)
    counts = torch.zeros(data.num_classes)
    for sample in data.train_set:
        counts += torch.bincount(sample["mask"].flatten().long(), minlength=data.num_classes)
    expected = weights_by_counts(counts.long().tolist())
    assert task.loss.class_weights.tolist() == pytest.approx(expected)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    loaded = SegmentationTask.load_from_checkpoint(tmp_path / "task.ckpt")
    assert torch.equal(loaded.loss.class_weights, task.loss.class_weights)
    loss = quiet_trainer().validate(task, data.val_dataloader(), verbose=False)
    assert quiet_trainer().validate(loaded, data.val_dataloader(), verbose=False) == loss
    assert task.hparams["class_weights"] == "auto"


def trained(data, **arguments):
    task = matching(data, **arguments)
    quiet_trainer(limit_train_batches=1, limit_val_batches=0).fit(task, data)
    return task


def test_a_segmentation_weighs_uneven_classes_that_its_data_counts():
    data = shapes()
    weights = trained(data).loss.class_weights
    assert torch.equal(weights, trained(data, class_weights="auto").loss.class_weights)
    assert weights.max() > 1.5 * weights.min()
    assert trained(data, class_weights="equal").loss.class_weights is None
    assert trained(data, class_weights=[1.0, 2, 3, 4]).loss.class_weights.tolist() == [1, 2, 3, 4]


def a_method_with_another_meaning(split):
    raise AssertionError(split)


@pytest.mark.parametrize(
    "count", [lambda: [3, 2, 1, 1], lambda: [1], a_method_with_another_meaning]
)
def test_without_uneven_counts_all_classes_weigh_the_same(count):
    data = shapes()
    data.class_counts = count
    assert trained(data).loss.class_weights is None


def test_an_ignored_class_does_not_change_the_weights_of_the_others():
    data = shapes()
    data.class_counts = lambda: [10**9, 400, 400, 100]
    weights = trained(data, ignore_index=0).loss.class_weights.tolist()
    assert weights[1:] == pytest.approx(weights_by_counts([400, 400, 100]))


def test_a_trainer_without_a_data_module_that_counts_is_refused_before_training():
    samples = [{"image": torch.rand(3, 32, 32), "mask": torch.zeros(32, 32).long()}] * 2
    trainer, loader = quiet_trainer(), DataLoader(samples, batch_size=2)
    task = SegmentationTask(class_weights="auto", **SMALL)
    with pytest.raises(ValueError, match=r"a method class_counts\(\) .*got no data module"):
        trainer.fit(task, loader, loader)
    assert trainer.global_step == 0


@pytest.mark.parametrize("counts", [[1, 2], [0] * 4, [1, 2, 3, -1]])
def test_counts_that_do_not_fit_are_refused(counts):
    data = shapes()
    data.class_counts = lambda: counts
    with pytest.raises(ValueError, match=r"`class_counts\(\)` must return 4 counts"):
        quiet_trainer().fit(matching(data, class_weights="auto"), data)


def test_a_word_other_than_auto_is_refused():
    with pytest.raises(ValueError, match=r"or a list of numbers, got 'balanced'"):
        SegmentationTask(class_weights="balanced")
