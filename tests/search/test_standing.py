import pytest

from lightning_hparams.search import Float, SearchSettings, Space, open_study
from lightning_hparams.search.standing import find_study, status
from tests.search.studies import LR, trial


def settings(folder, **options):
    space = Space({LR: Float(1e-6, 100, log=True)})
    return SearchSettings(
        metric="val_loss", mode="min", space=space, folder=folder, trials=10, **options
    )


def test_the_state_of_a_study_is_read_from_its_folder(tmp_path):
    study = open_study(settings(tmp_path / "a", name="digits"))
    for number in range(30):
        study.add_trial(trial(number))
    text = status(tmp_path / "a", latest=3, width=120)
    lines = text.splitlines()
    assert lines[0].startswith("digits: 30 of 10 trials; 30 complete; best 0.0333333 (trial 29)")
    assert len([line for line in lines if "complete" in line]) == 4


def test_the_time_left_is_told_while_a_trial_runs(tmp_path):
    study = open_study(settings(tmp_path))
    study.add_trial(trial(0))
    assert " left" not in status(tmp_path)  # stopped, or at its end
    study.add_trial(trial(1, "running"))
    assert " left" in status(tmp_path)


def test_a_study_without_trials_is_said_in_a_line(tmp_path):
    open_study(settings(tmp_path))
    assert status(tmp_path).splitlines() == ["study: 0 of 10 trials; 0.0 s elapsed"]


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no study.db; pass the folder"):
        status(tmp_path)


def test_one_of_several_studies_in_a_database_is_chosen_by_name(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for name in ("one", "two"):
        open_study(settings(tmp_path / name, storage=url, name=name))
    with pytest.raises(ValueError, match=r"has the studies .'one', 'two'.; name one of them"):
        find_study(url)
    with pytest.raises(ValueError, match="not 'tow'; did you mean 'two'"):
        find_study(tmp_path, "tow")
    assert find_study(url, "two").study_name == "two"
