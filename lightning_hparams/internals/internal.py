"""Access to a private attribute of another package, with an error if a version moved it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from operator import attrgetter
from typing import Any

__all__ = ["Internal", "InternalsMovedError"]


class InternalsMovedError(RuntimeError):
    """An installed package no longer has a private attribute that is needed here."""


@dataclass(frozen=True)
class Internal:
    """A private attribute of another package, by its path from a public object.

    Args:
        owner: Name of the distribution that is installed, such as ``"lightning"``.
        of: Name of the class that the path starts from.
        path: Dotted path of the attribute.
        needed: Purpose, and why there is no public way; completes "it is needed ...".
    """

    owner: str
    of: str
    path: str
    needed: str
    _get: Callable[[object], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_get", attrgetter(self.path))

    def read(self, source: object) -> Any:
        """Return the value.

        Args:
            source: An object of the class that the path starts from.

        Raises:
            InternalsMovedError: If there is no such attribute.
        """
        try:
            return self._get(source)
        except AttributeError as error:
            raise self._moved() from error

    def write(self, source: object, value: object) -> None:
        """Replace the value.

        Raises:
            InternalsMovedError: If there is no such attribute: a new one would have no effect.
        """
        parent, _, name = self.path.rpartition(".")
        self.read(source)
        setattr(attrgetter(parent)(source) if parent else source, name, value)

    def _moved(self) -> InternalsMovedError:
        return InternalsMovedError(
            f"{self.owner} {version(self.owner)} no longer has `{self.of}.{self.path}`, which is "
            f"needed {self.needed}; install an older {self.owner}, or a newer lightning-hparams"
        )
