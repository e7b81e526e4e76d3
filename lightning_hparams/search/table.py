"""Trials as lines of text and as a live table, with the time that is left."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..checks import counted
from .ending import failure_of_trial
from .failures import KILLED
from .names import short_names, shown
from .seeds import root_number

if TYPE_CHECKING:
    from types import TracebackType

    from optuna.trial import FrozenTrial

    from .settings import SearchSettings

__all__ = ["Row", "Summary", "TrialTable", "duration", "rich_table", "rows", "summarize"]

Mode = Literal["min", "max"]
_DONE = ("complete", "pruned", "failed")
_RECENT = 20  # trials whose duration predicts that of others
_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red", "running": "cyan"}


@dataclass(frozen=True)
class Row:
    """One trial, and its retries, as a reader wants to see it.

    Attributes:
        number: Number of the trial, which its retries share.
        state: ``"waiting"``, ``"running"``, ``"complete"``, ``"pruned"`` or ``"failed"``.
        value: Its value; of a running or pruned trial the last one reported, None for none.
        params: Parameters by short name.
        steps: Number of values reported.
        seconds: How long it has run; None if it has not.
        retries: How often it was run again.
        note: Why it failed, or where its parameters come from; may be empty.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, object]
    steps: int
    seconds: float | None
    retries: int
    note: str

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.state in _DONE

    def line(self, best: Row | None = None) -> str:
        """Return the trial as a line.

        Args:
            best: The best trial so far.
        """
        parts = [f"trial {self.number}", f"{self.state:<8}"]
        parts.append("no value" if self.value is None else f"{self.value:.6g}")
        if best is not None and best.value is not None:
            parts.append(f"(best {best.value:.6g}, trial {best.number})")
        parts += [f"{name}={shown(value)}" for name, value in self.params.items()]
        if self.seconds is not None:
            parts.append(f"{counted(self.steps, 'report')}, {duration(self.seconds)}")
        if self.retries:
            parts.append(f"retry {self.retries}")
        if self.note:
            parts.append(f"[{self.note}]")
        return "  ".join(parts)


@dataclass(frozen=True)
class Summary:
    """Where a search stands.

    Attributes:
        counts: Number of trials by state.
        total: Number of trials to run; None without a limit.
        best: The best complete trial.
        elapsed: Seconds since the first trial began.
        left: Seconds until the search ends, estimated; None if that is unknown or it has ended.
    """

    counts: Mapping[str, int]
    total: int | None
    best: Row | None
    elapsed: float
    left: float | None

    def line(self) -> str:
        """Return it as a line."""
        done = sum(self.counts.get(state, 0) for state in _DONE)
        of = "" if self.total is None else f"of {self.total} "
        parts = [f"{done} {of}{'trial' if (self.total or done) == 1 else 'trials'}"]
        names = ("complete", "pruned", "failed", "running", "waiting")
        told = [f"{self.counts[name]} {name}" for name in names if self.counts.get(name)]
        parts += [", ".join(told)] if told else []
        if self.best is not None:
            parts.append(f"best {self.best.value:.6g} (trial {self.best.number})")
        parts.append(f"{duration(self.elapsed)} elapsed")
        if self.left is not None:
            parts.append(f"about {duration(self.left)} left")
        return "; ".join(parts)


def rows(trials: Iterable[FrozenTrial], *, now: datetime | None = None) -> list[Row]:
    """Return a row for each trial, in which its retries are one with it.

    Args:
        trials: All trials of a study.
        now: The time; None for the clock.
    """
    last: dict[int, FrozenTrial] = {}
    counts: Counter[int] = Counter()
    for trial in sorted(trials, key=lambda trial: trial.number):
        root = root_number(trial)
        counts[root] += 1
        last[root] = trial
    names = short_names(key for trial in last.values() for key in trial.params)
    moment = now or datetime.now()
    return [
        _row(root, trial, counts[root] - 1, names, moment) for root, trial in sorted(last.items())
    ]


def _row(
    root: int, trial: FrozenTrial, retries: int, names: Mapping[str, str], now: datetime
) -> Row:
    attributes = trial.user_attrs
    failure, outcome = failure_of_trial(trial), attributes.get("outcome")
    state = {"fail": "failed"}.get(trial.state.name.lower(), trial.state.name.lower())
    if failure is not None or outcome in ("diverged", "failed"):
        state = "failed"  # also where the sampler is told a value, to keep away from it
    reports = trial.intermediate_values
    value = trial.value if trial.values else None
    if value is None and reports:
        value = reports[max(reports)]
    begun, ended = trial.datetime_start, trial.datetime_complete
    kills = int(attributes.get("kills", 0))
    if failure is not None and failure.kind == KILLED:
        kills -= 1  # the last one was not followed by a retry
    note = str(outcome if outcome not in (None, "", "pruned") else attributes.get("origin") or "")
    if failure is not None:
        note = failure.message
    return Row(
        number=root,
        state=state,
        value=value,
        params={names[key]: value for key, value in trial.params.items()},
        steps=len(reports),
        seconds=None if begun is None else max(0.0, ((ended or now) - begun).total_seconds()),
        retries=max(retries, kills),
        note=note,
    )


def best_row(found: Iterable[Row], mode: Mode) -> Row | None:
    """Return the best complete row, the earliest of equals."""
    scored = [row for row in found if row.state == "complete" and _is_number(row.value)]
    sign = 1 if mode == "min" else -1
    return min(scored, key=lambda row: (sign * float(row.value or 0.0), row.number), default=None)


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def summarize(
    found: Sequence[Row],
    mode: Mode,
    *,
    total: int | None = None,
    workers: int = 1,
    elapsed: float = 0.0,
    time_left: float | None = None,
    ended: bool = False,
) -> Summary:
    """Return where a search stands.

    Args:
        found: Its trials.
        mode: Whether lower or higher values are better.
        total: Number of trials to run; None without a limit.
        workers: How many run at the same time.
        elapsed: Seconds since the first trial began.
        time_left: Seconds until its wall time is over; None without a limit.
        ended: Whether nothing runs or will be run, so that no time is left.
    """
    counts = Counter(row.state for row in found)
    return Summary(
        counts=counts,
        total=total,
        best=best_row(found, mode),
        elapsed=elapsed,
        left=None if ended else seconds_left(found, total, workers, time_left),
    )


def seconds_left(
    found: Sequence[Row], total: int | None, workers: int, time_left: float | None = None
) -> float | None:
    """Estimate the seconds until all trials have run, from the latest ones.

    None if none has run yet, or all have.

    >>> done = Row(0, "complete", 1.0, {}, 3, 60.0, 0, "")
    >>> seconds_left([done], total=5, workers=2)
    120.0
    """
    done = sum(row.is_done for row in found)
    if total is not None and done >= total:
        return None
    ended = [row.seconds for row in found if row.is_done and row.seconds is not None][-_RECENT:]
    if total is None or not ended:
        return time_left
    each = sum(ended) / len(ended)
    running = [row for row in found if row.state == "running"]
    not_begun = max(0, total - done - len(running))
    unfinished = sum(max(0.0, each - (row.seconds or 0.0)) for row in running)
    left = (not_begun * each + unfinished) / max(1, workers)
    return left if time_left is None else min(left, time_left)


def duration(seconds: float) -> str:
    """Return a duration as text.

    >>> duration(8.24), duration(125), duration(7300)
    ('8.2 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class TrialTable:
    """Shows a search while it runs: a live table in a terminal, otherwise a line per ended trial.

    Args:
        metric: Name of the metric.
        mode: Whether lower or higher values are better.
        total: Number of trials to run; None without a limit.
        workers: How many run at the same time.
        wall_time: Seconds after which the search ends; None without a limit.
        console: Where to write; None for the standard output.
        height: Number of trials in the live table: those that run, then the latest.

    >>> with TrialTable("val_loss", "min", total=2) as table:
    ...     table.update([])
    """

    def __init__(
        self,
        metric: str,
        mode: Mode,
        *,
        total: int | None = None,
        workers: int = 1,
        wall_time: float | None = None,
        console: Console | None = None,
        height: int = 12,
    ) -> None:
        self.metric, self.mode = metric, mode
        self.total, self.workers, self.wall_time = total, workers, wall_time
        self.height = height
        self._console = console or Console(file=sys.stdout)
        self._live: Live | None = None
        self._told: set[int] | None = None
        self._found: list[Row] = []
        self._begun = datetime.now()

    @classmethod
    def of(cls, settings: SearchSettings, console: Console | None = None) -> TrialTable:
        """Create the table of a search."""
        return cls(
            settings.metric,
            settings.mode,
            total=trials_of(settings),
            workers=settings.workers,
            wall_time=settings.wall_time,
            console=console,
        )

    def __enter__(self) -> TrialTable:
        self._begun = datetime.now()
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=2, transient=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            if self._found:
                self._live.update(self.render(self._found, ended=True))
            self._live.stop()
            self._live = None

    def update(self, trials: Iterable[FrozenTrial]) -> None:
        """Show the trials as they are now.

        Args:
            trials: All trials of the study.
        """
        now = datetime.now()
        found = rows(trials, now=now)
        if self._told is None:  # those of earlier sessions were told there
            self._told = {row.number for row in found if row.is_done}
        self._found = found
        if self._live is not None:
            self._live.update(self.render(found, now))
            return
        best = best_row(found, self.mode)
        for row in found:
            if row.is_done and row.number not in self._told:
                self._told.add(row.number)
                # As Text, since brackets are markup in a string.
                self._console.print(Text(row.line(best)), soft_wrap=True)

    def render(
        self, found: Sequence[Row], now: datetime | None = None, *, ended: bool = False
    ) -> Group:
        """Return the live table.

        Args:
            found: The trials.
            now: The time; None for the clock.
            ended: Whether the search has ended.
        """
        elapsed = ((now or datetime.now()) - self._begun).total_seconds()
        left = None if self.wall_time is None else max(0.0, self.wall_time - elapsed)
        summary = summarize(
            found,
            self.mode,
            total=self.total,
            workers=self.workers,
            elapsed=elapsed,
            time_left=left,
            ended=ended,
        )
        return Group(
            rich_table(_latest(found, self.height), self.metric, summary.best), Text(summary.line())
        )


def trials_of(settings: SearchSettings) -> int | None:
    """Number of trials that a search runs; None without a limit."""
    if settings.sampler["name"] == "grid":
        return len(settings.space.grid())
    return settings.trials


def rich_table(found: Iterable[Row], metric: str, best: Row | None) -> Table:
    """Return trials as a table of rich, the best one in bold."""
    listed = list(found)
    names = list(dict.fromkeys(name for row in listed for name in row.params))
    table = Table()
    for title in ("trial", "state", metric, *names, "reports", "time", "note"):
        table.add_column(Text(title))  # as Text, since brackets are markup in a string
    for row in listed:
        style = "bold" if best is not None and row.number == best.number else ""
        table.add_row(
            f"{row.number}{f' (retry {row.retries})' if row.retries else ''}",
            Text(row.state, style=_STYLES.get(row.state, "")),
            "-" if row.value is None else f"{row.value:.6g}",
            *(Text(shown(row.params.get(name))) for name in names),
            str(row.steps),
            "-" if row.seconds is None else duration(row.seconds),
            Text(row.note, overflow="ellipsis", no_wrap=True),
            style=style,
        )
    return table


def _latest(found: Sequence[Row], height: int) -> list[Row]:
    """Trials that run, and the latest of those that have ended, in order."""
    running = [row for row in found if row.state == "running"]
    ended = [row for row in found if row.is_done]
    room = max(0, height - len(running))
    return sorted([*running, *(ended[-room:] if room else [])], key=lambda row: row.number)
