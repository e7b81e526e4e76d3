import math
import pickle

import numpy as np
import pytest
import torch

from lightning_hparams.render import ValueRange
from lightning_hparams.samples import Batch, DrawOptions, Sample, draw, first_of_each, worst_of
from lightning_hparams.samples.classification import Classification
from lightning_hparams.samples.kinds import kind_of


def losses(output, options):
    return Batch.of(output, options).losses()


def classes_of(output, options):
    return Batch.of(output, options).classes()


def pick(output, position, index, options):
    return Batch.of(output, options).sample(position, index)


def check_output(output, step, options):
    Batch.of(output, options).check(step)


def probabilities(output):
    return kind_of(output["kind"]).probabilities(output)


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


def boxed(corners, labels, scores=None):
    made = {"boxes": torch.tensor(corners).view(-1, 4).float(), "labels": torch.tensor(labels)}
    return made if scores is None else {**made, "scores": torch.tensor(scores)}


def test_a_mask_is_rated_by_its_mean_iou():
    output = masks([[[0, 1], [1, 2]], [[0, 0], [1, 1]]], [[[0, 1], [2, 2]], [[0, 0], [1, 1]]])
    # Sample 0: IoU 1, 1/2, 1/2; a background is excluded.
    assert losses(output, DrawOptions()) == pytest.approx([1 - 2 / 3, 0])
    look = DrawOptions(class_names=["background", "a", "b"])
    assert losses(output, look) == pytest.approx([1 / 2, 0])
    assert losses(output, DrawOptions(background=-1)) == pytest.approx([1 / 3, 0])


def test_ignored_pixels_and_empty_masks_have_zero_loss():
    output = masks([[[0, 1]], [[0, 0]]], [[[0, 255]], [[0, 0]]])
    look = DrawOptions(class_names=["background", "a"], ignore_index=255)
    assert losses(output, look) == [0, 0]


def test_a_multilabel_mask_is_rated_by_the_mean_iou_of_its_labels():
    output = masks([[[[1, 1]], [[0, 1]]]], [[[[1, 0]], [[0, 1]]]], "multilabel")
    assert losses(output, DrawOptions()) == pytest.approx([1 - 0.75])


def test_a_class_is_rated_by_its_cross_entropy():
    output = classes([[2.0, 0.0], [0.0, 2.0]], [0, 0])
    expected = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))]
    assert losses(output, DrawOptions()) == pytest.approx(expected, rel=1e-5)
    del output["logits"]
    assert losses(output, DrawOptions()) == [0, 1]


def test_several_labels_are_rated_by_their_mean_cross_entropy():
    output = classes([[2.0, -1.0]], [[1, 1]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert losses(output, DrawOptions()) == pytest.approx([expected], rel=1e-5)


def test_boxes_are_rated_by_false_positives_and_misses():
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
    assert losses(output, DrawOptions()) == [0, 2, 0]
    assert losses(output, DrawOptions(min_score=0.6)) == [1, 1, 1]


def test_losses_of_the_output_take_precedence_and_nan_is_the_worst():
    output = {**masks([[[0]], [[1]]], [[[0]], [[1]]]), "losses": torch.tensor([0.25, math.nan])}
    assert losses(output, DrawOptions()) == [0.25, math.inf]


def sample(index, bad):
    image = torch.zeros(1, 2, 2)
    return Sample(Classification(), index, image, image[0].long(), image[0].long(), loss=bad)


def test_the_worst_are_sorted_and_unique_and_have_a_positive_loss():
    samples = [sample(4, 0.2), sample(2, 0.9), sample(2, 0.9), sample(1, 0.2), sample(3, 0.0)]
    assert [one.index for one in worst_of(samples, 4)] == [2, 1, 4]
    assert [one.index for one in worst_of(samples, 2)] == [2, 1]


def test_a_sample_does_not_keep_its_batch_alive():
    output = classes([[2.0, 0.0], [0.0, 2.0]], [0, 1])
    one = pick(output, 1, 7, DrawOptions())
    assert one.index == 7
    shown = (output["images"][1] * 255).round().to(torch.uint8)
    assert torch.equal(one.image, shown.expand(3, -1, -1))
    assert (int(one.pred), int(one.target)) == (1, 1)
    assert one.probs.sum() == pytest.approx(1)


def test_a_sample_is_no_larger_than_its_picture_needs():
    many, few = torch.rand(4, 13, 600, 800), torch.randint(0, 9, (4, 600, 800))
    mask = {"kind": "multiclass", "images": many, "preds": few, "targets": few - 1}
    boxes = [boxed([[0, 0, 80, 60]], [1], [0.5])] * 4
    found = {"kind": "detection", "images": many, "preds": boxes, "targets": boxes}
    for output in (mask, found, classes([[2.0, 0.0]] * 9, [0] * 9)):
        one = pick(output, 1, 0, DrawOptions())
        boxes_of = [o.values() for o in (one.pred, one.target) if isinstance(o, dict)]
        parts = [one.image, one.pred, one.target, one.probs, *(v for o in boxes_of for v in o)]
        parts = [part for part in parts if torch.is_tensor(part)]
        for part in parts:
            assert part.untyped_storage().nbytes() == part.nbytes
        assert one.image.dtype == torch.uint8
        assert one.image.shape[0] == 3
        assert max(one.image.shape[1:]) <= 512
        assert len(pickle.dumps(one)) < 2_500_000
    assert pick(mask, 0, 0, DrawOptions()).pred.dtype == torch.uint8
    reduced = pick(found, 0, 0, DrawOptions())
    assert reduced.target["boxes"].tolist() == [[0, 0, pytest.approx(51.2), pytest.approx(38.4)]]


@pytest.mark.parametrize(
    ("kind", "shape", "sums"),
    [("multiclass", (2, 3, 4, 4), True), ("binary", (2, 1, 4, 4), False)],
)
def test_each_kind_has_its_own_probabilities(kind, shape, sums):
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
                "preds": [boxed([[0.5] * 4], [1], [0.9])] * 2,
                "targets": [boxed([], [])] * 2,
            },
            "validation_step, preds: boxes must be xyxy in pixels, got values <= 1",
        ),
    ],
)
def test_outputs_that_cannot_be_drawn_are_refused(change, message):
    output = {**masks([[[0, 0], [0, 0]]] * 2, [[[0, 0], [0, 0]]] * 2), **change}
    with pytest.raises(ValueError, match=message):
        check_output(output, "validation_step", DrawOptions())


@pytest.mark.parametrize("size", [256, 64, 700])
def test_normalised_images_are_restored_at_any_size(size):
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.1]
    image = torch.rand(3, size, size)
    normalised = (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    output = masks([torch.zeros(size, size).tolist()] * 2, [torch.zeros(size, size).tolist()] * 2)
    output["images"] = torch.stack([image, normalised])
    plain = pick(output, 0, 0, DrawOptions(value_range=ValueRange((0.0,), (1.0,)))).image
    known = DrawOptions(value_range=ValueRange.normalised(mean, std))
    assert abs(plain.int() - pick(output, 1, 0, known).image.int()).max() <= 1


def test_a_range_needs_one_value_per_channel():
    output = {**classes([[2.0, 0.0]], [0]), "images": torch.rand(1, 3, 8, 8)}
    known = DrawOptions(value_range=ValueRange.normalised([0.5] * 2, [0.5] * 2))
    with pytest.raises(
        ValueError, match="`mean` and `std` have 2 values, but images have 3 channels"
    ):
        pick(output, 0, 0, known)


def drawn(output, place=0, **look):
    options = DrawOptions(**look)
    return draw(pick(output, place, 0, options), options, "")


def test_too_few_names_are_an_error_for_each_kind():
    mask = masks([[[1, 1]]], [[[0, 0]]])
    guess = boxed([[0, 0, 1, 2]], [1], [1.0])
    found = {"kind": "detection", "images": mask["images"], "preds": [guess], "targets": [guess]}
    for output in (mask, found, classes([[0.0, 1.0]], [0])):
        with pytest.raises(ValueError, match="class_names has 1 entries, but there are 2 classes"):
            drawn(output, class_names=["a"])


def test_classes_that_were_not_predicted_need_names_too():
    output = {**masks([[[0, 0]]], [[[0, 0]]]), "logits": torch.zeros(1, 3, 1, 2)}
    with pytest.raises(ValueError, match="class_names has 2 entries, but there are 3 classes"):
        drawn(output, class_names=["a", "b"])


def test_true_classes_are_drawn_even_if_they_were_not_predicted():
    target = torch.zeros(64, 64, dtype=torch.long)
    target[20:40, 20:40] = 2
    output = masks([torch.zeros(64, 64).int().tolist()], [target.tolist()])
    names = ["class 0", "class 1", "class 2"]
    np.testing.assert_array_equal(drawn(output), drawn(output, class_names=names))
    target[0, :9] = 255
    output["targets"] = target[None]
    ignoring = drawn(output, ignore_index=255)
    np.testing.assert_array_equal(ignoring, drawn(output, ignore_index=255, class_names=names))


def test_a_class_that_was_not_predicted_is_drawn_without_names_and_probabilities():
    output = classes([[0.0, 1.0]], [7])
    del output["logits"]
    assert drawn(output).shape == drawn(output, class_names=list("abcdefgh")).shape


def test_binary_masks_have_a_background_of_any_name():
    preds, targets = torch.zeros(2, 1, 64, 64, dtype=torch.long)
    preds[:, :20], targets[:, 10:30] = 1, 1
    output = masks(preds.tolist(), targets.tolist(), "binary")
    cracked = drawn(output, class_names=["intact", "crack"])
    kinds = {tuple(color) for color in cracked[20 : 20 + 256, 3 * 262 :].reshape(-1, 3).tolist()}
    assert len(kinds) > 3  # false positives and misses differ
    assert losses(output, DrawOptions(class_names=["intact", "crack"])) == pytest.approx(
        [1 - 1 / 3]
    )
    assert losses(output, DrawOptions(background=-1)) != pytest.approx([1 - 1 / 3])


def test_an_axis_of_one_class_and_16_bit_masks_are_accepted():
    preds = torch.randint(0, 2, (2, 1, 8, 8))
    plain = masks(preds[:, 0].tolist(), preds[:, 0].flip(0).tolist(), "binary")
    odd = {**plain, "preds": preds.to(torch.uint16), "targets": preds.flip(0)}
    names = ["background", "crack"]
    np.testing.assert_array_equal(drawn(odd, class_names=names), drawn(plain, class_names=names))
    assert losses(odd, DrawOptions()) == losses(plain, DrawOptions())


def test_a_single_logit_stands_for_two_classes():
    single = classes([[2.0], [-1.0]], [1, 1])
    single["preds"] = torch.tensor([1, 0])
    twice = {**single, "logits": torch.tensor([[0.0, 2.0], [0.0, -1.0]])}
    assert torch.allclose(probabilities(single), probabilities(twice))
    assert losses(single, DrawOptions()) == pytest.approx(losses(twice, DrawOptions()))
    column = {**single, "preds": single["preds"][:, None], "targets": single["targets"][:, None]}
    for output in (single, column):
        picture = drawn(output, class_names=["cat", "dog"])
        np.testing.assert_array_equal(picture, drawn(twice, class_names=["cat", "dog"]))


def test_nan_probabilities_are_drawn_and_rated_the_worst():
    single = classes([[math.nan] * 3], [1])
    several = classes([[math.nan] * 3], [[1, 0, 1]])
    for output in (single, several, {**several, "logits": None, "probs": several["logits"]}):
        assert losses(output, DrawOptions()) == [math.inf]
        assert drawn(output).ndim == 3


@pytest.mark.parametrize("target", [-1, -100, 9])
def test_an_unlabelled_sample_has_zero_loss(target):
    output = classes([[0.0, 1.0, 5.0]], [target])
    assert losses(output, DrawOptions()) == [0]
    assert (drawn(output)[2, 2] == 150).all()  # a grey frame
    if target < 0:
        del output["logits"]
        assert losses(output, DrawOptions()) == [0]


def test_unknown_labels_are_left_out_of_the_loss():
    output = classes([[2.0, -1.0]], [[1, -1]])
    assert losses(output, DrawOptions()) == pytest.approx([math.log(1 + math.exp(-2))], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "look", "message"),
    [
        ({"losses": torch.rand(2, 5)}, {}, r"losses must be \(2,\), one per sample, got \(2, 5\)"),
        ({"images": torch.rand(2, 4, 4)}, {}, r"must be \(channels, height, width\), got \(4, 4\)"),
        ({"targets": torch.zeros(2, 3, 2)}, {}, r"same shape, got \(2, 2, 2\) and \(2, 3, 2\)"),
        (
            {"targets": torch.full((2, 2, 2), 255), "logits": torch.zeros(2, 21, 2, 2)},
            {},
            "mask value 255 is outside 0..20; set ignore_index=255",
        ),
        (
            {"targets": torch.full((2, 2, 2), -100)},
            {"class_names": ["a", "b"]},
            "mask value -100 is outside 0..1; set ignore_index=-100",
        ),
    ],
)
def test_invalid_shapes_and_values_are_refused(change, look, message):
    output = {**masks([[[0, 0], [0, 0]]] * 2, [[[0, 0], [0, 0]]] * 2), **change}
    with pytest.raises(ValueError, match=message):
        check_output(output, "validation_step", DrawOptions(**look))


INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_targets_of_any_integer_type_have_the_same_losses(dtype):
    """Small types must not wrap around: to uint8, -1 is 255 and 300 is 44."""
    labels = torch.tensor([3, 100])
    output = {"kind": "classification", "images": torch.rand(2, 3, 8, 8), "preds": labels}
    output["probs"] = torch.arange(600).view(2, 300).float().softmax(1)
    expected = losses({**output, "targets": labels}, DrawOptions())
    assert losses({**output, "targets": labels.to(dtype)}, DrawOptions()) == expected
    for absent in (-1, -100, 254, 256, 2**32 + 1):
        mask = torch.tensor([[[0, 1], [1, 1]]])
        made = {**masks([[[0, 0], [0, 0]]], mask.tolist()), "targets": mask.to(dtype)}
        assert losses(made, DrawOptions(ignore_index=absent)) == losses(made, DrawOptions())


def test_ignored_values_are_accepted():
    output = masks([[[0, 0]]], [[[0, 255]]])
    check_output(output, "validation_step", DrawOptions(ignore_index=255, class_names=["a"]))


def test_the_classes_of_a_sample_are_those_of_its_target():
    look = DrawOptions(class_names=["background", "a", "b"], ignore_index=255)
    assert classes_of(masks([[[0, 0, 0]]], [[[0, 2, 255]]]), look) == [[2]]
    assert classes_of(classes([[0.0, 1.0]] * 2, [1, -1]), look) == [[1], []]
    assert classes_of(classes([[0.0, 1.0]], [[1, 1]]), look) == [[0, 1]]
    found = boxed([[0, 0, 1, 1]] * 3, [2, 1, 2])
    assert classes_of(
        {"kind": "detection", "images": [0], "preds": [found], "targets": [found]}, look
    ) == [[1, 2]]


def test_classes_take_turns():
    there = {0: [1], 1: [1], 2: [1, 2], 3: [1], 4: [2], 5: [3], 6: []}
    assert first_of_each(there, 4) == [0, 2, 5, 1]
    assert first_of_each(there, 99) == [0, 2, 5, 1, 4, 3]


def test_each_class_needs_a_colour():
    output = masks([[[0, 1]]], [[[0, 1]]])
    with pytest.raises(ValueError, match="class_colors has 1 entries, but there are 2 classes"):
        drawn(output, colors=np.zeros((1, 3), np.uint8))
    red = np.array([[9, 9, 9], [255, 0, 0]], np.uint8)
    assert (drawn(output, colors=red) == red[1]).all(-1).any()


def numbers(preds, targets):
    preds, targets = torch.tensor(preds), torch.tensor(targets)
    images = torch.full((len(preds), 3, 64, 64), 0.5)
    return {"kind": "regression", "images": images, "preds": preds, "targets": targets}


def test_a_value_is_rated_by_its_absolute_error():
    assert losses(numbers([1.0, 3.0], [1.5, 3.0]), DrawOptions()) == [0.5, 0.0]
    output = numbers([[1.0, 2.0], [0.0, 0.0]], [[0.0, 4.0], [math.nan, 3.0]])
    assert losses(output, DrawOptions()) == [1.5, 3.0]  # an unknown value is left out
    assert losses(numbers([math.nan], [1.0]), DrawOptions()) == [math.inf]


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        (numbers([1.0], [[1.0, 2.0]]), {}, r"same shape, got \(1, 1\) and \(1, 2\)"),
        (numbers([[[1.0]]], [[[1.0]]]), {}, r"must be \(N,\) or \(N, D\), got \(1, 1, 1\)"),
        (
            numbers([[1.0, 2.0]], [[1.0, 2.0]]),
            {"class_names": ["age"]},
            "class_names has 1 entries, but an image has 2 predicted values",
        ),
    ],
)
def test_inconsistent_values_are_refused(output, options, message):
    with pytest.raises(ValueError, match=message):
        check_output(output, "validation_step", DrawOptions(**options))


def test_values_are_drawn_with_or_without_an_axis():
    one, column = numbers([2.0], [3.0]), numbers([[2.0]], [[3.0]])
    np.testing.assert_array_equal(drawn(one), drawn(column))
    assert drawn(numbers([[2.0, 1.0]], [[3.0, 1.0]])).shape[0] > drawn(one).shape[0]


def of_kind(kind, **changed):
    """An output of two samples."""
    boxes = {"boxes": [[0.0, 0.0, 4.0, 4.0]], "labels": [0], "scores": [0.5]}
    entries = {
        "classification": {"preds": torch.tensor([0, 1]), "targets": torch.tensor([0, 1])},
        "regression": {"preds": torch.ones(2), "targets": torch.ones(2)},
        "multiclass": {"preds": torch.zeros(2, 8, 8), "targets": torch.zeros(2, 8, 8)},
        "detection": {"preds": [boxes] * 2, "targets": [boxes] * 2},
    }[kind]
    return {"kind": kind, "images": torch.rand(2, 3, 8, 8), **entries, **changed}


@pytest.mark.parametrize("kind", ["classification", "regression", "multiclass", "detection"])
@pytest.mark.parametrize("value", [None, 3, torch.tensor(1.0)])
@pytest.mark.parametrize("key", ["images", "preds", "targets"])
def test_entries_that_are_not_one_per_sample_are_refused(kind, key, value):
    with pytest.raises(TypeError, match=f"must have {key} for each sample, got"):
        check_output(of_kind(kind, **{key: value}), "validation_step", DrawOptions())


@pytest.mark.parametrize("kind", ["classification", "regression", "multiclass", "detection"])
def test_complex_images_are_refused(kind):
    output = of_kind(kind)
    output["images"] = output["images"] + 1j
    with pytest.raises(TypeError, match=r"an image must be real, got torch\.complex64"):
        check_output(output, "validation_step", DrawOptions())


@pytest.mark.parametrize("kind", ["classification", "regression", "multiclass"])
@pytest.mark.parametrize("keys", [("preds", "targets"), ("logits",), ("probs",)])
def test_complex_values_are_refused(kind, keys):
    changed = dict.fromkeys(keys, of_kind(kind)["preds"] + 1j)
    with pytest.raises(TypeError, match=f"{keys[0]} must be real, got torch.complex64"):
        check_output(of_kind(kind, **changed), "validation_step", DrawOptions())


def test_scores_of_another_number_of_samples_are_refused():
    output = of_kind("classification", logits=torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"logits must be for 2 samples, one row each, got \(3, 2"):
        check_output(output, "validation_step", DrawOptions())


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("labels", [0.0], TypeError, "labels must be class indices, got torch.float32"),
        ("labels", [True], TypeError, "labels must be class indices, got torch.bool"),
        ("labels", [-1], ValueError, "labels must be at least 0, got -1"),
        ("labels", [[0]], ValueError, r"labels must be \(1,\), one per box, got \(1, 1\)"),
        ("labels", ["cat"], TypeError, "labels of boxes must be a tensor of numbers, got .'cat'"),
        ("scores", [[0.5]], ValueError, r"scores must be \(1,\), one per box"),
        ("crowd", [True, False], ValueError, r"crowd must be \(1,\), one per box, got \(2,\)"),
        ("boxes", [[0j, 0, 4, 4]], TypeError, "boxes must be real"),
    ],
)
def test_boxes_of_another_form_are_refused(key, value, error, message):
    output = of_kind("detection")
    output["preds"] = [{**output["preds"][0], key: value}, output["preds"][1]]
    with pytest.raises(error, match=message):
        check_output(output, "validation_step", DrawOptions())


def test_further_keys_of_boxes_are_left_alone():
    output = of_kind("detection")
    output["targets"] = [{**output["targets"][0], "file": "1.jpg", "crowd": None}] * 2
    check_output(output, "validation_step", DrawOptions())
    assert drawn(output, class_names=["a"]).ndim == 3


def test_names_that_do_not_fit_a_regression_are_dropped_with_one_message():
    told = []
    output = of_kind("regression")
    picture = drawn(output, class_names=["a", "b"], on_missing_names=told.append)
    np.testing.assert_array_equal(picture, drawn(output))
    assert told
    assert "class_names has 2 entries, but an image has 1 predicted values" in told[0]
    with pytest.raises(ValueError, match="name every value, in order"):
        drawn(output, class_names=["a", "b"])


def test_sparse_images_are_drawn_as_others():
    output = of_kind("classification")
    sparse = {**output, "images": output["images"].to_sparse()}
    np.testing.assert_array_equal(drawn(sparse, 1), drawn(output, 1))
