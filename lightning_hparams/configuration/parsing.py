"""The parser of LightningCLI, with YAML 1.2 and short names for the classes of this package."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from typing import Any

import yaml
from jsonargparse import ArgumentError, Namespace, set_dumper, set_loader
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import lightning_hparams

from .classes import accepted_arguments, check_names
from .errors import ConfigurationError
from .messages import sentence
from .yaml_text import read_yaml, write_yaml

__all__ = [
    "ConfigurationCLI",
    "import_named",
    "parse",
    "parser",
    "plain",
    "without_deprecations",
]

_MODE = "yaml_1_2"


def _load(text: str) -> Any:
    """Read one value; text that is not YAML, such as ``a: b: c``, is a word as it stands."""
    return read_yaml(text)


set_loader(_MODE, _load, exceptions=(yaml.YAMLError, ConfigurationError))
set_dumper(_MODE, write_yaml)


class ConfigurationCLI(LightningCLI):
    """LightningCLI for any module and data by class path, which reads YAML 1.2.

    It parses, and leaves making the objects to :class:`~lightning_hparams.configuration.Built`.
    """

    def __init__(self, **options: Any) -> None:
        kwargs = {"parser_mode": _MODE, "exit_on_error": False}
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_kwargs={**kwargs, **{name: dict(kwargs) for name in self.subcommands()}},
            **options,
        )


class _Parser(ConfigurationCLI):
    """The parser alone."""

    def parse_arguments(self, parser: LightningArgumentParser, args: object) -> None:
        self.config = Namespace(seed_everything=False)  # type: ignore[no-untyped-call]

    def instantiate_classes(self) -> None:
        pass


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Leave out the warnings of jsonargparse about how Lightning calls it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"[\s`]*\w[\w.]+`* was deprecated in v4")
        yield


@lru_cache(1)
def parser() -> LightningArgumentParser:
    """Return the parser of a configuration without a command."""
    with without_deprecations():
        parser: LightningArgumentParser = _Parser(run=False, args=[]).parser
    return parser


def import_named(words: Iterable[str]) -> None:
    """Import the classes of this package that are named, so that the parser finds them."""
    for name in set(words) & set(dir(lightning_hparams)):
        getattr(lightning_hparams, name)


def _words(node: object) -> set[str]:
    if isinstance(node, Mapping):
        return set().union(*(_words(value) for value in node.values()))
    if isinstance(node, (list, tuple)):
        return set().union(*(_words(value) for value in node))
    return set(re.findall(r"\w+", node)) if isinstance(node, str) else set()


def parse(data: Mapping[str, Any], base: Namespace | None = None, *, complete: bool) -> Namespace:
    """Check a configuration.

    Args:
        data: Plain data.
        base: What it is merged into.
        complete: Whether to fill in defaults, and to require what has none.

    Raises:
        ConfigurationError: If something in it is unknown or of the wrong type.
    """
    import_named(_words(data))
    check_names(data)
    try:
        parsed: Namespace = parser().parse_object(deepcopy(dict(data)), base, None, complete)
    except ArgumentError as error:
        raise ConfigurationError(sentence(str(error), accepted_arguments)) from error
    return parsed


def plain(parsed: Namespace) -> dict[str, Any]:
    """Convert what was parsed to dicts, lists, numbers and text."""
    text = parser().dump(parsed, _MODE, False, False, True)
    return read_yaml(text) or {}
