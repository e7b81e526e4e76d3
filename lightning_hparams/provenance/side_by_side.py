"""Any number of runs side by side: a summary, then what differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from .. import json_text
from ..checks import counted
from .comparison import leaves
from .loading import load_manifest
from .own_paths import CHECKSUMS, is_file_digest, relative_to_run

__all__ = ["Difference", "SideBySide", "compare_runs", "load_run"]

_Manifest: TypeAlias = Mapping[str, object]
_MISSING = "-"
_SECTIONS: dict[str, tuple[str, ...]] = {
    "configuration": ("config", "command"),
    "versions": ("python", "packages"),
    "data": ("data",),
    "metrics": ("metrics",),
    "code": ("git",),
    "seeds": ("seeds", "deterministic"),
    "machine": ("hardware", "environment"),
    "run": ("status", "first_step", "last_step", "checkpoints"),
}
_DIGEST = 12  # characters of a commit or a digest that are shown
_WIDTH = 40  # of a value
_NAMES = 3  # that are listed where several have the same values


@dataclass(frozen=True)
class Difference:
    """What is not the same in all runs.

    Attributes:
        section: ``"configuration"``, ``"versions"``, ``"data"``, ``"metrics"``, ``"code"``,
            ``"seeds"``, ``"machine"`` or ``"run"``.
        names: Names that have these values: a learning rate occurs in the hyperparameters and in
            each group of the optimizer.
        values: One per run; None where a run has no such name.
    """

    section: str
    names: tuple[str, ...]
    values: tuple[object, ...]


@dataclass(frozen=True)
class SideBySide:
    """The differences between runs.

    Attributes:
        runs: Their names.
        differences: By section, in the order in which they are read.
        same: Sections that all runs have, without a difference.
        notes: What else is to be known, in sentences.
    """

    runs: tuple[str, ...]
    differences: tuple[Difference, ...]
    same: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return a sentence: what differs, and what does not."""
        counts: dict[str, int] = {}
        for each in self.differences:
            counts[each.section] = counts.get(each.section, 0) + len(each.names)
        if not counts:
            return f"{len(self.runs)} runs, no differences"
        told = ", ".join(f"{section} ({number})" for section, number in counts.items())
        same = f"; the same: {', '.join(self.same)}" if self.same else ""
        return f"{len(self.runs)} runs differ in {told}{same}"

    def to_text(self) -> str:
        """Return the summary, the runs by number, and a table for each section."""
        numbers = [str(number) for number in range(1, len(self.runs) + 1)]
        lines = [self.summary()]
        lines += [f"  {number}  {run}" for number, run in zip(numbers, self.runs, strict=True)]
        for section in dict.fromkeys(each.section for each in self.differences):
            rows = [each for each in self.differences if each.section == section]
            cells = [[_shown_names(row.names), *map(_shown, row.values)] for row in rows]
            lines += ["", *_aligned([[section, *numbers], *cells])]
        if self.notes:
            lines += ["", *self.notes]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the differences as JSON."""
        found = {
            "runs": self.runs,
            "summary": self.summary(),
            "same": self.same,
            "differences": [vars(each) for each in self.differences],
            "notes": self.notes,
        }
        return json_text.write(found, indent=2)


def compare_runs(runs: Sequence[_Manifest | str | Path]) -> SideBySide:
    """Compare two runs or more: configuration, versions, data, metrics, code, seeds, machine.

    Paths within the folder of a run are relative to it, so that two runs do not differ in them.

    Args:
        runs: Manifests, their files, or folders of runs that contain one, also further below. The
            folder of a trial of a search works too.

    Raises:
        FileNotFoundError: If a folder has no manifest.
        ValueError: If there are fewer than two runs, a file is not a manifest, or a folder has
            several runs.

    >>> one = {"config": {"lr": 0.1, "epochs": 3}, "python": "3.12", "metrics": {"loss": 0.5}}
    >>> two = {**one, "config": {"lr": 0.2, "epochs": 3}, "metrics": {"loss": 0.25}}
    >>> print(compare_runs([one, two]).to_text())
    2 runs differ in configuration (1), metrics (1); the same: versions
      1  run 1
      2  run 2
    <BLANKLINE>
    configuration    1    2
      lr           0.1  0.2
    <BLANKLINE>
    metrics    1     2
      loss   0.5  0.25
    """
    if len(runs) < 2:
        raise ValueError(f"compare takes two runs or more, got {len(runs)}; name another folder")
    manifests = [run if isinstance(run, Mapping) else relative_to_run(*_found(run)) for run in runs]
    names = [
        f"run {number}" if isinstance(run, Mapping) else str(run)
        for number, run in enumerate(runs, 1)
    ]
    differences, same = [], []
    for section, keys in _SECTIONS.items():
        found = [*_of_section(section, [_values(keys, manifest) for manifest in manifests])]
        differences += found
        everywhere = all(any(manifest.get(key) for key in keys) for manifest in manifests)
        if everywhere and not found:
            same.append(section)
    notes = (CHECKSUMS,) if _only_bytes_differ(manifests, differences) else ()
    return SideBySide(tuple(names), tuple(differences), tuple(same), notes)


def _only_bytes_differ(manifests: Sequence[_Manifest], differences: Sequence[Difference]) -> bool:
    """Whether checkpoints differ in their bytes where the metrics are the same."""
    digests = {
        repr([pair for pair in leaves(manifest.get("checkpoints")) if is_file_digest(pair[0])])
        for manifest in manifests
    }
    return len(digests) > 1 and all(each.section != "metrics" for each in differences)


def load_run(path: str | Path) -> dict[str, Any]:
    """Load the manifest of a run, or of a trial.

    Args:
        path: The file, or a folder that contains it, also further below.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not a manifest, or the folder has several.
    """
    return _found(path)[0]


def _found(path: str | Path) -> tuple[dict[str, Any], Path]:
    """The manifest of a run or of a trial, and its folder."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; pass the folder of a run")
    if path.is_dir():
        if (path / "trial.json").is_file():
            return _of_trial(path), path
        path = _only_manifest(path)
    if path.name == "trial.json":
        return _of_trial(path.parent), path.parent
    found, reason = load_manifest(path)
    if found is None:
        raise ValueError(f"{reason}; pass the folder of a run recorded by RunRecorder")
    return found, path.parent


def _only_manifest(folder: Path) -> Path:
    if (folder / "manifest.json").is_file():
        return folder / "manifest.json"
    below = sorted(folder.rglob("manifest.json"))
    if not below:
        raise FileNotFoundError(
            f"there is no manifest in {folder}; RunRecorder writes one into the folder of each run"
        )
    if len(below) > 1:
        some = ", ".join(str(each.parent) for each in below[:3])
        more = f", and {len(below) - 3} more" if len(below) > 3 else ""
        raise ValueError(
            f"{folder} has {counted(len(below), 'run')}; name the folder of each: {some}{more}"
        )
    return below[0]


def _of_trial(folder: Path) -> dict[str, Any]:
    """A trial as a manifest: its own file, and the manifest of its run if it has one."""
    path = folder / "trial.json"
    try:
        trial = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(trial, dict):
        raise ValueError(f"{path} does not describe a trial")
    try:
        recorded: dict[str, Any] = load_manifest(_only_manifest(folder))[0] or {}
    except (ValueError, FileNotFoundError):
        recorded = {}
    metrics = recorded.get("metrics")
    own: dict[str, Any] = {
        "config": {"params": trial.get("params"), "file": trial.get("configuration")},
        "seeds": {"global": trial.get("seed")},
        "metrics": {"value": trial.get("value"), **(metrics if isinstance(metrics, dict) else {})},
        "status": trial.get("state"),
    }
    facts = trial.get("versions")
    given = {name: value for name, value in own.items() if value is not None}
    found = {**(facts if isinstance(facts, dict) else {}), **recorded, **given}
    found.pop("command", None)  # of the worker, which says nothing about its trials
    return found


def _values(keys: Sequence[str], manifest: _Manifest) -> dict[str, object]:
    """Values of a section by dotted name."""
    found: dict[str, object] = {}
    for key in keys:
        value = manifest.get(key)
        if isinstance(value, list) and key == "command":
            value = " ".join(map(str, value))
        prefix = "" if isinstance(value, Mapping) and key == keys[0] else key
        found |= dict(leaves(value, prefix))
    return found


def _of_section(section: str, runs: Sequence[Mapping[str, object]]) -> Iterator[Difference]:
    names = dict.fromkeys(name for run in runs for name in run)
    rows = {name: tuple(run.get(name) for run in runs) for name in names}
    differing = {
        name: values for name, values in rows.items() if len({repr(v) for v in values}) > 1
    }
    if section == "machine":
        differing.pop("environment.PL_GLOBAL_SEED", None)  # one of the seeds
    if section == "run":
        differing = {name: v for name, v in differing.items() if not is_file_digest(name)}
    if section == "seeds" and "global" in differing:
        # The states of the generators follow from the seed.
        differing = {name: v for name, v in differing.items() if not name.endswith("_state")}
        differing.pop("torch", None)
    if section in ("data", "code"):
        differing = {
            name: tuple(str(v)[:_DIGEST] if _is_digest(v) else v for v in values)
            for name, values in differing.items()
        }
        if any(not name.endswith("sha256") for name in differing) and section == "data":
            # Digests mean nothing to a reader where something else differs.
            differing = {name: v for name, v in differing.items() if not name.endswith("sha256")}
    together: dict[str, list[str]] = {}
    for name, values in differing.items():
        together.setdefault(repr(values), []).append(name)
    for same in together.values():
        yield Difference(section, tuple(same), differing[same[0]])


def _is_digest(value: object) -> bool:
    text = value if isinstance(value, str) else ""
    return len(text) > 2 * _DIGEST and set(text) <= set("0123456789abcdef")


def _shown_names(names: Sequence[str]) -> str:
    more = f", {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return "  " + ", ".join(names[:_NAMES]) + more


def _shown(value: object) -> str:
    if value is None:
        return _MISSING
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: names to the left, values to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
