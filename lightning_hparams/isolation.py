"""Run something without a trace: detached copies, and what is shared put back in ``finally``.

Copying is what keeps the user's module, loaders and datasets out of an experiment; only the random
generators of the process are shared, and those are put back. Neither needs a file.
"""

from __future__ import annotations

import copy
import io
import pickle
import random
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

__all__ = ["copy_data", "copy_module", "generators_kept", "module_kept", "random_state_kept"]

T = TypeVar("T")

# Arrays of this many bytes are data: a copy would hold the whole data set twice, and what counts
# or caches is smaller.
_SHARED_BYTES = 1 << 20
_SHARED_KINDS = (type, types.FunctionType, types.ModuleType)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put the random states of Python, numpy and torch (CPU and GPU) back, whatever happens."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def copy_module(module: nn.Module, replace: Mapping[int, object] | None = None) -> Any:
    """A deep copy of a module: parameters, every buffer, hyperparameters and plain attributes.

    Args:
        module: What is copied; it stays as it is.
        replace: ``id`` of an object that must not be copied -> what the copy has in its place.

    Raises:
        TypeError: If an attribute cannot be copied, with its name.
    """
    try:
        return copy.deepcopy(module, dict(replace or {}))
    except Exception as error:
        name = _uncopyable(module, replace or {})
        if name is None:
            raise
        raise TypeError(
            f"{type(module).__name__}.{name} cannot be copied ({type(error).__name__}: {error}); "
            "keep it out of the module, or pass isolation='snapshot'"
        ) from error


def _uncopyable(module: nn.Module, replace: Mapping[int, object]) -> str | None:
    """Dotted name of the first attribute that cannot be copied."""
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if name == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(replace))
            except Exception:
                return f"{prefix}.{name}".lstrip(".")
    return None


@contextmanager
def module_kept(module: nn.Module, shared: Sequence[object] = ()) -> Iterator[None]:
    """Put a module back as it was, in place, whatever happens: for one that cannot be copied.

    Parameters and buffers are copied to the CPU and back into the same tensors. Plain attributes
    are copied where that is possible; others (an open file, a lock) stay as they are left. Layers
    that were added go, gradients and modes come back.

    Args:
        module: What is kept.
        shared: Objects that its attributes refer to and that are not copied.
    """
    parts = dict(module.named_modules())
    tensors = [*module.parameters(), *module.buffers()]
    values = [(tensor, tensor.detach().to("cpu", copy=True), tensor.grad) for tensor in tensors]
    wants_grad = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    known = {id(one): one for one in (*tensors, *parts.values(), *shared)}
    attributes = {name: _attributes(part, known) for name, part in parts.items()}
    try:
        yield
    finally:
        for name, part in parts.items():
            part.__dict__.clear()
            part.__dict__.update(attributes[name])
        with torch.no_grad():
            for tensor, value, grad in values:
                if tensor.device != value.device:
                    tensor.data = value if tensor.dtype == value.dtype else value.to(tensor.dtype)
                else:
                    tensor.copy_(value)
                tensor.grad = grad
        for parameter, wanted in wants_grad:
            parameter.requires_grad_(wanted)


def _attributes(part: nn.Module, known: Mapping[int, object]) -> dict[str, Any]:
    """A module's ``__dict__``, each value copied but for its tensors, submodules and the like."""
    kept = {}
    for name, value in vars(part).items():
        try:
            kept[name] = copy.deepcopy(value, dict(known))
        except Exception:
            kept[name] = value
    return kept


def copy_data(data: T, replace: Mapping[int, object] | None = None) -> T:
    """A copy of loaders, their datasets, samplers and generators, each in its present state.

    Classes, functions and arrays of a megabyte and more are shared: they are what is read, and not
    what remembers how far it was read. Worker processes are not copied, the copy starts its own.

    Args:
        data: A loader, a data module, or any collection of them.
        replace: As for :func:`copy_module`.

    Raises:
        Exception: As ``pickle`` raises it for what cannot be copied, such as an open file.
    """
    shared: list[object] = []
    buffer = io.BytesIO()
    _Pickler(buffer, shared, replace or {}).dump(data)
    buffer.seek(0)
    result: T = _Unpickler(buffer, shared).load()
    return result


class _Pickler(pickle.Pickler):
    """Pickles the structure, and keeps a list of what is shared."""

    def __init__(
        self, file: io.BytesIO, shared: list[object], replace: Mapping[int, object]
    ) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._shared = shared
        self._replace = replace

    def persistent_id(self, obj: object) -> int | None:
        if id(obj) in self._replace:
            obj = self._replace[id(obj)]
        elif not _is_shared(obj):
            return None
        self._shared.append(obj)
        return len(self._shared) - 1

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, DataLoader):
            return NotImplemented
        state = {**vars(obj), "_iterator": None}  # worker processes
        return _rebuild, (type(obj), state)


class _Unpickler(pickle.Unpickler):
    """The other half of :class:`_Pickler`."""

    def __init__(self, file: io.BytesIO, shared: list[object]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, pid: int) -> object:
        return self._shared[pid]


def _rebuild(kind: type[DataLoader[Any]], state: dict[str, Any]) -> DataLoader[Any]:
    loader = kind.__new__(kind)
    loader.__dict__.update(state)  # setting most of its attributes is forbidden
    return loader


def _is_shared(obj: object) -> bool:
    if isinstance(obj, _SHARED_KINDS):
        return True
    if isinstance(obj, Tensor):
        return obj.nbytes >= _SHARED_BYTES
    if isinstance(obj, np.ndarray):
        return obj.nbytes >= _SHARED_BYTES and obj.dtype != object
    return isinstance(obj, (bytes, bytearray)) and len(obj) >= _SHARED_BYTES


@contextmanager
def generators_kept(data: object) -> Iterator[None]:
    """Put the random generators of loaders back that could not be copied, whatever happens."""
    states = [(generator, generator.get_state()) for generator in _generators(data)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def _generators(data: object) -> Iterator[torch.Generator]:
    if isinstance(data, (list, tuple)):
        for part in data:
            yield from _generators(part)
    elif isinstance(data, Mapping):
        yield from _generators(list(data.values()))
    else:
        owners = [data]
        for name in ("sampler", "batch_sampler", "dataset"):
            owners.append(getattr(data, name, None))
        owners.append(getattr(owners[2], "sampler", None))
        for owner in owners:
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                yield generator
