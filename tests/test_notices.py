"""What was said about a topic is not said again, whatever values the message holds."""

import warnings

from lightning_hparams.notices import Notices


def warned(notices, *calls):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for about, message in calls:
            notices.warn(about, message)
    return [str(warning.message) for warning in caught]


def test_a_topic_is_warned_of_once_though_the_message_changes():
    notices = Notices("Monitor")
    calls = [("server", "no answer to request 1"), ("server", "no answer to request 2")]
    assert warned(notices, *calls, ("disk", "full")) == [
        "Monitor: no answer to request 1",
        "Monitor: full",
    ]
    assert "server" in notices
    assert "memory" not in notices


def test_information_and_warnings_share_their_topics(caplog):
    notices = Notices()
    with caplog.at_level("INFO"):
        notices.info("a", "said")
    assert [record.message for record in caplog.records] == ["said"]
    assert warned(notices, ("a", "said louder")) == []


def test_another_run_is_told_anew():
    notices = Notices()
    assert warned(notices, ("a", "once")) == ["once"]
    notices.clear()
    assert warned(notices, ("a", "twice")) == ["twice"]
