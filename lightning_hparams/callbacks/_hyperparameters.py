"""The hyperparameters of a run, as a table of runs shows them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

from lightning import LightningModule, Trainer

from ..provenance import flatten, without_secrets
from ..tags import writable

__all__ = ["Flat", "check_domain", "group_of", "hyperparameters", "is_first", "most_telling_first"]

Flat: TypeAlias = dict[str, bool | int | float | str]

_SEED = "seed_everything"
_FIRST = (
    ("lr", "learning_rate", "max_lr"),
    ("optimizer", "optimizer_name"),
    ("batch_size", "train_batch_size"),
)


def hyperparameters(
    trainer: Trainer, module: LightningModule, more: Mapping[str, Any], *, hidden: bool = True
) -> Flat:
    """As they are now: a range test may have changed the rate that was saved.

    Args:
        trainer: Its data module may have hyperparameters, too.
        module: Where both have one of a name with another value, the latter is ``data.{name}``.
        more: What the user adds.
        hidden: Whether to hide what looks like a secret.

    Returns:
        Flat, in the order of :func:`most_telling_first`. The seed of the run is called
        ``seed_everything``, for ``seed`` may be one of the data.
    """
    own = _flat(module.hparams, hidden)
    datamodule = getattr(trainer, "datamodule", None)
    for name, value in ({} if datamodule is None else _flat(datamodule.hparams, hidden)).items():
        own[f"data.{name}" if own.get(name, value) != value else name] = value
    seed = os.environ.get("PL_GLOBAL_SEED", "")  # where seed_everything leaves it
    if seed.isdecimal():
        own.setdefault(_SEED, int(seed))
    own |= _flat(more, hidden)
    return most_telling_first({writable(name): value for name, value in own.items()})


def most_telling_first(values: Flat) -> Flat:
    """Learning rate, optimizer and batch size, then the others as they come.

    >>> list(most_telling_first({"arch": "unet", "batch_size": 4, "model.lr": 0.1}))
    ['model.lr', 'batch_size', 'arch']
    """
    return dict(sorted(values.items(), key=lambda item: _rank(item[0])))


def is_first(name: str) -> bool:
    """Whether it is one that a reader looks for first."""
    return _rank(name) < len(_FIRST)


def group_of(values: Flat) -> str:
    """Of all values, those too that are hidden: runs that differ in them are not the same."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_domain(name: str, domain: Any) -> None:
    """That each logger can write it: else the run would end at its first validation."""
    if isinstance(domain, tuple):
        numbers = all(isinstance(v, Real) and not isinstance(v, bool) for v in domain)
        if numbers and len(domain) == 2 and domain[0] < domain[1]:
            return
        remedy = "" if numbers else f"; pass a list: {list(domain)!r}"
    else:
        listed = isinstance(domain, Sequence) and not isinstance(domain, str)
        known = [value for value in domain if value is not None] if listed else []
        if known and all(isinstance(value, (str, Real, list, tuple)) for value in known):
            return
        remedy = ""
    raise ValueError(
        f"the domain of {name!r} must be a tuple (low, high) of numbers with low < high, or a list "
        f"of values, got {domain!r}{remedy}"
    )


def _rank(name: str) -> int:
    last = name.rpartition(".")[2]
    return next((rank for rank, names in enumerate(_FIRST) if last in names), len(_FIRST))


def _flat(values: Mapping[str, Any], hidden: bool) -> Flat:
    flat = without_secrets(values, os.environ) if hidden else flatten(values)
    return {k: writable(v) if isinstance(v, str) else v for k, v in flat.items()}
