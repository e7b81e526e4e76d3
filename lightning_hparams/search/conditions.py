"""How the parameters of a space depend on each other."""

from __future__ import annotations

from collections.abc import Mapping

from ..checks import nearest
from .params import Float, Param, same_value

__all__ = ["among", "by_condition", "check_clashes"]


def among(value: object, wanted: object) -> bool:
    """Whether a value is the wanted one, or in the list of wanted ones."""
    return any(same_value(value, each) for each in _listed(wanted))


def check_clashes(params: Mapping[str, Param]) -> None:
    """Check that no key is the same as another, or a part of it; ``init_args`` may be left out.

    Raises:
        ValueError: If one is: their values would replace each other.
    """
    paths: dict[tuple[str, ...], str] = {}
    for key in params:
        path = tuple(part for part in key.split(".") if part != "init_args")
        if path in paths:
            raise ValueError(f"`space` has {paths[path]!r} and {key!r}, which are the same")
        paths[path] = key
    for path, key in paths.items():
        for parent in (path[:count] for count in range(1, len(path))):
            if parent in paths:
                raise ValueError(
                    f"`space` has both {paths[parent]!r} and {key!r}, a part of it; vary one"
                )


def by_condition(params: Mapping[str, Param]) -> list[str]:
    """Return the keys so that those in a condition come before what depends on them.

    Raises:
        ValueError: If a condition names no key of the space, can never be met, or depends on
            itself.
    """
    order: list[str] = []
    waiting = list(params)
    for key in waiting:
        for other, value in (params[key].when or {}).items():
            _check_condition(params, key, other, value)
    while waiting:
        ready = [key for key in waiting if set(params[key].when or {}) <= set(order)]
        if not ready:
            raise ValueError(f"the conditions of {waiting} depend on each other in a circle")
        order += ready[:1]
        waiting.remove(ready[0])
    return order


def _check_condition(params: Mapping[str, Param], key: str, other: str, value: object) -> None:
    if other not in params:
        raise ValueError(
            f"`when` of {key!r} names {other!r}, which is not in the space{nearest(other, params)}"
        )
    condition = params[other]
    if isinstance(condition, Float) and condition.step is None:
        raise ValueError(
            f"`when` of {key!r} wants {other!r} to be {value!r}, which a Float without `step` "
            "hardly ever is; give it one, or make it a Choice"
        )
    for each in _listed(value):
        if (fault := condition.fault(each)) is not None:
            raise ValueError(f"`when` of {key!r} wants {other!r} to be {each!r}, but {fault}")


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
