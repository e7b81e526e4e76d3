"""Scores of boxes follow COCO's rules, whatever the order of the images."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lightning_hparams.boxes import match_boxes
from lightning_hparams.metrics import (
    BoxConfusion,
    DetectionScores,
    average_precisions,
    best_f1,
    box_confusion,
)


def overlap(one, other, *, crowd=False):
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    both = max(right - left, 0) * max(bottom - top, 0)
    mine, theirs = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (mine if crowd else mine + theirs - both)


def outcomes(pred, target, label, threshold):
    """COCO's matching of one image and class, taken literally: (score, hit) and the true boxes."""
    here = target["labels"] == label
    boxes, crowds = target["boxes"][here].tolist(), target["crowd"][here].tolist()
    free = [not crowd for crowd in crowds]
    found = []
    order = sorted(
        (i for i in range(len(pred["labels"])) if pred["labels"][i] == label),
        key=lambda i: -float(pred["scores"][i]),
    )
    for index in order[:100]:
        box, score = pred["boxes"][index].tolist(), float(pred["scores"][index])
        near = [(overlap(box, boxes[t]), t) for t in range(len(boxes)) if free[t]]
        best = max(near, default=(0.0, -1))
        if best[0] >= threshold:
            free[best[1]] = False
            found.append((score, True))
        elif not any(
            overlap(box, boxes[t], crowd=True) >= threshold for t, c in enumerate(crowds) if c
        ):
            found.append((score, False))
    return found, crowds.count(False)


def reference_ap(images, label, threshold):
    """The area under the precision-recall curve at 101 recalls, by definition."""
    parts = [outcomes(pred, target, label, threshold) for pred, target in images]
    total = sum(count for _, count in parts)
    if not total:
        return math.nan
    found = sorted((each for part, _ in parts for each in part), key=lambda each: -each[0])
    points, hits = [], 0
    for rank, (_, hit) in enumerate(found, 1):
        hits += hit
        points.append((hits / total, hits / rank))
    levels = [k / 100 for k in range(101)]
    best = [max((p for r, p in points if r >= level - 1e-9), default=0.0) for level in levels]
    return sum(best) / 101


def random_images(seed, *, classes=3, images=4):
    draw = torch.Generator().manual_seed(seed)

    def number(most):
        return int(torch.randint(most + 1, (), generator=draw))

    def boxes(count):
        corner = torch.randint(0, 30, (count, 2), generator=draw).float()
        sides = torch.randint(6, 20, (count, 2), generator=draw).float()
        return {
            "boxes": torch.cat([corner, corner + sides], 1),
            "labels": torch.randint(classes, (count,), generator=draw),
        }

    made = []
    for _ in range(images):
        target = boxes(number(6))
        target["crowd"] = torch.rand(len(target["labels"]), generator=draw) < 0.2
        near = target["boxes"] + torch.randint(-3, 4, target["boxes"].shape, generator=draw)
        near[:, 2:] = torch.maximum(near[:, 2:], near[:, :2] + 1)
        wild = boxes(number(5))
        labels = torch.cat([target["labels"], wild["labels"]])
        scores = torch.rand(len(labels), generator=draw)
        found = torch.cat([near, wild["boxes"]])
        made.append(({"boxes": found, "labels": labels, "scores": scores}, target))
    return made


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_average_precision_is_that_of_its_definition(seed):
    images = random_images(seed)
    scores = average_precisions(images, 5)  # the classes 3 and 4 never occur
    expected = torch.tensor(
        [[reference_ap(images, c, 0.5 + 0.05 * k) for c in range(5)] for k in range(10)]
    )
    torch.testing.assert_close(scores["ap"], expected.mean(0), equal_nan=True, atol=1e-5, rtol=0)
    for name, rows in (("map50", [0]), ("map75", [5]), ("map", list(range(10)))):
        mean = expected[rows].mean(0).nanmean()
        torch.testing.assert_close(scores[name], mean, equal_nan=True, atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_the_best_f1_is_the_highest_of_all_thresholds(seed):
    images = random_images(seed)
    found = best_f1(images, [match_boxes(*image) for image in images], 4)
    for label in range(4):
        parts = [outcomes(pred, target, label, 0.5) for pred, target in images]
        total = sum(count for _, count in parts)
        rows = [each for part, _ in parts for each in part]
        if not total:
            assert math.isnan(found["f1"][label])
            continue
        tried = {}
        for threshold in {score for score, _ in rows}:
            taken = [hit for score, hit in rows if score >= threshold]
            tried[threshold] = 2 * sum(taken) / (len(taken) + total)
        assert float(found["f1"][label]) == pytest.approx(max(tried.values(), default=0), abs=1e-6)
        if max(tried.values(), default=0):
            assert tried[float(found["threshold"][label])] == max(tried.values())
            precision, recall = (float(found[name][label]) for name in ("precision", "recall"))
            harmonic = 2 * precision * recall / (precision + recall)
            assert harmonic == pytest.approx(float(found["f1"][label]), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_the_confusion_matrix_counts_each_box_once(seed):
    images = random_images(seed)
    threshold = torch.tensor([0.2, 0.5, 0.7])
    counts = box_confusion(images, threshold, 3)
    sure = torch.zeros(4, dtype=torch.long)
    true = torch.zeros(4, dtype=torch.long)
    for pred, target in images:
        kept = pred["scores"] >= threshold[pred["labels"]]
        ignored = match_boxes({k: v[kept] for k, v in pred.items()}, target).ignored
        sure += torch.bincount(pred["labels"][kept][~torch.from_numpy(ignored)], minlength=4)
        true += torch.bincount(target["labels"][~target["crowd"]], minlength=4)
    assert counts.sum(1)[:3].tolist() == true[:3].tolist()
    assert counts.sum(0)[:3].tolist() == sure[:3].tolist()
    assert counts[3, 3] == 0


def test_a_box_of_the_wrong_class_is_confused_and_others_are_missed_or_false():
    box = [[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]]
    target = {"boxes": torch.tensor(box), "labels": torch.tensor([0, 0])}
    found = [[0.0, 0.0, 10.0, 9.0], [50.0, 0.0, 60.0, 10.0]]
    pred = {
        "boxes": torch.tensor(found),
        "labels": torch.tensor([1, 1]),
        "scores": torch.tensor([0.9, 0.8]),
    }
    counts = box_confusion([(pred, target)], torch.tensor([0.5, 0.5]), 2)
    assert counts.tolist() == [[0, 1, 1], [0, 0, 0], [0, 1, 0]]


def updated(images, *, classes=4):
    scores = DetectionScores(classes)
    scores.update([pred for pred, _ in images], [target for _, target in images])
    return scores


def test_scores_do_not_depend_on_the_order_of_images_even_with_equal_scores():
    images = random_images(3, images=12)
    for pred, _ in images:
        pred["scores"] = (pred["scores"] * 4).round() / 4
    one, other = updated(images).compute(), updated(images[::-1]).compute()
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name].nan_to_num(-1), other[name].nan_to_num(-1)), name


def test_without_true_boxes_every_score_is_nan():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    pred = {"boxes": torch.tensor([[0.0, 0.0, 5.0, 5.0]]), "labels": torch.tensor([0])}
    found = updated([({**pred, "scores": torch.tensor([0.7])}, nothing)]).compute()
    for name in ("map", "map50", "ap", "precision", "recall", "f1"):
        assert bool(found[name].isnan().all()), name
    assert found["confusion"][4, 0] == 1


def test_a_reset_forgets_all_images_and_the_matrix_follows():
    scores = updated(random_images(0))
    matrix = BoxConfusion(scores)
    matrix.update()
    assert matrix.compute().sum() > 0
    scores.reset()
    scores.update([], [])
    assert matrix.compute().sum() == 0


def test_states_move_with_the_metric_and_keep_their_type():
    scores = updated(random_images(1))
    before = scores.compute()["map"]
    assert torch.equal(scores.to(torch.bfloat16).compute()["map"], before)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_integer_type_are_counted_alike(dtype):
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0]])
    found = {"boxes": boxes, "labels": torch.tensor([3, 19]), "scores": torch.tensor([0.9, 0.8])}
    true = {"boxes": boxes, "labels": torch.tensor([19, 19])}
    narrow = [{**each, "labels": each["labels"].to(dtype)} for each in (found, true)]
    threshold = torch.full((20,), 0.5)
    counts = box_confusion([tuple(narrow)], threshold, 20)
    assert counts.equal(box_confusion([(found, true)], threshold, 20))
    assert counts[19, 3] == counts[19, 19] == 1
    assert counts.sum() == 2


@pytest.mark.parametrize(("most", "expected"), [(1, 0.0), (2, 0.5), (5, 0.5), (100, 0.5)])
def test_average_precision_takes_no_more_predictions_than_asked_for(most, expected):
    right, wrong = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[20.0, 20, 30, 30]])
    labels = torch.zeros(7, dtype=torch.long)
    boxes = torch.cat([wrong, right, *[wrong] * 5])
    pred = {"boxes": boxes, "labels": labels, "scores": torch.linspace(0.9, 0.3, 7)}
    target = {"boxes": right, "labels": labels[:1]}
    found = average_precisions([(pred, target)], 1, max_detections=most)
    assert float(found["map50"]) == pytest.approx(expected)
