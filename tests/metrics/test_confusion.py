import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from lightning_hparams.metrics import (
    ConfusionCounts,
    class_recall,
    confusion,
    confusion_counts,
    dice_score,
    iou_score,
    mean_present,
    pixel_accuracy,
    segmentation_scores,
)

pytestmark = pytest.mark.filterwarnings(
    # torchmetrics warns when compute() comes before the first update(), which a test does.
    "ignore:The ``compute`` method of metric ConfusionCounts was called before:UserWarning"
)


def hand_case():
    """Two images, four classes: 3 is absent, 2 is absent from the first image, one column wrong."""
    target = torch.tensor([[[0, 0, 0, 1], [0, 0, 0, 1]], [[1, 1, 2, 2], [1, 1, 2, 2]]])
    preds = target.clone()
    preds[1, :, 2] = 1
    return preds, target


def reference_scores(preds, target, num_classes, ignore_index=None):
    """Per-class IoU, dice and recall in plain numpy, one class at a time."""
    counted = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    rows = []
    for index in range(num_classes):
        ours, theirs = (preds == index) & counted, (target == index) & counted
        hits = (ours & theirs).sum()
        union, both = (ours | theirs).sum(), ours.sum() + theirs.sum()
        rows.append(
            (
                hits / union if union else np.nan,
                2 * hits / both if both else np.nan,
                hits / theirs.sum() if theirs.any() else np.nan,
            )
        )
    return np.array(rows).T


def test_scores_of_the_hand_checked_case():
    preds, target = hand_case()
    metric = ConfusionCounts(4)
    metric.update(preds, target)
    counts = metric.compute()
    expected = torch.tensor([1.0, 6 / 8, 2 / 4, torch.nan])
    torch.testing.assert_close(iou_score(counts), expected, equal_nan=True)
    torch.testing.assert_close(
        dice_score(counts), torch.tensor([1.0, 12 / 14, 4 / 6, torch.nan]), equal_nan=True
    )
    assert mean_present(iou_score(counts)) == pytest.approx(0.75)
    assert pixel_accuracy(counts) == pytest.approx(14 / 16)
    assert mean_present(class_recall(counts)) == pytest.approx((1 + 1 + 0.5) / 3)


@settings(deadline=None, max_examples=150)
@given(
    data=st.data(),
    num_classes=st.integers(2, 7),
    ignore_index=st.sampled_from([None, 255, 0, 1]),
    dtype=st.sampled_from([torch.uint8, torch.long, torch.int32]),
)
def test_scores_equal_a_plain_reference(data, num_classes, ignore_index, dtype):
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=9))
    values = hnp.arrays(np.int64, shape, elements=st.integers(0, num_classes - 1))
    preds, target = data.draw(values), data.draw(values)
    if ignore_index == 255:
        target[data.draw(hnp.arrays(bool, shape))] = 255
    metric = ConfusionCounts(num_classes, ignore_index=ignore_index)
    metric.update(torch.from_numpy(preds).to(dtype), torch.from_numpy(target).to(dtype))
    counts = metric.compute()
    expected = reference_scores(preds, target, num_classes, ignore_index)
    ours = torch.stack([iou_score(counts), dice_score(counts), class_recall(counts)])
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 7))
def test_counts_do_not_depend_on_how_the_data_is_batched(seed, cut):
    generator = torch.Generator().manual_seed(seed)
    preds, target = torch.randint(0, 5, (2, 8, 6, 6), generator=generator)
    whole, parts = ConfusionCounts(5), ConfusionCounts(5)
    whole.update(preds, target)
    parts.update(preds[:cut], target[:cut])
    parts.update(preds[cut:], target[cut:])
    assert torch.equal(whole.compute(), parts.compute())


def test_each_label_of_a_multilabel_task_is_scored_separately():
    target = torch.tensor([[[[1, 1, 0, 0]], [[1, 0, 0, 255]]]])
    preds = torch.tensor([[[[1, 0, 1, 0]], [[1, 0, 0, 1]]]])
    metric = ConfusionCounts(2, task="multilabel", ignore_index=255)
    metric.update(preds, target)
    counts = metric.compute()
    assert counts.shape == (2, 2, 2)
    torch.testing.assert_close(iou_score(counts), torch.tensor([1 / 3, 1.0]))
    assert pixel_accuracy(counts) == pytest.approx(5 / 7)


@pytest.mark.parametrize("bad", [3, 255, -1])
def test_a_value_outside_the_classes_raises(bad):
    metric = ConfusionCounts(3)
    metric.update(torch.tensor([0, 1]), torch.tensor([0, bad]))
    with pytest.raises(ValueError, match=r"lie in 0..2, got 1 pixels outside; pass ignore_index"):
        metric.compute()


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(3, 2\)"):
        ConfusionCounts(3).update(torch.zeros(2, 3).long(), torch.zeros(3, 2).long())


def test_the_keys_do_not_depend_on_the_classes_that_occur():
    metric = ConfusionCounts(3)
    metric.update(torch.zeros(4).long(), torch.zeros(4).long())
    whole, by_class = segmentation_scores(metric.compute(), ["a", "b", "c"])
    assert list(by_class["iou"]) == list(by_class["dice"]) == ["a", "b", "c"]
    assert by_class["iou"]["a"] == 1
    assert by_class["iou"]["b"].isnan()
    assert whole["miou"] == 1


def test_an_ignored_class_scores_nan_even_if_it_is_predicted():
    metric = ConfusionCounts(2, ignore_index=0)
    metric.update(torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1]))
    whole, by_class = segmentation_scores(metric.compute(), ["bg", "cell"], ignore_index=0)
    assert by_class["iou"]["bg"].isnan()
    assert whole["miou"] == pytest.approx(0.5)


def test_scores_of_an_empty_metric_are_nan():
    whole, _ = segmentation_scores(ConfusionCounts(2).compute(), ["a", "b"])
    assert all(value.isnan() for value in whole.values())


def test_counts_stay_exact_beyond_float32():
    metric = ConfusionCounts(2)
    metric.counts[0] = 2**24
    metric.update(torch.tensor([0]), torch.tensor([0]))
    assert metric.compute()[0, 0] == 2**24 + 1


INTEGERS = [
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.uint32,
    torch.int64,
]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("ignore_index", [None, -1, 2, 100, 300, 2**40])
def test_masks_of_every_integer_type_are_counted_alike(dtype, ignore_index):
    preds, target = torch.randint(0, 3, (2, 4, 50))
    if ignore_index in (2, 100):
        target[0] = ignore_index
    target[1, 7] = 101
    expected = confusion_counts(preds, target, 3, ignore_index=ignore_index)
    counts = confusion_counts(preds.to(dtype), target.to(dtype), 3, ignore_index=ignore_index)
    assert torch.equal(counts, expected)
    assert counts[-1] == 1
    assert counts[-2] == sum(value == ignore_index for value in target.flatten().tolist())


@pytest.mark.parametrize("num_classes", [255, 256, 300])
def test_all_values_of_a_type_can_be_classes(num_classes):
    target = torch.arange(256).clamp(max=num_classes - 1)
    counts = ConfusionCounts(num_classes)
    counts.update(target.to(torch.uint8), target.to(torch.uint8))
    assert counts.compute().diagonal().sum() == 256


@pytest.mark.parametrize("value", [-1, 256, 2**31, 2**32, 2**32 + 1, -(2**63)])
def test_a_value_outside_the_classes_does_not_wrap_around(value):
    one = torch.tensor([value, 1])
    assert confusion_counts(torch.tensor([1, 1]), one, 2).tolist() == [0, 0, 0, 1, 0, 1]
    assert confusion_counts(one, torch.tensor([1, 1]), 2).tolist() == [0, 0, 0, 1, 0, 1]
    ignored = confusion_counts(torch.tensor([1, 1]), one, 2, ignore_index=value)
    assert ignored.tolist() == [0, 0, 0, 1, 1, 0]
    mask = torch.tensor([0, 255], dtype=torch.uint8)
    counts = confusion_counts(mask, mask, 2, ignore_index=value if value < 0 else 2**32 - 1)
    assert counts.tolist() == [1, 0, 0, 0, 0, 1]


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 10**6),
    num_classes=st.integers(2, 5),
    low=st.integers(-1, 0),
    beyond=st.integers(0, 2),
    ignore_index=st.sampled_from([None, -1, 0, 1, 4, 6, 2000]),
    pixels=st.sampled_from([0, 1, 100, 2**15 + 1]),
)
def test_both_ways_of_counting_find_the_same(seed, num_classes, low, beyond, ignore_index, pixels):
    generator = torch.Generator().manual_seed(seed)
    preds, target = torch.randint(low, num_classes + beyond, (2, pixels), generator=generator)
    slow = confusion._by_pixel(preds, target, num_classes, ignore_index)
    assert torch.equal(
        confusion_counts(preds, target, num_classes, ignore_index=ignore_index), slow
    )
    expected = torch.zeros(num_classes**2 + 2, dtype=torch.long)
    for true, each in zip(target[:200].tolist(), preds[:200].tolist(), strict=True):
        valid = 0 <= true < num_classes and 0 <= each < num_classes
        cell = true * num_classes + each if valid else num_classes**2 + 1
        expected[num_classes**2 if true == ignore_index else cell] += 1
    if pixels <= 200:
        assert torch.equal(slow, expected)


def test_scores_are_float32_whatever_the_default_dtype_is():
    counts = torch.tensor([[1000, 1], [2, 3]])
    expected = [iou_score(counts), dice_score(counts), class_recall(counts), pixel_accuracy(counts)]
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = [iou_score(counts), dice_score(counts), class_recall(counts)]
        found.append(pixel_accuracy(counts))
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
