"""Names used in tags, made unique and safe to write to files and loggers."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["unique_names", "writable"]


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with a number appended to each that repeats an earlier one.

    >>> unique_names(["head", "encoder", "head"])
    ['head', 'encoder', 'head #2']
    """
    given, counts = set(names), dict[str, int]()
    result: list[str] = []
    taken: set[str] = set()
    for name in names:
        unique = name
        while unique in taken or (unique != name and unique in given):
            counts[name] = counts.get(name, 1) + 1
            unique = f"{name} #{counts[name]}"
        taken.add(unique)
        result.append(unique)
    return result


def writable(text: str) -> str:
    r"""The text with every lone surrogate, which cannot be encoded, written as its escape.

    >>> writable("caf\u00e9"), writable("bad \ud800")
    ('café', 'bad \\ud800')
    """
    return text.encode("utf-8", "backslashreplace").decode()
