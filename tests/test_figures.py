"""Figures in the README are those that `make bench` measures."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def quotes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    sys.modules.pop("_quotes", None)
    import _quotes

    return _quotes


@pytest.fixture
def text():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def measured(quotes, text, factor=1.0):
    return [
        {"benchmark": each.figure[0], "what": each.figure[1], "value": each.quoted(text) * factor}
        for each in quotes.QUOTES
    ]


def test_every_quoted_figure_is_compared(quotes, text):
    assert quotes.disagreements(text, measured(quotes, text)) == []
    apart = quotes.disagreements(text, measured(quotes, text, factor=3.0))
    assert len(apart) == len(quotes.QUOTES)
    assert "the README says 4, measured is 12" in apart[0]


def test_every_ratio_of_the_table_is_a_quote(quotes, text):
    table = text.split("## How it compares")[1].split("Quality of the suggested")[0]
    rows = [line for line in table.splitlines() if line.rstrip(" |").endswith(("x", "time)"))]
    rows = [row for row in rows if not row.startswith("| |")]
    for row in rows:
        assert any(row.startswith(f"| {each.row}") for each in quotes.QUOTES), row


def test_each_figure_has_a_benchmark_that_records_it(quotes):
    for quote in quotes.QUOTES:
        assert (ROOT / "benchmarks" / f"{quote.figure[0]}.py").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("results*.json")))
def test_the_recorded_table_agrees_with_the_readme(quotes, text, path):
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    assert quotes.disagreements(text, figures) == []


def test_a_row_that_is_gone_is_an_error(quotes):
    with pytest.raises(ValueError, match="the README needs one figure"):
        quotes.disagreements("", [])


def test_the_quality_of_the_range_test_is_that_of_its_page(text):
    page = (ROOT / "docs" / "concepts" / "learning_rate.md").read_text(encoding="utf-8")
    quality = text.split("Quality of the suggested")[1].split("The gain, as means")[0]
    rows = [line for line in quality.splitlines() if line.startswith("|")]
    assert len(rows) > 8
    assert set(rows) <= set(page.splitlines())
    for rule in ("LRRangeTest", "the sweep alone", "fastai", "schedule-free", "Lightning"):
        assert any(rule in row for row in rows), rule
