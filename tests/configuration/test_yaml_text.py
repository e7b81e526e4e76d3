"""YAML 1.2, written so that YAML 1.1 reads the same."""

import math
from collections import OrderedDict
from datetime import date
from enum import Enum
from pathlib import PurePosixPath

import pytest
import yaml
from hypothesis import given, strategies as st

from lightning_hparams.configuration import (
    ConfigurationError,
    read_yaml,
    read_yaml_file,
    write_yaml,
)
from lightning_hparams.configuration.yaml_text import read_back

WORDS = ["on", "off", "yes", "No", "y", "N", "true", "null", "~", "", "1e-3", "010", "0o17", "1:30"]
WORDS += ["1_000", "0b11", ".5", "5.", ".inf", ".nan", "-.Inf", "2024-01-01", "<<", "=", "0x1F"]
texts = st.sampled_from(WORDS) | st.text(max_size=6)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_what_is_written_is_read_as_it_was_by_both_versions(value):
    text = write_yaml(value)
    assert read_yaml(text) == value
    assert yaml.safe_load(text) == value


class Kind(str, Enum):
    """An enumeration of texts, as Lightning has them."""

    FIRST = "on"


class Size(int, Enum):
    """One of numbers."""

    LARGE = 3


odd = st.sampled_from([Kind.FIRST, Size.LARGE, PurePosixPath("a/b"), b"ab", date(2024, 1, 1)])


@given(
    st.recursive(
        plain | odd,
        lambda inner: (
            st.tuples(inner, inner)
            | st.dictionaries(st.integers() | texts, inner, max_size=2)
            | st.dictionaries(texts, inner, max_size=2).map(OrderedDict)
        ),
        max_leaves=6,
    )
)
def test_a_value_is_read_back_as_from_its_text(value):
    back, read = read_back(value), read_yaml(write_yaml(value))
    assert back == read
    assert repr(back) == repr(read)  # equal numbers may differ in their types


def test_a_value_that_cannot_be_written_cannot_be_read_back():
    with pytest.raises(yaml.YAMLError):
        read_back({"a": [object()]})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: val", {"on": "val"}),
        ("[yes, no, off, y]", ["yes", "no", "off", "y"]),
        ("[true, False, TRUE]", [True, False, True]),
        ("[null, ~, ]", [None, None]),
        ("[1e-3, 1E5, .5, -5., +1.5]", [1e-3, 1e5, 0.5, -5.0, 1.5]),
        ("[010, 0o17, 0x1F, -3]", [10, 15, 31, -3]),
        ("[1:30, 1_000, 0b11, 2024-01-01]", ["1:30", "1_000", "0b11", "2024-01-01"]),
        ("{a: &x {b: 1}, c: {<<: *x, d: 2}}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ('{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
    ],
)
def test_words_and_numbers_are_those_of_yaml_1_2(text, value):
    assert read_yaml(text) == value


def test_infinity_and_nan_are_numbers():
    low, high, nan = read_yaml("[-.inf, .Inf, .NaN]")
    assert (low, high) == (-math.inf, math.inf)
    assert math.isnan(nan)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1", "not valid YAML: line 2"),
        ("a: 1\nb: 2\na: 3", "not valid YAML: line 3: the key 'a' stands in line 1 too"),
        ("a:\n\t- 1", "line 2"),
        ("a: !!python/object:os.system x", "line 1"),
    ],
)
def test_an_error_names_the_line(text, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error_in_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        read_yaml_file(tmp_path / "a.yaml")
    with pytest.raises(ConfigurationError, match="directory"):
        read_yaml_file(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"a\.yaml is not a text file in UTF-8"):
        read_yaml_file(tmp_path / "a.yaml")
