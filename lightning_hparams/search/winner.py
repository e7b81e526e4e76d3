"""The winner of a search: repeated with other seeds on the test split, and its checkpoint."""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..checks import counted
from ..tags import Tag
from .folders import link_or_copy, read_json, reading, trial_folder, write_json
from .seeds import derived_seed, root_number
from .table import trials_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from .settings import SearchSettings

__all__ = [
    "Repeated",
    "best_trials",
    "fewer_trials",
    "keep_best_checkpoints",
    "metric_in_test",
    "ranked",
    "repeat_best",
    "repeat_seeds",
    "repeated_text",
    "stored_repeats",
]

_FILE = "winner.json"
Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Repeated:
    """A trial that was trained again with other seeds.

    Attributes:
        number: Number of the trial.
        value: Its value in the search, by which it was chosen, and which is therefore too good.
        scores: Values on the test split by seed.
    """

    number: int
    value: float
    scores: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean of the scores; NaN without any."""
        return statistics.fmean(self.scores.values()) if self.scores else math.nan

    @property
    def std(self) -> float:
        """Standard deviation of the scores, of a sample; NaN for fewer than two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else math.nan


def best_trials(trials: Iterable[FrozenTrial], mode: Mode, count: int) -> list[FrozenTrial]:
    """Return the best complete trials, best first, each with parameters of its own.

    Args:
        trials: All trials.
        mode: Whether lower or higher values are better.
        count: How many to return at most.
    """
    sign = 1 if mode == "min" else -1
    complete = [
        trial
        for trial in trials
        if trial.state.name == "COMPLETE" and trial.values and math.isfinite(trial.values[0])
        # A trial that diverged may have a value too, which keeps the sampler away from it.
        if not trial.user_attrs.get("outcome")
    ]
    found: list[FrozenTrial] = []
    known: list[Mapping[str, object]] = []
    for trial in sorted(complete, key=lambda each: (sign * each.values[0], each.number)):
        if trial.params not in known:
            found.append(trial)
            known.append(trial.params)
    return found[:count]


def repeat_seeds(study_seed: int, count: int) -> list[int]:
    """Return the seeds of repetitions: the same for each trial, so that they can be compared.

    >>> len(set(repeat_seeds(0, 5)))
    5
    """
    return [derived_seed("repeat", study_seed, index) for index in range(count)]


def metric_in_test(metric: str, logged: Iterable[str]) -> str | None:
    """Return the name under which a test logs a metric, or None.

    >>> metric_in_test("metric/accuracy/val", ["loss/test", "metric/accuracy/test"])
    'metric/accuracy/test'
    >>> metric_in_test("val_loss", ["test_loss"]), metric_in_test("score", ["score"])
    ('test_loss', 'score')
    """
    names = list(logged)
    pattern = re.compile(Tag.parse(metric).any_stage)
    found = [name for name in names if pattern.fullmatch(name) and Tag.parse(name).stage == "test"]
    if found:
        return found[0]
    return metric if metric in names else None


def fewer_trials(settings: SearchSettings) -> str:
    """Return a note if ``repeat_best`` asks for more trials than the search has, or ""."""
    trials = trials_of(settings)
    if settings.repeat_best is None or trials is None:
        return ""
    wanted = settings.repeat_best["trials"]
    if wanted <= trials:
        return ""
    return (
        f"`repeat_best` is to repeat the {wanted} best trials, but the search has "
        f"{counted(trials, 'trial')}: all of them are repeated"
    )


def repeat_best(
    study_folder: Path,
    trials: Sequence[FrozenTrial],
    mode: Mode,
    *,
    count: int,
    seeds: Sequence[int],
    run: Callable[[FrozenTrial, int], float],
    told: Callable[[str], None] = print,
) -> list[Repeated]:
    """Train the best trials again with other seeds, and test them.

    The search chose its best trial by its value on the validation split, among many and with one
    seed, so that this value is too good. The scores of repetitions on the test split are not.
    Each is stored as soon as it is known, so that the same call goes on after an interruption.

    Args:
        study_folder: Folder of the study.
        trials: All trials of the study.
        mode: Whether lower or higher values are better.
        count: How many of the best trials to repeat.
        seeds: Seeds to train each of them with.
        run: Trains a trial with a seed and returns its score on the test split.
        told: Takes a line for each score.

    Returns:
        The trials, best mean first.
    """
    path = study_folder / _FILE
    kept = {each.number: dict(each.scores) for each in stored_repeats(study_folder)}
    found: list[Repeated] = []
    for trial in best_trials(trials, mode, count):
        number = root_number(trial)
        scores = {seed: score for seed, score in kept.get(number, {}).items() if seed in seeds}
        for seed in seeds:
            if seed in scores:
                continue
            scores[seed] = run(trial, seed)
            told(f"trial {number} with seed {seed}: {scores[seed]:.6g} on the test split")
            now = [*found, Repeated(number, float(trial.values[0]), scores)]
            write_json(path, {"mode": mode, "trials": [_plain(each) for each in now]})
        found.append(Repeated(number, float(trial.values[0]), scores))
    write_json(path, {"mode": mode, "trials": [_plain(each) for each in found]})
    return ranked(found, mode)


def stored_repeats(study_folder: Path) -> list[Repeated]:
    """Return the repetitions that a study has so far, in the order of the search."""
    path = study_folder / _FILE
    if not path.is_file():
        return []
    found = read_json(path, "trials")["trials"]
    with reading(path):
        return [
            Repeated(
                int(each["number"]),
                float(each["value"]),
                {int(seed): float(score) for seed, score in each["scores"].items()},
            )
            for each in found
        ]


def ranked(found: Iterable[Repeated], mode: Mode) -> list[Repeated]:
    """Return repeated trials by their mean on the test split, best first."""
    sign = 1 if mode == "min" else -1

    def key(each: Repeated) -> tuple[bool, float]:
        return math.isnan(each.mean), sign * each.mean

    return sorted(found, key=key)


def repeated_text(found: Iterable[Repeated], mode: Mode) -> str:
    """Return repeated trials as a table, with their ranks in the search and on the test split.

    >>> print(repeated_text([Repeated(3, 0.9, {1: 0.8, 2: 0.6}), Repeated(5, 0.8, {1: 0.75})],
    ...                     "max"))
    rank  trial  in the search  on the test split
       1      5  0.8 (rank 2)   0.75 (1 seed), up from rank 2
       2      3  0.9 (rank 1)   0.7 +- 0.141 (2 seeds), down from rank 1
    """
    sign = 1 if mode == "min" else -1
    listed = ranked(found, mode)
    before = {
        each.number: rank
        for rank, each in enumerate(sorted(listed, key=lambda each: sign * each.value), 1)
    }
    cells = [("rank", "trial", "in the search", "on the test split")]
    for rank, each in enumerate(listed, 1):
        spread = "" if math.isnan(each.std) else f" +- {each.std:.3g}"
        seeds = f"{len(each.scores)} seed{'s' if len(each.scores) != 1 else ''}"
        old = before[each.number]
        moved = "" if old == rank else f", {'up' if rank < old else 'down'} from rank {old}"
        value = f"{each.value:.6g} (rank {old})"
        score = f"{each.mean:.6g}{spread} ({seeds}){moved}"
        cells.append((str(rank), str(each.number), value, score))
    widths = [max(len(row[index]) for row in cells) for index in range(3)]
    return "\n".join(
        f"{a:>{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d}" for a, b, c, d in cells
    )


def keep_best_checkpoints(
    study_folder: Path, trials: Sequence[FrozenTrial], mode: Mode, keep: int
) -> Path | None:
    """Remove checkpoints of trials that have ended, but those of the best.

    Those of running and waiting trials stay, since they go on from them. The best one of all is
    ``best.ckpt`` in the study's folder.

    Args:
        study_folder: Folder of the study.
        trials: All trials of the study.
        mode: Whether lower or higher values are better.
        keep: How many of the best trials keep theirs.

    Returns:
        The best checkpoint, if there is one.
    """
    best = [root_number(trial) for trial in best_trials(trials, mode, keep)]
    last = {root_number(trial): trial for trial in sorted(trials, key=lambda each: each.number)}
    for root, trial in last.items():
        if not trial.state.is_finished():
            continue
        folder = trial_folder(study_folder, root)
        for path in folder.rglob("*.ckpt"):
            if root not in best or path != folder / "best.ckpt":
                path.unlink(missing_ok=True)
    target = study_folder / "best.ckpt"
    if not best or not (source := trial_folder(study_folder, best[0]) / "best.ckpt").is_file():
        return target if target.is_file() else None
    _replace(source, target)
    return target


def _replace(source: Path, target: Path) -> None:
    """Replace a file in one step, without a second copy where links work."""
    with suppress(OSError):
        if source.samefile(target):
            return
    new = target.with_name(f".{target.name}.{os.getpid()}")
    link_or_copy(source, new)
    new.replace(target)


def _plain(each: Repeated) -> dict[str, object]:
    scores = {str(seed): score for seed, score in each.scores.items()}
    return {"number": each.number, "value": each.value, "scores": scores}
