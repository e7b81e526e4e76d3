"""The command replay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from ..configuration import ConfigurationError, without_deprecations
from ..search import enter, replay
from .arguments import command_parser, parsed
from .repeating import repeat_run

__all__ = ["parser", "run"]

DIFFERENT = 3


def parser() -> ArgumentParser:
    """Return the parser of the command."""
    made = command_parser(
        "replay",
        "Repeat a run or a trial of a search from its configuration, in this process, and compare: "
        f"metrics and weights, bit for bit. The exit code is {DIFFERENT} if they differ.",
    )
    made.add_argument(
        "target",
        help="The folder of a run, which has a config.yaml; that of a trial; or the number of a "
        "trial, in the folder of a study or above that of the only one.",
    )
    return made


def run(command: str, args: Sequence[str]) -> int:
    """Repeat, and print what differs."""
    target = parsed(parser(), args).target
    path = Path(target)
    with without_deprecations():
        summary, equal = _repeated(path)
    print(summary)
    return 0 if equal else DIFFERENT


def _repeated(path: Path) -> tuple[str, bool]:
    """Repeat a run or a trial; return a sentence, and whether nothing differs."""
    if (path / "config.yaml").is_file() and not (path / "trial.json").is_file():
        return repeat_run(path)
    study, number = _trial(path)
    comparison = replay(enter(study), number)
    return comparison.summary(), comparison.equal


def _trial(path: Path) -> tuple[Path, int]:
    """Return the folder of the study, and the number of the trial.

    Raises:
        ConfigurationError: If there is none, or more than one.
    """
    if (path / "trial.json").is_file():
        return path.resolve().parents[1], int(path.resolve().name)
    if not str(path).isdecimal():
        raise ConfigurationError(
            f"{path} must be the folder of a run or of a trial, but has neither config.yaml nor "
            "trial.json"
        )
    studies = [Path(), *Path().glob("studies/*"), *Path().glob("*")]
    found = sorted({each.resolve() for each in studies if (each / "search.json").is_file()})
    if len(found) != 1:
        number = f"{len(found)} are near: {', '.join(map(str, found))}" if found else "none is near"
        raise ConfigurationError(
            f"the number {path} needs the folder of one study, but {number}; give the folder of "
            "the trial, such as studies/name/trials/3"
        )
    return found[0], int(str(path))
