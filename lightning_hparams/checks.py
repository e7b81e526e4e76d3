"""How the package words its errors: the rule, the value, and the way out."""

from __future__ import annotations

import difflib
import importlib
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

__all__ = ["in_range", "nearest", "one_of", "require", "writable_folder"]

_LISTED = 30  # a longer list of names is not read by anyone: the nearest ones are


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Check that a name chosen by the user is a known one.

    Raises:
        ValueError: If it is not, with the nearest names.

    >>> one_of("loss", "dise", ["ce", "dice"])
    Traceback (most recent call last):
    ValueError: `loss` must be one of ['ce', 'dice'], got 'dise'; did you mean 'dice'?
    """
    names = list(allowed)
    if value in names:
        return
    known = f"one of {names}" if len(names) <= _LISTED else f"one of {len(names)} known names"
    raise ValueError(f"`{name}` must be {known}, got {value!r}{nearest(value, names)}")


def nearest(value: str, names: Iterable[str], *, count: int = 3) -> str:
    """The end of an error sentence that offers the names most like ``value``, or nothing.

    >>> nearest("unett", ["unet", "linknet", "fpn"])
    "; did you mean 'unet' or 'linknet'?"
    """
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(str(value).lower(), by_lower, n=count, cutoff=0.5)
    if not close:
        return ""
    return f"; did you mean {' or '.join(repr(by_lower[match]) for match in close)}?"


def in_range(
    name: str,
    value: float,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float | None = None,
    remedy: str = "",
) -> None:
    """Check ``low <= value <= high`` and, where ``above`` is given, ``value > above``.

    Raises:
        ValueError: If it does not hold or the value is not a number.

    >>> in_range("threshold", 1.5, 0, 1, remedy="0.5 is usual")
    Traceback (most recent call last):
    ValueError: `0 <= threshold <= 1` must hold, got threshold=1.5; 0.5 is usual
    """
    if low <= value <= high and (above is None or value > above):
        return
    if above is not None:
        left = f"{above} < "
    else:
        left = f"{low} <= " if low > -math.inf else ""
    right = f" <= {high}" if high < math.inf else ""
    tail = f"; {remedy}" if remedy else ""
    raise ValueError(f"`{left}{name}{right}` must hold, got {name}={value!r}{tail}")


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package where it is first used.

    Raises:
        ModuleNotFoundError: If it is not installed, with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise  # the package is there; one that it needs is not
        raise ModuleNotFoundError(
            f"`{package}` is needed here and not installed; "
            f"run: pip install 'lightning-hparams[{extra}]'",
            name=package,
        ) from error


def writable_folder(name: str, folder: str | Path) -> Path:
    """Make a folder, if need be, and check that a file can be written into it.

    Raises:
        PermissionError: If it cannot, with the reason.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Asking the file system beats reading permission bits, which root and network mounts bend.
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise PermissionError(
            f"{name} {str(path)!r} cannot be written to ({reason}); choose another folder"
        ) from error
    return path
