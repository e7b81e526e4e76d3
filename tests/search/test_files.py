"""What a study keeps, and what may change when a search goes on."""

import pytest

from lightning_hparams import Search
from lightning_hparams.configuration import Configuration
from tests.search import tiny


def search(folder, trials, values=None, **changes):
    base = Configuration.load(tiny.configuration()).with_values(values or {})
    settings = tiny.settings(folder, trials=trials, **changes)
    return Search.of(base, settings).run(in_this_process=True)


def test_a_search_with_results_goes_on_with_the_same_configuration_only(tmp_path):
    search(tmp_path / "study", 1)
    message = r"has trials of another configuration; .*\ntrainer.max_epochs: \d before, 9 now$"
    with pytest.raises(ValueError, match=message):
        search(tmp_path / "study", 2, {"trainer.max_epochs": 9})
    shown = {"trainer.enable_progress_bar": True, "trainer.default_root_dir": str(tmp_path)}
    assert len(search(tmp_path / "study", 2, shown).trials) == 2


def test_before_the_first_result_the_configuration_may_change(tmp_path):
    base = Configuration.load(tiny.configuration())
    Search.of(base, tiny.settings(tmp_path / "study", trials=1)).prepare()
    results = search(tmp_path / "study", 1, {"trainer.max_epochs": 2})
    assert len(results.best.intermediate_values) == 2
