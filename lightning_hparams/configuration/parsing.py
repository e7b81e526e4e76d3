"""The parser of LightningCLI, with YAML 1.2 and short names for the classes of this package."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, Namespace, set_dumper, set_loader
from lightning import LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import lightning_hparams

from .classes import accepted_arguments, check_classes, check_names
from .errors import ConfigurationError
from .messages import sentence
from .yaml_text import read_back, read_yaml, read_yaml_file, write_yaml

__all__ = [
    "ConfigurationCLI",
    "check_file",
    "new_parser",
    "parse",
    "parsed_args",
    "parser",
    "plain",
    "without_command",
    "without_deprecations",
    "without_files",
]

_MODE = "yaml_1_2"
_PLAIN = "plain"  # not text, which would be read again at once
_PROGRAM = "lightning-hparams"
_PARTS = ("model", "data", "trainer")
_OPTIONS = ("help", "config", "print_config", "seed_everything", "model", "data", "optimizer")
_COMMANDS = ("fit", "validate", "test", "predict")
# Arguments of commands, which a configuration for one of them may leave empty.
_OF_COMMANDS = ("ckpt_path", "verbose", "weights_only", "return_predictions")


def _load(text: str) -> Any:
    """Read one value; text that is not YAML, such as ``a: b: c``, is a word as it stands."""
    return read_yaml(text)


set_loader(_MODE, _load, exceptions=(yaml.YAMLError, ConfigurationError))
set_dumper(_MODE, write_yaml)
set_dumper(_PLAIN, read_back)


class ConfigurationCLI(LightningCLI):
    """LightningCLI for any module and data by class path, which reads YAML 1.2.

    It only parses; :meth:`lightning_hparams.configuration.Configuration.build` makes the objects.
    """

    def __init__(self, **options: Any) -> None:
        kwargs = {"parser_mode": _MODE, "exit_on_error": False, "prog": _PROGRAM}
        super().__init__(
            LightningModule,
            None,  # any data module, or none
            save_config_callback=None,
            seed_everything_default=0,
            subclass_mode_model=True,
            parser_kwargs={
                **kwargs,
                **{n: {**kwargs, "prog": f"{_PROGRAM} {n}"} for n in self.subcommands()},
            },
            **options,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse a command line, after a check of its files and classes."""
        self.config = self.parsed(args)

    def parsed(self, args: Sequence[str], *, defaults: bool = True) -> Namespace:
        """Parse a command line.

        Raises:
            ConfigurationError: If something in it is unknown or of the wrong type.
        """
        return parsed_args(self.parser, args, defaults=defaults)


def parsed_args(
    parser: LightningArgumentParser,
    args: Sequence[str],
    base: Namespace | None = None,
    *,
    defaults: bool,
) -> Namespace:
    """Parse a command line, after a check of its files and the classes that it names.

    Raises:
        ConfigurationError: If something in it is unknown or of the wrong type.
    """
    files, _ = without_files(args)
    for file in files:
        if not file.lstrip().startswith("{"):
            check_file(file)
    _import_named(_words(list(args)))
    try:
        parsed: Namespace = parser.parse_args(list(args), base, None, defaults)
    except ArgumentError as error:
        raise _explained(error) from error
    return parsed


def without_files(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the configuration files among the arguments, and the other arguments.

    >>> without_files(["-c", "a.yaml", "--model.lr=0.1", "--config=b.yaml"])
    (['a.yaml', 'b.yaml'], ['--model.lr=0.1'])
    """
    files, others = [], []
    left = iter(args)
    for option in left:
        name, equals, attached = option.partition("=")
        if name not in ("--config", "-c"):
            others.append(option)
        elif equals:
            files.append(attached)
        elif (value := next(left, None)) is not None:
            files.append(value)
        else:
            raise ConfigurationError(f"`{name}` needs a value: a configuration file")
    return files, others


def check_file(file: str | Path) -> dict[str, Any]:
    """Read a configuration file, and check the names in it.

    Raises:
        ConfigurationError: If it cannot be read, or a name is unknown; it names the file.
    """
    found = read_yaml_file(file)
    if found is None:
        raise ConfigurationError(f"{file} is empty; a configuration has {', '.join(_PARTS)}")
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{file} must hold a mapping, got {found!r:.60}")
    flat = without_command(found)
    _import_named(_words(flat))
    try:
        check_names(flat)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from error
    return flat


def without_command(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration describes, with or without a section for a command.

    >>> without_command({"fit": {"model": "Net", "ckpt_path": None}})
    {'model': 'Net'}
    """
    commands = [name for name in _COMMANDS if isinstance(given.get(name), Mapping)]
    if len(commands) == 1 and "model" not in given:
        given = given[commands[0]]
    flat = {name: value for name, value in given.items() if name not in _OF_COMMANDS or value}
    trainer = flat.get("trainer")
    if isinstance(trainer, Mapping) and isinstance(trainer.get("callbacks"), (str, Mapping)):
        flat["trainer"] = {**trainer, "callbacks": [trainer["callbacks"]]}
    return flat


class _Parser(ConfigurationCLI):
    """The parser alone."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = Namespace(seed_everything=False)  # type: ignore[no-untyped-call]

    def instantiate_classes(self) -> None:
        pass


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Leave out the warnings of jsonargparse and torch about how Lightning calls them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprec")
        warnings.filterwarnings("ignore", message=r"[\s`]*\w[\w.]+`* was deprecated in v4")
        yield


@lru_cache(1)
def parser() -> LightningArgumentParser:
    """Return the parser of a configuration without a command, made once."""
    return new_parser()


def new_parser() -> LightningArgumentParser:
    """Make a parser of a configuration, to which a command may add its arguments."""
    with without_deprecations():
        parser: LightningArgumentParser = _Parser(run=False, args=[]).parser
    return parser


def _import_named(words: Iterable[str]) -> None:
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
    _import_named(_words(data))
    check_names(data)
    try:
        parsed: Namespace = parser().parse_object(deepcopy(dict(data)), base, None, complete)
    except ArgumentError as error:
        raise _explained(error) from error
    return parsed


def _explained(error: ArgumentError) -> ConfigurationError:
    text = str(error)
    check_classes(text)
    return ConfigurationError(sentence(text, _accepted))


def _accepted(path: str) -> Collection[str]:
    """Arguments of a class; options of the command line without a path."""
    if path:
        return accepted_arguments(path)
    trainer = [f"trainer.{name}" for name in accepted_arguments("trainer")]
    return [f"--{name}" for name in (*_OPTIONS, *trainer, *_OF_COMMANDS)]


def plain(parsed: Namespace) -> dict[str, Any]:
    """Convert what was parsed to dicts, lists, numbers and text."""
    found: Any = parser().dump(parsed, _PLAIN, False, False, True)
    return dict(found)
