"""What is needed to repeat a run, and what differs between two.

A manifest is a ``dict`` of what JSON holds. Nothing of the environment goes into it but the names
on a short list, and whatever looks like a secret, there or elsewhere, is left out of every text.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import random
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .redaction import Json, redact

__all__ = [
    "compare",
    "environment",
    "file_hash",
    "flatten",
    "plain",
    "take",
    "to_json",
    "to_markdown",
    "without_secrets",
]

_FORMAT = 1
_DIFF_BYTES = 2**20
# Whatever the user has configured for the eye.
_AS_A_PATCH = (
    *("--no-color", "--no-ext-diff", "--no-textconv", "--no-relative"),
    *("--submodule=short", "--src-prefix=a/", "--dst-prefix=b/"),
)
_SMALL = 32  # values of an array that are written
_ENVIRONMENT = (
    *("CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "LOCAL_WORLD_SIZE", "MKL_NUM_THREADS"),
    *("NCCL_DEBUG", "OMP_NUM_THREADS", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PYTHONHASHSEED"),
    *("SLURM_JOB_ID", "SLURM_NNODES", "SLURM_NTASKS", "WORLD_SIZE"),
)


def take(config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The manifest of this process, to which the run adds its data and its results.

    Args:
        config: Everything the run was told: hyperparameters, trainer, callbacks.
        environ: The environment; None for ``os.environ``.
    """
    environ = os.environ if environ is None else environ
    told = {
        "command": [Path(sys.executable).name, *sys.argv],
        "git": _git(),
        "config": config,
        "environment": environment(environ),
    }
    hidden = redact(plain(told), environ)
    assert isinstance(hidden, dict)
    return {
        "format": _FORMAT,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "status": "running",
        **hidden,
        "seeds": _seeds(environ),
        "deterministic": _deterministic(),
        "python": platform.python_version(),
        "packages": _packages(),
        "hardware": _hardware(),
    }


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The few variables that say how a run was computed."""
    return {name: environ[name] for name in _ENVIRONMENT if name in environ}


def compare(a: Mapping[str, Any] | str | Path, b: Mapping[str, Any] | str | Path) -> list[str]:
    """What differs between two runs, one sentence each; empty if nothing that is recorded does.

    Args:
        a: A manifest, its file, or the folder that it is in.
        b: Another.

    >>> one = {"config": {"hparams": {"lr": 0.1}}, "packages": {"torch": "2.6"}}
    >>> two = {"config": {"hparams": {"lr": 0.2}}, "packages": {"torch": "2.6"}}
    >>> compare(one, two)
    ['config hparams.lr: 0.1 against 0.2']
    """
    first, second = _loaded(a), _loaded(b)
    return [
        *_code_differences(first.get("git") or {}, second.get("git") or {}),
        *_data_differences(first.get("data") or {}, second.get("data") or {}),
        *(
            sentence
            for section, name in _SECTIONS.items()
            for sentence in _differences(name, first.get(section), second.get(section))
        ),
    ]


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's contents."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def to_json(value: Mapping[str, Any]) -> str:
    """What :func:`plain` makes, as text that every reader of JSON takes: NaN is ``"nan"`` there.

    >>> print(to_json({"loss": float("nan")}))
    {
      "loss": "nan"
    }
    """
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def to_markdown(manifest: Mapping[str, Any]) -> str:
    """The manifest as text for a page; the patch and earlier manifests are only counted."""
    shown, git = dict(manifest), dict(manifest.get("git") or {})
    if git.get("diff"):
        git["diff"] = f"{len(git['diff'].splitlines())} lines, see manifest.json"
    if earlier := shown.pop("earlier", None):
        shown["earlier"] = f"{len(earlier)}, see manifest.json"
    return f"```json\n{to_json({**shown, 'git': git})}\n```"


def plain(value: Any) -> Json:
    """Anything as what JSON holds, the same in every process: no addresses in memory.

    >>> plain({"lr": np.float32(0.5), "act": PurePath, "size": (3, None)})
    {'lr': 0.5, 'act': 'pathlib.PurePath', 'size': [3, None]}
    """
    match value:
        case np.generic():  # first, for some of them are numbers and texts of Python, too
            item = value.item()
            return str(item) if isinstance(item, np.generic) else plain(item)
        case None | bool() | int() | float() | str():
            # Subclasses of these, such as enumerations of strings, are written as their value.
            return value.value if isinstance(value, enum.Enum) else value
        case enum.Enum() | PurePath() | range() | complex() | torch.dtype() | torch.device():
            return str(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case argparse.Namespace():
            return plain(vars(value))
        case functools.partial():
            arguments = {"args": value.args} if value.args else {}
            return plain({"function": value.func, **arguments, **value.keywords})
        case set() | frozenset():
            return sorted((plain(item) for item in value), key=str)
        case list() | tuple() | deque():
            return [plain(item) for item in value]
        case Tensor() | np.ndarray():
            return _array(value)
        case _:
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                names = (field.name for field in dataclasses.fields(value))
                return {name: plain(getattr(value, name)) for name in names if hasattr(value, name)}
            if type(value).__name__ == "ListConfig":  # of OmegaConf
                return [plain(item) for item in value]
            return _name(value)


def without_secrets(
    values: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, bool | int | float | str]:
    """What :func:`flatten` makes of hyperparameters without what looks like a secret."""
    hidden = redact(plain(values), environ)
    assert isinstance(hidden, dict)
    return flatten(hidden)


def flatten(values: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Hyperparameters as a table has them: ``a.b`` for a nested name, and no ``None``.

    A column that is a number in one run and ``None`` in another would become text; where a value
    is not given, the cell is empty. Lists are written as text.

    >>> flatten({"lr": 0.1, "opt": {"betas": (0.9, 0.99), "wd": None}})
    {'lr': 0.1, 'opt.betas': '[0.9, 0.99]'}
    """
    flat: dict[str, bool | int | float | str] = {}
    for name, value in values.items():
        value = plain(value)
        match value:
            case None:
                pass
            case dict():
                for inner, item in flatten(value).items():
                    flat[f"{name}.{inner}"] = item
            case list():
                flat[name] = str(value)
            case _:
                flat[str(name)] = value
    return flat


def _array(value: Tensor | np.ndarray[Any, Any]) -> Json:
    """Values of a small one, such as the weights of classes; the shape of another."""
    if math.prod(value.shape) <= _SMALL:
        with suppress(RuntimeError, TypeError):  # one that is sparse, or has no values
            return plain(value.tolist())
    return f"{type(value).__name__}{tuple(value.shape)}"


def _name(value: Any) -> str:
    """The name of a class or function, or of the class of an object."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"


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


def _loaded(manifest: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if isinstance(manifest, Mapping):
        return manifest
    path = Path(manifest)
    path = path / "manifest.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no manifest at {str(path)!r}; RunRecorder writes one into each run's folder"
        )
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _code_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    if a.get("commit") != b.get("commit"):
        yield f"the code differs: commit {_short(a)} against {_short(b)}"
    if bool(a.get("dirty")) != bool(b.get("dirty")):
        which = "first" if a.get("dirty") else "second"
        yield f"only the {which} run had changes that were not committed"
    elif a.get("diff") != b.get("diff"):
        yield "both runs had changes that were not committed, and not the same ones"
    for name in ("branch", "remote"):
        yield from _differences(name, a.get(name), b.get(name))
    for which, one, other in (("first", a, b), ("second", b, a)):
        if only := sorted({*(one.get("untracked") or ())} - {*(other.get("untracked") or ())}):
            yield f"only the {which} run had files that git does not know: {', '.join(only)}"


def _short(git: Mapping[str, Any]) -> str:
    return str(git.get("commit") or "none")[:9]


def _data_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*a, *b}):
        one, two = a.get(name), b.get(name)
        if one is None or two is None:
            yield f"only the {'second' if one is None else 'first'} run had {name} data"
        elif one != two:
            changed = list(_differences(f"{name} data", _countable(one), _countable(two)))
            yield from changed or [f"{name} data: as many, but not the same"]


def _countable(data: Any) -> Any:
    """A fingerprint without its digests, which say nothing to a reader."""
    kept = {name: value for name, value in data.items() if name != "sha256"}
    if "parts" in kept:
        kept["parts"] = [_countable(part) for part in kept["parts"]]
    return kept


def _differences(name: str, a: Any, b: Any) -> Iterator[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        one, two = dict(_leaves(a)), dict(_leaves(b))
        for key in sorted({*one, *two}):
            if key not in two:
                yield f"{name} {key}: {one[key]!r} in the first run only"
            elif key not in one:
                yield f"{name} {key}: {two[key]!r} in the second run only"
            elif one[key] != two[key]:
                yield f"{name} {key}: {one[key]!r} against {two[key]!r}"
    elif a != b:
        yield f"{name}: {_said(a)} against {_said(b)}"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values by their dotted names, with the places in lists of sections among them."""
    match value:
        case Mapping():
            items = value.items()
        case list() if any(isinstance(item, Mapping) for item in value):
            items = dict(enumerate(value)).items()
        case None:
            return
        case _:
            yield name, _finite(value)  # NaN equals no NaN
            return
    for key, item in items:
        yield from _leaves(item, f"{name}.{key}".lstrip("."))


def _finite(value: Any) -> Any:
    """With text for NaN and infinity, which JSON does not have."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list():
            return [_finite(item) for item in value]
        case _:
            return value


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _git() -> dict[str, Any] | None:
    """Commit and changes of the repository that the program was started in, if it was in one.

    What git could not tell is missing, and its ``error`` says why.
    """
    errors: list[str] = []

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *arguments],
                # To look must not write to the index.
                env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
                capture_output=True,
                timeout=20,
            )
        except (OSError, subprocess.SubprocessError) as error:
            errors.append(str(error))
            return ""
        if done.returncode:
            errors.append(done.stderr.decode("utf-8", "replace").strip())
            return ""
        return done.stdout.decode("utf-8", "replace")

    commit = git("rev-parse", "--verify", "HEAD").strip()
    if errors:
        return None if "not a git repository" in errors[0] else {"error": errors[0]}
    # A changed binary would fill the diff, and take its time: its name must do.
    counts = [line.split("\t", 2) for line in git("diff", "--numstat", "-z", "HEAD").split("\0")]
    binaries = [path for added, _, path in (c for c in counts if len(c) == 3) if added == "-"]
    left_out = [f":(top,exclude,literal){path}" for path in binaries[:1000]]
    diff = git("diff", *_AS_A_PATCH, "HEAD", "--", ":/", *left_out)
    changed = git("status", "--porcelain").splitlines()
    branch = git("rev-parse", "--abbrev-ref", "HEAD").strip()
    failed = {"error": "; ".join(errors)} if errors else {}
    return {
        **failed,
        "commit": commit,
        "branch": branch,
        "remote": git("config", "--get", "remote.origin.url").strip() or None,
        "dirty": bool(changed),
        "untracked": [line[3:] for line in changed if line.startswith("??")][:100],
        "changed_binaries": binaries[:100],
        "diff": diff.encode()[:_DIFF_BYTES].decode("utf-8", "ignore"),
        "diff_is_cut": len(diff.encode()) > _DIFF_BYTES,
    }


def _seeds(environ: Mapping[str, str]) -> dict[str, Any]:
    """Seeds where they can be read, and else a digest of the generator's state."""
    return {
        "global": environ.get("PL_GLOBAL_SEED"),
        "workers": environ.get("PL_SEED_WORKERS"),
        "torch": torch.initial_seed(),
        "torch_state": _digest(torch.get_rng_state().numpy().tobytes()),
        "numpy_state": _digest(repr(np.random.get_state(legacy=False)).encode()),
        "python_state": _digest(repr(random.getstate()).encode()),
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _deterministic() -> dict[str, Any]:
    return {
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
    }


def _packages() -> dict[str, str]:
    found = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return {name: found[name] for name in sorted(filter(None, found), key=str.lower)}


def _hardware() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "cuda": torch.version.cuda,
        "gpus": [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GB" for gpu in gpus],
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1] if found else platform.processor()


def _memory_gb() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None  # not told by this system
