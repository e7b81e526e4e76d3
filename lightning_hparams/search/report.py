"""One HTML file about a study, readable offline: Optuna's figures and a table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..checks import require
from .folders import write_text
from .names import short_names, shown
from .table import Row, best_row, duration, rows, summarize
from .winner import Repeated, repeated_text

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

__all__ = ["renamed_study", "report_html", "write_report"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; max-width: 1180px; margin: 2em auto;
       padding: 0 1em; }
h1 { margin-bottom: 0; } h2 { margin-top: 2em; }
code, pre { background: #f2f4f8; border-radius: 4px; padding: .15em .35em; }
pre { padding: .7em 1em; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25em .6em; border-bottom: 1px solid #dfe3ea; }
th { position: sticky; top: 0; background: white; cursor: pointer; }
td:last-child, th:last-child { text-align: left; }
tr.best { font-weight: bold; background: #eaf6ec; } tr.failed { color: #a4262c; }
.scroll { max-height: 32em; overflow: auto; } .quiet { color: #667085; }
.figure { overflow-x: auto; }
"""
# A click on a column's title sorts by it, as numbers where they are.
_SORT = """
document.querySelectorAll("th").forEach((title, column) => title.onclick = () => {
  const body = title.closest("table").tBodies[0], up = title.dataset.up !== "1";
  title.dataset.up = up ? "1" : "";
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)], order = x !== "" && y !== "" && !isNaN(x) && !isNaN(y)
      ? x - y : x.localeCompare(y);
    return up ? order : -order;
  });
  body.append(...rows);
});
"""


def write_report(
    path: str | Path,
    trials: Sequence[FrozenTrial],
    *,
    metric: str,
    mode: Literal["min", "max"],
    name: str = "study",
    total: int | None = None,
    commands: Iterable[tuple[str, str]] = (),
    repeated: Sequence[Repeated] = (),
) -> Path:
    """Write a self-contained HTML file about a study.

    Args:
        path: The file.
        trials: All trials.
        metric: Name of the metric.
        mode: Whether lower or higher values are better.
        name: Name of the study.
        total: Number of trials that the study was to run.
        commands: Commands with what each does, such as repeating the best trial.
        repeated: The best trials with other seeds, if they were repeated.

    Returns:
        The file.

    Raises:
        ModuleNotFoundError: If plotly is not installed.
    """
    path = Path(path)
    text = report_html(
        trials,
        metric=metric,
        mode=mode,
        name=name,
        total=total,
        commands=commands,
        repeated=repeated,
    )
    write_text(path, text)
    return path


def report_html(
    trials: Sequence[FrozenTrial],
    *,
    metric: str,
    mode: Literal["min", "max"],
    name: str = "study",
    total: int | None = None,
    commands: Iterable[tuple[str, str]] = (),
    repeated: Sequence[Repeated] = (),
) -> str:
    """Return the file that :func:`write_report` writes; the arguments are the same."""
    offline = require("plotly.offline", extra="search")
    found = rows(trials)
    best = best_row(found, mode)
    elapsed = _elapsed(trials)
    summary = summarize(found, mode, total=total, elapsed=elapsed)
    parts = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="quiet">{escape(metric)}, {"lower" if mode == "min" else "higher"} is better; '
        f"{escape(summary.line())}</p>",
        _best(best),
        *(f"<p>{escape(what)}</p><pre>{escape(command)}</pre>" for what, command in commands),
    ]
    if repeated:
        parts += ["<h2>Other seeds, test split</h2>", f"<pre>{repeated_text(repeated, mode)}</pre>"]
    study = renamed_study(trials, mode)
    for title, draw in _figures(metric).items():
        parts += [f"<h2>{title}</h2>", _figure(draw, study)]
    parts += ["<h2>Trials</h2>", _table(found, metric, best)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(name)}</title>"
        '<link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style><script>{offline.get_plotlyjs()}</script></head>\n<body>"
        + "\n".join(parts)
        + f"<script>{_SORT}</script></body></html>\n"
    )


def renamed_study(trials: Iterable[FrozenTrial], mode: Literal["min", "max"]) -> optuna.Study:
    """Return a copy in memory whose parameters have short names.

    All trials are copied, so that figures show their numbers.
    """
    import optuna

    with _optuna_logs(optuna.logging.WARNING):
        study = optuna.create_study(direction="minimize" if mode == "min" else "maximize")
    listed = list(trials)
    names = short_names(key for trial in listed for key in trial.params)
    copies = []
    for trial in listed:
        copy = optuna.trial.create_trial(
            state=trial.state,
            values=trial.values if trial.state == optuna.trial.TrialState.COMPLETE else None,
            params={names[key]: value for key, value in trial.params.items()},
            distributions={names[key]: kind for key, kind in trial.distributions.items()},
            intermediate_values=trial.intermediate_values,
        )
        copy.datetime_start, copy.datetime_complete = trial.datetime_start, trial.datetime_complete
        copies.append(copy)
    study.add_trials(copies)
    return study


def _figures(metric: str) -> dict[str, Callable[[optuna.Study], Any]]:
    """Optuna's figures by title."""
    import optuna.visualization as draw
    from optuna.importance import PedAnovaImportanceEvaluator

    def importance(study: optuna.Study) -> Any:
        # The one evaluator of Optuna 4 and 5 that needs no further package.
        return draw.plot_param_importances(study, evaluator=PedAnovaImportanceEvaluator())

    return {
        "History": lambda study: draw.plot_optimization_history(study, target_name=metric),
        "Importance of parameters": importance,
        "Parallel coordinates": lambda study: draw.plot_parallel_coordinate(
            study, params=_common(study), target_name=metric
        ),
        "Slices": lambda study: draw.plot_slice(study, target_name=metric),
        "Learning curves": draw.plot_intermediate_values,
        "Timeline": draw.plot_timeline,
    }


def _common(study: optuna.Study) -> list[str] | None:
    """Parameters that all complete trials have; a condition may leave one out of some."""
    complete = [set(trial.params) for trial in study.trials if trial.state.name == "COMPLETE"]
    common = set.intersection(*complete) if complete else set()
    return sorted(common) or None


def _figure(draw: Callable[[optuna.Study], Any], study: optuna.Study) -> str:
    import optuna

    try:
        with _optuna_logs(optuna.logging.ERROR), warnings.catch_warnings():
            # Of too few trials, about which the user can do nothing.
            warnings.simplefilter("ignore")
            figure = draw(study)
    except (ValueError, RuntimeError) as error:
        # With too few trials, or parameters that do not vary, there is nothing to draw.
        return f'<p class="quiet">Not drawn: {escape(str(error))}</p>'
    figure.update_layout(title=None, margin={"t": 30})
    figure.update_yaxes(automargin=True)
    # Slices of four parameters or more are wider than the page.
    return f'<div class="figure">{figure.to_html(full_html=False, include_plotlyjs=False)}</div>'


@contextmanager
def _optuna_logs(level: int) -> Iterator[None]:
    """Let Optuna log from a level on within the block."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _elapsed(trials: Iterable[FrozenTrial]) -> float:
    begun = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    ended = [trial.datetime_complete for trial in trials if trial.datetime_complete is not None]
    return max(0.0, (max(ended) - min(begun)).total_seconds()) if begun and ended else 0.0


def _best(best: Row | None) -> str:
    if best is None:
        return "<p>No trial is complete.</p>"
    params = ", ".join(f"{escape(name)} = {escape(shown(v))}" for name, v in best.params.items())
    return f"<p>Best: <b>{best.value:.6g}</b>, trial {best.number}: {params}</p>"


def _table(found: Sequence[Row], metric: str, best: Row | None) -> str:
    names = list(dict.fromkeys(name for row in found for name in row.params))
    titles = ["trial", "state", metric, *names, "reports", "time", "retries", "note"]
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    lines = []
    for row in found:
        cells = [
            _cell(row.number),
            _cell(row.state),
            _cell(row.value, "" if row.value is None else f"{row.value:.6g}"),
            *(_cell(row.params.get(name), shown(row.params.get(name))) for name in names),
            _cell(row.steps),
            _cell(row.seconds, "" if row.seconds is None else duration(row.seconds)),
            _cell(row.retries or ""),
            _cell(row.note),
        ]
        kind = "best" if best is not None and row.number == best.number else row.state
        lines.append(f'<tr class="{kind}">{"".join(cells)}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(value: object, text: str | None = None) -> str:
    """A cell that is sorted by its value."""
    key = "" if value is None else str(value)
    return f'<td data-value="{escape(key)}">{escape(key if text is None else text)}</td>'
