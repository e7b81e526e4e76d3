"""Complete words in a shell, by argcomplete and the parser of a command."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Mapping

from ..checks import require

__all__ = ["complete"]


def complete(commands: Mapping[str, tuple[str, str]]) -> None:
    """Answer the shell, and end the process.

    Args:
        commands: Module and summary of each command by its name.
    """
    os.environ.setdefault("COMP_TYPE", "9")  # which jsonargparse needs, and zsh does not set
    line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    words = line[:point].split(" ")
    name = words[1] if len(words) > 2 else ""
    if name not in commands:
        parser = argparse.ArgumentParser()
        parser.add_argument("command", choices=[*commands])
        require("argcomplete", extra="completion").autocomplete(parser)
        return
    # The parser of a command does not expect the command's own name in the line.
    os.environ["COMP_LINE"] = line.replace(f" {name}", "", 1)
    os.environ["COMP_POINT"] = str(point - len(name) - 1)
    _complete_command(name, commands[name][0])


def _complete_command(name: str, module: str) -> None:
    """Complete by jsonargparse, which knows classes and their arguments."""
    from lightning import Trainer
    from lightning.pytorch.cli import LightningCLI

    from ..configuration import new_parser

    if module == "training":
        parser = new_parser()
        parser.add_method_arguments(Trainer, name, skip=set(LightningCLI.subcommands()[name]))
    elif module == "range_test":
        from .range_test import SKIPPED, RangeTestTrainer

        parser = new_parser()
        parser.add_method_arguments(RangeTestTrainer, "lr_range_test", skip=set(SKIPPED))
    else:
        parser = importlib.import_module(f".{module}", __package__).parser()
    parser.parse_args([])
