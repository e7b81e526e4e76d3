"""Short names of parameters, for tables and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["short_names", "shown"]

_FILLERS = ("init_args", "callbacks")  # say nothing to a reader


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return the shortest ends of dotted keys that tell them apart.

    >>> short_names(["model.init_args.lr", "model.init_args.optimizer"])
    {'model.init_args.lr': 'lr', 'model.init_args.optimizer': 'optimizer'}
    >>> list(short_names(["a.lr", "b.lr", "trainer.callbacks.OneCycle.init_args.lr"]).values())
    ['a.lr', 'b.lr', 'OneCycle.lr']
    """
    parts = {key: [part for part in key.split(".") if part not in _FILLERS] for key in keys}
    lengths = dict.fromkeys(parts, 1)
    while True:
        names = {key: ".".join(some[-lengths[key] :]) for key, some in parts.items()}
        counts = Counter(names.values())
        longer = [
            key
            for key, name in names.items()
            if counts[name] > 1 and lengths[key] < len(parts[key])
        ]
        if not longer:
            # Keys that differ in nothing but fillers keep their whole names.
            return {key: name if counts[name] == 1 else key for key, name in names.items()}
        for key in longer:
            lengths[key] += 1


def shown(value: object) -> str:
    """Return a value as a table shows it.

    >>> shown(0.000123456), shown(True), shown(None), shown("SGD")
    ('0.000123', 'True', '-', 'SGD')
    """
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
