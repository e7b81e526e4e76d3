"""Earlier parts of a resumed run, stored without the sections they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["shortened_parts", "whole_parts"]

_SAME = "as_in_next_part"
_PARTS = 100
_DIFF_BYTES = 2**20  # of the diffs of all parts together


def shortened_parts(
    parts: Sequence[Mapping[str, Any]], last: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Manifests of the earlier parts of a run, as stored in the manifest of the last part.

    A section equal to that of the next part, such as the packages, is omitted and listed under
    ``as_in_next_part``. At most the latest 100 parts and 1 MiB of their diffs are kept.

    Args:
        parts: Complete manifests, earliest first.
        last: The manifest of the last part.

    >>> shortened_parts([{"step": 1, "packages": {"a": 1}}], {"step": 2, "packages": {"a": 1}})
    [{'step': 1, 'as_in_next_part': ['packages']}]
    """
    kept = [dict(part) for part in parts[-_PARTS:]]
    result: list[dict[str, Any]] = []
    room = _DIFF_BYTES
    for part, following in zip(reversed(kept), [last, *reversed(kept)], strict=False):
        same = [
            name
            for name, value in part.items()
            if isinstance(value, (dict, list)) and value == following.get(name)
        ]
        short = {name: value for name, value in part.items() if name not in same}
        git = short.get("git")
        if isinstance(git, Mapping) and isinstance(git.get("diff"), str):
            size = len(git["diff"].encode("utf-8", "replace"))
            if size > room:
                short["git"] = {**git, "diff": "", "diff_is_cut": True}
            else:
                room -= size
        result.append({**short, _SAME: same} if same else short)
    return result[::-1]


def whole_parts(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The earlier parts of a run, each with all of its sections.

    Args:
        manifest: Manifest of any version, with or without ``earlier``.

    >>> whole_parts({"packages": {"a": 1}, "earlier": [{"as_in_next_part": ["packages"]}]})
    [{'packages': {'a': 1}}]
    """
    following = {name: value for name, value in manifest.items() if name != "earlier"}
    result: list[dict[str, Any]] = []
    for part in reversed(manifest.get("earlier") or []):
        whole = {name: value for name, value in part.items() if name != _SAME}
        same = part.get(_SAME)
        for name in same if isinstance(same, list) else ():
            if name in following:
                whole[name] = following[name]
        result.append(whole)
        following = whole
    return result[::-1]
