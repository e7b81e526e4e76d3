"""A private attribute of another package: where it is, what it is needed for, who moved it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from operator import attrgetter
from typing import Any

__all__ = ["Internal", "InternalsMovedError"]


class InternalsMovedError(RuntimeError):
    """A version of another package no longer has a private attribute that is needed here."""


@dataclass(frozen=True)
class Internal:
    """A private attribute of another package, by its path from a public object.

    Args:
        owner: The distribution, as it is called on the package index.
        of: The public class, or what else the path starts from.
        path: Dotted path of the attribute.
        needed: What for, and why nothing public does: the end of "it is needed ...".
    """

    owner: str
    of: str
    path: str
    needed: str
    _get: Callable[[Any], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_get", attrgetter(self.path))

    def read(self, source: Any) -> Any:
        """The value.

        Args:
            source: An object of the class that the path starts from.

        Raises:
            InternalsMovedError: If there is no such attribute.
        """
        try:
            return self._get(source)
        except AttributeError as error:
            raise self._moved() from error

    def write(self, source: Any, value: Any) -> None:
        """Replace the value.

        Raises:
            InternalsMovedError: If there is none to replace: a new attribute would have no effect.
        """
        parent, _, name = self.path.rpartition(".")
        self.read(source)
        setattr(attrgetter(parent)(source) if parent else source, name, value)

    def _moved(self) -> InternalsMovedError:
        return InternalsMovedError(
            f"{self.owner} {version(self.owner)} has no `{self.of}.{self.path}` any more, which is "
            f"needed {self.needed}; install an older {self.owner}, or a newer lightning-hparams"
        )
