"""A trial writes its run as the study's tracking asks for it."""

from lightning_hparams import Float
from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search, Space
from tests.runs import read_events
from tests.search import tiny


def test_a_trial_has_one_run_with_its_parameters_and_the_last_and_best_metric(tmp_path):
    given = tiny.configuration(2, {"logger": None, "callbacks": [{"class_path": "RunRecorder"}]})
    space = Space({"model.init_args.lr": Float(0.1, 0.2)})
    settings = tiny.settings(tmp_path / "study", trials=1, space=space)
    results = Search.of(Configuration.load(given), settings).run(in_this_process=True)
    (trial,) = results.trials
    events = read_events(results.folder / "trials" / "0")
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"study" in content
    assert b"lr" in content
    assert events.Scalars("best/val_loss")[-1].value == trial.value
    assert [point.value for point in events.Scalars("val_loss")] == [
        value for _, value in sorted(trial.intermediate_values.items())
    ]
