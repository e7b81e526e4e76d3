"""Random states of a process, and of the generators that its objects hold."""

from __future__ import annotations

import functools
import random
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["GENERATORS", "Generator", "RandomStates", "find_generators", "get_state", "set_state"]

Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_DEPTH = 8  # levels of nested attributes searched
_LONG = 64  # longer lists are taken for data
_LEAVES = (str, bytes, int, float, complex, type, Tensor, np.ndarray, types.ModuleType)


class RandomStates(NamedTuple):
    """The states of Python, NumPy, torch and CUDA, and of generators by path."""

    python: Any
    numpy: Any
    torch: Tensor
    cuda: Tensor | None
    generators: dict[str, Any]

    @classmethod
    def now(cls, generators: Mapping[str, Generator]) -> RandomStates:
        """Capture the current states."""
        return cls(
            random.getstate(),
            np.random.get_state(),
            torch.get_rng_state(),
            torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
            {path: get_state(generator) for path, generator in generators.items()},
        )

    def restore(self, generators: Mapping[str, Generator]) -> None:
        """Restore these states; generators at other paths are left alone."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda)
        for path, state in self.generators.items():
            if path in generators:
                set_state(generators[path], state)

    def as_plain(self) -> dict[str, Any]:
        """Convert to plain types and tensors, which ``torch.load(weights_only=True)`` reads."""
        return {name: _plain(value) for name, value in self._asdict().items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> RandomStates:
        """Reverse :meth:`as_plain`."""
        return cls(**{name: _unplain(value) for name, value in plain.items()})


def find_generators(
    roots: Mapping[str, object], skip: tuple[object, ...] = ()
) -> dict[str, Generator]:
    """Find the generators that objects hold, by dotted path.

    Searches attributes, dicts, short lists, closures, partials and bound methods; long lists are
    taken for data and skipped.

    Args:
        roots: Where to start, by the first part of the path.
        skip: Objects not to look into.
    """
    seen = {id(one) for one in skip}
    found: dict[str, Generator] = {}
    queue = [(name, root, 0) for name, root in roots.items()]
    while queue:
        path, value, depth = queue.pop(0)
        if id(value) in seen or isinstance(value, _LEAVES) or value is None:
            continue
        seen.add(id(value))
        if isinstance(value, GENERATORS):
            found[path] = value
        elif depth < _DEPTH:
            queue += [(f"{path}.{name}", part, depth + 1) for name, part in _parts(value)]
    return found


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        if len(value) <= _LONG:
            yield from ((str(key), part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        if len(value) <= _LONG:
            yield from ((str(index), part) for index, part in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    elif isinstance(value, types.MethodType):
        yield "self", value.__self__
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # a variable that has no value yet
                continue
        yield "defaults", value.__defaults__
    else:
        yield from getattr(value, "__dict__", {}).items()


def get_state(generator: Generator) -> object:
    """Return the state of a generator."""
    if isinstance(generator, (torch.Generator, np.random.RandomState)):
        return generator.get_state()
    return (
        generator.getstate()
        if isinstance(generator, random.Random)
        else (generator.bit_generator.state)
    )


def set_state(generator: Generator, state: Any) -> None:
    """Restore the state of a generator."""
    if isinstance(generator, (torch.Generator, np.random.RandomState)):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.bit_generator.state = state


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return value.clone() if isinstance(value, Tensor) else value


def _unplain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, Mapping):
        if value.keys() == {"array", "dtype"}:
            return np.array(value["array"], dtype=value["dtype"])
        return {key: _unplain(part) for key, part in value.items()}
    return tuple(_unplain(part) for part in value) if isinstance(value, tuple) else value
