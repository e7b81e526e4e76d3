"""The classes of a task and of its data: the same, in the same order."""

from __future__ import annotations

from ..checks import as_plain
from ..notices import warn_user

__all__ = ["check_count", "check_ignored", "check_same", "listed", "named", "renamed"]


def listed(value: object) -> list[object] | None:
    """Return what a data module lists, such as its ``class_names``; None for anything else."""
    plain = as_plain(value)
    return list(plain) if isinstance(plain, (list, tuple)) and len(plain) else None


def named(names: list[object] | None) -> list[object] | None:
    """Return class names; None for those that stand in for missing ones."""
    if names is None or names == ["background", "foreground"]:
        return None
    return None if names == [f"class {index}" for index in range(len(names))] else names


def renamed(ours: list[object], theirs: list[object]) -> bool:
    """Whether a task may call the classes of the data so: no name stands for another class.

    >>> renamed(["cat", "dog"], ["0", "1"]), renamed(["cat", "dog"], ["dog", "cat"])
    (True, False)
    """
    pairs = list(zip(ours, theirs, strict=False))
    return len(ours) == len(theirs) and all(a == b or a not in theirs for a, b in pairs)


def check_same(name: str, ours: object, theirs: object) -> None:
    """Check that a task and its data have the same classes.

    Args:
        name: Of the argument, and of the data module's attribute.
        ours: Its value in the task.
        theirs: Its value in the data; None if it has none.

    Raises:
        ValueError: If they differ, with both.
    """
    if theirs is None or theirs == ours:
        return
    which, or_else = "that", ""
    if isinstance(ours, list):
        which, or_else = "those", ", or order the classes of the data alike"
    raise ValueError(
        f"`{name}` of the data must be {which} of the task, {ours}, got {theirs}; pass "
        f"{name}=data.{name} to a new task{or_else}"
    )


def check_count(ours: int, theirs: object) -> None:
    """Check that a task has an output for each class of its data; warn if it has further ones.

    Args:
        ours: Number of classes of the task.
        theirs: ``num_classes`` of the data; anything but an integer says nothing.

    Raises:
        ValueError: If the data has more classes.
    """
    theirs = _integer(theirs)
    if theirs is None or theirs == ours:
        return
    if theirs > ours:
        raise ValueError(
            f"`num_classes` of the task must be that of the data, {theirs}, or more, got {ours}; "
            "pass num_classes=data.num_classes to a new task"
        )
    # Not an error: some count without the background, and some keep the head of a larger set.
    warn_user(
        f"the task has num_classes={ours} and the data num_classes={theirs}, so the data may have "
        "no examples for some outputs; unless this is on purpose, pass "
        "num_classes=data.num_classes to a new task"
    )


def check_ignored(ours: int | None, theirs: object, num_classes: int) -> None:
    """Check that a task does not learn a class that its data says to ignore.

    Args:
        ours: ``ignore_index`` of the task.
        theirs: That of the data. One that is not a class, such as 255, shows in the targets.
        num_classes: Number of classes of the task.

    Raises:
        ValueError: If it does.
    """
    theirs = _integer(theirs)
    if theirs is not None and theirs != ours and 0 <= theirs < num_classes:
        raise ValueError(
            f"`ignore_index` of the task must be that of the data, {theirs}, got {ours}; pass "
            f"ignore_index={theirs} to a new task"
        )


def _integer(value: object) -> int | None:
    plain = as_plain(value)
    return plain if isinstance(plain, int) and not isinstance(plain, bool) else None
