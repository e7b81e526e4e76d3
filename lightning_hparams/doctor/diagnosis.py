"""Diagnose an installation, a folder of data, or a configuration."""

from __future__ import annotations

from pathlib import Path

from .findings import Diagnosis, Finding
from .packages import package_findings

__all__ = ["diagnose"]


def diagnose(target: str | Path | None = None, *, limit: int = 500) -> Diagnosis:
    """Find out what is missing or wrong before a run does.

    Without a target, these are the installed packages, the install line of what is missing, whether
    a GPU can compute, and the number of threads against the cores that may be used. With one, the
    data too: their number and sizes, files that cannot be read, NaN, duplicates, and the balance of
    the classes.

    Args:
        target: A folder of images in one of the usual layouts, with class folders, masks, or boxes
            of COCO or Pascal VOC; or a configuration of LightningCLI with data.
        limit: Maximum number of images to read in each split, evenly spread.

    Raises:
        FileNotFoundError: If the target does not exist.

    >>> print(diagnose().ok)
    True
    """
    if target is not None and not Path(target).exists():
        raise FileNotFoundError(
            f"{target} does not exist; pass a folder of images, or a configuration file"
        )
    found = package_findings()
    if not any(finding.level == "error" for finding in found):
        found += _with_torch(None if target is None else Path(target), limit)
    return Diagnosis(tuple(found))


def _with_torch(path: Path | None, limit: int) -> list[Finding]:
    # Imported here, so that missing packages are found rather than missed.
    from .data import folder_findings
    from .machine import machine_findings, this_machine

    found = machine_findings(this_machine())
    if path is None:
        return found
    if path.is_dir():
        return [*found, *folder_findings(path, limit)]

    from .configured import configuration_findings

    return [*found, *configuration_findings(path, limit)]
