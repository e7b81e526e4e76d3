"""Whether a search fits the configuration that it varies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .first_trials import first_trials
from .overriding import check_overriding

if TYPE_CHECKING:
    from ..configuration import Configuration
    from .settings import SearchSettings

__all__ = ["batch_size_of", "check_fit"]


def check_fit(settings: SearchSettings, configuration: Configuration) -> None:
    """Check a search against its configuration, before anything is trained.

    Args:
        settings: What the search does.
        configuration: What it varies.

    Raises:
        ValueError: If a key or value does not fit the configuration's types, values of a first
            trial do not fit each other, or a sampled value would be replaced.
    """
    settings.space.check(configuration)
    check_overriding(settings, configuration.data)
    firsts = first_trials(settings, batch_size_of(configuration))
    for origin, values in firsts.items():
        if not origin.startswith("grid"):  # there may be thousands
            configuration.with_values(values)


def batch_size_of(configuration: Configuration) -> int | None:
    """Return the batch size of a configuration's data, if they take one."""
    data = configuration.data.get("data") or {}
    size = (data.get("init_args") or {}).get("batch_size")
    return size if isinstance(size, int) else None
