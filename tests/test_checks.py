import math

import numpy as np
import pytest

from lightning_hparams.checks import (
    in_range,
    names_in,
    one_of,
    require,
    whole_number,
    writable_folder,
)


def test_an_unknown_name_is_refused_with_similar_ones():
    with pytest.raises(ValueError, match="got 'AdmW'; did you mean 'AdamW'"):
        one_of("optimizer", "AdmW", ["SGD", "AdamW"])


def test_a_long_list_of_names_is_not_printed():
    names = [f"encoder{i}" for i in range(500)]
    with pytest.raises(ValueError, match="one of 500 known names") as caught:
        one_of("encoder", "encodr7", names)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_a_value_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="`0 <= share <= 1` must hold, got share="):
        in_range("share", value, 0, 1)


def test_an_open_bound_excludes_its_value():
    in_range("lr", 1e-9, above=0.0)
    with pytest.raises(ValueError, match=r"`0.0 < lr` must hold, got lr=0.0"):
        in_range("lr", 0.0, above=0.0)


@pytest.mark.parametrize("value", [math.inf, math.nan, 3.0])
def test_an_upper_bound_may_be_open_too(value):
    in_range("lr", 2.9, below=3.0)
    with pytest.raises(ValueError, match=r"`lr < 3.0` must hold, got lr="):
        in_range("lr", value, below=3.0)


@pytest.mark.parametrize("value", ["1e-3", None, [1.0]])
def test_in_range_refuses_values_that_are_not_numbers(value):
    with pytest.raises(TypeError, match=r"`lr` must be a number, got .*; 1e-3 is usual"):
        in_range("lr", value, above=0.0, remedy="1e-3 is usual")


@pytest.mark.parametrize("value", [3.5, 2.0, "2", True, None])
def test_whole_number_refuses_values_of_other_types(value):
    with pytest.raises(TypeError, match="`size` must be a whole number, got"):
        whole_number("size", value)


def test_whole_number_checks_the_range():
    whole_number("size", np.int64(3), 1, 3)
    with pytest.raises(ValueError, match="`1 <= size <= 3` must hold, got size=4"):
        whole_number("size", 4, 1, 3)


@pytest.mark.parametrize("value", ["abc", [1, 2], 3, {"a": 1}])
def test_names_in_refuses_a_string_and_lists_of_other_things(value):
    assert names_in("class_names", ("a", "b")) == ["a", "b"]
    with pytest.raises(TypeError, match="`class_names` must be a list of names, got"):
        names_in("class_names", value)


def test_one_of_mentions_the_alternative():
    with pytest.raises(ValueError, match=r"one of \['imagenet'\] or a file, got 'x'"):
        one_of("weights", "x", ["imagenet"], otherwise="or a file")


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-hparams\[plot\]'"):
        require("no_such_package_at_all", extra="plot")


def test_an_installed_package_is_imported():
    assert require("math", extra="plot") is math


def test_a_folder_below_a_file_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match=r"logs .*file/runs.* choose another folder"):
        writable_folder("logs", tmp_path / "file" / "runs")


def test_a_new_folder_is_created_and_left_empty(tmp_path):
    path = writable_folder("logs", tmp_path / "a" / "b")
    assert list(path.iterdir()) == []
