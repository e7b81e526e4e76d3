"""Load a manifest from a file that may be damaged or belong to another program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..checks import type_name
from .facts import FORMAT

__all__ = ["load_manifest", "manifest_path"]


def load_manifest(path: str | Path) -> tuple[dict[str, Any] | None, str]:
    """The manifest in a file, or None and the reason. Never raises.

    Args:
        path: The file, or the folder that contains it.

    Returns:
        The manifest, with a list of manifests under ``earlier`` if it has any, and ``""``; or None
        and the reason why it cannot be used.
    """
    path = manifest_path(path)
    try:
        if not path.is_file():
            return None, f"there is no manifest at {str(path)!r}"
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return None, f"{str(path)!r} cannot be read: {error}"
    if fault := _fault(found):
        return None, f"{str(path)!r} is not a manifest written by RunRecorder: {fault}"
    return found, ""


def manifest_path(path: str | Path) -> Path:
    """The file itself, also if a folder is given."""
    path = Path(path)
    return path / "manifest.json" if path.is_dir() else path


def _fault(found: object) -> str:
    if not isinstance(found, dict):
        return f"it must contain an object, got {type_name(found)}"
    version = found.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        return f"its `format` must be 1 to {FORMAT}, got {_short(version)}"
    earlier = found.get("earlier", [])
    if not isinstance(earlier, list) or not all(isinstance(part, dict) for part in earlier):
        return f"its `earlier` must be a list of objects, got {_short(earlier)}"
    return ""


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
