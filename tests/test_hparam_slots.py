"""A hyperparameter is found wherever it lives, once, and is known to be writable before it is."""

from argparse import Namespace
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, strategies as st
from lightning import LightningModule

from lightning_hparams.hparam_slots import alike_names, find_slots, is_number

NAMES = st.lists(
    st.sampled_from(["optimizer", "init_args", "lr", "a", "b"]), min_size=1, max_size=4
)


@given(NAMES, st.lists(st.sampled_from([dict, Namespace, SimpleNamespace]), min_size=4, max_size=4))
def test_a_value_is_found_and_written_however_it_is_nested(names, kinds):
    value = 0.5
    for name, kind in zip(reversed(names), kinds, strict=False):
        value = kind(**{name: value})
    (slot,) = find_slots([value], ".".join(names))
    assert slot.read() == 0.5
    assert slot.obstacle() is None
    assert slot.read() == 0.5
    slot.write(2.0)
    assert find_slots([value], ".".join(names))[0].read() == 2.0


def test_a_name_with_a_dot_may_be_an_entry_itself():
    (slot,) = find_slots([{"optimizer.lr": 0.1, "optimizer": {"other": 1}}], "optimizer.lr")
    assert slot.read() == 0.1


def test_one_position_is_found_once_however_many_ways_lead_to_it():
    shared = {"lr": 0.1}
    owner = SimpleNamespace(hparams={"optimizer": shared}, optimizer=shared)
    assert len(find_slots([owner, owner], "optimizer.lr")) == 1


def test_module_and_saved_hyperparameters_are_both_found():
    module = LightningModule()
    module.save_hyperparameters({"lr": 0.1})
    module.lr = 0.1
    paths = [slot.path for slot in find_slots([module], "lr")]
    assert paths == ["LightningModule.lr", "LightningModule.hparams.lr"]


class Made:
    @property
    def lr(self):
        return 0.1

    @property
    def broken(self):
        raise RuntimeError("not attached")


@pytest.mark.parametrize("name", ["lr", "broken", "broken.lr", "missing", "missing.lr", ""])
def test_what_is_made_of_something_else_or_not_there_is_no_position(name):
    assert find_slots([Made()], name) == []


@dataclass(frozen=True)
class Frozen:
    lr: float = 0.1


class Whole(dict):
    def __setitem__(self, key, value):
        if not isinstance(value, int):
            raise TypeError("lr must be an int")
        super().__setitem__(key, value)


def module_with(value):
    module = torch.nn.Module()
    if isinstance(value, torch.nn.Parameter):
        module.lr = value
    else:
        module.register_buffer("lr", value)
    return module


@pytest.mark.parametrize(
    "owner",
    [
        Frozen(),
        Whole(lr=1),
        module_with(torch.tensor(0.1)),
        module_with(torch.nn.Parameter(torch.tensor(0.1))),
    ],
    ids=lambda owner: type(owner).__name__,
)
def test_what_takes_no_number_says_so_and_keeps_its_value(owner):
    (slot,) = find_slots([owner], "lr")
    before = slot.read()
    assert ": " in slot.obstacle()
    assert slot.read() is before


def test_names_alike_are_found_inside_others_too():
    owner = SimpleNamespace(
        head_lr=0.1, size=3, hparams={"optimizer": {"lr": 0.2, "name": "SGD"}, "learning_rate": 1}
    )
    expected = ["head_lr", "learning_rate", "optimizer.lr"]
    assert [
        name for name in alike_names([owner], "lr", "rate") if "hparams" not in name
    ] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (0.5, True), (torch.tensor(1.0), True), (True, False), ("1", False), (None, False)],
)
def test_numbers_are_told_from_other_values(value, expected):
    assert is_number(value) is expected
