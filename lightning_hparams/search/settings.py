"""What a search does: the content of its YAML file, checked."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from .. import presets as literature
from ..checks import as_number, counted, in_range, nearest, one_of, whole_number
from ..configuration import read_yaml_file
from .params import as_listed
from .pruners import check_pruner
from .samplers import check_sampler
from .space import Space

__all__ = ["RangeTestUse", "SearchSettings", "seconds"]

RangeTestUse: TypeAlias = Literal["off", "suggestion", "factor"]
_DURATION = re.compile(r"([\d.]+)\s*([a-z]*)\s*")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
# YAML 1.1 reads these words as truth values, JSON and Python have no others.
_WORDS = {"off": "off", False: "off", "suggestion": "suggestion", "factor": "factor"}


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What a search does.

    Args:
        metric: Name of the logged metric that trials are compared by, such as ``"val_loss"``.
        mode: Whether it is better if lower, ``"min"``, or higher, ``"max"``.
        space: What trials vary.
        name: Name of the study.
        seed: Seed that those of samplers and trainings are derived from.
        folder: Folder of the study, ``studies/<name>`` by default.
        storage: URL of a database. By default a SQLite file in the folder; PostgreSQL,
            ``postgresql+psycopg://user@host/name``, is for many machines.
        sampler: Name of a sampler, or a mapping with its ``name`` and options.
        pruner: Name of a pruner, or a mapping with its ``name`` and options; None trains all
            trials to their end.
        trials: How many trials to run, presets and priors among them, retries not counted.
        wall_time: When to stop: seconds, or a text such as ``"8h"`` or ``"1h 30m"``, counted from
            the start of the workers, which takes some of it.
        trial_timeout: How long one trial may take, in the same form.
        patience: How many trials without improvement end the search.
        workers: How many trials run at the same time.
        launcher: What starts the workers: ``"processes"`` on this machine; ``"ray"``, a Ray
            cluster; ``"none"`` creates the study, for workers that a scheduler starts.
        cpus_per_worker: CPUs that Ray reserves for a worker; those of the cluster divided by
            default.
        gpus_per_worker: GPUs likewise, or a part of one.
        retries: How often to repeat a trial whose process was killed.
        presets: Trials to run first: names of :mod:`lightning_hparams.presets`, or values by key.
        lr_range_test: What an LR range test before each trial is for: ``"off"``; ``"suggestion"``,
            its result is the learning rate; ``"factor"``, its result is multiplied by the
            learning rate in the space. By default a sampled learning rate switches it off.
        on_error: What an error in a trial leads to: ``"prune"``, the search goes on and avoids the
            values; ``"fail"``, it goes on; ``"stop"``.
        repeat_best: How many of the best trials to repeat with how many other seeds on the test
            split, such as ``{"trials": 3, "seeds": 5}``.
        keep: How many trials keep their best checkpoint.

    Raises:
        ValueError: If a value is unknown, out of range, or does not fit another.
        TypeError: If one has the wrong type.
    """

    metric: str
    mode: Literal["min", "max"]
    space: Space
    name: str = "study"
    seed: int = 0
    folder: Path = field(default=cast(Path, None))
    storage: str | None = None
    sampler: Mapping[str, Any] = field(default_factory=lambda: {"name": "tpe"})
    pruner: Mapping[str, Any] | None = None
    trials: int | None = None
    wall_time: float | None = None
    trial_timeout: float | None = None
    patience: int | None = None
    workers: int = 1
    launcher: Literal["processes", "ray", "none"] = "processes"
    cpus_per_worker: int | None = None
    gpus_per_worker: float | None = None
    retries: int = 2
    presets: Sequence[str | Mapping[str, object]] = ()
    lr_range_test: RangeTestUse | None = None
    on_error: Literal["prune", "fail", "stop"] = "prune"
    repeat_best: Mapping[str, int] | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        self._check_names()
        space = self.space if isinstance(self.space, Space) else Space.from_mapping(self.space)
        self._set(space=space)
        self._check_numbers()
        self._set(
            sampler=check_sampler(self.sampler, space),
            pruner=None if self.pruner is None else check_pruner(self.pruner),
        )
        self._check_choices()
        self._check_presets()
        self._check_budget()

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: object) -> SearchSettings:
        """Read a YAML file.

        Args:
            path: The file.
            overrides: Values that replace those of the file.

        Raises:
            ValueError: As for the class, with the name of the file.
        """
        data = read_yaml_file(path)
        if not isinstance(data, Mapping):
            raise ValueError(f"{path}: a search must be a mapping of settings, got {data!r}")
        try:
            return cls.from_mapping({**data, **overrides})
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}") from None

    @classmethod
    def from_mapping(cls, data: Mapping[str, object]) -> SearchSettings:
        """Read plain data, as they stand in the YAML file."""
        known = [each.name for each in fields(cls)]
        for name in data:
            if name not in known:
                raise ValueError(f"a search has no setting {name!r}{nearest(str(name), known)}")
        for name in ("metric", "mode", "space"):
            if name not in data:
                raise ValueError(f"a search must have the setting {name!r}, got {sorted(data)}")
        return cls(**cast("dict[str, Any]", dict(data)))

    def to_mapping(self) -> dict[str, Any]:
        """Return plain data that :meth:`from_mapping` reads."""
        data: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "space":
                data["space"] = self.space.to_mapping()
            else:
                data[each.name] = str(value) if isinstance(value, Path) else as_listed(value)
        return data

    @property
    def storage_url(self) -> str:
        """URL of the study's database."""
        return self.storage or f"sqlite:///{self.folder / 'study.db'}"

    def deadline(self) -> float | None:
        """Return when the wall time of a search that starts now is over; None without a limit."""
        return None if self.wall_time is None else time.time() + self.wall_time

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the class is frozen

    def _check_names(self) -> None:
        for name in ("metric", "name"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise TypeError(f"`{name}` must be a text, got {value!r}")
        if re.search(r"[/\\\0]", self.name) or self.name in (".", ".."):
            raise ValueError(f"`name` must fit a folder's name, got {self.name!r}; leave out '/'")
        folder = Path("studies") / self.name if self.folder is None else Path(self.folder)
        self._set(folder=folder)
        path = str(self.storage).removeprefix("sqlite:///")
        if path not in (str(self.storage), "", ":memory:"):
            # Workers may be started in another folder.
            self._set(storage=f"sqlite:///{Path(path).absolute()}")
        if self.storage is not None and "://" not in str(self.storage):
            raise ValueError(
                f"`storage` must be a URL, got {self.storage!r}; 'sqlite:///study.db' is one"
            )

    def _check_numbers(self) -> None:
        whole_number("seed", self.seed, 0)
        for name, low in (("workers", 1), ("retries", 0), ("keep", 1)):
            self._set(**{name: whole_number(name, getattr(self, name), low)})
        for name in ("trials", "patience"):
            if getattr(self, name) is not None:
                self._set(**{name: whole_number(name, getattr(self, name), 1)})
        for name in ("wall_time", "trial_timeout"):
            if getattr(self, name) is not None:
                self._set(**{name: seconds(name, getattr(self, name))})

    def _check_choices(self) -> None:
        one_of("mode", self.mode, ("min", "max"))
        one_of("launcher", self.launcher, ("processes", "ray", "none"))
        if self.cpus_per_worker is not None:
            whole_number("cpus_per_worker", self.cpus_per_worker, 1)
        if self.gpus_per_worker is not None:
            in_range("gpus_per_worker", as_number("gpus_per_worker", self.gpus_per_worker), 0)
        one_of("on_error", self.on_error, ("prune", "fail", "stop"))
        if self.lr_range_test is not None:
            one_of("lr_range_test", _word(self.lr_range_test), ("off", "suggestion", "factor"))
            self._set(lr_range_test=_word(self.lr_range_test))
        if self.repeat_best is None:
            return
        if not isinstance(self.repeat_best, Mapping):
            raise TypeError(
                f"`repeat_best` must be a mapping such as {{trials: 3, seeds: 5}}, "
                f"got {self.repeat_best!r}"
            )
        for name in self.repeat_best:
            one_of("repeat_best", str(name), ("trials", "seeds"))
        repeat = {"trials": 3, "seeds": 5, **self.repeat_best}
        self._set(
            repeat_best={
                name: whole_number(f"repeat_best.{name}", value, 1)
                for name, value in repeat.items()
            }
        )

    def _check_presets(self) -> None:
        if isinstance(self.presets, (str, Mapping)) or not isinstance(self.presets, Sequence):
            raise TypeError(f"`presets` must be a list, got {self.presets!r}")
        for index, preset in enumerate(self.presets):
            if isinstance(preset, Mapping):
                self.space.check_point(preset, name=f"presets[{index}]")
            elif isinstance(preset, str):
                one_of(
                    f"presets[{index}]", preset, literature.names(), otherwise="or values by key"
                )
            else:
                raise TypeError(
                    f"`presets[{index}]` must be a preset's name or values by key, got {preset!r}"
                )
        self._set(presets=tuple(self.presets))

    def _check_budget(self) -> None:
        if self.sampler["name"] == "grid":
            points = len(self.space.grid())
            if self.trials is not None and self.trials < points:
                raise ValueError(
                    f"`trials` must cover the {counted(points, 'point')} of the grid, got "
                    f"trials={self.trials}; leave it out, or use the sampler 'random' or 'qmc'"
                )
        elif self.trials is None and self.wall_time is None and self.patience is None:
            raise ValueError(
                "a search must have an end: set `trials`, `wall_time` such as '8h', or `patience`"
            )
        elif self.trials is not None and self.trials < len(self.presets):
            raise ValueError(
                f"`trials` must have room for the {counted(len(self.presets), 'preset')}, "
                f"got trials={self.trials}"
            )


def seconds(name: str, value: object) -> float:
    """Return a duration in seconds.

    Args:
        name: Name of the setting, for errors.
        value: Seconds, or a text of numbers with the units s, m, h and d.

    >>> seconds("wall_time", "1h 30m")
    5400.0
    """
    rule = f"`{name}` must be seconds or a text such as '8h' or '1h 30m', got {value!r}"
    if isinstance(value, str):
        text = value.strip().lower()
        parts, rest = _DURATION.findall(text), _DURATION.sub("", text)
        try:
            total = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
        except (KeyError, ValueError):
            raise ValueError(rule) from None
        if rest or not parts:
            raise ValueError(rule)
    else:
        total = float(as_number(name, value, remedy="'8h' is one way to write it"))
    if not 0 < total < math.inf:
        raise ValueError(f"`{name} > 0` must hold, got {value!r}")
    return total


def _word(value: object) -> str:
    return _WORDS[value] if value in _WORDS else str(value)
