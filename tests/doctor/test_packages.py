import pytest

from lightning_hparams.doctor.packages import package_findings

NEEDS = [
    "torch>=2.6",
    "rich>=13",
    "mlflow>=3.1; extra == 'mlflow'",
    "matplotlib>=3.10; extra == 'plot'",
    "cmaes>=0.11; extra == 'search'",
    "plotly>=5.24; extra == 'search'",
    "jsonargparse[signatures]>=4.39",
    "ruff>=0.9; extra == 'dev'",
]
HAS = {
    "lightning-hparams": "1.0",
    "torch": "2.9.1+cpu",
    "rich": "13.9",
    "mlflow": "3.2",
    "cmaes": "0.13",
    "plotly": "6.0",
    "jsonargparse": "4.40",
}


def texts(**changed):
    found = package_findings(NEEDS, ({**HAS, **changed}).get)
    return [(finding.level, finding.text, finding.remedy) for finding in found][1:]


def test_a_missing_extra_comes_with_the_line_that_installs_it():
    assert texts() == [
        ("ok", "extra mlflow (for tracking with MLflow)", ""),
        (
            "note",
            "extra plot (for charts of range tests and schedules): matplotlib is not installed",
            "pip install 'lightning-hparams[plot]'",
        ),
        ("ok", "extra search (for the report of a search, and the samplers cmaes and gp)", ""),
    ]


def test_an_old_package_of_an_extra_is_named_with_both_versions():
    told = [text for level, text, _ in texts(plotly="5.0", cmaes=None) if level == "note"]
    assert told[-1].endswith(
        "cmaes is not installed; plotly 5.0 is installed, but plotly>=5.24 is needed"
    )


def test_a_missing_requirement_is_an_error():
    first = texts(torch="2.0", jsonargparse=None)[0]
    assert first == (
        "error",
        "torch 2.0 is installed, but torch>=2.6 is needed; jsonargparse is not installed",
        "pip install 'torch>=2.6' 'jsonargparse[signatures]>=4.39'",
    )


@pytest.mark.parametrize("installed", ["2.6.0.dev20260101", "2.7.0rc1"])
def test_a_newer_build_between_releases_is_accepted(installed):
    levels = {level for level, _, _ in texts(torch=installed, matplotlib="3.11")}
    assert ("error" in levels) == installed.startswith("2.6.0.dev")  # which precedes 2.6
