import math

import numpy as np
import pytest
from PIL import Image

from lightning_hparams.range_test import Chart, lr_values
from lightning_hparams.render import encode

LRS = lr_values(1e-7, 10, 100)
LINE = [2.0 - index / 60 for index in range(90)]
MARK, BLUE, SHADE = (213, 94, 0), (0, 114, 178), (214, 233, 246)
LEFT, RIGHT, TOP, BOTTOM = 74, 738, 62, 368  # of the axes, in pixels


def chart(**changed):
    parts = {
        "x": LRS,
        "y": [*LINE, *[1e20] * 10],
        "line": LINE,
        "marked": 1e-3,
        "shaded": (1e-5, 1e-3),
        "title": "a title",
        "caption": "a caption",
    }
    return Chart(**{**parts, **changed})


def near(picture, color, tolerance=25):
    return (np.abs(picture.astype(int) - color).max(-1) <= tolerance).nonzero()


def test_a_chart_is_a_small_png():
    picture = chart().picture()
    assert picture.shape == (440, 760, 3)
    assert picture.dtype == np.uint8
    encoded = encode(picture)
    assert encoded.suffix == ".png"
    assert len(encoded.data) < 60_000


def test_what_is_marked_and_shaded_stands_where_it_belongs():
    picture = chart().picture()
    across = LEFT + (RIGHT - LEFT) * 4 / 8  # 1e-3 is halfway from 1e-7 to 10
    assert np.median(near(picture, MARK)[1]) == pytest.approx(across, abs=1.5)
    columns = near(picture[BOTTOM - 10 : BOTTOM - 4], SHADE, 8)[1]  # below the curve
    assert columns.min() == pytest.approx(LEFT + (RIGHT - LEFT) / 4, abs=2)
    assert columns.max() == pytest.approx(across, abs=5)  # the mark covers its end


def test_nothing_is_drawn_outside_the_axes():
    others = {"one": (LRS, [1e30] * 100), "two": (LRS, [-1e30] * 100)}
    picture = chart(line=[*LINE[:80], *[1e15] * 20]).picture()
    for color in (MARK, BLUE):
        rows, columns = near(picture, color)
        assert len(rows)
        assert TOP - 2 <= rows.min() <= rows.max() <= BOTTOM + 2
        assert LEFT - 2 <= columns.min() <= columns.max() <= RIGHT + 2
    assert len(near(chart(others=others).picture(), BLUE)[0])


def test_a_diverged_end_does_not_flatten_the_curve():
    low, high = chart().limits[2:]
    assert (low, high) == (pytest.approx(0.4, abs=0.2), pytest.approx(2.1, abs=0.1))


@pytest.mark.parametrize(
    "changed",
    [
        {"x": [], "y": [], "line": [], "marked": None, "shaded": None},
        {"x": [1e-7], "y": [math.nan], "line": [], "marked": None, "shaded": None},
        {"y": [math.nan] * 100, "line": []},
        {"y": [2.3] * 100, "line": [2.3] * 100},
        {"y": [0.0] * 100, "line": [0.0] * 100},
        {"y": [1e15] * 100, "line": [1e15] * 100},
        {"marked": 1e3, "shaded": (1e-9, 1e3)},
        {"x": lr_values(1e-2, 0.1, 100, "linear")},
        {"x": lr_values(1e-30, 1e30, 100)},
    ],
)
def test_odd_curves_are_drawn_too(changed):
    assert chart(**changed).picture().shape == (440, 760, 3)


def test_a_file_is_written_and_its_folder_made(tmp_path):
    path = chart().plot(tmp_path / "deep" / "down" / "curve")
    assert path == tmp_path / "deep" / "down" / "curve.png"
    with Image.open(path) as image:
        assert image.size == (760, 440)
    pytest.importorskip("matplotlib")
    assert chart().plot(str(tmp_path / "curve.svg")).read_text().startswith("<?xml")


def test_each_line_has_its_name():
    matplotlib = pytest.importorskip("matplotlib.figure")
    axes = matplotlib.Figure().subplots()
    others = {"0.1": (LRS, LINE), "0.01": (LRS, LINE)}
    chart(name="0", others=others, shaded=None, marked=None).plot(axes)
    assert axes.get_legend_handles_labels()[1] == ["measured", "0.1", "0.01", "0"]
