"""Differences between two runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from .. import json_text
from .loading import load_manifest, manifest_path
from .own_paths import CHECKSUMS, is_file_digest, relative_to_run

__all__ = ["compare", "leaves"]

_Section: TypeAlias = Mapping[str, object]

_SECTIONS = {
    "status": "status",
    "first_step": "first step",
    "last_step": "last step",
    "config": "config",
    "command": "command",
    "seeds": "seed",
    "deterministic": "setting",
    "python": "Python",
    "packages": "package",
    "hardware": "hardware",
    "environment": "environment",
    "metrics": "result",
    "checkpoints": "checkpoint",
}


class _Difference(NamedTuple):
    section: str
    sentence: str
    name: str = ""
    values: tuple[str, str] | None = None  # of both runs, if both have one


def compare(a: _Section | str | Path, b: _Section | str | Path) -> list[str]:
    """Differences between two runs, one sentence each; empty if their manifests agree.

    With more than one difference, the first sentence counts them by section and lists the
    identical sections. A pair of values shared by several names is written once, followed by a
    sentence with the other names. Paths within the folder of a run are relative to it.

    Args:
        a: A manifest, its file, or the folder that contains it.
        b: Another one.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not a manifest.

    >>> one = {"config": {"hparams": {"lr": 0.1}, "init": {"lr": 0.1}}, "python": "3.12"}
    >>> two = {"config": {"hparams": {"lr": 0.2}, "init": {"lr": 0.2}}, "python": "3.12"}
    >>> for sentence in compare(one, two):
    ...     print(sentence)
    2 differences: config (2); the same: Python
    config hparams.lr: 0.1 vs 0.2
    config, as hparams.lr: init.lr
    """
    first, second = _loaded(a), _loaded(b)
    found = [
        *_code_differences(_section(first, "git"), _section(second, "git")),
        *_data_differences(_section(first, "data"), _section(second, "data")),
        *(
            difference
            for section, name in _SECTIONS.items()
            for difference in _differences(name, first.get(section), second.get(section))
        ),
    ]
    kept = [each for each in found if not is_file_digest(each.name)]
    if found and not kept:
        return [CHECKSUMS]
    return [*_summary(kept, first, second), *_sentences(kept)]


def _loaded(manifest: _Section | str | Path) -> _Section:
    if isinstance(manifest, Mapping):
        return manifest
    found, reason = load_manifest(manifest)
    if found is not None:
        return relative_to_run(found, manifest_path(manifest).parent)
    if manifest_path(manifest).is_file():
        raise ValueError(f"{reason}; pass the folder of a run recorded by RunRecorder")
    raise FileNotFoundError(f"{reason}; RunRecorder writes one into the folder of each run")


def _section(manifest: _Section, name: str) -> _Section:
    found = manifest.get(name)
    return found if isinstance(found, Mapping) else {}


def _summary(found: list[_Difference], first: _Section, second: _Section) -> Iterator[str]:
    """Number of differences by section; nothing for a single one, which speaks for itself."""
    if len(found) < 2:
        return
    counts = Counter(difference.section for difference in found)
    named = {"git": "code", "data": "data", **_SECTIONS}
    known = [name for key, name in named.items() if first.get(key) and second.get(key)]
    same = ", ".join(name for name in known if name not in counts)
    differ = ", ".join(f"{name} ({number})" for name, number in counts.items())
    yield f"{len(found)} differences: {differ}" + (f"; the same: {same}" if same else "")


def _sentences(found: Iterable[_Difference]) -> Iterator[str]:
    """A sentence per difference, grouping equal pairs of values within a section."""
    together: dict[object, list[_Difference]] = {}
    for index, difference in enumerate(found):
        values = difference.values
        key = index if values is None else (difference.section, values)
        together.setdefault(key, []).append(difference)
    for first, *others in together.values():
        yield first.sentence
        if others:
            names = ", ".join(other.name for other in others)
            yield f"{first.section}, as {first.name}: {names}"


def _code_differences(a: _Section, b: _Section) -> Iterator[_Difference]:
    if a.get("commit") != b.get("commit"):
        yield _Difference("code", f"the code differs: commit {_short(a)} vs {_short(b)}")
    if bool(a.get("dirty")) != bool(b.get("dirty")):
        which = "first" if a.get("dirty") else "second"
        yield _Difference("code", f"only the {which} run had uncommitted changes")
    elif a.get("diff") != b.get("diff"):
        yield _Difference("code", "both runs had uncommitted changes, but different ones")
    for name in ("branch", "remote"):
        for difference in _differences(name, a.get(name), b.get(name)):
            yield difference._replace(section="code")
    one, two = _untracked(a), _untracked(b)
    for which, only in (("first", one - two), ("second", two - one)):
        if only:
            names = ", ".join(sorted(only))
            yield _Difference("code", f"only the {which} run had untracked files: {names}")


def _untracked(git: _Section) -> set[str]:
    names = git.get("untracked")
    return {str(name) for name in names} if isinstance(names, list) else set()


def _short(git: _Section) -> str:
    return str(git.get("commit") or "none")[:9]


def _data_differences(a: _Section, b: _Section) -> Iterator[_Difference]:
    for name in sorted({*a, *b}):
        one, two = a.get(name), b.get(name)
        if (one is None) != (two is None):
            which = "second" if one is None else "first"
            yield _Difference("data", f"only the {which} run had {name} data")
        elif json_text.finite(one) != json_text.finite(two):
            changed = list(_differences(f"{name} data", _countable(one), _countable(two)))
            for difference in changed:
                yield difference._replace(section="data", values=None)
            if not changed:
                yield _Difference("data", f"{name} data: same size, different contents")


def _countable(data: object) -> object:
    """A fingerprint without its digests, which mean nothing to a reader."""
    if not isinstance(data, Mapping):
        return data
    kept = {name: value for name, value in data.items() if name != "sha256"}
    if isinstance(parts := kept.get("parts"), list):
        kept["parts"] = [_countable(part) for part in parts]
    return kept


def _differences(name: str, a: object, b: object) -> Iterator[_Difference]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        one, two = dict(leaves(a)), dict(leaves(b))
        for key in sorted({*one, *two}):
            if key not in two:
                yield _Difference(name, f"{name} {key}: {one[key]!r} in the first run only", key)
            elif key not in one:
                yield _Difference(name, f"{name} {key}: {two[key]!r} in the second run only", key)
            elif one[key] != two[key]:
                values = (repr(one[key]), repr(two[key]))
                yield _Difference(name, f"{name} {key}: {' vs '.join(values)}", key, values)
    elif json_text.finite(a) != json_text.finite(b):
        yield _Difference(name, f"{name}: {_text(a)} vs {_text(b)}")


def leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Values by dotted name, where an index stands for an item in a list of sections."""
    match value:
        case Mapping():
            items = value.items()
        case list() if any(isinstance(item, Mapping) for item in value):
            items = dict(enumerate(value)).items()
        case None:
            return
        case _:
            yield name, json_text.finite(value)  # NaN would differ from itself
            return
    for key, item in items:
        yield from leaves(item, f"{name}.{key}".lstrip("."))


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
