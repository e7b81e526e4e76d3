"""The classes that a configuration names, and the arguments that they take."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

import lightning_hparams

from ..checks import names_like, nearest
from .errors import ConfigurationError
from .keys import CLASS_PARTS, is_class

__all__ = ["PARTS", "accepted_arguments", "check_classes", "check_names", "class_of"]

_PACKAGE = f"{lightning_hparams.__name__}."
PARTS = ("seed_everything", "trainer", "model", "data", "optimizer", "lr_scheduler")
_BASES: dict[str, type] = {
    "model": LightningModule,
    "data": LightningDataModule,
    "trainer.callbacks": Callback,
    "trainer.logger": Logger,
}


def class_of(path: str, key: str = "", base: type | None = None) -> Any:
    """Import a class by its path, or by the short name of one that is known.

    Args:
        path: Path or short name.
        key: Its key in the configuration, for the error.
        base: Class that it must be derived from, among whose subclasses short names are looked up.

    Raises:
        ConfigurationError: If there is none. An error in a module that was found is not changed.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        return _by_short_name(path, key, base)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{module_name}.".startswith(f"{missing}."):
            raise
        # A class within a class, or no such module.
        outer, _, inner = module_name.rpartition(".")
        nested = getattr(class_of(module_name, key), name, None) if outer and inner else None
        if nested is not None:
            return nested
        raise ConfigurationError(
            f"`{key}` names {path}, but there is no module {missing!r}; it must be "
            "in the current folder or an installed package"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        raise ConfigurationError(
            f"`{key}` names {path}, but {module_name} has no {name}{nearest(name, dir(module))}"
        )
    if base is not None and isinstance(found, type) and not issubclass(found, base):
        raise ConfigurationError(f"`{key}` must be a {base.__name__}, got {path}")
    return found


def _by_short_name(name: str, key: str, base: type | None) -> Any:
    if name in _ours():
        found = getattr(lightning_hparams, name)
        if base is not None and not issubclass(found, base):
            raise ConfigurationError(f"`{key}` must be a {base.__name__}, got {name}")
        return found
    subclasses: set[type] = set() if base is None else _subclasses(base)
    known = {each.__name__: each for each in subclasses}
    if name in known:
        return known[name]
    ours = {each: getattr(lightning_hparams, each) for each in _ours()}
    names = {each for each, kind in ours.items() if base is None or issubclass(kind, base)}
    names |= {each for each, kind in known.items() if not kind.__module__.startswith(_PACKAGE)}
    remedy = nearest(name, names) or f"; give the path of the class: package.module.{name}"
    raise ConfigurationError(f"`{key}` names the class {name}, which is unknown{remedy}")


def _ours() -> list[str]:
    return [name for name in dir(lightning_hparams) if name[0].isupper()]


def _subclasses(base: type) -> set[type]:
    found = {base}
    each: type
    for each in base.__subclasses__():
        found |= _subclasses(each)
    return found


@lru_cache(256)
def accepted_arguments(path: str) -> frozenset[str]:
    """Return the arguments of a class; of the Trainer by ``"trainer"``."""
    kind = Trainer if path == "trainer" else class_of(path)
    parser = ArgumentParser()
    added = parser.add_class_arguments(kind, "made", fail_untyped=False, sub_configs=True)
    return frozenset(name.partition(".")[2] for name in added)


def check_names(data: Mapping[str, Any]) -> None:
    """Check that keys, classes and arguments are known.

    Raises:
        ConfigurationError: For the first one that is not, with the nearest known ones.
    """
    for name in data:
        if name not in PARTS:
            raise ConfigurationError(
                f"the configuration has no part {name!r}{names_like(str(name), PARTS)}"
            )
    for name in PARTS[1:]:
        if name == "trainer":
            _check_trainer(data.get(name))
        elif not isinstance(data.get(name), Sequence):
            _check_class(data.get(name), name, _BASES.get(name))
        elif name in _BASES and not _is_file(data[name]):
            class_of(data[name], name, _BASES[name])


def _is_file(text: object) -> bool:
    return isinstance(text, str) and Path(text).is_file()


def _check_trainer(trainer: object) -> None:
    if trainer is None or _is_file(trainer):
        return
    if not isinstance(trainer, Mapping):
        raise ConfigurationError(f"`trainer` must be a mapping, got {trainer!r}")
    accepted = accepted_arguments("trainer")
    for name, value in trainer.items():
        _check_argument(name, "trainer", accepted)
        key = f"trainer.{name.rstrip('+')}"
        base = _BASES.get(key)
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, str) and base is not None and not _is_file(node):
                class_of(node, key, base)
            else:
                _check_class(node, key, base)


def _check_class(node: object, key: str, base: type | None = None) -> None:
    """Check the description of an object, and of those among its arguments."""
    if not isinstance(node, Mapping):
        return
    if base is not None:
        for part in node:
            if part not in CLASS_PARTS:
                raise ConfigurationError(
                    f"`{key}` has no part {part!r}{names_like(str(part), CLASS_PARTS)}"
                )
    if not is_class(node):
        return
    path, arguments = node["class_path"], node.get("init_args") or {}
    if not isinstance(path, str):
        raise ConfigurationError(f"`{key}.class_path` must be text, got {path!r}")
    if base is None and "." not in path:
        return  # a short name, among whose classes the parser knows best
    kind = class_of(path, key, base)
    if not isinstance(kind, type):
        return
    if not isinstance(arguments, Mapping):
        raise ConfigurationError(f"`{key}.init_args` must be a mapping, got {arguments!r}")
    accepted = _accepted(kind)
    for name, value in arguments.items():
        _check_argument(name, f"{key}.init_args", accepted)
        for each in value if isinstance(value, list) else [value]:
            _check_class(each, f"{key}.init_args.{name}")


def check_classes(message: str) -> None:
    """Explain an error of jsonargparse about a class that it could not import.

    Raises:
        ConfigurationError: If the error is of that kind. An error within the user's module is
            raised as it is.
    """
    key = found[1] if (found := re.match(r'Parser key "(.+?)"', message)) else ""
    forms = (
        r"Expected a dot import path string: ([\w.]+)$",
        r"Import path ([\w.]+) does not correspond",
        r"Problem with given class_path '([\w.]+)':\n\s*(?:No module|module '[\w.]+' has no)",
    )
    for form in forms:
        if found := re.search(form, message, re.MULTILINE):
            class_of(found[1], key, _BASES.get(key))


def _accepted(kind: type) -> frozenset[str]:
    ours = kind.__name__ in _ours() and getattr(lightning_hparams, kind.__name__) is kind
    return accepted_arguments(
        f"{'lightning_hparams' if ours else kind.__module__}.{kind.__qualname__}"
    )


def _check_argument(name: object, key: str, accepted: frozenset[str]) -> None:
    if str(name).rstrip("+") not in accepted:
        known = names_like(str(name), accepted)
        raise ConfigurationError(f"`{key}` has no argument {name!r}{known}")
