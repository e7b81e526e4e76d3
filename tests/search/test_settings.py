"""A search's settings say all that it does, or what is wrong with them."""

import pytest

from lightning_hparams.search import Choice, Float, Int, SearchSettings, Space
from lightning_hparams.search.settings import seconds

SPACE = Space({"model.init_args.lr": Float(1e-4, 1, log=True, prior=0.1), "a.b": Choice([1, 2])})
GOOD = {"metric": "loss/val", "mode": "min", "space": SPACE, "trials": 20}


def settings(**changes):
    return SearchSettings(**{**GOOD, **changes})


def test_settings_are_what_their_plain_data_say(tmp_path):
    found = settings(
        name="sizes",
        sampler={"name": "tpe", "startup_trials": 3},
        pruner={"name": "patience", "epochs": 2, "of": "median"},
        wall_time="1h 30m",
        presets=[{"a.b": 2}, "classification/resnet-imagenet"],
        repeat_best={"seeds": 4},
        lr_range_test="factor",
    )
    assert SearchSettings.from_mapping(found.to_mapping()) == found
    assert found.wall_time == 5400
    assert found.repeat_best == {"trials": 3, "seeds": 4}
    assert found.storage_url == "sqlite:///studies/sizes/study.db"


def test_a_yaml_file_reads_as_it_is_meant(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "metric: loss/val\nmode: min\ntrials: 4\nlr_range_test: off\n"
        "sampler: {name: random}\n"
        "space:\n"
        "  model.init_args.lr: {type: float, low: 1e-5, high: 1, log: true, prior: 1e-3}\n"
        "  model.init_args.nesterov: [true, false]\n"
        "  model.init_args.mode: [on, null]\n"
    )
    found = SearchSettings.from_yaml(path, trials=5)
    assert found.space == Space(
        {
            "model.init_args.lr": Float(1e-5, 1, log=True, prior=1e-3),
            "model.init_args.nesterov": Choice([True, False]),
            "model.init_args.mode": Choice(["on", None]),
        }
    )
    assert (found.lr_range_test, found.trials) == ("off", 5)


def test_a_database_in_the_working_folder_is_found_from_any_other(tmp_path):
    assert settings(storage="sqlite:///a.db").storage_url == f"sqlite:///{tmp_path}/a.db"


def test_an_error_in_a_file_names_it(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("metric: loss/val\nmode: min\ntrails: 4\nspace: {a.b: [1]}\n")
    with pytest.raises(ValueError, match=r"sweep\.yaml: .*'trails'; did you mean 'trials'"):
        SearchSettings.from_yaml(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trials": None}, "must have an end"),
        ({"trials": 0}, "trials"),
        ({"trials": 2.5}, "whole number"),
        ({"trials": 1, "presets": [{"a.b": 1}, {"a.b": 2}]}, "room for the 2 presets"),
        ({"mode": "lowest"}, "mode"),
        ({"metric": ""}, "metric"),
        ({"name": "a/b"}, "leave out '/'"),
        ({"storage": "study.db"}, "sqlite:///study.db"),
        ({"seed": -1}, "seed"),
        ({"workers": 0}, "workers"),
        ({"wall_time": "8 hours"}, "'1h 30m'"),
        ({"wall_time": -1}, "> 0"),
        ({"trial_timeout": "h"}, "8h"),
        ({"on_error": "ignore"}, "on_error"),
        ({"lr_range_test": "fixed"}, "lr_range_test"),
        ({"repeat_best": 3}, "trials: 3"),
        ({"repeat_best": {"trails": 3}}, "did you mean 'trials'"),
        ({"repeat_best": {"seeds": 0}}, "seeds"),
        ({"presets": "resnet"}, "a list"),
        ({"presets": [3]}, "presets"),
        ({"presets": [{"a.b": 3}]}, "has the values"),
        ({"presets": [{"a.c": 1}]}, "did you mean 'a.b'"),
        (
            {"presets": [{"a.b": 1}, "classification/resnet"]},
            r"^`presets\[1\]` must be one of .* mean .*'classification/resnet-imagenet'",
        ),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"sampler": {"seed": 3}}, "with `name`"),
        ({"sampler": {"name": "tpe", "startup": 3}}, "did you mean 'startup_trials'"),
        ({"sampler": {"name": "random", "startup": 3}}, "it has none"),
        ({"sampler": "cmaes"}, "at least 2"),
        ({"sampler": "grid", "trials": None}, "without `step`"),
        ({"pruner": "asha2"}, "did you mean 'asha'"),
        ({"pruner": {"name": "threshold"}}, "lower"),
        ({"pruner": {"name": "asha", "reduction": 1}}, "reduction"),
        ({"pruner": {"name": "patience", "of": "medain"}}, "`pruner.of`.* did you mean 'median'"),
        (
            {"pruner": {"name": "patience", "of": {"name": "asha", "reduction": 1}}},
            "<= pruner.of.reduction`",
        ),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(changes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        settings(**changes)


def test_a_grid_must_fit_the_number_of_trials():
    grid = Space({"a.b": Int(1, 5)})
    assert settings(space=grid, sampler="grid", trials=None).trials is None
    with pytest.raises(ValueError, match="5 points"):
        settings(space=grid, sampler="grid", trials=4)


@pytest.mark.parametrize(("name", "package"), [("gp", "scipy"), ("cmaes", "cmaes")])
def test_a_sampler_without_its_package_says_how_to_install_it(name, package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r"lightning-hparams\[search\]"):
        settings(space=Space({"a.b": Int(1, 5), "a.c": Int(1, 5)}), sampler=name)


@pytest.mark.parametrize(
    ("text", "found"), [("90", 90), ("8h", 28800), ("1d 2m 3s", 86523), (1.5, 1.5), ("2.5min", 150)]
)
def test_durations_are_read_in_seconds(text, found):
    assert seconds("wall_time", text) == found
