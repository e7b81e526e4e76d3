"""Class weights follow from the training data, and are kept in checkpoints."""

import pytest
import torch
from hypothesis import given, strategies as st
from torch.utils.data import DataLoader

from lightning_hparams import DetectionTask, SegmentationTask, SyntheticShapesData
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


# -- of a detector --------------------------------------------------------------------------------


class OneTriangle(SyntheticShapesData):
    """Boxes of which one is of the last class."""

    def setup(self, stage):
        super().setup(stage)
        self.train_set = [sample for sample in self.train_set if sample["target"]["labels"].numel()]
        for sample in self.train_set:
            sample["target"]["labels"].clamp_(max=1)
        self.train_set[0]["target"]["labels"][0] = 2

    def class_counts(self):
        labels = torch.cat([sample["target"]["labels"] for sample in self.train_set])
        return torch.bincount(labels, minlength=self.num_classes).tolist()


def with_boxes():
    data = OneTriangle(task="detection", size=64, num_train=12, num_val=4, batch_size=4)
    data.setup("fit")
    return data


def detecting(data, class_weights, arch="fcos", lr=1e-3):
    """A detector that has made one step of plain gradient descent, and how far that went."""
    torch.manual_seed(0)
    task = DetectionTask(
        arch,
        num_classes=data.num_classes,
        class_weights=class_weights,
        optimizer="SGD",
        optimizer_args={"momentum": 0.0},
        lr=lr,
        weight_decay=0.0,
        arch_args={"fpn_channels": 32, "head_convs": 1} if arch == "fcos" else None,
    )
    before = task.model.head.classification_head.cls_logits.bias.detach().clone()
    trainer = quiet_trainer(max_steps=1, limit_val_batches=0)
    torch.manual_seed(1)
    trainer.fit(task, data)
    moved = task.model.head.classification_head.cls_logits.bias.detach() - before
    return task, trainer, moved.view(-1, data.num_classes).sum(0)


@pytest.mark.parametrize(
    "arch", ["fcos", pytest.param("retinanet_resnet50_fpn", marks=pytest.mark.slow)]
)
def test_a_detector_learns_a_rare_class_faster_by_the_weight_that_its_boxes_give_it(arch):
    """The last bias of each class has a gradient from the loss of that class alone."""
    data, lr = with_boxes(), 100.0  # so that a step is large beside float32's rounding
    task, _, weighted = detecting(data, "auto", arch, lr)
    weights = torch.tensor(weights_by_counts(data.class_counts()))
    assert task.loss.class_weights.tolist() == pytest.approx(weights.tolist())
    assert weights[2] > 2 * weights[1]
    _, _, equal = detecting(data, None, arch, lr)
    torch.testing.assert_close(weighted / equal, weights / weights.mean(), rtol=1e-3, atol=0)


def test_a_detector_keeps_its_weights_in_the_checkpoint_and_goes_on_with_them(tmp_path):
    data = with_boxes()
    task, trainer, _ = detecting(data, "auto")
    assert task.hparams["class_weights"] == "auto"
    path = tmp_path / "task.ckpt"
    trainer.save_checkpoint(path)
    loaded = DetectionTask.load_from_checkpoint(path)
    assert torch.equal(loaded.loss.class_weights, task.loss.class_weights)
    loader = data.val_dataloader()  # alone, it counts nothing
    (expected,) = quiet_trainer().validate(task, loader, verbose=False)
    assert quiet_trainer().validate(loaded, loader, verbose=False) == [expected]
    unweighted = DetectionTask.load_from_checkpoint(path, class_weights=None)
    (other,) = quiet_trainer().validate(unweighted, loader, verbose=False)
    assert other["loss/val"] != pytest.approx(expected["loss/val"], rel=1e-3)

    resumed = DetectionTask(**{**task.hparams, "class_weights": "auto"})
    quiet_trainer(max_steps=2, limit_val_batches=0).fit(resumed, data, ckpt_path=path)
    assert torch.equal(resumed.loss.class_weights, task.loss.class_weights)


def test_a_detector_whose_data_counts_no_boxes_is_refused_before_training():
    trainer, loader = quiet_trainer(), with_boxes().train_dataloader()
    task = DetectionTask(num_classes=3, class_weights="auto")
    with pytest.raises(ValueError, match=r"a method class_counts\(\) .*got no data module"):
        trainer.fit(task, loader, loader)
    assert trainer.global_step == 0
