"""The command compare."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from ..provenance import compare_runs
from .arguments import command_parser, parsed

__all__ = ["parser", "run"]


def parser() -> ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("compare", "Show how runs differ: a summary first, then a table.")
    made.add_argument(
        "runs",
        nargs="+",
        help="Folders of runs or of trials, or their manifest.json; two or more.",
    )
    made.add_argument("--json", action="store_true", help="Print JSON.")
    return made


def run(command: str, args: Sequence[str]) -> int:
    """Print the differences."""
    given = parsed(parser(), args)
    found = compare_runs(given.runs)
    print(found.to_json() if given.json else found.to_text())
    return 0
