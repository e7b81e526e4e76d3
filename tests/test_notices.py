"""Notices are given once per topic, whatever values the message holds."""

import warnings

from lightning_hparams.notices import Notices


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
