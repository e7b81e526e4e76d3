import json
import math

import pytest
from hypothesis import given, strategies as st

from lightning_hparams import json_text
from lightning_hparams.range_test import (
    ParamTestResult,
    RangeTestResult,
    Sweep,
    analyse,
    compare_values,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


def refused(word):
    raise ValueError(word)


@given(VALUES)
def test_reading_inverts_writing(value):
    text = json_text.write(value)
    json.loads(text, parse_constant=refused)  # as parsers in other languages do
    assert json_text.read(text) == value


NUMBERS = st.sampled_from([math.nan, math.inf, -math.inf])
WORDS = st.sampled_from(["nan", "inf", "-inf", "NaN", "Infinity", "-Infinity", "\\nan", "\\\\inf"])


@given(st.lists(NUMBERS | WORDS | st.text("\\nainf", max_size=5)))
def test_texts_that_spell_numbers_stay_texts_if_written_exactly(values):
    text = json_text.write(values, exact=True)
    json.loads(text, parse_constant=refused)
    assert list(map(repr, json_text.read(text, exact=True))) == list(map(repr, values))


def test_numbers_that_json_cannot_represent_are_strings():
    assert json_text.write([math.nan, math.inf, -math.inf]) == '["nan", "inf", "-inf"]'


@pytest.mark.parametrize("words", [("nan", "inf", "-inf"), ("NaN", "Infinity", "-Infinity")])
def test_the_spellings_of_all_versions_are_read(words):
    nan, *infinities = json_text.read(json.dumps({"values": words}))["values"]
    assert math.isnan(nan)
    assert infinities == [math.inf, -math.inf]


def old(text):
    """The same result as earlier versions wrote it."""
    for new, word in (("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")):
        text = text.replace(f'"{new}"', f'"{word}"')
    return text


def test_results_of_older_versions_are_read():
    sweep = Sweep([0.1, 0.2, 0.3], [1.0, math.inf, math.nan])
    result = analyse([sweep])
    assert "Infinity" in old(result.to_json())
    assert RangeTestResult.from_json(old(result.to_json())) == result
    values = compare_values("momentum", {0.9: [sweep], 0.99: [sweep]})
    assert "NaN" in old(values.to_json())
    assert ParamTestResult.from_json(old(values.to_json())) == values
