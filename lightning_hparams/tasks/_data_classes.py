"""The classes of a task and of its data: the same, in the same order."""

from __future__ import annotations

from ..checks import as_plain

__all__ = ["check_same", "listed", "named", "renamed"]


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
    if theirs is not None and theirs != ours:
        raise ValueError(
            f"`{name}` of the data must be those of the task, {ours}, got {theirs}; pass "
            f"{name}=data.{name} to a new task, or order the classes of the data alike"
        )
