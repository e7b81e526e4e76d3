"""Judge a configuration and the data that it names."""

from __future__ import annotations

from pathlib import Path

from lightning import LightningDataModule

from ..configuration import Configuration, ConfigurationError
from .data import data_findings
from .findings import Finding

__all__ = ["configuration_findings"]


def configuration_findings(path: Path, limit: int = 500) -> list[Finding]:
    """Read and build a configuration, and judge its data."""
    try:
        configuration = Configuration.load(path)
        built = configuration.build(logger=False)
    except (ConfigurationError, ValueError, TypeError, OSError, ImportError) as error:
        text = str(error).removeprefix(f"{path}: ")
        return [Finding("configuration", "error", f"{path}: {text}")]
    data = built.data
    names = type(built.module).__name__ + (f" on {type(data).__name__}" if data else "")
    parameters = sum(parameter.numel() for parameter in built.module.parameters())
    found = [Finding("configuration", "ok", f"{path}: {names}, {parameters} parameters")]
    if not isinstance(data, LightningDataModule):
        text = "it has no data module, so its data are not looked at"
        return [*found, Finding("configuration", "note", text)]
    return [*found, *data_findings(data, limit)]
