"""Read-only stand-ins for the user's loggers and callbacks during a sweep."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning import Callback
from lightning.pytorch.loggers.logger import DummyLogger

__all__ = ["Anything", "CallbackStandIn", "NoLogger"]

_PLAIN = (str, int, float, bool, Path, type(None))
_HOOKS = frozenset(name for name in vars(Callback) if name[0] != "_") - {"state_key"}


class Anything:
    """Accepts any call, attribute or item access and does nothing.

    >>> Anything().config["lr"].update(step=3).anything
    Anything()
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Return itself for any arguments."""
        return self

    def __getitem__(self, key: object) -> Any:
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "Anything()"


class NoLogger(DummyLogger):
    """Writes nothing; has the folders and names of the logger it replaces.

    ``isinstance`` reports the original's type, since modules check it before they draw.
    """

    def __init__(self, original: Any) -> None:
        self._original = original
        super().__init__()

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # isinstance checks this after the real type
        return type(vars(self)["_original"])

    @property
    def save_dir(self) -> Any:
        """Save directory of the original."""
        return self._original.save_dir

    @property
    def log_dir(self) -> Any:
        """Log directory of the original."""
        return self._original.log_dir

    @property
    def root_dir(self) -> Any:
        """Root directory of the original."""
        return self._original.root_dir

    @property
    def name(self) -> Any:
        """Name of the original."""
        return self._original.name

    @property
    def version(self) -> Any:
        """Version of the original."""
        return self._original.version

    @property
    def experiment(self) -> Any:
        """An object that accepts any call."""
        return Anything()

    def __getattr__(self, name: str) -> Any:
        """Plain settings of the original; :class:`Anything` for all else."""
        kept = vars(self)["_original"]
        # Not getattr, since some properties start a run or open a file.
        value = vars(kept).get(name, getattr(type(kept), name, None))
        return value if name in vars(kept) and isinstance(value, _PLAIN) else Anything()

    def __deepcopy__(self, memo: dict[int, Any]) -> NoLogger:
        return self


class CallbackStandIn:
    """Stand-in for a user callback that can be looked up and read, but whose hooks do not run.

    The original is copied on first access to its attributes, so changes affect only the copy.
    """

    def __init__(self, original: Callback, memo: dict[int, Any]) -> None:
        vars(self).update(_original=original, _memo=memo, _copy=None)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # isinstance checks this after the real type
        return type(vars(self)["_original"])

    def __getattr__(self, name: str) -> Any:
        if name in _HOOKS:
            return None  # Lightning skips hooks that are not callable
        if name == "state_key":
            return vars(self)["_original"].state_key
        return getattr(self._own(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._own(), name, value)

    def _own(self) -> Any:
        state = vars(self)
        if state["_copy"] is None:
            try:
                state["_copy"] = copy.deepcopy(state["_original"], dict(state["_memo"]))
            except Exception:  # it holds a file or a lock, as progress bars do
                state["_copy"] = copy.copy(state["_original"])
        return state["_copy"]
