"""Paths within the folder of a run, which follow from where it was written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["CHECKSUMS", "is_file_digest", "relative_to_run"]

CHECKSUMS = (
    "the checkpoint files are not the same byte for byte, as they hold paths too; "
    "`lightning-hparams replay` compares weights"
)


def relative_to_run(manifest: Mapping[str, Any], folder: str | Path) -> dict[str, Any]:
    """Return a manifest in which paths within the folder of its run begin with ``RUN``.

    Args:
        manifest: The manifest.
        folder: The folder of the run.

    >>> relative_to_run({"config": {"dirpath": "/logs/a/checkpoints", "root": "/logs"}}, "/logs/a")
    {'config': {'dirpath': 'RUN/checkpoints', 'root': '/logs'}}
    """
    given = Path(folder)
    bases = {str(given), os.path.abspath(given), str(given.resolve())} - {"."}
    return {name: _relative(value, bases) for name, value in manifest.items()}


def is_file_digest(name: str) -> bool:
    """Whether the dotted name of a value is that of the digest of a checkpoint's bytes."""
    return name.endswith(("best.sha256", "last.sha256"))


def _relative(value: Any, bases: set[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _relative(each, bases) for name, each in value.items()}
    if isinstance(value, list):
        return [_relative(each, bases) for each in value]
    if isinstance(value, str):
        for base in bases:
            if value == base or value.startswith(base + os.sep):
                return "RUN" + value[len(base) :]
    return value
