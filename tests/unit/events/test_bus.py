"""Who subscribed hears; who closed doesn't; one observer's fault stays its own."""

import logging
from typing import Any

from yarddesk.events import EventBus, JobAdded, JobRemoved


def test_observers_hear_the_types_they_asked_for_in_order():
    bus = EventBus()
    heard: list[Any] = []
    with bus.subscribe(heard.append, JobAdded):
        bus.publish(JobAdded(job_id="a"))
        bus.publish(JobRemoved(job_id="a", outcome="done"))
        bus.publish(JobAdded(job_id="b"))
    bus.publish(JobAdded(job_id="c"))
    assert [event.job_id for event in heard] == ["a", "b"]
    assert [event.sequence for event in heard] == [1, 3]
    assert bus.subscribers == 0


def test_a_failing_observer_is_logged_and_the_others_hear(caplog):
    bus = EventBus()
    heard: list[Any] = []

    def fail(_event):
        raise RuntimeError("mine alone")

    with bus.subscribe(fail), bus.subscribe(heard.append), caplog.at_level(logging.ERROR):
        bus.publish(JobAdded(job_id="a"))
    assert len(heard) == 1
    assert "mine alone" in caplog.text


def test_an_observer_may_close_itself_while_it_hears():
    bus = EventBus()
    heard: list[Any] = []

    def once(event):
        heard.append(event)
        subscription.close()

    subscription = bus.subscribe(once)
    bus.publish(JobAdded(job_id="a"))
    bus.publish(JobAdded(job_id="b"))
    assert len(heard) == 1
