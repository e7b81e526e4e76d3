"""The command doctor."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from ..doctor import diagnose
from .arguments import command_parser, parsed

__all__ = ["parser", "run"]

ERRORS_FOUND = 3


def parser() -> ArgumentParser:
    """Return the parser of the command."""
    made = command_parser(
        "doctor",
        "Look for what is missing or wrong: packages and how to install them, whether a GPU can be "
        "used, threads against the cores that this process may use; of data: counts, sizes, "
        "duplicates, files that cannot be read, bad values, balance of the classes. The exit code "
        f"is {ERRORS_FOUND} if there is an error.",
    )
    made.add_argument(
        "target",
        nargs="?",
        help="A folder of images with classes, masks or boxes, or a configuration with data.",
    )
    made.add_argument(
        "--limit", type=int, default=500, help="Images to read in each split, evenly spread."
    )
    made.add_argument("--json", action="store_true", help="Print JSON.")
    return made


def run(command: str, args: Sequence[str]) -> int:
    """Print the findings."""
    given = parsed(parser(), args)
    found = diagnose(given.target, limit=given.limit)
    print(found.to_json() if given.json else found.to_text())
    return 0 if found.ok else ERRORS_FOUND
