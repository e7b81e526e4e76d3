"""Checks of arguments, whose errors give the rule, the value and a remedy."""

from __future__ import annotations

import difflib
import importlib
import math
import numbers
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = [
    "as_number",
    "as_plain",
    "as_steps",
    "counted",
    "described",
    "in_range",
    "mapping_in",
    "names_in",
    "names_like",
    "nearest",
    "numbers_in",
    "one_of",
    "path_in",
    "require",
    "truth",
    "type_name",
    "whole_number",
    "writable_folder",
]

_LISTED = 30  # nobody reads a longer list of names; the nearest ones are enough


def one_of(name: str, value: str, allowed: Iterable[str], *, otherwise: str = "") -> None:
    """Check that a name chosen by the user is known.

    Args:
        name: Name of the argument.
        value: The user's choice.
        allowed: The known names.
        otherwise: Alternative to a known name, for the error: ``"or a file"``.

    Raises:
        ValueError: If it is unknown, suggesting similar names.

    >>> one_of("loss", "dise", ["ce", "dice"])
    Traceback (most recent call last):
    ValueError: `loss` must be one of ['ce', 'dice'], got 'dise'; did you mean 'dice'?
    """
    names = list(allowed)
    if isinstance(value, str) and value in names:
        return
    known = f"one of {names}" if len(names) <= _LISTED else f"one of {len(names)} known names"
    rule = f"{known} {otherwise}".rstrip()
    raise ValueError(f"`{name}` must be {rule}, got {value!r}{nearest(value, names)}")


def nearest(value: str, names: Iterable[str], *, count: int = 3) -> str:
    """Return the end of an error message that suggests names similar to ``value``, or "".

    >>> nearest("unett", ["unet", "linknet", "fpn"])
    "; did you mean 'unet' or 'linknet'?"
    """
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(str(value).lower(), by_lower, n=count, cutoff=0.5)
    if not close:
        return ""
    return f"; did you mean {' or '.join(repr(by_lower[match]) for match in close)}?"


def names_like(value: str, names: Iterable[str]) -> str:
    """Return the end of an error message: names similar to ``value``, else all of them if few.

    >>> names_like("hiden", ["hidden", "lr"]), names_like("root", ["size", "seed"])
    ("; did you mean 'hidden'?", "; there are 'seed' and 'size'")
    """
    names = sorted(names)
    if (close := nearest(value, names)) or not 0 < len(names) <= _LISTED:
        return close
    *others, last = map(repr, names)
    if not others:
        return f"; there is {last}"
    return f"; there are {', '.join(others)} and {last}"


def in_range(
    name: str,
    value: float,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float | None = None,
    below: float | None = None,
    remedy: str = "",
) -> None:
    """Check ``low <= value <= high`` and, if given, ``above < value < below``.

    Raises:
        ValueError: If it does not hold, which includes NaN.
        TypeError: If the value is not a number.

    >>> in_range("threshold", 1.5, 0, 1, remedy="0.5 is usual")
    Traceback (most recent call last):
    ValueError: `0 <= threshold <= 1` must hold, got threshold=1.5; 0.5 is usual
    """
    tail = f"; {remedy}" if remedy else ""
    try:
        inside = bool(low <= value <= high)
    except (TypeError, ValueError, RuntimeError) as error:  # the last two of arrays and tensors
        raise TypeError(f"`{name}` must be a number, got {value!r}{tail}") from error
    if inside and (above is None or value > above) and (below is None or value < below):
        return
    if above is not None:
        left = f"{above} < "
    else:
        left = f"{low} <= " if low > -math.inf else ""
    if below is not None:
        right = f" < {below}"
    else:
        right = f" <= {high}" if high < math.inf else ""
    raise ValueError(f"`{left}{name}{right}` must hold, got {name}={value!r}{tail}")


def whole_number(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, *, remedy: str = ""
) -> int:
    """Check that a value is an integer between ``low`` and ``high``, and return it as an int.

    Numpy's and torch's integers, and arrays and tensors of one without dimensions, are taken.

    Raises:
        TypeError: If it is of any other type, as 2.0 is.
        ValueError: If it is out of range.

    >>> whole_number("size", 3.5, 1)
    Traceback (most recent call last):
    TypeError: `size` must be a whole number, got 3.5
    """
    number = as_plain(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Integral):
        raise TypeError(f"`{name}` must be a whole number, got {value!r}")
    in_range(name, int(number), low, high, remedy=remedy)
    return int(number)


def truth(name: str, value: object) -> bool:
    """Check that a value is True or False, also one of numpy or torch, and return it as a bool.

    Raises:
        TypeError: If it is anything else, as 1 is.

    >>> truth("augment", "yes")
    Traceback (most recent call last):
    TypeError: `augment` must be True or False, got 'yes'
    """
    plain = as_plain(value)
    if not isinstance(plain, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return plain


def as_plain(value: object) -> Any:
    """Convert numpy's and torch's numbers, arrays and tensors to Python's numbers and lists."""
    return value.tolist() if hasattr(value, "tolist") else value


def as_number(name: str, value: object, *, remedy: str = "") -> float:
    """Convert a number, also one of numpy or torch, to a Python number.

    Raises:
        TypeError: If it is anything else, as True is.

    >>> as_number("max_lr", "0.1")
    Traceback (most recent call last):
    TypeError: `max_lr` must be a number, got '0.1'
    """
    number = as_plain(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(
            f"`{name}` must be a number, got {value!r}{f'; {remedy}' if remedy else ''}"
        )
    return number if isinstance(number, (int, float)) else float(number)


def mapping_in(name: str, value: object) -> dict[str, Any]:
    """Return the entries of a dict by name; none for None.

    Raises:
        TypeError: If it is anything else, or a key is not a string.

    >>> mapping_in("optimizer_args", ["momentum"])
    Traceback (most recent call last):
    TypeError: `optimizer_args` must be a dict of named values, got ['momentum']
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"`{name}` must be a dict of named values, got {value!r}")
    return dict(value)


def path_in(name: str, value: object) -> Path:
    """Return a path that is given as text or as a path.

    Raises:
        TypeError: If it is anything else, as None and bytes are.

    >>> path_in("folder", None)
    Traceback (most recent call last):
    TypeError: `folder` must be a path, got None
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"`{name}` must be a path, got {value!r}")
    return Path(value)


def as_steps(name: str, value: object) -> int | list[int] | None:
    """Convert a number of steps, or a list, array or tensor of them, to ints; None stays None.

    Raises:
        TypeError: If one is not a whole number.
        ValueError: If one is below 1.
    """
    steps = as_plain(value)
    if steps is None:
        return None
    remedy = "count optimizer steps"
    if isinstance(steps, Sequence) and not isinstance(steps, str):
        return [whole_number(name, each, 1, remedy=remedy) for each in steps]
    return whole_number(name, steps, 1, remedy=remedy)


def names_in(name: str, value: Sequence[str]) -> list[str]:
    """Return the names in a list; a single string, which is a sequence too, is refused.

    Raises:
        TypeError: If it is not a list of strings.

    >>> names_in("class_names", "road")
    Traceback (most recent call last):
    TypeError: `class_names` must be a list of names, got 'road'
    """
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    if not listed or not all(isinstance(each, str) for each in value):
        raise TypeError(f"`{name}` must be a list of names, got {value!r}")
    return list(value)


def numbers_in(name: str, value: Iterable[float], *, remedy: str = "") -> list[float]:
    """Return the numbers in a list, array or tensor, where the order has a meaning.

    Raises:
        TypeError: For anything else: a dict would be read by its keys, a set in any order.

    >>> numbers_in("class_weights", {0: 5.0, 1: 1.0}, remedy="one per class")
    Traceback (most recent call last):
    TypeError: `class_weights` must be a list of numbers, got {0: 5.0, 1: 1.0}; one per class
    """
    listed = value.tolist() if hasattr(value, "tolist") else value  # a tensor or an array
    if isinstance(listed, Sequence) and not isinstance(listed, (str, bytes)):
        found = [each.item() if hasattr(each, "item") else each for each in listed]
        if all(_is_number(each) for each in found):
            return [float(each) for each in found]
    tail = f"; {remedy}" if remedy else ""
    raise TypeError(f"`{name}` must be a list of numbers, got {value!r}{tail}")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package where it is first used.

    Raises:
        ModuleNotFoundError: If it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise  # the package is installed, but one of its own requirements is not
        raise ModuleNotFoundError(
            f"`{package}` is needed here but not installed; "
            f"run: pip install 'lightning-hparams[{extra}]'",
            name=package,
        ) from error


def type_name(value: object) -> str:
    """Return the name of a value's type for an error message, and None as it is written.

    >>> type_name(None), type_name(1.5)
    ('None', 'float')
    """
    return "None" if value is None else type(value).__name__


def described(value: object) -> str:
    """Describe a value for an error message: the keys of a dict, otherwise its type.

    >>> described({"loss": 1, 0: 2}), described(None)
    ("['0', 'loss']", 'None')
    """
    return str(sorted(map(str, value))) if isinstance(value, Mapping) else type_name(value)


def counted(count: int, noun: str) -> str:
    """Return a number of things as text.

    >>> counted(1, "mask"), counted(2, "mask"), counted(0, "class")
    ('1 mask', '2 masks', '0 classes')
    """
    ending = "es" if noun.endswith(("s", "x", "ch")) else "s"
    return f"{count} {noun}{'' if count == 1 else ending}"


def writable_folder(name: str, folder: str | Path) -> Path:
    """Create a folder if necessary, and check that files can be written to it.

    Raises:
        PermissionError: If they cannot, with the reason.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Try it: permission bits mean little to root and on network mounts.
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise PermissionError(
            f"{name} {str(path)!r} cannot be written to ({reason}); choose another folder"
        ) from error
    return path
