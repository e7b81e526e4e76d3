import io
from datetime import timedelta

import pytest
from rich.console import Console

from lightning_hparams.search.table import TrialTable, best_row, rows, seconds_left, summarize
from tests.search.studies import START, trial


def console(**options):
    return Console(file=io.StringIO(), width=200, **options)


def shown(renderable):
    out = console()
    out.print(renderable)
    return out.file.getvalue()


def test_a_trial_and_its_retries_are_one_row():
    history = {"failed_trial": 1, "retry_history": [1]}
    trials = [trial(0), trial(1, "failed"), trial(2, value=0.1, system_attrs=history)]
    found = rows(trials)
    assert [(row.number, row.state, row.retries) for row in found] == [
        (0, "complete", 0),
        (1, "complete", 1),
    ]
    assert found[1].value == 0.1
    assert list(found[0].params) == ["lr", "optimizer"]


@pytest.mark.parametrize(
    ("kills", "kind", "retries"), [(1, "Killed", 0), (3, "Killed", 2), (1, "ValueError", 1)]
)
def test_a_death_without_another_run_after_it_is_not_a_retry(kills, kind, retries):
    failure = {"kind": kind, "lines": ["gone"]}
    (row,) = rows([trial(0, "failed", user_attrs={"failure": failure, "kills": kills})])
    assert row.retries == retries
    assert ("retry" in row.line()) == (retries > 0)


def test_one_report_and_one_trial_are_said_in_the_singular():
    single = trial(0)
    del single.intermediate_values[0]
    found = rows([single])
    assert "1 report, " in found[0].line()
    assert summarize(found, "min", total=1).line().startswith("1 of 1 trial;")
    assert summarize(found, "min", total=2).line().startswith("1 of 2 trials;")
    assert summarize(found, "min").line().startswith("1 trial;")


def test_a_row_shows_the_last_report_where_there_is_no_value():
    pruned, waiting = rows([trial(0, "pruned", 0.7), trial(1, "waiting")])
    assert (pruned.value, pruned.seconds, pruned.steps) == (0.7, 60, 2)
    assert (waiting.value, waiting.seconds) == (None, None)


def test_the_reason_of_a_failure_is_in_its_line():
    failure = {"kind": "OutOfMemory", "lines": ["Traceback", "CUDA out of memory"]}
    (row,) = rows([trial(0, "failed", user_attrs={"failure": failure})])
    assert row.note == "CUDA out of memory"
    assert "[CUDA out of memory]" in row.line()


def test_a_diverged_trial_has_failed_whatever_value_the_sampler_is_told():
    found = rows([trial(0, value=9.0, user_attrs={"outcome": "diverged"})])
    assert (found[0].state, found[0].note) == ("failed", "diverged")
    assert best_row(found, "max") is None


def test_the_best_row_is_complete_finite_and_the_first_of_equals():
    found = rows([trial(0, value=0.5), trial(1, value=0.5), trial(2, "pruned", 0.1)])
    assert best_row(found, "min").number == 0
    assert best_row(found, "max").number == 0
    infinite = rows([trial(0, value=float("inf")), trial(1, value=0.5)])
    assert best_row(infinite, "max").number == 1
    assert best_row(rows([trial(0, "failed")]), "min") is None


@pytest.mark.parametrize(("workers", "left"), [(1, 7 * 60 + 30), (2, (7 * 60 + 30) / 2)])
def test_the_time_left_follows_from_trials_that_have_ended(workers, left):
    trials = [trial(0), trial(1, "pruned"), trial(2, "running")]
    found = rows(trials, now=START + timedelta(seconds=230))  # 30 s into the third
    assert seconds_left(found, 10, workers) == left
    assert seconds_left(found, 10, workers, time_left=5) == 5
    assert seconds_left(found, None, workers) is None
    assert seconds_left([], 10, workers) is None
    assert seconds_left(found[:2], 2, workers, time_left=5) is None


def test_a_search_that_has_ended_early_has_no_time_left():
    out = console(force_terminal=True)
    trials = [trial(0), trial(1, "waiting")]
    with TrialTable("val_loss", "min", total=10, wall_time=3600, console=out) as table:
        table.update(trials)
        assert " left" in shown(table.render(rows(trials)))
        table._live.console.file.truncate(0)
    assert "1 of 10 trials" in out.file.getvalue()
    assert " left" not in out.file.getvalue()


def test_a_summary_counts_trials_by_state():
    trials = [trial(0), trial(1, "pruned"), trial(2, "running"), trial(3, "waiting")]
    text = summarize(rows(trials), "min", total=10, elapsed=75).line()
    assert text.startswith("2 of 10 trials; 1 complete, 1 pruned, 1 running, 1 waiting; best 1 ")
    assert "1 min 15 s elapsed" in text


def test_each_trial_that_ends_is_one_line_where_there_is_no_terminal():
    out = console()
    with TrialTable("val_loss", "min", total=3, console=out) as table:
        table.update([trial(0)])  # of an earlier session
        table.update([trial(0), trial(1, "running")])
        table.update([trial(0), trial(1, value=0.25)])
        table.update([trial(0), trial(1, value=0.25), trial(2, "failed")])
    lines = out.file.getvalue().splitlines()
    assert [[part.strip() for part in line.split("  ")[:2]] for line in lines] == [
        ["trial 1", "complete"],
        ["trial 2", "failed"],
    ]
    assert "(best 0.25, trial 1)" in lines[1]


def test_a_terminal_shows_a_table_of_running_and_latest_trials():
    out = console(force_terminal=True)
    trials = [trial(0, "running"), *(trial(number) for number in range(1, 30))]
    with TrialTable("val_loss", "min", total=40, console=out) as table:
        table.update(trials)
        table._live.refresh()
    text = out.file.getvalue()
    assert "running" in text
    assert "29 of 40 trials" in text
    assert "left" in text


def test_names_and_notes_with_brackets_are_shown_as_they_are():
    failure = {"kind": "Error", "lines": ["[red]no [/] such key"]}
    out = console()
    with TrialTable("[b]", "min", console=out) as table:
        table.update([])
        table.update([trial(0, "failed", user_attrs={"failure": failure})])
    assert "[red]no [/] such key" in out.file.getvalue()
    live = console(force_terminal=True)
    live.print(table.render(rows([trial(0, "failed", user_attrs={"failure": failure})])))
    assert "[b]" in live.file.getvalue()
