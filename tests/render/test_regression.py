"""Regression pictures: an image above its true and predicted values."""

import numpy as np
import pytest
import torch

from lightning_hparams.render import regression, regression_picture, values_picture

GREY, ORANGE = (205, 205, 205), (213, 94, 0)
IMAGE = torch.full((3, 256, 256), 100, dtype=torch.uint8)


def columns(picture, color):
    """The columns of the last bar of a picture that have a colour."""
    return np.flatnonzero((picture[-16:-4] == color).all(-1).any(0))


def test_the_mark_is_at_the_prediction_and_the_bar_ends_at_the_truth():
    picture = regression_picture(IMAGE, torch.tensor([2.0]), torch.tensor([4.0]))
    assert (picture[:256] == 100).all()
    bar, mark = columns(picture, GREY), columns(picture, ORANGE)
    assert bar.max() == pytest.approx(4 + 247, abs=2)  # the scale ends at the larger value
    assert mark.mean() == pytest.approx(4 + 247 / 2, abs=2)


def test_each_value_has_its_own_scale():
    pred, target = torch.tensor([900.0, 0.5]), torch.tensor([1000.0, 1.0])
    picture = regression_picture(IMAGE, pred, target)
    assert columns(picture, GREY).max() == pytest.approx(4 + 247, abs=2)
    assert columns(picture, ORANGE).mean() == pytest.approx(4 + 247 / 2, abs=2)


def test_negative_values_extend_to_the_left_of_zero():
    picture = regression_picture(IMAGE, torch.tensor([1.0]), torch.tensor([-1.0]))
    assert columns(picture, GREY).max() < 130 < columns(picture, ORANGE).min()


def test_the_values_with_the_largest_errors_are_shown(monkeypatch):
    words = []
    write = regression.write
    monkeypatch.setattr(
        regression,
        "write",
        lambda canvas, text, *at: words.append(text) or write(canvas, text, *at),
    )
    pred, target = torch.zeros(5), torch.tensor([1.0, 5.0, 2.0, 4.0, torch.nan])
    regression_picture(IMAGE, pred, target, list("abcde"), max_values=2, caption="sample 3")
    assert words == ["sample 3", "b: 5 -> 0", "d: 4 -> 0", "and 3 with smaller errors"]


@pytest.mark.parametrize("shape", [(3, 40, 30), (1, 600, 800), (5, 1, 1), (3, 2000, 100)])
@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf, -1e30])
def test_any_image_and_any_value_can_be_drawn(shape, value):
    picture = regression_picture(
        torch.rand(shape), torch.tensor([value, 1.0]), torch.tensor([1.0, value]), caption="a"
    )
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 256


def test_predicted_values_are_drawn_against_true_ones():
    counts = torch.zeros(2, 8, 8, dtype=torch.long)
    counts[0, 0, 7] = 5  # a low value was predicted as a high one
    picture = values_picture(counts, torch.tensor([[0.0, 1.0], [0.0, 1e6]]), ["a", "b"])
    dark = (picture == np.array([8, 48, 107])).all(-1)
    rows, columns = dark.nonzero()
    assert dark.sum() > 500
    assert rows.max() < picture.shape[0] / 2
    assert columns.max() < picture.shape[1] / 4


def test_only_the_first_of_many_values_are_drawn():
    edges = torch.tensor([[0.0, 1.0]] * 30)
    few, many = (
        values_picture(torch.zeros(count, 4, 4), edges[:count], ["x"] * count) for count in (12, 30)
    )
    assert 0 < many.shape[0] - few.shape[0] < 30
    with pytest.raises(ValueError, match="needs 2 names, one for each value"):
        values_picture(torch.zeros(2, 4, 4), edges[:2], ["x"])
