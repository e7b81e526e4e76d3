"""The notebook runs from its first cell to its last, without a terminal or a network."""

from pathlib import Path

import pytest

TOUR = Path(__file__).parents[1] / "examples" / "tour.ipynb"


@pytest.mark.slow
def test_the_tour_runs_and_shows_its_plots(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    notebook = nbformat.read(TOUR, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    kinds = [kind for each in outputs for kind in each.get("data", {})]
    assert kinds.count("image/png") >= 4  # range test, schedule, predictions, curves
    text = "".join(each.get("text", "") for each in outputs)
    assert "LR range test" in text
    assert "loss" in text
    assert "Traceback" not in text


def test_the_tour_is_small_and_needs_no_shell():
    assert TOUR.stat().st_size < 500_000
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    notebook = nbformat.read(TOUR, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.source.startswith(("!", "%"))
