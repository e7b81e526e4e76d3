import math

import pytest
import torch

from lightning_hparams.samples import (
    Look,
    Sample,
    badness,
    check_output,
    draw,
    pick,
    probabilities,
    worst_of,
)


def masks(preds, targets, kind="multiclass"):
    preds, targets = torch.tensor(preds), torch.tensor(targets)
    images = torch.rand(len(preds), 3, *preds.shape[-2:])
    return {"kind": kind, "images": images, "preds": preds, "targets": targets}


def classes(logits, targets):
    logits, targets = torch.tensor(logits), torch.tensor(targets)
    preds = logits.argmax(1) if targets.ndim == 1 else (logits > 0).long()
    images = torch.rand(len(preds), 1, 8, 8)
    return {
        "kind": "classification",
        "images": images,
        "logits": logits,
        "preds": preds,
        "targets": targets,
    }


def test_a_mask_is_as_bad_as_its_mean_iou_is_low():
    output = masks([[[0, 1], [1, 2]], [[0, 0], [1, 1]]], [[[0, 1], [2, 2]], [[0, 0], [1, 1]]])
    # Sample 0: IoU 1, 1/2, 1/2; the background does not count where there is one.
    assert badness(output, Look()) == pytest.approx([1 - 2 / 3, 0])
    look = Look(class_names=["background", "a", "b"])
    assert badness(output, look) == pytest.approx([1 / 2, 0])
    assert badness(output, Look(background=-1)) == pytest.approx([1 / 3, 0])


def test_ignored_pixels_and_empty_masks_are_no_fault():
    output = masks([[[0, 1]], [[0, 0]]], [[[0, 255]], [[0, 0]]])
    look = Look(class_names=["background", "a"], ignore_index=255)
    assert badness(output, look) == [0, 0]


def test_a_multilabel_mask_is_as_bad_as_its_labels():
    output = masks([[[[1, 1]], [[0, 1]]]], [[[[1, 0]], [[0, 1]]]], "multilabel")
    assert badness(output, Look()) == pytest.approx([1 - 0.75])


def test_a_class_is_as_bad_as_the_true_one_is_improbable():
    output = classes([[2.0, 0.0], [0.0, 2.0]], [0, 0])
    expected = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))]
    assert badness(output, Look()) == pytest.approx(expected, rel=1e-5)
    del output["logits"]
    assert badness(output, Look()) == [0, 1]


def test_several_labels_are_as_bad_as_their_cross_entropy():
    output = classes([[2.0, -1.0]], [[1, 1]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert badness(output, Look()) == pytest.approx([expected], rel=1e-5)


def test_boxes_are_as_bad_as_there_are_false_and_missed_ones():
    box = torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    target = {"boxes": box, "labels": torch.tensor([1])}
    right = {**target, "scores": torch.tensor([0.5])}
    wrong = {**right, "labels": torch.tensor([0])}
    output = {
        "kind": "detection",
        "images": [torch.rand(3, 9, 9)] * 3,
        "preds": [right, wrong, right],
        "targets": [target] * 3,
    }
    assert badness(output, Look()) == [0, 2, 0]
    assert badness(output, Look(min_score=0.6)) == [1, 1, 1]


def test_the_losses_of_the_output_come_first_and_nan_is_the_worst():
    output = {**masks([[[0]], [[1]]], [[[0]], [[1]]]), "losses": torch.tensor([0.25, math.nan])}
    assert badness(output, Look()) == [0.25, math.inf]


def sample(index, bad):
    image = torch.zeros(1, 2, 2)
    return Sample("multiclass", index, image, image[0].long(), image[0].long(), badness=bad)


def test_the_worst_are_sorted_each_is_there_once_and_the_faultless_are_not():
    samples = [sample(4, 0.2), sample(2, 0.9), sample(2, 0.9), sample(1, 0.2), sample(3, 0.0)]
    assert [one.index for one in worst_of(samples, 4)] == [2, 1, 4]
    assert [one.index for one in worst_of(samples, 2)] == [2, 1]


def test_a_sample_holds_its_own_and_nothing_else():
    output = classes([[2.0, 0.0], [0.0, 2.0]], [0, 1])
    one = pick(output, 1, 7)
    assert one.index == 7
    assert torch.equal(one.image, output["images"][1])
    assert (int(one.pred), int(one.target)) == (1, 1)
    assert one.probs.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("kind", "shape", "sums"),
    [("multiclass", (2, 3, 4, 4), True), ("binary", (2, 1, 4, 4), False)],
)
def test_probabilities_are_those_of_the_kind(kind, shape, sums):
    output = {"kind": kind, "logits": torch.randn(shape), "targets": torch.zeros(2, 4, 4)}
    probs = probabilities(output)
    assert probs.shape == shape
    assert torch.allclose(probs.sum(1), torch.ones(2, 4, 4)) == sums


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "segments"}, "`kind` must be one of .*, got 'segments'"),
        ({"preds": torch.zeros(3, 2, 2)}, "as many images as preds and targets, got {'images': 2"),
        (
            {
                "kind": "detection",
                "preds": [{"boxes": torch.full((1, 4), 0.5)}] * 2,
                "targets": [{"boxes": torch.zeros(0, 4)}] * 2,
            },
            "validation_step, preds: boxes must be xyxy in pixels, got values <= 1",
        ),
    ],
)
def test_outputs_that_cannot_be_drawn_are_refused(change, message):
    output = {**masks([[[0, 0], [0, 0]]] * 2, [[[0, 0], [0, 0]]] * 2), **change}
    with pytest.raises(ValueError, match=message):
        check_output(output, "validation_step")


def test_normalised_images_are_shown_as_they_were():
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.1]
    image = torch.rand(3, 256, 256)
    normalised = (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    mask = torch.zeros(256, 256, dtype=torch.long)
    plain = draw(Sample("multiclass", 0, image, mask, mask), Look(), "")
    again = draw(Sample("multiclass", 0, normalised, mask, mask), Look(mean=mean, std=std), "")
    assert abs(plain.astype(int) - again).max() <= 1


def test_too_few_names_are_told_for_each_kind():
    look = Look(class_names=["a"])
    mask = torch.ones(4, 4, dtype=torch.long)
    boxes = {"boxes": torch.zeros(1, 4), "labels": torch.tensor([1]), "scores": torch.ones(1)}
    for kind, value in (("multiclass", mask), ("detection", boxes), ("classification", mask[0, 0])):
        with pytest.raises(ValueError, match="class_names has 1 entries, but a prediction class 1"):
            draw(Sample(kind, 0, torch.rand(3, 4, 4), value, value), look, "")
