"""Check that a call changes neither its arguments nor the random generators of the process."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["no_trace"]


@contextmanager
def no_trace(what: str, *arguments: object) -> Iterator[None]:
    """Fail if the block draws random numbers or changes one of the arguments."""
    generators, before = _generators(), [pickle.dumps(each) for each in arguments]
    yield
    assert _generators() == generators, (
        f"{what} must not draw from the process's random generators, which training uses; "
        "use a separate one"
    )
    for argument, as_it_was in zip(arguments, before, strict=True):
        assert pickle.dumps(argument) == as_it_was, f"{what} must not change its arguments"


def _generators() -> bytes:
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state().tolist())
    return pickle.dumps(states)
