"""Whatever arguments public classes and the command line are given, errors are deliberate ones.

An error is deliberate if the package raises it by a ``raise`` statement of its own, with a message;
an error from within other packages or from an operation on a bad value is not.
"""

import inspect
import linecache
import math
import typing
import warnings
from pathlib import Path
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

import lightning_hparams
from lightning_hparams.cli import main

PACKAGE = str(Path(lightning_hparams.__file__).parent)
CLASSES = sorted(
    name
    for name in lightning_hparams.__all__
    if inspect.isclass(getattr(lightning_hparams, name))
    and not name.endswith(("Result", "Results"))
)
EXPECTED = (ValueError, TypeError, OSError, ModuleNotFoundError, NotImplementedError, RuntimeError)
VALUES = [
    None, True, False, 0, 1, 2, 3, 7, -1, 0.5, -0.5, 1.5, 1e-3, math.nan, math.inf, -math.inf,
    "", "x", "auto", "ce", "dice", "sgd", "SGD", "AdamW", "every", "max", "missing/folder", b"x",
    [], [0], [1, 2], [0.5, 0.5, 0.5], ["a", "b"], [[0, 0, 0], [255, 0, 0]], (0.0, 1.0), {1, 2},
    {}, {"a": 1}, {"ce": 1.0}, {"lr": [1]}, {0: 1}, object(), len, print,
    np.float32(0.5), np.int64(3), np.array([1, 2]), torch.ones(2, 2), 3 + 4j,
]  # fmt: skip
UNSAFE = {"download": [True], "weights": ["imagenet"], "tracking_uri": ["x"]}


def choices_in(annotation):
    """The members of each Literal in an annotation."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in choices_in(part)]


def parameters(cls):
    try:
        hints = typing.get_type_hints(cls.__init__)
    except Exception:  # a name that is imported for type checkers only
        hints = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        values = [*VALUES, *choices_in(hints.get(name))]
        safe = [value for value in values if not any(value is bad for bad in UNSAFE.get(name, ()))]
        yield name, parameter.default is parameter.empty, safe


def configurations(cls):
    """Dicts of some arguments; required ones are nearly always among them."""
    drawn = {}
    for name, required, values in parameters(cls):
        drawn[name] = (required, st.sampled_from(values))
    needed = {name: values for name, (required, values) in drawn.items() if required}
    optional = {name: values for name, (required, values) in drawn.items() if not required}
    few = st.lists(st.sampled_from(sorted(optional)), max_size=3, unique=True) if optional else None

    def with_some(names):
        return st.fixed_dictionaries({**needed, **{name: optional[name] for name in names}})

    return st.fixed_dictionaries(needed) if few is None else few.flatmap(with_some)


def fault_of(error):
    """Why an error is not a deliberate one; None if it is."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    file, line = frames[-1]
    inside = [frame for frame in frames if frame[0].startswith(PACKAGE)]
    if not inside:
        return None if isinstance(error, TypeError) else "raised by Python before our code"
    if not isinstance(error, EXPECTED):
        return f"{type(error).__name__} at {inside[-1]}"
    source = linecache.getline(file, line).strip()
    if not file.startswith(PACKAGE) or not source.startswith("raise"):
        return f"not raised by the package: {inside[-1]} {source!r}"
    return None if str(error).strip() else "an error without a message"


def check(name, arguments):
    cls = getattr(lightning_hparams, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            cls(**arguments)
        except Exception as error:
            if fault := fault_of(error):
                pytest.fail(f"{name}({arguments}): {fault}: {error}")


def fuzz(examples):
    options = {
        "max_examples": examples,
        "deadline": None,
        "derandomize": True,
        "suppress_health_check": list(HealthCheck),
    }

    def test(name):
        @settings(**options)
        @given(configurations(getattr(lightning_hparams, name)))
        def run(arguments):
            check(name, arguments)

        run()

    return test


@pytest.mark.parametrize("name", CLASSES)
def test_a_few_odd_arguments_give_deliberate_errors(name):
    fuzz(15)(name)


WORDS = [
    "--model", "SegmentationTask", "--model=ClassificationTask", "--model.lr", "--model.lr=x",
    "--model.num_classes=-1", "--model.loss=dise", "--data", "SyntheticShapesData", "--data.size=0",
    "--data=BrainTissue", "--data.batch_size=none", "--trainer.max_epochs=x", "--trainer.callbacks",
    "--trainer.callbacks+=OneCycle", "--trainer.callbacks+=Missing", "--trainer.devices=-7",
    "--config", "missing.yaml", "--config=.", "--nothing", "--seed_everything=x", "-1", "",
    "--optimizer=SGD", "--ckpt_path=missing.ckpt", "{", "null", "--model={}", "--data=[1]",
]  # fmt: skip
COMMANDS = ["fit", "validate", "test", "predict", "lr-range-test", "compare", "fits", "--fit"]
LINES = st.tuples(st.sampled_from(COMMANDS), st.lists(st.sampled_from(WORDS), max_size=5))


def check_line(capsys, command, words):
    # A step is never taken: what can be built is refused for want of a checkpoint.
    stop = ["--ckpt_path=missing.ckpt"] if command in ("fit", "validate", "test", "predict") else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main([command, *words, *stop])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err, (command, words, printed.err[-2000:])
    assert code != 0, (command, words, printed.err)


@pytest.mark.parametrize(
    "examples", [10, pytest.param(200, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_odd_command_lines_end_in_a_sentence(capsys, examples):
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(LINES)
    def run(line):
        check_line(capsys, *line)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_many_odd_arguments_give_deliberate_errors(name):
    fuzz(1000 // len(CLASSES) + 1)(name)
