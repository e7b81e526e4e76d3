"""Choose the command, and turn what happens into an exit code.

PYTHON_ARGCOMPLETE_OK
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple

import lightning_hparams

from ..checks import names_like
from .mistakes import explained
from .program import FAULT, INTERRUPTED, MISTAKE, PROGRAM, TERMINATED

__all__ = ["main"]


class _Command(NamedTuple):
    module: str
    summary: str


COMMANDS = {
    "fit": _Command("training", "train a module on data"),
    "validate": _Command("training", "compute its validation metrics"),
    "test": _Command("training", "compute its test metrics, and print them as a table"),
    "predict": _Command("training", "write its predictions to files"),
    "lr-range-test": _Command("range_test", "find the range of the learning rate"),
    "search": _Command("search", "search hyperparameters"),
    "replay": _Command("replay", "repeat a run or a trial, and compare the results"),
    "compare": _Command("compare", "show how runs differ"),
    "doctor": _Command("doctor", "look for what is missing or wrong, here and in data"),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments; those of the process if None.

    Returns:
        0 if everything was done and written, 2 for a mistake in the arguments, the configuration
        or the data, 1 for a fault, 130 after Ctrl-C, and 143 after SIGTERM. ``lr-range-test``,
        ``search``, ``replay`` and ``doctor`` have codes of their own, which their ``--help``
        explains.
    """
    given = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in given
    given = [each for each in given if each != "--debug"]
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # for modules of the user, as with `python -m`
    try:
        return _run(given)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as error:
        return _code(error)
    except Exception as error:
        sentence = explained(error)
        if sentence is None or debug:
            traceback.print_exc()
        if sentence is None:
            return FAULT
        print(f"{PROGRAM}: error: {sentence}", file=sys.stderr)
        return MISTAKE


def _code(error: SystemExit) -> int:
    """The exit code for an exit of argparse, after ``--help``, or of a Trainer, after a signal."""
    if isinstance(error.__context__, KeyboardInterrupt):
        return INTERRUPTED
    if error.code is None:
        from lightning.pytorch.utilities.exceptions import SIGTERMException

        return TERMINATED if isinstance(error, SIGTERMException) else 0
    return error.code if isinstance(error.code, int) else MISTAKE


def _run(given: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        from .completion import complete

        complete(COMMANDS)
        return 0
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        return 0 if given else MISTAKE
    if given[0] == "--version":
        print(lightning_hparams.__version__)
        return 0
    name, *rest = given
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        print(
            f"{PROGRAM}: error: unknown {kind} {name!r}{names_like(name, COMMANDS)}",
            file=sys.stderr,
        )
        return MISTAKE
    module = importlib.import_module(f".{COMMANDS[name].module}", __package__)
    code: int = module.run(name, rest)
    return code


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [ARGUMENTS]",
            "",
            "Train, search and compare vision models with Lightning.",
            "",
            *(f"  {name:<{width}}{command.summary}" for name, command in COMMANDS.items()),
            "",
            f"{PROGRAM} COMMAND --help shows the arguments of a command, and --debug the lines of",
            "code that an error came from. With argcomplete installed,",
            f'eval "$(register-python-argcomplete {PROGRAM})" lets the shell complete words.',
        ]
    )
