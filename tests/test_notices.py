"""Notices are given once per topic, whatever values the message holds."""

import subprocess
import sys
import warnings

import pytest
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger

from lightning_hparams import MetricMonitor
from lightning_hparams.notices import Notices, warn_user
from tests.runs import quiet_trainer


def warned(notices, *calls):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for about, message in calls:
            notices.warn(about, message)
    return [str(warning.message) for warning in caught]


def test_a_topic_is_warned_about_once_even_if_the_message_changes():
    notices = Notices("Monitor")
    calls = [("server", "no answer to request 1"), ("server", "no answer to request 2")]
    assert warned(notices, *calls, ("disk", "full")) == [
        "Monitor: no answer to request 1",
        "Monitor: full",
    ]
    assert "server" in notices
    assert "memory" not in notices


def test_information_and_warnings_share_topics(caplog):
    notices = Notices()
    with caplog.at_level("INFO"):
        notices.info("a", "said")
    assert [record.message for record in caplog.records] == ["said"]
    assert warned(notices, ("a", "said louder")) == []


def test_after_clear_a_topic_is_warned_about_again():
    notices = Notices()
    assert warned(notices, ("a", "once")) == ["once"]
    notices.clear()
    assert warned(notices, ("a", "twice")) == ["twice"]


def test_names_that_change_with_each_step_are_warned_about_a_few_times_only():
    notices = Notices()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(100):
            notices.warn_of_name("term", f"loss_{step}", f"loss_{step} left out")
            notices.warn_of_name("term", "other", "other left out")
    texts = [str(warning.message) for warning in caught]
    assert texts[:2] == ["loss_0 left out", "other left out"]
    assert len(texts) == 5
    assert "no warning about further ones" in texts[-1]


@pytest.mark.parametrize("call", ["warn_user('look')", "Notices().info('a', 'look')"])
def test_a_process_that_has_not_imported_lightning_is_told_too(call):
    listen = "import logging; logging.basicConfig(level='INFO')"
    code = f"{listen}; from lightning_hparams.notices import Notices, warn_user; {call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "look" in done.stderr.replace(call, "")


def test_a_warning_shows_the_line_of_the_user():
    calls = [
        lambda: warn_user("a"),
        lambda: Notices().warn("a", "a"),
        lambda: Notices().failed("draw", ValueError("a")),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [warning.filename for warning in caught] == [__file__]
    monitor = MetricMonitor(class_names=["a"])
    module = BoringModel()
    module.training_step = lambda batch, batch_idx: {
        "loss": module(batch).sum(), "terms": "odd"
    }  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet_trainer(logger=CSVLogger("."), max_steps=2, callbacks=[monitor]).fit(module)
    ours = [warning for warning in caught if "MetricMonitor" in str(warning.message)]
    assert [warning.filename for warning in ours] == [__file__]
