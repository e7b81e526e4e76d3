import argparse
import dataclasses
import enum
import functools
import json
import math
from collections.abc import Sequence

import numpy as np
import torch

from lightning_hparams.provenance import (
    flatten,
    plain,
    to_json,
    to_markdown,
    without_secrets,
)
from tests.provenance.test_redaction import strings


def test_secrets_are_hidden_before_values_are_flattened():
    nested = {"storage_options": {"key": "abcd"}, "remotes": [{"auth": 'ab"cd'}], "lr": 0.1}
    assert without_secrets(nested, {}) == {
        "storage_options.key": "<hidden>",
        "remotes": "[{'auth': '<hidden>'}]",
        "lr": 0.1,
    }


class Color(enum.Enum):
    RED = "red"


def test_values_are_written_the_same_in_every_process():
    values = {
        "f": strings,
        "t": torch.tensor(2),
        "a": np.zeros((20, 3)),
        "c": Color.RED,
        "s": {"b", "a"},
    }
    assert plain(values) == {
        "f": "tests.provenance.test_redaction.strings",
        "t": 2,
        "a": "ndarray(20, 3)",
        "c": "Color.RED",
        "s": ["a", "b"],
    }


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    betas: tuple = (np.float64(0.9), np.float32(0.5))


class ListConfig(Sequence):
    """Stands in for OmegaConf's ListConfig."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return [1, 2][index]


def test_all_common_types_of_hyperparameters_are_written():
    values = {
        "args": argparse.Namespace(lr=0.1, size=ListConfig()),
        "config": Settings(),
        "optimizer": functools.partial(torch.optim.SGD, lr=0.1),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "weights": torch.tensor([1.0, 2.0]),
        "mean": np.array([0.25, 0.5]),
        "sparse": torch.eye(2).to_sparse(),
        "nowhere": torch.zeros(2, device="meta"),
        "method": str.join,
        "long": np.longdouble(1),
        "bytes": b"ab",
    }
    assert flatten(values) == {
        "args.lr": 0.1,
        "args.size": "[1, 2]",
        "config.lr": 0.1,
        "config.betas": "[0.9, 0.5]",
        "optimizer.function": "torch.optim.sgd.SGD",
        "optimizer.lr": 0.1,
        "dtype": "torch.bfloat16",
        "device": "cpu",
        "weights": "[1.0, 2.0]",
        "mean": "[0.25, 0.5]",
        "sparse": "Tensor(2, 2)",
        "nowhere": "Tensor(2,)",
        "method": "builtins.str.join",
        "long": "1.0",
        "bytes": "builtins.bytes",
    }


def test_a_table_has_flat_names_without_none():
    nested = {"opt": {"lr": 0.1, "wd": None, "betas": (0.9, 0.99)}, "flag": True, "empty": {}}
    assert flatten(nested) == {"opt.lr": 0.1, "opt.betas": "[0.9, 0.99]", "flag": True}


def test_a_manifest_is_strict_json():
    def refused(constant):
        raise ValueError(constant)

    text = to_json({"loss": [math.nan], "clip": math.inf, "lr": 0.1})
    assert json.loads(text, parse_constant=refused) == {"loss": ["nan"], "clip": "inf", "lr": 0.1}
    assert "NaN" not in to_markdown({"loss": math.nan})
