"""Dotted keys into a configuration, with callbacks and loggers by the names of their classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..checks import nearest
from .errors import ConfigurationError

__all__ = ["CLASS_PARTS", "check_key", "class_name", "find", "is_class", "remove", "store"]

_LISTS = ("callbacks", "logger")  # of the Trainer
CLASS_PARTS = ("class_path", "init_args", "dict_kwargs")


def is_class(node: object) -> bool:
    """Whether a part of a configuration describes an object by the path of its class."""
    return isinstance(node, Mapping) and "class_path" in node


def class_name(node: object) -> str:
    """Return the name of a class from its description, or from its path alone.

    >>> class_name({"class_path": "lightning_hparams.OneCycle"}), class_name("OneCycle")
    ('OneCycle', 'OneCycle')
    """
    path = node.get("class_path", "") if isinstance(node, Mapping) else node
    return str(path).rpartition(".")[2]


def _named(nodes: list[Any], name: str, key: str) -> int:
    """Return the index of the item of a class, or of the item with that index.

    Raises:
        ConfigurationError: If there is none, or more than one.
    """
    if name.isdecimal() and int(name) < len(nodes):
        return int(name)
    names = [class_name(node) for node in nodes]
    found = [index for index, each in enumerate(names) if each == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigurationError(
            f"`{key}` must name one object, but {len(found)} are of that class; use the index of "
            f"one instead of {name}: {' or '.join(map(str, found))}"
        )
    raise ConfigurationError(
        f"`{key}` names {name}, but the configuration has {names}{nearest(name, names)}"
    )


def _steps(data: Mapping[str, Any], key: str) -> list[str | int]:
    """The keys and indices to follow from the top, with ``init_args`` where it was left out."""
    steps: list[str | int] = []
    node: Any = data
    for part in key.split("."):
        if isinstance(node, list):
            follow: list[str | int] = [_named(node, part, key)]
        elif is_class(node) and part not in CLASS_PARTS:
            follow = ["init_args", part]
        else:
            follow = [part]
        for step in follow:
            node = _child(node, step)
        steps += follow
    return steps


def _child(node: Any, step: str | int) -> Any:
    if isinstance(node, list):
        return node[step] if isinstance(step, int) else None
    return node.get(step) if isinstance(node, Mapping) else None


def find(data: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key.

    Raises:
        KeyError: If there is none.
        ConfigurationError: If the key names an object that is not there.

    >>> model = {"class_path": "a.Task", "init_args": {"lr": 0.1}}
    >>> callbacks = [{"class_path": "a.OneCycle", "init_args": {"pct_start": 0.2}}]
    >>> data = {"model": model, "trainer": {"callbacks": callbacks}}
    >>> find(data, "model.lr"), find(data, "trainer.callbacks.OneCycle.init_args.pct_start")
    (0.1, 0.2)
    """
    node: Any = data
    for step in _steps(data, key):
        if not isinstance(node, list) and (not isinstance(node, Mapping) or step not in node):
            raise KeyError(key)
        node = _child(node, step)
    return node


def store(data: dict[str, Any], key: str, value: object) -> None:
    """Set the value of a key in place, and make the mappings above it that are missing."""
    *steps, last = _steps(data, key)
    node: Any = data
    for step in steps:
        if isinstance(node, dict) and not isinstance(node.get(str(step)), (dict, list)):
            node[str(step)] = {}
        node = node[step]
    node[last] = value


def remove(data: dict[str, Any], key: str) -> None:
    """Remove a key in place, or an object from its list; one that is not there is left out."""
    *steps, last = _steps(data, key)
    node: Any = data
    for step in steps:
        node = _child(node, step)
    if isinstance(node, list) and isinstance(last, int):
        del node[last]
    elif isinstance(node, dict):
        node.pop(last, None)


def check_key(data: Mapping[str, Any], key: str) -> None:
    """Check that a key can be set in a configuration that holds all arguments.

    Raises:
        ConfigurationError: If it cannot, with the nearest keys that can.
    """
    node: Any = data
    closed = True  # whether the keys at this level are arguments of a class
    for step in _steps(data, key):
        if closed and not (isinstance(node, list) or (isinstance(node, Mapping) and step in node)):
            whole = ".".join(map(str, _steps(data, key)))
            raise ConfigurationError(
                f"`{key}` is not a key of the configuration{nearest(whole, _keys(data))}"
            )
        node = _child(node, step)
        closed = is_class(node) or step in ("init_args", "trainer", *_LISTS)


def _keys(node: Any, above: str = "") -> Iterator[str]:
    """Yield the key of each value, with objects in a list by the name of their class."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            key = f"{above}.{name}" if above else str(name)
            if name not in CLASS_PARTS or name == "class_path":
                yield key
            yield from _keys(value, key)
    elif isinstance(node, list):
        for value in filter(is_class, node):
            yield f"{above}.{class_name(value)}"
            yield from _keys(value, f"{above}.{class_name(value)}")
