"""How a run's data loaders are set up."""

from __future__ import annotations

from collections.abc import Mapping

from torch.utils.data import DataLoader

from .advice import Loading
from .cores import usable_cores

__all__ = ["loading_of"]


def loading_of(loaders: object, processes: int = 1) -> Loading:
    """Return how data are loaded: of several DataLoaders, by the one with the fewest workers.

    Args:
        loaders: A loader, or lists and mappings of loaders, however nested.
        processes: Number of processes that share this machine's cores.
    """
    found = [one for one in _flat(loaders) if isinstance(one, DataLoader)]
    cores = max(1, usable_cores().usable // processes)
    if not found:
        return Loading(None, False, cores)
    slowest = min(found, key=lambda loader: loader.num_workers)
    return Loading(slowest.num_workers, slowest.persistent_workers, cores)


def _flat(loaders: object) -> list[object]:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, (list, tuple)):
        return [one for part in loaders for one in _flat(part)]
    return [loaders]
