"""The public face: a search from Python."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch.utilities import rank_zero_info

from ..checks import writable_folder
from ..configuration import Configuration
from .conclusion import conclude, repeat
from .ending import Limits, complete, halted
from .files import keep
from .fitting import batch_size_of, check_fit
from .probe import check_metric
from .process_state import without_messages
from .range_tests import unused_test
from .ray_workers import RaySupervisor
from .settings import SearchSettings
from .space import Space
from .study import open_study
from .supervisor import Supervisor
from .table import TrialTable
from .tracking import track
from .winner import best_trials, stored_repeats
from .worker import Worker

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from .params import Param
    from .study import SearchStudy
    from .winner import Repeated

    Watch = Callable[[Sequence[FrozenTrial]], object]

__all__ = ["Results", "Search"]


@dataclass(frozen=True)
class Results:
    """What a search found.

    Args:
        study: Optuna's study.
        finished: Whether the search came to its end, rather than being stopped.
        repeated: The best trials with other seeds, if the settings ask for that.
        report: The report; None if the search was stopped, or plotly is not installed.
        ended: Why no further trials were begun, if not for their number.
    """

    study: SearchStudy
    finished: bool
    repeated: Sequence[Repeated] = ()
    report: Path | None = None
    ended: str = ""

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials."""
        return self.study.get_trials(deepcopy=False)

    @property
    def best(self) -> FrozenTrial | None:
        """The best trial; None if none is complete."""
        found = best_trials(self.trials, self.study.settings.mode, 1)
        return found[0] if found else None

    @property
    def best_params(self) -> dict[str, Any]:
        """The values of the best trial by key; empty if none is complete."""
        return {} if self.best is None else dict(self.best.params)

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return Path(self.study.settings.folder)


class Search:
    """Search hyperparameters of a configuration, in worker processes that may be killed.

    >>> from lightning_hparams import Float, Search
    >>> search = Search(
    ...     "fit.yaml", {"model.init_args.lr": Float(1e-4, 1.0, log=True)}, "loss/val", "min",
    ...     trials=20, workers=2,
    ... )  # doctest: +SKIP
    >>> search.run().best_params  # doctest: +SKIP

    Running the same search again goes on where it stopped, and runs no trial twice. The value of a
    trial is its best validation, whose checkpoint is kept.

    Args:
        base: The configuration that is varied: one or several files, or a mapping, as of
            ``lightning-hparams fit``. Classes in it are imported by the workers.
        space: Parameters by key of the configuration.
        metric: Name of the logged metric that trials are compared by.
        mode: Whether a lower value is better, ``"min"``, or a higher one, ``"max"``.
        settings: Further arguments of :class:`SearchSettings`.

    Raises:
        ValueError: If anything in it is wrong, before the first trial.
    """

    def __init__(
        self,
        base: str | Path | Mapping[str, Any] | Sequence[str | Path] | Configuration,
        space: Mapping[str, Param] | Space,
        metric: str,
        mode: Literal["min", "max"],
        **settings: Any,
    ) -> None:
        self.settings = SearchSettings(
            metric=metric,
            mode=mode,
            space=space if isinstance(space, Space) else Space(space),
            **settings,
        )
        self.configuration = _loaded(base)

    @classmethod
    def of(cls, base: Configuration, settings: SearchSettings) -> Search:
        """Make a search of settings, such as those of a YAML file."""
        made = cls.__new__(cls)
        made.settings, made.configuration = settings, base
        return made

    def run(
        self,
        *,
        watch: Callable[[Sequence[FrozenTrial]], object] | None = None,
        in_this_process: bool = False,
    ) -> Results:
        """Run the search, or go on with it.

        Args:
            watch: Called about once a second with all trials; None shows a live table, or a line
                for each trial that ends where there is no terminal.
            in_this_process: Run the trials here, one after the other, without workers. For
                debugging, and for classes that other processes cannot import.

        Raises:
            ValueError: If the space does not fit the configuration, the metric is not logged, or
                the study exists with another space.
            RuntimeError: If the workers cannot be started.
        """
        study, started, since = self.prepare(), time.monotonic(), datetime.now()
        if in_this_process:
            deadline = self.settings.deadline()
            worker = Worker(study, self.configuration, deadline=deadline, own_process=False)
            worker.run()
            finished = not worker.stop.asked
        elif self.settings.launcher == "none":
            return Results(study, False)
        elif self.settings.launcher == "ray":
            with _watching(self.settings, watch) as look:
                finished = RaySupervisor(study, look).run()
        else:
            with _watching(self.settings, watch) as look:
                finished = Supervisor(study, watch=look).run()
        repeated: Sequence[Repeated] = ()
        late = time.monotonic() - started >= (self.settings.wall_time or math.inf)
        ended = self._ended(study, since, late) if finished else ""
        if finished and not late:
            with without_messages():
                repeated, finished = repeat(study, self.configuration)
        report = conclude(study, self.configuration, repeated) if finished else None
        return Results(study, finished, repeated, report, ended)

    def _ended(self, study: SearchStudy, since: datetime, late: bool) -> str:
        """Why no further trials were begun, in words; empty if all were run."""
        trials = study.get_trials(deepcopy=False)
        limits = Limits.of(self.settings, 0.0 if late else None, since)
        return halted(trials, limits, time.time()) or complete(trials, limits)

    def prepare(self) -> SearchStudy:
        """Check everything and create the study, without a trial."""
        check_fit(self.settings, self.configuration)
        if note := unused_test(self.configuration, self.settings):
            rank_zero_info(note)
        writable_folder("the folder of the trials", Path(self.settings.folder) / "trials")
        if self.settings.repeat_best is not None:
            stored_repeats(Path(self.settings.folder))  # damaged, it would be told after all trials
        fresh = not (Path(self.settings.folder) / "search.json").is_file()
        with without_messages():
            if fresh:
                check_metric(self.configuration, self.settings)
            study = open_study(self.settings, batch_size=batch_size_of(self.configuration))
        keep(study, self.configuration)
        track(study, self.configuration)
        return study


def _loaded(base: Any) -> Configuration:
    if isinstance(base, Configuration):
        return base
    return Configuration.load(*([base] if isinstance(base, (str, Path, Mapping)) else base))


@contextmanager
def _watching(settings: SearchSettings, watch: Watch | None) -> Iterator[Watch]:
    """What looks at the trials: a table, unless the user has a function of their own."""
    if watch is not None:
        yield watch
        return
    with TrialTable.of(settings) as table:
        yield table.update
