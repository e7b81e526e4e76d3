"""A space samples what it says, and refuses what cannot be meant."""

import random

import optuna
import pytest
from hypothesis import given, settings, strategies as st

from lightning_hparams.search import Choice, Float, Int, Space

OPTIMIZER = "model.init_args.optimizer"
MOMENTUM = "model.init_args.optimizer_args.momentum"
LR = "model.init_args.lr"


def conditional():
    return Space(
        {
            MOMENTUM: Float(0.5, 0.9, step=0.2, when={OPTIMIZER: "SGD"}),
            OPTIMIZER: Choice(["SGD", "AdamW"]),
        }
    )


def sampled(space, count=50):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(count)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Float(1, 1), "low < high"),
        (lambda: Float(2, 1), "exchange"),
        (lambda: Float(0, 1, log=True), "low > 0"),
        (lambda: Float(0.1, 1, log=True, step=0.1), "log=True"),
        (lambda: Float(0, 1, step=0.3), "high=0.9"),
        (lambda: Float(0, 1, step=0), "step > 0"),
        (lambda: Float(0, 1, step=2), "larger than the range"),
        (lambda: Float(0, float("inf")), "finite"),
        (lambda: Float("0", 1), "a number"),
        (lambda: Float(0, 1, prior=2), "prior"),
        (lambda: Float(0, 1, log="yes"), "True or False"),
        (lambda: Int(0, 1.5), "whole number"),
        (lambda: Int(1, 8, step=2), "high=7"),
        (lambda: Int(0, 8, log=True), "low > 0"),
        (lambda: Int(1, 8, log=True, step=2), "step"),
        (lambda: Int(1, 8, prior=2.5), "whole number"),
        (lambda: Choice([]), "at least one"),
        (lambda: Choice([1, 1.0]), "twice"),
        (lambda: Choice([1, True]), "twice"),
        (lambda: Choice([[1], [1]]), "twice"),
        (lambda: Choice("SGD"), "a list"),
        (lambda: Choice([float("nan")]), "finite"),
        (lambda: Choice([object()]), "lists and dicts"),
        (lambda: Choice(["SGD"], prior="Adam"), "prior"),
        (lambda: Choice(["SGD"], when={}), "when"),
    ],
)
def test_a_parameter_that_cannot_be_sampled_is_refused(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "at least one"),
        ({"": [1]}, "dotted path"),
        ({"a..b": [1]}, "dotted path"),
        ({"a.b": 3}, "a list of values or a mapping"),
        ({"a.b": {"low": 1, "high": 2}}, "must have a `type`"),
        ({"a.b": {"type": "flaot", "low": 1, "high": 2}}, "did you mean 'float'"),
        ({"a.b": {"type": "float", "low": 1}}, "must have `high`"),
        ({"a.b": {"type": "float", "low": 1, "hihg": 2}}, "did you mean 'high'"),
        ({"a.b": {"values": [1], "every": 2}}, "unknown entry 'every'; there are .* 'values'"),
        ({"a.b": {"type": "float", "low": 2, "high": 1}}, "a.b"),
        ({"a": [1], "a.b": [1]}, "a part of it"),
        ({"a.init_args.b": [1], "a.b": [1]}, "the same"),
        ({"a.init_args.b": [1], "a.b.c": [1]}, "a part of it"),
        ({"a.b": {"values": [1], "when": {"a.d": 1}}, "a.c": [1]}, "not in the space"),
        ({"a.b": {"values": [1], "when": {"a.c": 2}}, "a.c": [1]}, "has the values"),
        (
            {
                "a.b": {"values": [1], "when": {"a.c": 1.5}},
                "a.c": {"type": "float", "low": 1, "high": 2},
            },
            "hardly ever is",
        ),
        (
            {
                "a.b": {"values": [1], "when": {"a.c": 1}},
                "a.c": {"values": [1], "when": {"a.b": 1}},
            },
            "circle",
        ),
    ],
)
def test_a_space_that_cannot_be_meant_is_refused(params, words):
    with pytest.raises((ValueError, TypeError), match=words):
        Space.from_mapping(params)


@st.composite
def params(draw):
    kind = draw(st.sampled_from(["float", "int", "choice"]))
    if kind == "choice":
        values = draw(
            st.lists(
                st.sampled_from([None, True, "a", 2, 0.5, [1, 2], {"b": 1}]),
                min_size=1,
                unique_by=repr,
            )
        )
        return Choice(values, prior=values[0])
    low = draw(st.integers(1, 50))
    width = draw(st.integers(1, 50))
    log = draw(st.booleans())
    if kind == "int":
        return Int(low, low + width, log=log, prior=low)
    return Float(low / 7, (low + width) / 7, log=log, prior=low / 7)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a.b", "a.c", "d.e"]), params(), min_size=1))
def test_a_space_is_what_its_plain_data_say(found):
    space = Space(found)
    again = Space.from_mapping(space.to_mapping())
    assert again == space
    assert not space.difference(again)


@settings(deadline=None)
@given(params(), st.integers(0, 1000))
def test_values_near_a_prior_can_be_sampled(param, seed):
    assert param.fault(param.around(random.Random(seed))) is None


def test_values_near_a_prior_are_nearer_than_even_ones():
    param = Float(1e-5, 1.0, log=True, prior=1e-3)
    uniform = random.Random(0)
    near = [param.around(uniform) for _ in range(300)]
    within = sum(1e-4 < value < 1e-2 for value in near) / len(near)
    assert within > 0.75  # 0.82 for the normal distribution, 0.4 for an even one


def test_values_keep_their_types():
    values = [None, True, 2, 0.5, "a", [1, 2], {"b": 1}]
    found = [point["a.b"] for point in sampled(Space({"a.b": Choice(values)}), 200)]
    assert {repr(value) for value in found} == {repr(value) for value in values}


def test_a_parameter_is_sampled_only_when_its_condition_holds():
    points = sampled(conditional())
    assert {point[OPTIMIZER] for point in points} == {"SGD", "AdamW"}
    for point in points:
        assert (MOMENTUM in point) == (point[OPTIMIZER] == "SGD")
        assert list(point)[-1] == OPTIMIZER  # in the order of the space


def test_a_condition_may_name_several_values_and_depend_on_another():
    space = Space(
        {
            "a.a": Choice([1, 2, 3]),
            "a.b": Choice([1, 2], when={"a.a": [1, 2]}),
            "a.c": Choice([1, 2], when={"a.b": 1}),
        }
    )
    assert [tuple(point.values()) for point in space.grid()] == [
        (1, 1, 1), (1, 1, 2), (1, 2), (2, 1, 1), (2, 1, 2), (2, 2), (3,),
    ]  # fmt: skip


def test_a_grid_has_every_point_once():
    space = Space(
        {"a.b": Float(0, 0.3, step=0.1), "a.c": Int(1, 5, step=2), "a.d": Choice(["x", "y"])}
    )
    points = [tuple(point.values()) for point in space.grid()]
    assert len(points) == len(set(points)) == 4 * 3 * 2
    assert (0.3, 5, "y") in points  # not 0.30000000000000004


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"a.b": Float(0, 1)}, "'a.b' cannot be in a grid: a Float without `step`"),
        ({"a.b": Float(0.1, 1, log=True)}, "`step`"),
        ({"a.b": Int(0, 99), "a.c": Int(0, 99), "a.d": Int(0, 99)}, "1000000"),
        ({"a.b": Int(0, 10**12)}, "widen its step"),
    ],
)
def test_a_grid_without_end_is_refused(params, words):
    with pytest.raises(ValueError, match=words):
        Space(params).grid()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model.init_args.optimzer": "SGD"}, "did you mean 'model.init_args.optimizer'"),
        ({OPTIMIZER: "Adam"}, "has the values"),
        ({OPTIMIZER: "SGD", MOMENTUM: 2.0}, "the range is from"),
        ({OPTIMIZER: "SGD", MOMENTUM: 0.6}, "steps of"),
        ({OPTIMIZER: "SGD", MOMENTUM: "high"}, "must be a number"),
        ({OPTIMIZER: "AdamW", MOMENTUM: 0.7}, "only when"),
        ({MOMENTUM: 0.7}, "only when"),
    ],
)
def test_a_point_outside_the_space_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        conditional().check_point(values, name="presets[0]")


def test_priors_that_exclude_each_other_are_left_out():
    space = Space(
        {
            OPTIMIZER: Choice(["SGD", "AdamW"], prior="AdamW"),
            MOMENTUM: Float(0.5, 0.9, prior=0.9, when={OPTIMIZER: "SGD"}),
        }
    )
    assert space.priors() == {OPTIMIZER: "AdamW"}


def test_a_changed_space_is_shown_as_a_difference():
    old = Space({"a.b": Int(1, 2), "a.c": Choice([1])})
    new = Space({"a.b": Int(1, 3), "a.d": Choice([1])})
    assert old.difference(new).splitlines() == [
        "- a.b: {type: int, low: 1, high: 2}",
        "+ a.b: {type: int, low: 1, high: 3}",
        "- a.c: {type: choice, values: [1]}",
        "+ a.d: {type: choice, values: [1]}",
    ]
