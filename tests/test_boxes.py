import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from lightning_hparams.boxes import check_boxes, confident, match_boxes


def boxes(corners, labels, scores=None):
    made = {"boxes": torch.tensor(corners, dtype=torch.float32).view(-1, 4)}
    made["labels"] = torch.tensor(labels, dtype=torch.long)
    if scores is not None:
        made["scores"] = torch.tensor(scores, dtype=torch.float32)
    return made


def test_a_true_box_is_matched_once_by_the_highest_score():
    truth = boxes([[0, 0, 10, 10]], [1])
    pred = boxes([[0, 0, 10, 9], [0, 0, 10, 10]], [1, 1], [0.9, 0.5])
    matches = match_boxes(pred, truth)
    assert matches.hits.tolist() == [True, False]
    assert matches.counts == (1, 1, 0)


def test_a_box_of_another_class_does_not_match():
    truth = boxes([[0, 0, 10, 10]], [1])
    assert match_boxes(boxes([[0, 0, 10, 10]], [2], [0.9]), truth).counts == (0, 1, 1)


@pytest.mark.parametrize(("height", "found"), [(5.0, 1), (4.9, 0)])
def test_an_overlap_of_one_half_is_enough(height, found):
    truth = boxes([[0, 0, 10, 10]], [1])
    assert match_boxes(boxes([[0, 0, 10, height]], [1], [0.9]), truth).counts[0] == found


def test_in_a_crowd_of_its_class_a_prediction_is_neither_hit_nor_false():
    truth = boxes([[0, 0, 100, 100], [200, 0, 210, 10]], [1, 1])
    truth["crowd"] = torch.tensor([True, False])
    inside = [[10, 10, 20, 20], [30, 10, 40, 20], [200, 0, 210, 10], [95, 0, 110, 10]]
    matches = match_boxes(boxes(inside, [1, 2, 1, 1], [0.9, 0.8, 0.7, 0.6]), truth)
    assert matches.ignored.tolist() == [True, False, False, False]
    assert matches.counts == (1, 2, 0)
    assert match_boxes(boxes([], [], []), truth).counts == (0, 0, 1)  # a crowd cannot be missed


def test_without_boxes_on_one_side_nothing_matches():
    none, one = boxes([], [], []), boxes([[0, 0, 1, 1]], [0], [0.5])
    assert match_boxes(none, none).counts == (0, 0, 0)
    assert match_boxes(one, none).counts == (0, 1, 0)
    assert match_boxes(none, one).counts == (0, 0, 1)


def iou(one, other):
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    both = max(right - left, 0) * max(bottom - top, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


def reference_hits(pred, truth):
    """COCO's rule, taken literally."""
    free = set(range(len(truth["labels"])))
    hits = [False] * len(pred["labels"])
    for index in sorted(range(len(hits)), key=lambda i: -float(pred["scores"][i])):
        candidates = [
            (iou(pred["boxes"][index].tolist(), truth["boxes"][t].tolist()), -t)
            for t in free
            if pred["labels"][index] == truth["labels"][t]
        ]
        if candidates and max(candidates)[0] >= 0.5:
            hits[index] = True
            free.remove(-max(candidates)[1])
    return hits


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**31))
def test_matching_follows_coco(num_pred, num_true, seed):
    draw = np.random.default_rng(seed)

    def random(count):
        start = draw.integers(0, 12, (count, 2))
        return np.concatenate([start, start + draw.integers(4, 12, (count, 2))], 1).tolist()

    scores = draw.permutation(num_pred) / 20
    pred = boxes(random(num_pred), draw.integers(0, 2, num_pred).tolist(), scores.tolist())
    truth = boxes(random(num_true), draw.integers(0, 2, num_true).tolist())
    matches = match_boxes(pred, truth)
    assert matches.hits.tolist() == reference_hits(pred, truth)
    hits, false, missed = matches.counts
    assert hits + false == num_pred
    assert hits + missed == num_true


def test_confident_predictions_are_kept_highest_score_first():
    pred = boxes([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], [0, 1, 2], [0.3, 0.2, 0.9])
    assert confident(pred, 0.3)["labels"].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("given_boxes", "message"),
    [
        ([[0.1, 0.2, 0.3, 0.4]], "must be xyxy in pixels, got values <= 1; multiply"),
        ([[50.0, 60.0, 20.0, 30.0]], r"got \[50.0, 60.0, 20.0, 30.0\] with x2 < x1 or y2 < y1"),
        ([[1.0, 2.0, 3.0]], r"boxes must be \(K, 4\), got \(1, 3\)"),
    ],
)
def test_boxes_of_another_format_are_refused(given_boxes, message):
    with pytest.raises(ValueError, match=message):
        check_boxes([torch.tensor(given_boxes)], "validation_step, preds")
    check_boxes([torch.zeros(0, 4)], "validation_step, preds")


def test_a_small_box_among_larger_ones_passes_as_pixels():
    check_boxes([torch.tensor([[0, 0, 0.8, 0.9]]), torch.tensor([[3.0, 4, 20, 30]])], "preds")
