"""Hyperparameters of a run, and its row in the table of runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TypeAlias

from lightning import LightningModule, Trainer

from ..checks import nearest
from ..provenance import flatten, without_secrets
from ..sinks import Domain, Sinks
from ..tags import best_tag, writable

__all__ = ["Row", "check_domain", "group_of", "hyperparameters", "most_telling_first"]

Flat: TypeAlias = dict[str, bool | int | float | str]

_SEED = "seed_everything"
_FIRST = (
    ("lr", "learning_rate", "max_lr"),
    ("optimizer", "optimizer_name"),
    ("batch_size", "train_batch_size"),
)


def hyperparameters(
    trainer: Trainer, module: LightningModule, more: Mapping[str, object], *, hidden: bool = True
) -> Flat:
    """Current hyperparameters: a range test may have changed the learning rate since saving.

    Args:
        trainer: The Trainer, whose data module may have hyperparameters too.
        module: The module. If both have a name with different values, that of the data module
            becomes ``data.{name}``.
        more: Additional hyperparameters of the user.
        hidden: Whether to hide values that look like secrets.

    Returns:
        Flat hyperparameters in the order of :func:`most_telling_first`. The seed of the run is
        ``seed_everything``, since ``seed`` may belong to the data.
    """
    own = _flat(module.hparams, hidden)
    datamodule = getattr(trainer, "datamodule", None)
    for name, value in ({} if datamodule is None else _flat(datamodule.hparams, hidden)).items():
        own[f"data.{name}" if own.get(name, value) != value else name] = value
    seed = os.environ.get("PL_GLOBAL_SEED", "")  # set by seed_everything
    if seed.isdecimal():
        own.setdefault(_SEED, int(seed))
    own |= _flat(more, hidden)
    return most_telling_first({writable(name): value for name, value in own.items()})


def most_telling_first(values: Flat) -> Flat:
    """Learning rate, optimizer and batch size first, then the others in their given order.

    >>> list(most_telling_first({"arch": "unet", "batch_size": 4, "model.lr": 0.1}))
    ['model.lr', 'batch_size', 'arch']
    """
    return dict(sorted(values.items(), key=lambda item: _rank(item[0])))


def is_first(name: str) -> bool:
    """Whether a reader looks for this hyperparameter first."""
    return _rank(name) < len(_FIRST)


def group_of(values: Flat) -> str:
    """Hash of all values, including secrets: runs that differ in them are not one group."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_domain(name: str, domain: object) -> None:
    """Check that every logger can write a domain, before the first validation fails on it."""
    if isinstance(domain, tuple):
        numbers = all(isinstance(v, Real) and not isinstance(v, bool) for v in domain)
        if numbers and len(domain) == 2 and domain[0] < domain[1]:
            return
        remedy = "" if numbers else f"; pass a list: {list(domain)!r}"
    else:
        values = domain if isinstance(domain, Sequence) and not isinstance(domain, str) else ()
        known = [value for value in values if value is not None]
        if known and all(isinstance(value, (str, Real, list, tuple)) for value in known):
            return
        remedy = ""
    raise ValueError(
        f"the domain of {name!r} must be a tuple (low, high) of numbers with low < high, or a list "
        f"of values, got {domain!r}{remedy}"
    )


class Row:
    """Row of a run in the table, identical in every sink.

    Args:
        domains: Allowed values of hyperparameters.
    """

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        self._domains = domains
        self._sinks = Sinks()
        self.values: Flat = {}
        self.has_columns = False

    def check_domains(self) -> None:
        """Check that every domain belongs to a hyperparameter of the run.

        Raises:
            ValueError: If one does not, with the closest names.
        """
        for name in self._domains:
            if name not in self.values:
                raise ValueError(
                    f"`domains` has {name!r}, which is not a hyperparameter of this run"
                    f"{nearest(name, self.values)}; it has {sorted(self.values)}"
                )

    def begin(self, sinks: Sinks, group: str | None, tags: Sequence[str] | None) -> None:
        """Write the values; runs of the same group share a row.

        Args:
            sinks: Where to write them.
            group: Group of the run, if it has one.
            tags: Metrics that get columns; None for all, or, with domains, to choose them later.
        """
        self._sinks, self.has_columns = sinks, False
        sinks.hparams(self.values, group=group)
        if tags is not None:
            self.choose_columns(tags)
        elif not self._domains:
            sinks.columns({}, {})

    def choose_columns(self, tags: Sequence[str]) -> None:
        """Add columns for all hyperparameters, and for the last and best value of each metric."""
        self.has_columns = True
        domains: dict[str, Domain | None] = dict(self._domains)
        domains |= {name: None for name in self.values if name not in domains}
        metrics = {name: name for tag in tags for name in (best_tag(tag), tag)}
        # If there are domains, a reader looks for those first.
        first = [] if self._domains else [name for name in domains if is_first(name)]
        self._sinks.columns(domains, metrics, first=first)


def _rank(name: str) -> int:
    last = name.rpartition(".")[2]
    return next((rank for rank, names in enumerate(_FIRST) if last in names), len(_FIRST))


def _flat(values: Mapping[str, object], hidden: bool) -> Flat:
    flat = without_secrets(values, os.environ) if hidden else flatten(values)
    return {k: writable(v) if isinstance(v, str) else v for k, v in flat.items()}
