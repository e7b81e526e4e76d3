"""Curves accumulate matching batches, without a Trainer."""

from types import SimpleNamespace

import pytest
import torch

from lightning_hparams.callbacks._curves import Curves
from lightning_hparams.sinks import Sink, Sinks

MODULE = SimpleNamespace(ignore_index=None, device=torch.device("cpu"))


def batch(classes=2, **changed):
    probs = torch.full((4, classes), 0.1)
    probs[:, 0] = 1 - 0.1 * (classes - 1)
    targets = torch.tensor([0, 0, 0, 1])
    return {"kind": "classification", "probs": probs, "targets": targets, **changed}


class Noted(Sink):
    def __init__(self):
        self.written = []

    def pr_curve(self, tag, counts, step):
        self.written.append((tag, step, counts.rows()[:2, 0].tolist()))

    def image(self, tag, picture, step):
        self.written.append((tag, step))

    def histogram(self, tag, counts, edges, step):
        self.written.append((tag, step, sum(counts)))


@pytest.mark.parametrize("switch", ["pr_curves", "calibration"])
def test_each_switch_is_checked_whatever_the_other_is(switch):
    switches = {"pr_curves": True, "calibration": True, switch: "yes"}
    with pytest.raises((TypeError, ValueError), match=f"`{switch}`"):
        Curves(**switches, max_classes=1)


def test_curves_are_written_and_the_calibration_error_returned():
    curves, sink = Curves(pr_curves=True, calibration=True, max_classes=1), Noted()
    for _ in range(2):
        curves.count(MODULE, ["cat", "dog"], batch(), "validation_step")
    assert curves.is_whole
    values = curves.write(["cat", "dog"], "val", 7, Sinks([sink]))
    assert sink.written == [
        ("pr/cat/val", 7, [6, 2]),
        ("calibration/val", 7),
        ("confidence/val", 7, 8),
    ]
    # Confidence 0.9, three of four right.
    assert values == {"metric/calibration_error/val": pytest.approx(0.9 - 0.75, abs=1e-5)}


def test_curves_are_incomplete_after_a_lost_batch_until_reset():
    curves = Curves(pr_curves=True, calibration=False, max_classes=9)
    assert not curves.is_whole
    curves.count(MODULE, None, batch(), "validation_step")
    assert curves.is_whole
    with pytest.raises(TypeError), curves.all():
        curves.count(MODULE, None, None, "validation_step")
    with curves.all():
        curves.count(MODULE, None, batch(), "validation_step")
    assert not curves.is_whole
    curves.reset()
    curves.count(MODULE, None, batch(), "validation_step")
    assert curves.is_whole


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (batch(3), "the same classes in each batch, got 3 after 2"),
        (batch(kind="multilabel"), "one kind of output, got 'multilabel' after 'classification'"),
    ],
)
def test_batches_must_match(later, message):
    curves = Curves(pr_curves=False, calibration=True, max_classes=9)
    curves.count(MODULE, None, batch(), "validation_step")
    with pytest.raises(ValueError, match=message):
        curves.count(MODULE, None, later, "validation_step")


def test_outputs_may_be_anything_if_no_curve_is_wanted():
    curves = Curves(pr_curves=False, calibration=False, max_classes=9)
    curves.count(MODULE, None, None, "validation_step")
    assert not curves.is_whole


@pytest.mark.parametrize("label", [-1, 2, 9])
def test_boxes_with_labels_that_have_no_name_are_left_out(label):
    def counts(labels):
        boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [10.0, 10.0, 20.0, 20.0]])[: len(labels)]
        scores = torch.tensor([0.9, 0.8])[: len(labels)]
        found = {"boxes": boxes, "labels": torch.tensor(labels), "scores": scores}
        true = {"boxes": boxes + 1000, "labels": torch.tensor(labels)}
        curves, told = Curves(pr_curves=True, calibration=True, max_classes=9), []
        output = {"kind": "detection", "preds": [found, found], "targets": [found, true]}
        curves.count(MODULE, ["cat", "dog"], output, "validation_step", told.append)
        return curves._scores.compute(), curves._calibration.compute(), told

    scores, calibration, told = counts([0, label])
    only_scores, only_calibration, _ = counts([0])
    assert scores.equal(only_scores)
    assert calibration.equal(only_calibration)
    assert bool(told) == (label >= 2)
