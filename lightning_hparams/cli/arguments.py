"""Parsers of the commands that describe no run of their own."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ..configuration import ConfigurationError, sentence
from .program import PROGRAM

__all__ = ["command_parser", "parsed"]


def command_parser(command: str, description: str) -> ArgumentParser:
    """Return a parser without arguments."""
    return ArgumentParser(prog=f"{PROGRAM} {command}", description=description, exit_on_error=False)


def parsed(parser: ArgumentParser, args: Sequence[str]) -> Namespace:
    """Parse arguments.

    Raises:
        ConfigurationError: If one is unknown, missing or of the wrong type.
    """
    try:
        found: Namespace = parser.parse_args(list(args))
    except ArgumentError as error:
        known = [f"--{name}" for name in vars(parser.get_defaults())]
        text = sentence(str(error), lambda _: known)
        raise ConfigurationError(f"{text}; see {parser.prog} --help") from error
    return found
