"""A search from the first check to its result, in one process."""

import json
import logging

import pytest
from optuna.trial import TrialState

from lightning_hparams import Float, Search
from lightning_hparams.configuration import Configuration
from lightning_hparams.search import open_from, replay, trial_record, without_messages
from tests.search import tiny


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A study of four trials that was stopped after two and taken up again."""
    folder = tmp_path_factory.mktemp("search") / "study"
    base = Configuration.load(tiny.configuration())
    for trials in (2, 4):
        repeat = {"trials": 2, "seeds": 2} if trials == 4 else None
        search = Search.of(base, tiny.settings(folder, trials=trials, repeat_best=repeat))
        results = search.run(in_this_process=True)
    return results


def test_a_search_runs_as_many_trials_as_asked_and_finds_the_best(searched):
    values = [one.value for one in searched.trials]
    assert [one.state for one in searched.trials] == [TrialState.COMPLETE] * 4
    assert searched.best.value == min(values)
    assert searched.finished


def test_what_lightning_says_about_each_step_stays_out_of_what_a_search_prints(tmp_path):
    told: list[logging.LogRecord] = []
    handler, logger = logging.Handler(), logging.getLogger("lightning.pytorch")
    handler.emit = told.append
    logger.addHandler(handler)
    try:
        settings = tiny.settings(
            tmp_path / "study", trials=1, repeat_best={"trials": 1, "seeds": 1}
        )
        study = Search.of(Configuration.load(tiny.configuration()), settings).prepare()
        assert (tmp_path / "study" / "search.json").is_file()
        assert not told
        with without_messages():
            logger.info("step 1")
            logger.warning("no validation data")
        logger.info("after")
    finally:
        logger.removeHandler(handler)
    assert study.settings.trials == 1
    assert [record.msg for record in told] == ["no validation data", "after"]


def test_a_search_that_goes_on_draws_other_values(searched):
    assert len({json.dumps(one.params) for one in searched.trials}) == 4


def test_each_trial_keeps_its_manifest(searched):
    for trial in searched.trials:
        record = trial_record(searched.folder, trial.number)
        assert record["params"] == trial.params
        assert record["value"] == trial.value == min(record["reports"].values())
        assert list(record["reports"].values()) == list(trial.intermediate_values.values())


def test_the_best_trials_keep_their_checkpoints_and_the_study_has_the_best_of_all(searched):
    order = sorted(searched.trials, key=lambda one: one.value)
    kept = {path.parent.name for path in (searched.folder / "trials").rglob("*.ckpt")}
    assert kept == {str(one.number) for one in order[:3]}
    best = searched.folder / "trials" / str(order[0].number) / "best.ckpt"
    assert (searched.folder / "best.ckpt").read_bytes() == best.read_bytes()


def test_a_search_repeats_the_best_trials_on_the_test_split_and_writes_a_report(searched):
    assert [len(one.scores) for one in searched.repeated] == [2, 2]
    assert all(0 < score < 3 for one in searched.repeated for score in one.scores.values())
    assert searched.best.number in {one.number for one in searched.repeated}
    assert "lightning-hparams replay" in searched.report.read_text("utf-8")


def test_a_manifest_holds_the_configuration_with_the_values_of_the_trial(searched):
    record = trial_record(searched.folder, 1)
    configuration = Configuration.load(record["configuration"])
    assert configuration.value("seed_everything") == record["seed"]
    for key, value in record["params"].items():
        assert configuration.value(key) == value


def test_a_trial_repeats_exactly(searched):
    comparison = replay(searched.folder, 2)
    assert comparison.equal, comparison.summary()


def test_a_repetition_that_differs_is_told(searched, tmp_path):
    record = trial_record(searched.folder, 2)
    record["configuration"]["seed_everything"] += 1
    path = tmp_path / "trials" / "2" / "trial.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    comparison = replay(tmp_path, 2)
    assert not comparison.equal
    assert comparison.largest_difference > 0
    assert "differs" in comparison.summary()


def test_the_folder_of_a_study_is_enough_to_open_it(searched):
    study, base = open_from(searched.folder)
    assert len(study.trials) == 4
    assert base.value("model.init_args.width") == 16


def test_a_folder_without_a_study_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be the folder of a study"):
        open_from(tmp_path)


def test_a_metric_that_is_never_logged_is_found_before_the_first_trial(tmp_path):
    search = Search(
        tiny.configuration(), {"model.init_args.lr": Float(0.1, 0.2)}, "val_los", "min",
        trials=2, folder=tmp_path / "study",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"'val_los'.*val_loss"):
        search.run(in_this_process=True)
    assert not (tmp_path / "study" / "study.db").exists()
