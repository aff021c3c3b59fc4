"""What takes a while, and tells how far it is: asked for by a command, done by whoever holds the data folder."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from starlette.types import Receive, Scope, Send

from yarddesk.errors import YarddeskError
from yarddesk.oci.json_bytes import json_bytes

Document = Mapping[str, Any]

_PROGRESS_SECONDS: Final = 0.25
_BEAT_SECONDS: Final = 1.0


class Report(Protocol):
    """Where a work tells of itself."""

    def progress(self, **figures: int | str) -> None:
        """How far it is. Costs nothing: only the latest is told, a few times a second."""
        ...

    async def item(self, document: Document) -> None:
        """One entry of what it finds; returns when there is room for the next."""
        ...


Work = Callable[[Document, Report], Awaitable[Document]]
"""Does what its parameters say, and gives the result. Raises YarddeskError. Cancelling it stops it where that is safe."""


class WorkAnswer:
    """An answer in lines of JSON: `{"progress": …}` and `{"item": …}` as they come, at last `{"result": …}` or `{"error": …}`.

    An empty object comes where there is nothing else to say, so that either side notices when the other is gone; the work
    then stops.
    """

    def __init__(self, work: Work, parameters: Document) -> None:
        self._work = work
        self._parameters = parameters

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        lines = _Lines(send)
        work = asyncio.ensure_future(self._work(self._parameters, lines))
        try:
            while not work.done():
                await asyncio.wait((work, lines.news()), timeout=_BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    await lines.tell_progress()
                    await asyncio.wait((work,), timeout=_PROGRESS_SECONDS)
        finally:
            await _ended(work)
        try:
            last: Document = {"result": work.result()}
        except YarddeskError as error:
            last = {"error": {"title": error.title, "message": error.message, "hint": error.hint}}
        await lines.tell(last)
        await send({"type": "http.response.body", "body": b""})


class _Lines:
    """A Report that writes to a client."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._figures: dict[str, int | str] | None = None
        self._news: asyncio.Future[None] | None = None
        self._turn = asyncio.Lock()

    def progress(self, **figures: int | str) -> None:
        self._figures = figures
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def item(self, document: Document) -> None:
        await self.tell({"item": document})

    def news(self) -> asyncio.Future[None]:
        """Done once there is progress to tell."""
        if self._news is None or self._news.done():
            self._news = asyncio.get_running_loop().create_future()
        if self._figures is not None:
            self._news.set_result(None)
        return self._news

    async def tell_progress(self) -> None:
        figures, self._figures = self._figures, None
        await self.tell({} if figures is None else {"progress": figures})

    async def tell(self, document: Document) -> None:
        line = json_bytes(document) + b"\n"
        async with self._turn:
            await self._send({"type": "http.response.body", "body": line, "more_body": True})


async def _ended(work: asyncio.Future[Document]) -> None:
    """Stop a work that goes on, and wait until it has."""
    if not work.done():
        work.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await work
