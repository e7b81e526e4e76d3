"""A configuration of LightningCLI as a value."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any

from jsonargparse import Namespace
from lightning import Callback
from lightning.pytorch.loggers import Logger

from ..provenance import redact
from .building import Built, Stage, build, takes_from_data
from .errors import ConfigurationError
from .keys import check_key, class_name, find, remove, store
from .links import LINKED
from .parsing import (
    check_file,
    parse,
    parsed_args,
    parser,
    plain,
    without_command,
    without_deprecations,
    without_files,
)
from .yaml_text import write_yaml

__all__ = ["Configuration"]


class Configuration:
    """Module, data, Trainer and seed as LightningCLI describes them, checked by its parser.

    It does not change; methods return another one. Keys are dotted paths, in which callbacks and
    loggers are named by their class, and ``init_args`` may be left out:
    ``trainer.callbacks.OneCycle.init_args.pct_start``, ``model.lr``.

    Args:
        given: What is set, as plain data.

    Raises:
        ConfigurationError: If a key, a class or an argument is unknown, or of the wrong type.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = plain(parse(without_command(given), complete=False))
        self._complete = parse(self._given, complete=True)
        self._all = plain(self._complete)

    @classmethod
    def load(
        cls,
        *sources: str | Path | Mapping[str, Any],
        overrides: Mapping[str, object] | None = None,
    ) -> Configuration:
        """Read files or mappings, each merged into those before it.

        Args:
            sources: YAML or JSON files, or mappings.
            overrides: Values by key, set last.
        """
        merged: Namespace | None = None
        for source in sources:
            from_file = not isinstance(source, Mapping)
            flat = without_command(source) if isinstance(source, Mapping) else check_file(source)
            try:
                merged = parse(flat, merged, complete=False)
            except ConfigurationError as error:
                if from_file:
                    raise ConfigurationError(f"{source}: {error}") from error
                raise
        if merged is None:
            raise ConfigurationError("a configuration is needed, got no file")
        configuration = cls(plain(merged))
        return configuration.with_values(overrides) if overrides else configuration

    @classmethod
    def from_args(cls, args: Sequence[str]) -> Configuration:
        """Read a command line as of ``fit``: ``["--config", "fit.yaml", "--model.lr=0.1"]``.

        Args:
            args: Arguments that describe module, data, Trainer and seed.
        """
        files, others = without_files(args)
        base = parse(cls.load(*files).given, complete=False) if files else None
        with without_deprecations():
            return cls(plain(parsed_args(parser(), others, base, defaults=False)))

    @property
    def data(self) -> dict[str, Any]:
        """All values as plain data, without those that the task takes from its data."""
        return _without_links(copy.deepcopy(self._all), self._given)

    @property
    def given(self) -> dict[str, Any]:
        """The values that were set, as plain data."""
        return copy.deepcopy(self._given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Configuration) and self.data == other.data

    def __hash__(self) -> int:
        return hash(write_yaml(self.data))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._given!r})"

    def value(self, key: str) -> Any:
        """Return the value of a key, also one that was left to its default.

        Raises:
            ConfigurationError: If there is none.
        """
        self.check_key(key)
        try:
            return find(self.data, key)
        except KeyError:
            return None

    def check_key(self, key: str) -> None:
        """Check that a key can be set.

        Raises:
            ConfigurationError: If not, with the nearest ones.
        """
        check_key(self._all, key)

    def check_value(self, key: str, value: object) -> None:
        """Check that a key can be set to a value.

        Raises:
            ConfigurationError: If not.
        """
        self.with_values({key: value})

    def with_values(self, values: Mapping[str, object]) -> Configuration:
        """Return a configuration with other values.

        Args:
            values: Values by key. None removes what was set: an argument has its default
                again, and a callback is gone.

        Raises:
            ConfigurationError: If a key is unknown, or a value of the wrong type.
        """
        changed = self.given
        for key, value in values.items():
            self.check_key(key)
            if value is None:
                remove(changed, key)
                continue
            if key.endswith(".class_path") and value != find(self._all, key):
                remove(changed, f"{key.rpartition('.')[0]}.init_args")
            store(changed, key, copy.deepcopy(value))
        return type(self)(changed)

    def has_callback(self, name: str) -> bool:
        """Whether there is a callback of a class."""
        return any(class_name(node) == name for node in self._all["trainer"]["callbacks"] or [])

    def without_callback(self, name: str) -> Configuration:
        """Return a configuration without the callback of a class."""
        return self.with_values({f"trainer.callbacks.{name}": None})

    def build(
        self,
        *,
        root: Path | None = None,
        callbacks: Sequence[Callback] = (),
        logger: Logger | Sequence[Logger] | bool | EllipsisType | None = ...,
        trainer: Mapping[str, object] | None = None,
        stage: Stage = "fit",
    ) -> Built:
        """Seed everything, and make data, module and Trainer.

        Args:
            root: Folder for the files of the run, instead of ``trainer.default_root_dir``.
            callbacks: Added to those of the configuration.
            logger: Instead of that of the configuration.
            trainer: Further arguments of the Trainer, instead of those of the configuration.
            stage: What is to be done. For ``"predict"``, data need not know their classes.

        Raises:
            ConfigurationError: If the module was given something that its data contradict.
        """
        options: dict[str, Any] = dict(trainer or {})
        if root is not None:
            options["default_root_dir"] = str(root)
        if logger is not ...:
            options["logger"] = logger
        return build(self._complete, self._given, options=options, callbacks=callbacks, stage=stage)

    def save(self, path: str | Path) -> None:
        """Write all values as YAML, without secrets; ``fit --config`` repeats the run with it."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    def to_yaml(self) -> str:
        """Return all values as YAML, without secrets."""
        return write_yaml(redact(self.data, os.environ))


def _without_links(data: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the arguments that the task will take from its data."""
    if data.get("data") is not None and takes_from_data(data["model"]):
        set_by_user = given["model"].get("init_args", {})
        arguments = data["model"]["init_args"]
        for name in LINKED:
            if name not in set_by_user:
                arguments.pop(name, None)
    return data
