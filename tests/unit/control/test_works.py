"""Works over the control API: lines while they go on, a result or an error at the end, and nothing once nobody listens."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message

from tests.support.waiting import until_async
from yarddesk.control.works import Document, Report, Work, WorkAnswer
from yarddesk.errors import YarddeskError


async def answered(work: Work, send: Callable[[Message], Awaitable[None]], **parameters: object) -> None:
    async def receive() -> Message:
        raise AssertionError("nothing is to be read")

    await WorkAnswer(work, parameters)({"type": "http"}, receive, send)


class Client:
    """Takes an answer apart; `gone` makes it fail as a lost connection does."""

    def __init__(self) -> None:
        self.body = b""
        self.status = 0
        self.gone = False
        self.ended = False

    async def send(self, message: Message) -> None:
        if self.gone:
            raise ConnectionResetError("The client has gone.")
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        self.ended = message["type"] == "http.response.body" and not message.get("more_body", False)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


@pytest.fixture
def client() -> Client:
    return Client()


async def test_what_no_character_can_be_is_told_as_json_has_it(client):
    async def work(_parameters: Document, report: Report) -> Document:
        await report.item({"kind": "half \ud83d"})
        raise YarddeskError("“\udc00” is no name.")

    await answered(work, client.send)
    assert [line.get("item", line.get("error", {})) for line in client.lines] == [
        {"kind": "half \ud83d"},
        {"title": "“\udc00” is no name.", "message": "", "hint": ""},
    ]


async def test_items_come_in_order_and_the_result_at_the_end(client):
    async def work(parameters: Document, report: Report) -> Document:
        for number in range(parameters["count"]):
            await report.item({"number": number})
        return {"counted": parameters["count"]}

    await answered(work, client.send, count=3)
    assert client.status == 200
    assert client.ended
    assert client.lines == [*({"item": {"number": number}} for number in range(3)), {"result": {"counted": 3}}]


async def test_the_latest_progress_is_told_while_it_goes_on(client):
    go_on = asyncio.Event()

    async def work(_parameters: Document, report: Report) -> Document:
        for number in range(1000):
            report.progress(count_done=number)
        await go_on.wait()
        return {}

    task = asyncio.create_task(answered(work, client.send))
    await until_async(lambda: {"progress": {"count_done": 999}} in client.lines)
    go_on.set()
    await task
    assert len(client.lines) <= 5


async def test_an_error_is_told_in_words(client):
    async def work(_parameters: Document, _report: Report) -> Document:
        raise YarddeskError("It is full.", "All of it.", hint="Make room.")

    await answered(work, client.send)
    assert client.lines == [{"error": {"title": "It is full.", "message": "All of it.", "hint": "Make room."}}]


async def test_a_fault_does_not_end_as_a_result(client):
    async def work(_parameters: Document, _report: Report) -> Document:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answered(work, client.send)
    assert not client.ended


async def test_a_work_that_says_nothing_stops_when_its_client_goes(client):
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def work(_parameters: Document, _report: Report) -> Document:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return {}

    task = asyncio.create_task(answered(work, client.send))
    await begun.wait()
    client.gone = True
    with pytest.raises(ConnectionResetError):
        await task
    assert stopped.is_set()
