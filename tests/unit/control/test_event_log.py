"""The latest events, kept: in order, bounded, a gap is told, and who waits hears as soon as there is something."""

import asyncio
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

import yarddesk.events
from tests.support.waiting import until_async
from yarddesk.control.documents import events_document
from yarddesk.control.event_log import EventLog
from yarddesk.events import Event, EventBus, JobAdded, StorageChanged
from yarddesk.oci.json_bytes import json_bytes


class Yard:
    def __init__(self, kept: int = 1000) -> None:
        self.events = EventBus()
        self.log = EventLog(self.events, kept)

    def add(self, *names: str) -> None:
        for name in names:
            self.events.publish(JobAdded(job_id=name))

    def names(self, since: int | None = None) -> list[str]:
        return [event.job_id for event in self.log.since(since).events if isinstance(event, JobAdded)]


def test_only_what_came_after_is_told_in_order() -> None:
    yard = Yard()
    yard.add("a", "b", "c")
    assert yard.names() == ["a", "b", "c"]
    assert yard.names(1) == ["b", "c"]
    assert yard.names(3) == []
    assert (yard.log.since(3).last, yard.log.since(3).missed) == (3, False)


def test_no_more_are_kept_than_are_to_be_and_who_comes_too_late_is_told_so() -> None:
    yard = Yard(kept=3)
    yard.add(*"abcde")
    assert yard.names() == ["c", "d", "e"]
    assert not yard.log.since(None).missed
    assert not yard.log.since(2).missed
    late = yard.log.since(1)
    assert late.missed
    assert len(late.events) == 3


def test_a_number_of_another_run_is_a_gap_too() -> None:
    yard = Yard()
    yard.add("a")
    happened = yard.log.since(7)
    assert (happened.missed, happened.last, yard.names(7)) == (True, 1, ["a"])


def test_the_stores_size_takes_no_room_and_leaves_no_gap() -> None:
    yard = Yard(kept=2)
    yard.add("a")
    for count in range(10):
        yard.events.publish(StorageChanged(used_bytes=count))
    assert yard.names(0) == ["a"]
    assert not yard.log.since(0).missed
    assert yard.log.since(0).last == 11


async def test_who_waits_hears_at_once_and_of_what_comes_with_it() -> None:
    yard = Yard()
    waiting = asyncio.create_task(yard.log.wait(0, 30))
    await asyncio.sleep(0)
    yard.events.publish(StorageChanged(used_bytes=1))
    await asyncio.sleep(0)
    yard.add("a")
    yard.add("b")
    happened = await asyncio.wait_for(waiting, 5)
    assert [event.sequence for event in happened.events] == [2, 3]


async def test_who_waits_in_vain_or_too_late_is_answered() -> None:
    yard = Yard(kept=1)
    assert (await yard.log.wait(0, 0)).events == []
    yard.add("a", "b")
    assert (await asyncio.wait_for(yard.log.wait(0, 30), 5)).missed
    waiting = [asyncio.create_task(yard.log.wait(2, 30)) for _ in range(3)]
    await asyncio.sleep(0)
    yard.log.close()
    await until_async(lambda: all(each.done() for each in waiting), what="they are let go")
    assert yard.events.subscribers == 0


EXAMPLES: dict[Any, Any] = {str: "text", int: 3, float: 1.5, bool: True}


NO_EVENTS = ("Bound", "EventBus", "Subscription")


@pytest.mark.parametrize("name", [name for name in yarddesk.events.__all__ if name not in NO_EVENTS])
def test_every_event_can_be_told(name: str) -> None:
    kind = getattr(yarddesk.events, name)
    hints = get_type_hints(kind)
    given = {field.name: EXAMPLES.get(hints[field.name], "text") for field in fields(kind) if field.name != "at"}
    event = kind(**given)
    assert isinstance(event, Event)
    bus = EventBus()
    log = EventLog(bus)
    bus.publish(event)
    for document in events_document(log.since(None))["events"]:
        assert document["type"].islower()
        assert document.keys() >= {"type", "sequence", "at", *given}
        assert json_bytes(document)
