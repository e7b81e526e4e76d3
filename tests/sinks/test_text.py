import csv
import html
import io
import re

import pytest
from hypothesis import example, given, strategies as st
from tensorboard.plugin_util import markdown_to_safe_html

from lightning_hparams.provenance import to_markdown
from lightning_hparams.sinks.files import FilesSink
from lightning_hparams.sinks.text import csv_rows, csv_text, markdown_table

TEXTS = st.text(alphabet="ab_*`|<>&[]()!\\\\~#-+=.:/ ", min_size=1, max_size=12)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " ="])
def test_no_cell_is_a_formula(start):
    cell = f"{start}cmd|' /C calc'!A0"
    (read, number) = next(csv.reader(io.StringIO(csv_rows([(cell, 1)]), newline="")))
    assert read == f"'{cell}".replace("\r", "\n")
    assert number == "1"


@given(st.floats())
def test_numbers_stay_numbers(value):
    cells = csv_text(("a", "b"), [(value, str(value))]).splitlines()[1].split(",")
    assert cells == [str(value)] * 2


def test_every_csv_file_is_safe(tmp_path):
    sink = FilesSink(tmp_path)
    sink.scalars({"=1+1": -0.5}, 0)
    sink.scalars({"=1+1": -0.25}, 1)
    sink.table("t", {"@class": ["-road"], "iou": [-1.5]}, 0)
    assert (tmp_path / "scalars.csv").read_text() == "step,tag,value\n0,'=1+1,-0.5\n1,'=1+1,-0.25\n"
    sink.resume(0)
    assert (tmp_path / "scalars.csv").read_text() == "step,tag,value\n0,'=1+1,-0.5\n"
    assert next(tmp_path.rglob("step_*.csv")).read_text() == "'@class,iou\n'-road,-1.5\n"


@given(TEXTS)
@example("<img src=x onerror=alert(1)>")
@example("![a](https://host/x.png)")
@example("[a](javascript:alert(1))")
@example("a\\|b")
@example("**a** _b_ `c` ~~d~~ &amp; road_a")
def test_a_cell_reads_as_it_was_written(name):
    """Rendered as in TensorBoard."""
    page = markdown_to_safe_html(markdown_table({name: [name], "iou": [-0.5]}))
    found = re.findall(r"<t[hd]>(.*?)</t[hd]>", page)
    cells = [html.unescape(cell).strip() for cell in found]
    assert cells == [
        name.strip(),
        "iou",
        name.strip(),
        "-0.5",
    ]


@given(st.dictionaries(TEXTS, TEXTS | st.just("```\n<img src=x>"), min_size=1, max_size=2))
def test_no_value_closes_the_code_block_of_a_manifest(config):
    page = markdown_to_safe_html(to_markdown({"config": config}))
    assert re.fullmatch(r"<pre><code>[^<]*</code></pre>", page.strip())
