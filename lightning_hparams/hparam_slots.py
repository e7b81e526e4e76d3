"""Where a hyperparameter lives: an attribute, a saved hyperparameter, an entry of a nested one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from torch import Tensor

__all__ = ["Slot", "alike_names", "find_slots", "is_number"]

_DEPTH = 4  # levels of nested settings that are searched for similar names


@dataclass(frozen=True)
class Slot:
    """One position that holds a value: an attribute of an object, or an entry of a mapping."""

    holder: Any = field(repr=False)
    key: str
    path: str  # for messages: "Net.hparams.optimizer.lr"

    def read(self) -> Any:
        """The value."""
        return self.holder[self.key] if _is_mapping(self.holder) else getattr(self.holder, self.key)

    def write(self, value: object) -> None:
        """Replace the value."""
        if _is_mapping(self.holder):
            self.holder[self.key] = value
        else:
            setattr(self.holder, self.key, value)

    def obstacle(self) -> str | None:
        """Why another number cannot be written, or None if it can.

        Found by writing a float of the same value, since no other check covers buffers, parameters,
        frozen dataclasses, and typed or read-only configurations. The value is restored.
        """
        value = self.read()
        if not is_number(value):
            return None
        try:
            self.write(float(value))
        except Exception as error:
            first, *_ = str(error).strip().splitlines() or [""]
            return f"{type(error).__name__}: {first}"
        self.write(value)
        return None


def find_slots(owners: Iterable[object], name: str) -> list[Slot]:
    """All positions of a hyperparameter in some objects and in their ``hparams``.

    Args:
        owners: Modules, data modules, or mappings.
        name: Name of an attribute or of an entry of ``hparams``; dotted if it is nested in a
            mapping, a namespace or any other object: ``"optimizer.lr"``.

    Returns:
        Each position once, even if it can be reached in several ways. Properties without a setter
        are left out, as they are computed from something else.

    >>> from types import SimpleNamespace
    >>> owner = SimpleNamespace(lr=0.1, hparams={"lr": 0.1, "optimizer": {"lr": 0.2}})
    >>> [slot.path for slot in find_slots([owner], "lr")]
    ['SimpleNamespace.lr', 'SimpleNamespace.hparams.lr']
    >>> find_slots([owner], "optimizer.lr")[0].read()
    0.2
    """
    found: dict[tuple[int, str], Slot] = {}
    for owner in owners:
        for root, path in _roots(owner):
            slot = _slot(root, name, path)
            if slot is not None:
                found.setdefault((id(slot.holder), slot.key), slot)
    return list(found.values())


def alike_names(owners: Iterable[object], *words: str) -> list[str]:
    """Dotted names of numbers whose name contains one of the words, for a message.

    >>> alike_names([{"head_lr": 0.1, "optimizer": {"lr": 0.2}, "size": 3}], "lr")
    ['head_lr', 'optimizer.lr']
    """
    names = {
        name
        for owner in owners
        for root, _ in _roots(owner)
        for name in _names(root, _DEPTH)
        if any(word in name.rpartition(".")[2].lower().split("_") for word in words)
    }
    return sorted(names)


def is_number(value: object) -> bool:
    """Whether a value is a number or a scalar tensor."""
    if isinstance(value, Tensor):
        return value.ndim == 0
    return isinstance(value, Real) and not isinstance(value, bool)


def _roots(owner: object) -> Iterator[tuple[object, str]]:
    name = type(owner).__name__
    yield owner, name
    hparams = getattr(owner, "hparams", None)
    if hparams is not None:
        yield hparams, f"{name}.hparams"


def _slot(root: object, name: str, path: str) -> Slot | None:
    if _holds(root, name):
        return Slot(root, name, f"{path}.{name}")
    for end in (index for index, letter in enumerate(name) if letter == "."):
        first, rest = name[:end], name[end + 1 :]
        if _has(root, first):
            inner = Slot(root, first, f"{path}.{first}")
            found = _slot(inner.read(), rest, inner.path)
            if found is not None:
                return found
    return None


def _holds(holder: object, name: str) -> bool:
    made = getattr(type(holder), name, None)
    return _has(holder, name) and not (isinstance(made, property) and made.fset is None)


def _has(holder: object, name: str) -> bool:
    try:
        if _is_mapping(holder):
            return name in holder  # type: ignore[operator]
        return hasattr(holder, name)
    except Exception:  # a property may raise other errors, such as Lightning's `trainer`
        return False


def _is_mapping(holder: object) -> bool:
    return isinstance(holder, Mapping)


def _names(root: object, depth: int) -> Iterator[str]:
    entries = root if isinstance(root, Mapping) else getattr(root, "__dict__", {})
    for name, value in list(entries.items()):
        if not isinstance(name, str) or name.startswith("_"):
            continue
        if is_number(value):
            yield name
        elif depth and (isinstance(value, Mapping) or _is_plain(value)):
            yield from (f"{name}.{inner}" for inner in _names(value, depth - 1))


def _is_plain(value: object) -> bool:
    """Whether it is a bag of settings, such as a namespace or a dataclass."""
    return type(value).__name__.endswith("Namespace") or hasattr(value, "__dataclass_fields__")
