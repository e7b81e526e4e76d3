"""Arguments that all tasks take, checked and completed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..checks import counted, names_in, numbers_in, one_of
from .weights import Statistics, is_file

__all__ = ["checked_class_names", "checked_class_weights", "input_scale", "weights_file"]

_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def weights_file(weights: str | os.PathLike[str] | None) -> Path | None:
    """Return the file that ``weights`` is the path of; None for a name of weights, or None.

    Raises:
        TypeError: If it is neither text nor None.
        FileNotFoundError: If it looks like a path, but there is no such file.
    """
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise TypeError(f"`weights` must be None, a name or a file, got {weights!r}")
    return Path(weights) if weights is not None and is_file(weights) else None


def input_scale(
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    expected: Statistics | None,
    in_channels: int,
) -> Statistics:
    """Return the mean and deviation: as given, as the weights expect, or the usual ones."""
    default = _IMAGENET if in_channels == 3 else ([0.5] * in_channels, [0.25] * in_channels)
    if expected is None or len(expected[0]) != in_channels:
        expected = default
    means = expected[0] if mean is None else numbers_in("mean", mean)
    deviations = expected[1] if std is None else numbers_in("std", std)
    if not len(means) == len(deviations) == in_channels:
        raise ValueError(
            f"`mean` and `std` need {counted(in_channels, 'value')} (in_channels), "
            f"got {len(means)} and {len(deviations)}"
        )
    return means, deviations


def checked_class_names(names: list[str] | None, num_classes: int) -> list[str]:
    """Return one name for each class; ``class 0``, ``class 1``, ... for None."""
    if names is None:
        return [f"class {index}" for index in range(num_classes)]
    names = names_in("class_names", names)
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise ValueError(
            f"`class_names` needs {num_classes} different names (num_classes), got {names}"
        )
    return names


def checked_class_weights(
    weights: Sequence[float] | str | None, num_classes: int
) -> list[float] | None:
    """Return one weight for each class; None for None and for names."""
    if weights is None:
        return None
    if isinstance(weights, str):
        one_of("class_weights", weights, ["auto", "equal"], otherwise="or a list of numbers")
        return None
    listed = numbers_in(
        "class_weights", weights, remedy="give one for each class, in the order of class_names"
    )
    if len(listed) != num_classes:
        raise ValueError(
            f"`class_weights` needs {counted(num_classes, 'value')} (num_classes), "
            f"got {len(listed)}"
        )
    return listed
