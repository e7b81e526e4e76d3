"""Installed packages, and how to install those that are missing."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Callable, Iterable, Iterator

from packaging.requirements import Requirement

from .findings import Finding

__all__ = ["installed_version", "package_findings"]

_NAME = "lightning-hparams"
_MAIN = ("lightning", "torch", "torchvision", "torchmetrics", "tensorboard")
_FOR = {
    "cmaes": "the sampler cmaes",
    "examples": "the bundled examples and their data",
    "export": "ONNX",
    "mlflow": "tracking with MLflow",
    "plot": "charts of range tests and schedules",
    "postgres": "a search on several machines with PostgreSQL",
    "ray": "a search on a Ray cluster",
    "search": "the report of a search, and the samplers cmaes and gp",
    "tiff": "TIFF files with compression",
}
_NOT_FOR_USERS = ("bench", "dev")

Version = Callable[[str], "str | None"]


def installed_version(name: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def package_findings(
    requirements: Iterable[str] | None = None, version: Version = installed_version
) -> list[Finding]:
    """Compare what is installed with what the package needs.

    Args:
        requirements: Those of the package, as its metadata list them; None to read them.
        version: The installed version of a package.
    """
    own = version(_NAME)
    versions = [f"{name} {version(name)}" for name in _MAIN if version(name)]
    listed = [f"{_NAME} {own}"] if own else []
    listed += [f"Python {platform.python_version()}", *versions]
    found = [Finding("packages", "ok", ", ".join(listed))]
    if requirements is None:
        try:
            requirements = importlib.metadata.requires(_NAME) or []
        except importlib.metadata.PackageNotFoundError:
            text = f"{_NAME} is not installed but imported from a folder"
            return [*found, Finding("packages", "note", text, "pip install --editable FOLDER")]
    parsed = [Requirement(text) for text in requirements]
    return [*found, *_required(parsed, version), *_optional(parsed, version)]


def _required(parsed: list[Requirement], version: Version) -> Iterator[Finding]:
    faults = [
        fault
        for one in parsed
        if one.marker is None or one.marker.evaluate({"extra": ""})
        if (fault := _fault(one, version)) is not None
    ]
    if faults:
        needed = " ".join(f"'{one}'" for one, _ in faults)
        text = "; ".join(fault for _, fault in faults)
        yield Finding("packages", "error", text, f"pip install {needed}")


def _optional(parsed: list[Requirement], version: Version) -> Iterator[Finding]:
    for extra in _extras(parsed):
        faults = [
            fault[1]
            for one in parsed
            if one.marker is not None
            and one.marker.evaluate({"extra": extra})
            and not one.marker.evaluate({"extra": ""})
            if (fault := _fault(one, version)) is not None
        ]
        purpose = f" (for {_FOR[extra]})" if extra in _FOR else ""
        if faults:
            text = f"extra {extra}{purpose}: {'; '.join(faults)}"
            yield Finding("packages", "note", text, f"pip install '{_NAME}[{extra}]'")
        else:
            yield Finding("packages", "ok", f"extra {extra}{purpose}")


def _extras(parsed: Iterable[Requirement]) -> list[str]:
    """Extras that requirements name in their markers, sorted."""
    markers = " ".join(str(one.marker) for one in parsed)
    return sorted({*re.findall(r"extra == [\"']([^\"']+)", markers)} - {*_NOT_FOR_USERS})


def _fault(one: Requirement, version: Version) -> tuple[str, str] | None:
    """The requirement to install and what is wrong with it, or None."""
    extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
    wanted = f"{one.name}{extras}{one.specifier}"
    found = version(one.name)
    if found is None:
        return wanted, f"{one.name} is not installed"
    if not one.specifier.contains(found, prereleases=True):
        return wanted, f"{one.name} {found} is installed, but {one.name}{one.specifier} is needed"
    return None
