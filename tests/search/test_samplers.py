"""Samplers and pruners mean the same under each version of Optuna."""

import warnings

import optuna
import pytest

from lightning_hparams.search import Choice, Float, Int, Space, make_pruner, make_sampler
from lightning_hparams.search.pruners import check_pruner
from lightning_hparams.search.samplers import check_sampler

SPACE = Space({"a.a": Float(0, 1), "a.b": Float(1e-3, 1, log=True), "a.c": Int(1, 9)})
MIXED = Space({**SPACE, "a.d": Choice(["x", "y"]), "a.e": Float(0, 1, when={"a.d": "x"})})


def minimum(sampler, space, trials, seed):
    """Best value after some trials on a bowl, with the sampler made anew for each."""
    spec = check_sampler(sampler, space)
    study = optuna.create_study()
    for number in range(trials):
        study.sampler = make_sampler(spec, space, seed=1000 * seed + number, sequence=seed)
        trial = study.ask()
        point = space.suggest(trial)
        study.tell(trial, (point["a.a"] - 0.3) ** 2 + (point["a.c"] - 4) ** 2 / 100)
    return study.best_value


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes", "qmc", "grid"])
@pytest.mark.parametrize("space", [SPACE, MIXED], ids=["numbers", "mixed"])
def test_every_sampler_samples_without_a_warning(sampler, space):
    name = "random" if sampler == "grid" else sampler
    assert 0 <= minimum(name, space, 14, 0) < 0.5


@pytest.mark.parametrize(
    ("sampler", "space"), [("tpe", SPACE), ("gp", SPACE), ("cmaes", SPACE), ("cmaes", MIXED)]
)
def test_a_sampler_that_is_made_anew_for_each_trial_still_learns(sampler, space):
    learned = [minimum(sampler, space, 40, seed) for seed in range(3)]
    drawn = [minimum("random", space, 40, seed) for seed in range(3)]
    assert sum(learned) < sum(drawn)


def test_tpe_is_multivariate_and_knows_of_running_trials_in_every_version():
    sampler = make_sampler(check_sampler("tpe", SPACE), SPACE, seed=0)
    found = vars(sampler)
    assert (found["_multivariate"], found["_constant_liar"], found["_group"]) == (True, True, False)
    assert vars(make_sampler(check_sampler("tpe", MIXED), MIXED, seed=0))["_group"]


def pruned_at(pruner, curves):
    """Epoch after which each of some trials is pruned, the first being the best."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Hyperband deals out its brackets by the name.
        study = optuna.create_study(study_name="own", pruner=make_pruner(check_pruner(pruner)))
    found = []
    for curve in curves:
        trial = study.ask()
        for epoch, value in enumerate(curve, 1):
            trial.report(value, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                found.append(epoch)
                break
        else:
            study.tell(trial, curve[-1])
            found.append(None)
    return found


GOOD, BAD = [0.5, 0.4, 0.3, 0.2, 0.1, 0.05], [2.0] * 6


@pytest.mark.parametrize(
    ("pruner", "curves", "epochs"),
    [
        ({"name": "median", "startup_trials": 2}, [GOOD, GOOD, BAD], [None, None, 1]),
        (
            {"name": "median", "startup_trials": 2, "min_epochs": 3},
            [GOOD, GOOD, BAD],
            [None, None, 3],
        ),
        ({"name": "asha", "min_epochs": 2}, [GOOD, GOOD, GOOD, BAD], [None, None, None, 2]),
        ({"name": "patience", "epochs": 3}, [GOOD, BAD], [None, 4]),
        ({"name": "patience", "epochs": 2}, [[3, 2, 2, 2, 2, 2]], [4]),
        ({"name": "patience", "epochs": 2, "min_delta": 0.5}, [GOOD], [3]),
        ({"name": "patience", "epochs": 2, "of": "median"}, [GOOD, BAD], [None, None]),
        ({"name": "patience", "epochs": 3}, [[float("nan")] * 6], [4]),
        ({"name": "threshold", "upper": 1.0}, [GOOD, BAD], [None, 1]),
        ({"name": "threshold", "upper": 1.0, "min_epochs": 4}, [GOOD, BAD], [None, 4]),
    ],
)
def test_pruners_count_complete_epochs(pruner, curves, epochs):
    assert pruned_at(pruner, curves) == epochs


def test_hyperband_prunes_some_and_keeps_the_best():
    curves = [GOOD if index % 4 == 0 else BAD for index in range(24)]
    found = pruned_at({"name": "hyperband", "max_epochs": 6}, curves)
    assert sum(epoch is not None for epoch in found) > 6
    assert found[0] is None


def test_cma_es_varies_the_same_parameters_together_in_every_trial():
    study = optuna.create_study()
    study.enqueue_trial({"a.d": "x"})  # has the parameter under a condition, which others lack
    study.enqueue_trial({"a.d": "x"})
    study.enqueue_trial({"a.d": "y"})
    found = set()
    for number in range(6):
        sampler = make_sampler(check_sampler("cmaes", MIXED), MIXED, seed=number)
        study.sampler = sampler
        trial = study.ask()
        together = sampler.infer_relative_search_space(study, study.trials[-1])
        found.add(tuple(sorted(together)))
        study.tell(trial, MIXED.suggest(trial)["a.a"])
    assert found == {(), ("a.a", "a.b", "a.c")}
