"""Run an experiment without side effects, on copies and with shared state restored afterwards.

The user's module, loaders and datasets are copied in memory, without files. Only the random
generators of the process are shared; their states are restored.
"""

from __future__ import annotations

import copy
import copyreg
import functools
import gc
import io
import operator
import pickle
import random
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from .function_copies import (
    attributes_of,
    blank_copies,
    cells_of,
    fill_function,
    function_state,
    functions_in,
    has_state,
    is_filled,
    method_copies,
    rebind_methods,
    value_copy,
)
from .held_optimizers import optimizers_in, restoring
from .internals import LOADER_ITERATOR, compiles_itself
from .random_states import GENERATORS, get_state, restored_by, set_state

__all__ = [
    "copy_data",
    "copy_module",
    "dissolve",
    "evaluation_mode",
    "is_bound_to_itself",
    "module_kept",
    "random_state_kept",
]

T = TypeVar("T")

# Arrays of at least this many bytes are taken for data and shared, so that a data set is not held
# in memory twice; counters and caches are smaller.
_SHARED_BYTES = 1 << 20
_SHARED_KINDS = (type, types.ModuleType, types.CodeType)
_PLAIN = frozenset({int, float, bool, str, type(None), list, dict, tuple, set})
_CACHED = type(functools.lru_cache(len))
_STATEFUL = (nn.Module, dict, list, set)


@contextmanager
def random_state_kept(module: nn.Module | None = None) -> Iterator[None]:
    """Restore the random states of Python, numpy and torch (CPU and GPU) on exit, even on errors.

    Args:
        module: A module; the generators that it and its layers hold are restored too.
    """
    parts = [] if module is None else list(module.modules())
    held = [one for part in parts for one in vars(part).values() if isinstance(one, GENERATORS)]
    steps: list[Callable[[], object]] = [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),
        partial(torch.set_rng_state, torch.get_rng_state()),
        *(partial(set_state, one, get_state(one)) for one in held),
    ]
    if torch.cuda.is_available():
        steps.append(partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    if torch.backends.mps.is_available():
        steps.append(partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    with restored_by(steps):
        yield


# -- modules ---------------------------------------------------------------------------------------


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and restore the mode of each layer on exit, even on errors."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def copy_module(
    module: nn.Module,
    replace: Mapping[int, object] | None = None,
    *,
    made: list[nn.Module] | None = None,
) -> Any:
    """A deep copy of a module: parameters, every buffer, hyperparameters and plain attributes.

    Args:
        module: The module to copy, which is not changed.
        replace: ``id`` of an object that must not be copied -> the object to use in the copy.
        made: A list to which every new module is appended, for :func:`dissolve`.

    Raises:
        TypeError: If an attribute cannot be copied; the message names it.
    """
    functions = blank_copies(functions_in(attributes_of(module)))
    memo = {**(replace or {}), **_results(module), **{k: own for k, (_, own) in functions.items()}}
    own = dict(memo)
    try:
        with _collector_paused():
            method_copies(attributes_of(module), own)
            copied = copy.deepcopy(module, own)
        # Filled only now, because what a function holds may be a part of the copied module.
        for original, function in functions.values():
            fill_function(function, copy.deepcopy(function_state(original), own))
        rebind_methods(module.modules(), own)
        if made is not None:
            new = (one for key, one in own.items() if key not in memo)
            made += [one for one in new if isinstance(one, nn.Module) and not _is_script(one)]
        return copied
    except Exception as error:
        name = _uncopyable(module, memo)
        if name is None:
            raise
        raise TypeError(
            f"{type(module).__name__}.{name} cannot be copied ({type(error).__name__}: {error}); "
            "keep it out of the module, or pass isolation='snapshot'"
        ) from error


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector; triggered by the many new objects, it takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def dissolve(modules: Iterable[nn.Module]) -> None:
    """Clear copies that are no longer used, so that their memory is freed at once.

    A module that refers to itself (a bound method as an attribute, a layer that refers to its
    parent) is otherwise freed only when the garbage collector runs. That is triggered by the number
    of objects, not the size of their tensors, so several copies of a model could pile up.
    """
    for module in modules:
        vars(module).clear()


def _is_script(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)  # whose attributes are not Python's


def is_bound_to_itself(module: nn.Module) -> bool:
    """Whether a function among its attributes or hooks refers to the module or its state.

    With such a function, a copy may act on the original: a hook that appends to a list in its
    closure, a compiled method.
    """
    if compiles_itself(module):  # torch.compile(module) in Lightning
        return True
    # A class with its own __setstate__ rebinds the copy's functions, as torchmetrics does.
    plain = (m for m in module.modules() if type(m).__setstate__ is nn.Module.__setstate__)
    values = (value for part in plain for value in _flat(vars(part).values()))
    return any(_reaches_state(value) for value in values)


def _reaches_state(value: object) -> bool:
    if isinstance(value, functools.partial):
        return any(_reaches_state(each) for each in (value.func, *value.args))
    if not isinstance(value, types.FunctionType):
        return False
    cells = [cell.cell_contents for cell in value.__closure__ or () if is_filled(cell)]
    if wrapped := getattr(value, "__wrapped__", None):
        cells.append(wrapped)
    return any(
        isinstance(cell, _STATEFUL)
        or isinstance(getattr(cell, "__self__", None), nn.Module)
        or _reaches_state(cell)
        for cell in cells
        if cell is not value
    )


def _flat(values: Any) -> Iterator[Any]:
    """Yield each value, followed by its items if it is a dict, list or tuple."""
    for value in values:
        yield value
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, (list, tuple)):
            yield from value


def _results(module: nn.Module) -> dict[int, Tensor]:
    """Copies of non-leaf tensors, which ``deepcopy`` refuses."""
    values = (value for part in module.modules() for value in _flat(vars(part).values()))
    return {
        id(value): value.detach().clone()
        for value in values
        if isinstance(value, Tensor) and not value.is_leaf
    }


def _uncopyable(module: nn.Module, memo: Mapping[int, object]) -> str | None:
    """Dotted name of the first attribute that cannot be copied."""
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if name == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:
                return f"{prefix}.{name}".lstrip(".")
    return None


@contextmanager
def module_kept(module: nn.Module, shared: Sequence[object] = ()) -> Iterator[None]:
    """Restore a module in place on exit, even on errors; for a module that cannot be copied.

    Parameters and buffers are copied to the CPU and back into the same tensors. Plain attributes
    are copied where possible and restored into the same objects; others (an open file, a lock) are
    left as they are. Added layers are removed, gradients and modes restored.

    Args:
        module: The module to restore.
        shared: Objects that its attributes refer to and that must not be copied.

    Raises:
        TypeError: If it has parameters without a shape yet.
    """
    tensors = [*module.parameters(), *module.buffers()]
    if any(is_lazy(tensor) for tensor in tensors):
        raise TypeError(
            f"{type(module).__name__} has lazy layers, which cannot be restored; pass a batch "
            "through it before, or pass isolation='copy'"
        )
    # The original storage is restored too, not just its values. Moving a module to another device
    # and back gives its tensors new storages, while optimizers, DDP buckets and the flattened
    # weights of recurrent layers still refer to the original ones.
    values = [
        (tensor, tensor.data, tensor.detach().to("cpu", copy=True), tensor.grad)
        for tensor in tensors
    ]
    wishes = [partial(one.requires_grad_, one.requires_grad) for one in module.parameters()]
    parts = list(module.modules())
    memo = {**{id(one): one for one in (*tensors, *parts, *shared)}, **_results(module)}
    method_copies(attributes_of(module), memo)
    optimizers = [restoring(one, memo) for one in optimizers_in(module)]
    held = [
        (content, _copied(content, memo))
        for function in functions_in(attributes_of(module))
        for content in (cell.cell_contents for cell in cells_of(function) if is_filled(cell))
    ]
    attributes = [(part, dict(vars(part)), _copies(part, memo)) for part in parts]

    def restore_attributes() -> None:
        for content, copied in held:
            _put_back(content, copied)
        for part, originals, copies in attributes:
            part.__dict__.clear()
            for name, original in originals.items():
                part.__dict__[name] = _put_back(original, copies[name])

    def restore_tensors() -> None:
        with torch.no_grad():
            for tensor, data, value, grad in values:
                tensor.data = data
                tensor.copy_(value)
                tensor.grad = grad

    with restored_by([restore_attributes, restore_tensors, *wishes, *optimizers]):
        yield


def _copies(part: nn.Module, memo: dict[int, Any]) -> dict[str, Any]:
    """A copy of each value of a module's ``__dict__``; one memo, so that aliases are preserved."""
    return {name: _copied(value, memo) for name, value in vars(part).items()}


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A copy, or the value itself if it cannot be copied."""
    try:
        return value_copy(value, memo)
    except Exception:
        return value


def _put_back(original: Any, copied: Any) -> Any:
    """Restore an object's contents from its copy: the object is kept, as others may refer to it."""
    if original is copied:
        return original
    if isinstance(original, (dict, set)):
        contents = copied.copy()
        original.clear()
        original.update(contents)
        return original
    if isinstance(original, list):
        original[:] = copied
        return original
    if isinstance(original, types.BuiltinMethodType):
        _put_back(original.__self__, copied.__self__)
        return original
    if isinstance(original, (torch.Generator, np.random.RandomState)):
        original.set_state(copied.get_state())
        return original
    if isinstance(original, np.random.Generator):
        original.bit_generator.state = copied.bit_generator.state
        return original
    if isinstance(original, random.Random):
        original.setstate(copied.getstate())
        return original
    return copied


# -- data ------------------------------------------------------------------------------------------


def copy_data(data: T, replace: Mapping[int, object] | None = None) -> tuple[T, list[str]]:
    """A copy of loaders, their datasets, samplers and generators, each in its current state.

    Classes, modules and arrays of a megabyte or more are shared, since they are data and do not
    record how far reading has got. Objects that cannot be copied, such as open files, are shared
    too. Functions are copied together with their closures (a lambda that uses a random generator),
    defaults and attributes, and share their globals. The copy starts its own worker processes.

    Args:
        data: A loader, a data module, or any collection of them.
        replace: As for :func:`copy_module`.

    Returns:
        The copy, and the types of the objects that could not be copied, except locks.

    Raises:
        TypeError: If the data come from a Python generator, which can be read only once.
    """
    shared: list[object] = []
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, shared, replace or {})
    pickler.dump(data)
    buffer.seek(0)
    result: T = _Unpickler(buffer, shared).load()
    return result, sorted(pickler.uncopied - {"lock", "RLock"})


class _Pickler(pickle.Pickler):
    """Pickles the structure, and collects the shared objects in a list."""

    def __init__(
        self, file: io.BytesIO, shared: list[object], replace: Mapping[int, object]
    ) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._shared = shared
        self._replace = dict(replace)
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._tensors: dict[int, tuple[Tensor, Tensor]] = {}
        self.uncopied: set[str] = set()

    def persistent_id(self, obj: object) -> int | None:
        if obj is self._shared:
            return -1
        # A shortcut for most objects, since this method is called for every one.
        if type(obj) in _PLAIN and id(obj) not in self._replace:
            return None
        if isinstance(obj, types.GeneratorType):
            raise TypeError(
                "the training data reads from a Python generator, which the range test would use "
                "up; make the loader of a Dataset, or of an IterableDataset that starts anew"
            )
        if id(obj) in self._replace:
            obj = self._replace[id(obj)]
        elif isinstance(obj, types.FunctionType):
            if has_state(obj):
                # Its globals are shared: pickling them would copy the function's whole module.
                self._replace[id(obj.__globals__)] = obj.__globals__
                return None
        elif type(obj) is Tensor and _is_small(obj):
            obj = self._cloned(obj)
        elif not _is_shared(obj):
            return None
        self._shared.append(obj)
        return len(self._shared) - 1

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.FunctionType):
            args = (obj.__code__, obj.__globals__, obj.__name__, None, obj.__closure__)
            return types.FunctionType, args, function_state(obj), None, None, fill_function
        if isinstance(obj, types.CellType):
            # Left empty until the function exists, as the contents may refer to that function.
            return types.CellType, ()
        if isinstance(obj, DataLoader):
            state = {**vars(obj), LOADER_ITERATOR.path: None}  # worker processes
            return _rebuild, (type(obj), state)
        if isinstance(obj, _CACHED) and _has_state(obj.__wrapped__):
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if isinstance(obj, types.BuiltinFunctionType) and isinstance(
            obj.__self__, types.ModuleType
        ):
            return NotImplemented
        reduce = copyreg.dispatch_table.get(type(obj))
        try:
            # Returned as it is: after NotImplemented the pickler would reduce it a second time.
            reduced = reduce(obj) if reduce else obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        except Exception:
            self.uncopied.add(type(obj).__name__)
            return self._itself(obj)
        # A string names a global. The object is shared, as importing that name may fail.
        return self._itself(obj) if isinstance(reduced, str) else reduced

    def _itself(self, obj: object) -> tuple[Any, ...]:
        self._shared.append(obj)
        return operator.getitem, (self._shared, len(self._shared) - 1)

    def _cloned(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor; torch's own pickling writes an in-memory file for each.

        Tensors that share a storage still do so afterwards, and each tensor is copied once.
        """
        storage = tensor.untyped_storage()
        if id(tensor) not in self._tensors:
            key = storage.data_ptr()
            if key not in self._storages:
                self._storages[key] = storage.clone()
            own = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            own.set_(self._storages[key], tensor.storage_offset(), tensor.size(), tensor.stride())
            own.requires_grad_(tensor.requires_grad)
            # Keeps the original alive: once it is freed, its `id` may be reused.
            self._tensors[id(tensor)] = tensor, own
        return self._tensors[id(tensor)][1]


class _Unpickler(pickle.Unpickler):
    """The other half of :class:`_Pickler`."""

    def __init__(self, file: io.BytesIO, shared: list[object]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, pid: int) -> object:
        return self._shared if pid < 0 else self._shared[pid]


def _has_state(function: object) -> bool:
    return isinstance(function, types.FunctionType) and has_state(function)


def _cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """The function with a new, empty cache."""
    return functools.lru_cache(**parameters)(function)


def _rebuild(kind: type[DataLoader[Any]], state: dict[str, Any]) -> DataLoader[Any]:
    loader = kind.__new__(kind)
    loader.__dict__.update(state)  # setting most of its attributes is forbidden
    return loader


def _is_shared(obj: object) -> bool:
    if isinstance(obj, _SHARED_KINDS):
        return True
    if isinstance(obj, Tensor):
        return obj.layout is torch.strided and obj.nbytes >= _SHARED_BYTES
    if isinstance(obj, np.ndarray):
        return obj.nbytes >= _SHARED_BYTES and obj.dtype != object
    return isinstance(obj, (bytes, bytearray)) and len(obj) >= _SHARED_BYTES


def _is_small(tensor: Tensor) -> bool:
    """Whether a tensor is plain, with a small storage, so that cloning the storage copies it."""
    return (
        tensor.layout is torch.strided
        and tensor.is_leaf
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
        and tensor.device.type in ("cpu", "cuda")
        and not vars(tensor)
        and 0 < tensor.untyped_storage().nbytes() < _SHARED_BYTES
    )
