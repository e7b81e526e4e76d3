"""The row of a run in the table of hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..checks import nearest
from ..sinks import Domain, Sinks
from ..tags import best_tag
from ._hyperparameters import Flat, is_first

__all__ = ["Row"]


class Row:
    """Has the same values and columns in every sink.

    Args:
        domains: Values that a hyperparameter may take.
    """

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        self._domains = domains
        self._sinks = Sinks()
        self.values: Flat = {}
        self.has_columns = False

    def check_domains(self) -> None:
        """Check that each is of a hyperparameter that the run has.

        Raises:
            ValueError: If it is not, with the nearest names.
        """
        for name in self._domains:
            if name not in self.values:
                raise ValueError(
                    f"`domains` has {name!r}, which is no hyperparameter of this run"
                    f"{nearest(name, self.values)}; it has {sorted(self.values)}"
                )

    def begin(self, sinks: Sinks, group: str | None) -> None:
        """Write the values; runs of one group share a row."""
        self._sinks, self.has_columns = sinks, False
        sinks.hparams(self.values, group=group)

    def choose_columns(self, tags: Sequence[str]) -> None:
        """Choose columns for all hyperparameters, and for the last and the best of each metric."""
        self.has_columns = True
        domains: dict[str, Domain | None] = dict(self._domains)
        domains |= {name: None for name in self.values if name not in domains}
        metrics = {name: name for tag in tags for name in (best_tag(tag), tag)}
        # With domains, those are what a reader looks for first.
        first = [] if self._domains else [name for name in domains if is_first(name)]
        self._sinks.columns(domains, metrics, first=first)
