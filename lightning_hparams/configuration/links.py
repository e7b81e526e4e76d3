"""Arguments that a task takes from its data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from .errors import ConfigurationError

__all__ = ["LINKED", "linked"]

# Names that arguments of tasks and attributes of data modules have in common.
LINKED = (
    "task",
    "in_channels",
    "num_classes",
    "num_values",
    "class_names",
    "ignore_index",
    "mean",
    "std",
)
_OF_WEIGHTS = ("mean", "std")  # which pretrained weights bring along


def linked(
    attribute: Callable[[str], object],
    accepted: Collection[str],
    given: Mapping[str, object],
    *,
    names: tuple[str, str] = ("data", "model"),
) -> dict[str, Any]:
    """Return the arguments that a task takes from its data.

    Args:
        attribute: Attribute of the data by its name; None if it has none.
        accepted: Arguments of the task.
        given: Arguments that were given to the task.
        names: Of data and task, for the error.

    Raises:
        ConfigurationError: If one was given that differs from the data's.

    >>> linked({"num_classes": 3}.get, ["num_classes", "mean"], {"lr": 0.1})
    {'num_classes': 3}
    """
    found: dict[str, Any] = {}
    if "num_values" in accepted and attribute("num_values") is None:
        accepted = {*accepted} - {"class_names"}  # of classes, not of values
    for name in LINKED:
        if name not in accepted or (name in _OF_WEIGHTS and given.get("weights") is not None):
            continue
        value = attribute(name)
        if value is None:
            continue
        value = list(value) if isinstance(value, tuple) else value
        if name in given and not _equal(given[name], value):
            data, model = names
            raise ConfigurationError(
                f"`{name}` of {model} must be that of {data}, got {given[name]!r} for {model} and "
                f"{value!r} for {data}; leave `model.init_args.{name}` out to take over the data's"
            )
        found[name] = value
    return found


def _equal(first: object, second: object) -> bool:
    listed = [list(each) if isinstance(each, tuple) else each for each in (first, second)]
    return bool(listed[0] == listed[1])
