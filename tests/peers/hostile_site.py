"""A web site on loopback whose pages are another's, with a name that can be moved to another address, and a real browser that visits it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.asyncio_servers import stop_listening
from tests.support.programs import clean_environment, tool

LOOPBACK = "127.0.0.1"
REBOUND = "rebound.example"
FOREIGN = "foreign.example"


class HostileSite:
    """Serves `page` to whoever comes, and keeps what that page posts to /report.

    Once a page asked for /rebind, its name has the address `victim` (HOST:PORT): as a name server of the attacker's does it.
    """

    def __init__(self, victim: str) -> None:
        self.page = ""
        self.port = 0
        self.report: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._victim = victim
        self._is_rebound = False
        self._answering: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._answer, LOOPBACK)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            await stop_listening(server)
            await server.wait_closed()
            # A browser opens more connections than it uses: nobody asks for anything in these.
            for task in self._answering:
                task.cancel()
            await asyncio.gather(*self._answering, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            await self._answer_one(reader, writer)
        finally:
            self._answering.discard(task)
            await _closed(writer)

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            host = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"host:"))
            if self._is_rebound and REBOUND.encode() in host:
                await self._pass_on(head, reader, writer)
            else:
                content = await self._own_answer(head, reader)
                kind = "Content-Type: text/html\r\nConnection: close\r\nAccess-Control-Allow-Origin: *"
                writer.write(f"HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
                await writer.drain()

    async def _own_answer(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        path = head.split(b" ")[1]
        if path == b"/rebind":
            self._is_rebound = True
            return b""
        if path == b"/report":
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            self.report.set_result(json.loads(await reader.readexactly(int(fields[b"content-length"]))))
            return b""
        return self.page.encode()

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._victim.split(":")
        there, back = await asyncio.open_connection(host, int(port))
        back.write(head)
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            await _closed(back)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(65536):
        target.write(piece)
        await target.drain()
    with suppress(OSError):
        target.write_eof()


@asynccontextmanager
async def browsing(url: str, folder: Path, site: HostileSite) -> AsyncIterator[None]:
    """A browser that has the page open, to which both names of the site are at its address and no others are anywhere."""
    names = f"MAP {FOREIGN} {LOOPBACK}, MAP {REBOUND} {LOOPBACK}:{site.port}, MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}"
    command = [
        tool("chromium-headless-shell"),
        "--no-sandbox",  # which root may not have, and no page of others is opened
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        f"--user-data-dir={folder / 'profile'}",
        f"--host-resolver-rules={names}",
        "--remote-debugging-port=0",  # else it takes a page that is loaded for one that is done
        url,
    ]
    with (folder / "browser.log").open("wb") as log:
        browser = await asyncio.create_subprocess_exec(
            *command, env=clean_environment(folder / "home"), stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            await browser.wait()
