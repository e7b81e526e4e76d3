"""The learning rate of a trial is one number, whoever chooses it."""

import pytest
import torch

from lightning_hparams import Float
from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search, Space, trial_record, unused_test
from tests.search import tiny

RATE = "model.init_args.lr"
TEST = {"class_path": "LRRangeTest", "init_args": {"num_steps": 40, "min_lr": 1e-4, "max_lr": 3.0}}


def searched(folder, space, callbacks, **changes):
    """Two trials of an epoch."""
    base = Configuration.load(tiny.configuration(1, {"callbacks": callbacks}, dropout=0.0))
    settings = tiny.settings(folder / "study", trials=2, space=Space(space), **changes)
    return Search.of(base, settings).run(in_this_process=True)


def at_first_step(folder, number):
    """The rate from which the optimizer starts."""
    checkpoint = torch.load(folder / "trials" / str(number) / "best.ckpt", weights_only=False)
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    return group["initial_lr"], checkpoint["hyper_parameters"]["lr"]


def test_a_sampled_rate_is_trained_with_although_a_range_test_is_configured(tmp_path):
    results = searched(tmp_path, {RATE: Float(1e-3, 1.0, log=True)}, [TEST])
    for trial in results.trials:
        record = trial_record(results.folder, trial.number)
        optimizer, hparam = at_first_step(results.folder, trial.number)
        assert trial.params[RATE] == hparam == optimizer == record["lr"]["lr"]


@pytest.mark.parametrize(
    ("key", "use", "told"),
    [(RATE, None, True), ("model.lr", None, True), (RATE, "off", False), (RATE, "factor", False)],
)
def test_a_range_test_that_is_not_used_is_told_of(tmp_path, key, use, told):
    base = Configuration.load(tiny.configuration(1, {"callbacks": [TEST]}))
    space = Space({key: Float(1e-3, 1.0, log=True)})
    found = unused_test(base, tiny.settings(tmp_path, space=space, lr_range_test=use))
    assert found.startswith("LRRangeTest of the configuration is off") is told
    without = Configuration.load(tiny.configuration(1))
    assert unused_test(without, tiny.settings(tmp_path, space=space, lr_range_test="off")) == ""


def test_the_suggestion_of_a_range_test_is_found_once_for_trials_that_share_it(tmp_path):
    results = searched(tmp_path, {"model.init_args.dropout": Float(0.0, 0.5)}, [TEST])
    rates = [at_first_step(results.folder, number) for number in (0, 1)]
    assert len(list((results.folder / "range_tests").iterdir())) == 1
    assert len({*rates[0], *rates[1]}) == 1
    assert rates[0][0] != 0.1  # the configured one
    assert trial_record(results.folder, 0)["lr"]["suggestion"] == pytest.approx(rates[0][0])


def test_a_sampled_factor_multiplies_the_suggestion(tmp_path):
    space = {RATE: Float(0.1, 2.0, log=True)}
    results = searched(tmp_path, space, [TEST], lr_range_test="factor")
    for trial in results.trials:
        found = trial_record(results.folder, trial.number)["lr"]
        optimizer, hparam = at_first_step(results.folder, trial.number)
        assert optimizer == hparam == found["lr"] == trial.user_attrs["lr"]
        assert optimizer == pytest.approx(found["suggestion"] * trial.params[RATE])


def test_other_models_batches_and_optimizers_have_range_tests_of_their_own(tmp_path):
    space = {"data.init_args.batch_size": [16, 32]}
    settings = {"lr_range_test": "suggestion", "sampler": "grid", "trials": None}
    space = Space.from_mapping(space)
    results = searched_grid(tmp_path, space, settings)
    assert len(list((results.folder / "range_tests").iterdir())) == 2


def searched_grid(folder, space, settings):
    base = Configuration.load(tiny.configuration(1, {"callbacks": [TEST]}))
    values = tiny.settings(folder / "study", space=space, **settings)
    return Search.of(base, values).run(in_this_process=True)
