import builtins
import re

import pytest

from lightning_hparams.search.report import renamed_study, report_html, write_report
from lightning_hparams.search.winner import Repeated
from tests.search.studies import LR, trial
from tests.server import browser

STATES = ("complete", "complete", "pruned", "complete", "failed", "complete", "running", "waiting")
TRIALS = [
    trial(number, STATES[number % 8], lr=10 ** -(1 + number % 5), kind=("SGD", "Adam")[number % 2])
    for number in range(24)
]
TITLES = ["History", "Importance of parameters", "Parallel coordinates", "Slices"]
TITLES += ["Learning curves", "Timeline"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_report(
        tmp_path_factory.mktemp("study") / "report.html",
        TRIALS,
        metric="val_loss",
        mode="min",
        name="digits <1>",
        total=30,
        commands=[("Repeat the best trial", "lightning-hparams replay studies/digits/trials/21")],
        repeated=[Repeated(21, 0.05, {1: 0.06, 2: 0.07}), Repeated(19, 0.06, {1: 0.05, 2: 0.05})],
    )


def test_the_report_is_one_file_that_asks_for_nothing_else(path):
    text = path.read_text()
    tags = re.findall(r"<(?:script|link|img|iframe)[^>]*>", text)
    assert not [tag for tag in tags if re.search(r"(src|href)=\"(?!data:)", tag)]
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


@pytest.mark.slow
def test_the_report_opens_without_a_network(path):
    """All figures are drawn, the table is sorted by a click, and nothing is requested."""
    with browser() as page:
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector(".js-plotly-plot .main-svg", timeout=60_000)
        page.wait_for_function(
            "document.querySelectorAll('.js-plotly-plot .main-svg').length >= 12", timeout=60_000
        )
        page.screenshot(path=str(path.with_suffix(".png")), full_page=True)
        assert [each for each in asked if not each.startswith(("file:", "data:", "blob:"))] == []
        assert errors == []
        assert page.locator("h1").inner_text() == "digits <1>"
        assert page.locator("h2").all_inner_texts() == [
            "Other seeds, test split",
            *TITLES,
            "Trials",
        ]
        assert page.locator(".js-plotly-plot").count() == len(TITLES)
        assert "Not drawn" not in page.content()
        first = "document.querySelector('tbody tr td').textContent"
        assert page.evaluate(first) == "0"
        page.locator("th", has_text="val_loss").click()
        values = page.evaluate(
            "[...document.querySelectorAll('tbody tr')].map(row => row.cells[2].dataset.value)"
        )
        numbers = [float(value) for value in values if value]
        assert numbers == sorted(numbers)


def test_the_best_trial_and_the_command_that_repeats_it_stand_first(path):
    text = path.read_text()
    body = text[text.index("<body>") :]
    assert "<b>0.0454545</b>, trial 21: lr = 0.01, optimizer = Adam" in body
    assert body.index("replay studies/digits/trials/21") < body.index("History")
    assert "up from rank 2" in body
    assert body.count("<tr class=") == len(TRIALS)


@pytest.mark.parametrize("trials", [[], [trial(0, "failed")], [trial(0)], [trial(0, "waiting")]])
def test_a_study_that_has_hardly_begun_has_a_report_too(trials):
    text = report_html(trials, metric="val_loss", mode="max")
    assert "No trial is complete" in text or "Best: <b>" in text


def test_figures_have_short_names_and_codes_of_failed_trials(path):
    study = renamed_study(TRIALS, "min")
    assert {name for each in study.trials for name in each.params} == {"lr", "optimizer"}
    assert [each.state for each in study.trials] == [each.state for each in TRIALS]
    assert study.best_value == min(each.value for each in TRIALS if each.values)


def test_a_parameter_under_a_condition_does_not_keep_figures_from_being_drawn():
    trials = [trial(number) for number in range(12)]
    for each in trials[::2]:
        del each.params[LR], each.distributions[LR]
    assert "Not drawn" not in report_html(trials, metric="val_loss", mode="min")


def test_without_plotly_the_line_that_installs_it_is_told(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("plotly"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="plotly")
        return real(name, *args, **kwargs)

    monkeypatch.setattr("importlib.import_module", lambda name: missing(name))
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-hparams\[search\]'"):
        report_html(TRIALS, metric="val_loss", mode="min")
