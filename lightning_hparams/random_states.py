"""Random states of the process and of generators held by objects."""

from __future__ import annotations

import functools
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .function_copies import is_filled

__all__ = [
    "GENERATORS",
    "Generator",
    "RandomStates",
    "find_generators",
    "generators_kept",
    "get_state",
    "restored_by",
    "set_state",
]

Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_DEPTH = 8  # levels of nested attributes searched
_LONG = 64  # longer lists are treated as data
_LEAVES = (str, bytes, int, float, complex, Tensor, np.ndarray, types.ModuleType)


class RandomStates(NamedTuple):
    """Random states of Python, NumPy, torch and CUDA, and of generators by path."""

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
        """Convert to plain types and tensors that ``torch.load(weights_only=True)`` can read."""
        return {name: _plain(value) for name, value in self._asdict().items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> RandomStates:
        """Reverse :meth:`as_plain`."""
        return cls(**{name: _unplain(value) for name, value in plain.items()})


def find_generators(roots: Mapping[str, object], skip: tuple[object, ...] = ()) -> dict[str, Any]:
    """Find the generators that objects hold, by dotted path.

    Searches attributes, dicts, short lists, closures, partials and bound methods, and the classes
    and globals used by the user's own code. Long lists are treated as data and skipped.

    Args:
        roots: Objects to start from, keyed by the first part of the path.
        skip: Objects to skip.
    """
    seen = {id(one) for one in skip}
    found: dict[str, Any] = {}
    queue = deque((name, root, 0) for name, root in roots.items())
    while queue:
        path, value, depth = queue.popleft()
        if id(value) in seen or isinstance(value, _LEAVES) or value is None:
            continue
        seen.add(id(value))
        if isinstance(value, GENERATORS):
            found[path] = value
        elif depth < _DEPTH:
            queue += [(f"{path}.{name}", part, depth + 1) for name, part in _parts(value)]
    return found


@contextmanager
def generators_kept(*roots: object, skip: tuple[object, ...] = ()) -> Iterator[None]:
    """Restore the generators held by objects on exit, even after an error.

    This covers generators that copies share with the original.

    Args:
        roots: Objects to search.
        skip: Objects to skip.
    """
    found = find_generators({str(index): root for index, root in enumerate(roots)}, skip)
    with restored_by([functools.partial(set_state, one, get_state(one)) for one in found.values()]):
        yield


@contextmanager
def restored_by(steps: Sequence[Callable[[], object]]) -> Iterator[None]:
    """Call functions on exit; after an error in the block, their own errors do not replace it.

    After most CUDA errors every further call to the device fails, too.

    Args:
        steps: What to call, in this order.
    """
    try:
        yield
    except BaseException:
        for step in steps:
            with suppress(Exception):
                step()
        raise
    for step in steps:
        step()


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        if len(value) <= _LONG:
            yield from ((str(key), part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        if len(value) <= _LONG:
            yield from ((str(index), part) for index, part in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    elif isinstance(value, (types.MethodType, types.BuiltinMethodType)):
        yield "self", value.__self__
        yield "func", getattr(value, "__func__", None)
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, type):
        if _is_users(value.__module__):
            yield from vars(value).items()
            yield "bases", value.__bases__
    elif isinstance(value, property):
        yield "get", value.fget
    else:
        if isinstance(value, (classmethod, staticmethod)):
            yield "func", value.__func__
        yield from getattr(value, "__dict__", {}).items()
        yield "class", type(value)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if is_filled(cell):
            yield name, cell.cell_contents
    yield "defaults", function.__defaults__
    yield "kwdefaults", function.__kwdefaults__
    yield from vars(function).items()
    if _is_users(function.__module__):
        names = sorted(_names_in(function.__code__) & function.__globals__.keys())
        yield from ((name, function.__globals__[name]) for name in names)


def _names_in(code: types.CodeType) -> set[str]:
    """Names of globals and attributes in a code object and its nested functions."""
    inner = (_names_in(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*inner)


@functools.cache
def _is_users(module: str | None) -> bool:
    """Whether a module is the user's own code: neither installed nor part of this package."""
    root = (module or "").partition(".")[0]
    if root in sys.stdlib_module_names or root == __name__.partition(".")[0]:
        return False
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return not {"site-packages", "dist-packages"}.intersection(Path(file).parts)


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
